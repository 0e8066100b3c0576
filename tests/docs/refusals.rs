//! The table of refusals in the page about `wsloop.1` has what the code refuses, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::place::ROOT;

const PAGE: &str = include_str!("../../docs/src/protocol.md");
const FILES: [&str; 3] = ["asking.rs", "commands.rs", "listed.rs"];
/// The start of each text, and the words of the page for it.
const WORDS: [(u16, &str, &str); 16] = [
    (400, "an audience is broadcast", "no such audience"),
    (400, "an empty message", "an empty message"),
    (400, "the application cannot be asked", "the application cannot be asked about"),
    (400, "text", "a colon in a facility"),
    (403, "text", "does not grant it"),
    (403, "denied(", "`--allow`, a rule, the token or the application"),
    (403, "nobody(", "nothing says which user, session or group"),
    (404, "this connection does not hear it", "to leave what is not heard"),
    (409, "this connection hears it already", "to hear what is heard already"),
    (413, "format!(\"a message has at most", "a payload larger than `message`"),
    (413, "format!(\"the names of its channels", "names beyond `names`"),
    (413, "text", "positions beyond"),
    (413, "the facility is over 512 bytes", "a facility over 512 bytes"),
    (429, "this connection hears as much", "more `subscriptions`"),
    (429, "too many commands", "more `commands` without an answer"),
    (429, "too much waits for the application", "wait for answers of the application"),
];
/// Texts of what is refused elsewhere than by an `Unfit`.
const OTHERS: [(u16, &str); 3] = [
    (409, "left before it was heard"),
    (503, "Redis is away or does not let wsloop do it"),
    (503, "the application cannot be asked"),
];

/// The rows of the table, by their statuses.
fn rows() -> BTreeMap<u16, &'static str> {
    let (_, rest) = PAGE.split_once("## Refusals\n").expect("the table");
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|line| line.trim_matches('|').split_once('|').expect("two cells"));
    cells.map(|(status, why)| (status.trim().parse().expect("a status"), why)).collect()
}

/// What the code makes an `Unfit` of: the statuses, and how their texts begin.
fn refused() -> BTreeSet<(u16, String)> {
    let folder = Path::new(ROOT).join("src/browser/topics");
    let mut found = BTreeSet::new();
    for file in FILES {
        let text = fs::read_to_string(folder.join(file)).expect(file);
        for call in text.split("Unfit::new(").skip(1) {
            let (status, why) = call.trim_start().split_once(',').expect("a text");
            let status = status.trim().parse().expect("a status that is written out");
            found.insert((status, why.trim_start().trim_start_matches('"').to_owned()));
        }
    }
    found
}

#[test]
fn every_refusal_is_in_the_table() {
    let (rows, refused) = (rows(), refused());
    for (status, why) in &refused {
        let known = WORDS.iter().any(|(of, begin, _)| of == status && why.starts_with(begin));
        let line = why.lines().next().unwrap_or_default();
        assert!(known, "the page says nothing of {status} {line}");
    }
    for (status, begin, words) in WORDS {
        let is_there = refused.iter().any(|(of, why)| *of == status && why.starts_with(begin));
        assert!(is_there, "nothing is refused with {status} {begin}");
        assert!(rows[&status].contains(words), "{status}: {words}");
    }
    for (status, words) in OTHERS {
        assert!(rows[&status].contains(words), "{status}: {words}");
    }
    let known = WORDS.iter().map(|(status, ..)| status).chain(OTHERS.iter().map(|(it, _)| it));
    assert_eq!(rows.keys().collect::<BTreeSet<_>>(), known.collect(), "the statuses");
}
