//! The flags: the table is that of `--help`, and those that are named exist.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use crate::markdown;
use crate::pages;

const PAGE: &str = include_str!("../../docs/src/flags.md");
/// Of other programs.
const OTHERS: [&str; 3] = ["--runserver", "--print", "--no-deps"];

#[test]
fn the_table_of_flags_is_that_of_the_help() {
    let page = table_of_flags(PAGE);
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).arg("--help").env_clear().output();
    let help = flags_of_the_help(&text_of(output.expect("the program runs")));
    assert!(help.len() > 20, "{help:?}");
    let named: BTreeSet<&String> = page.keys().chain(help.keys()).collect();
    for flag in named {
        let in_page = page.get(flag).unwrap_or_else(|| panic!("the page has no {flag}"));
        let in_help = help.get(flag).unwrap_or_else(|| panic!("the help has no {flag}"));
        let in_help = other_words(flag, in_help);
        assert_eq!(*in_page, in_help, "the default of {flag}");
    }
}

#[test]
fn flags_that_are_named_exist() {
    let commands = ["", "publish", "fetch", "listen", "disconnect", "stress"];
    let helps: Vec<String> = commands
        .map(|command| {
            let args = command.split_whitespace().chain(["--help"]);
            let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).args(args).env_clear().output();
            text_of(output.expect("the program runs"))
        })
        .into();
    let mut counted = 0;
    for (page, text) in pages::all() {
        let spans = markdown::spans(&text);
        let ours = |span: &&String| span.starts_with("--") || span.starts_with("wsloop ");
        for word in spans.iter().filter(ours).flat_map(|span| span.split([' ', '=', ',', '['])) {
            if word.starts_with("--") && !OTHERS.contains(&word) {
                let known = helps.iter().any(|help| {
                    help.contains(&format!("{word} "))
                        || help.contains(&format!("{word}["))
                        || help.contains(&format!("{word}\n"))
                });
                assert!(known, "{page} names {word}");
                counted += 1;
            }
        }
    }
    assert!(counted > 60, "only {counted} flags");
}

/// Flags with the names of their values, and defaults, as the page has them.
fn table_of_flags(page: &str) -> BTreeMap<String, String> {
    let rows = page.lines().filter(|line| line.starts_with("| `--"));
    rows.map(|row| {
        let row = row.replace(r"\|", "\n").replace('`', "");
        let cells: Vec<String> =
            row.split('|').map(|cell| cell.trim().replace('\n', "|")).collect();
        let [_, flag, default, _, _] = &cells[..] else {
            panic!("a row has a flag, a default and a meaning: {row}");
        };
        (flag.clone(), default.clone())
    })
    .collect()
}

/// Flags with the names of their values, and defaults, as `--help` has them.
fn flags_of_the_help(help: &str) -> BTreeMap<String, String> {
    const INDENT: &str = "\n      --";
    let entries = help.split(INDENT).skip(1);
    entries
        .map(|entry| {
            let flag = entry.split("  ").next().expect("a first part").trim();
            let words: Vec<&str> = entry.split_whitespace().collect();
            let words = words.join(" ");
            let default = words.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
            let (default, _) = default.unwrap_or_else(|| panic!("no default: {words}"));
            (format!("--{}", flag.replace(['<', '>'], "")), default.to_owned())
        })
        .collect()
}

/// A default of the help in the words of the page's narrower column.
fn other_words(flag: &str, default: &str) -> String {
    const WORDS: [(&str, &str, &str); 5] = [
        ("--resp ", "127.0.0.1:6380, unless it is taken", "127.0.0.1:6380"),
        ("--redis ", "none, an embedded broker", "embedded broker"),
        ("--max-connections ", "the descriptor limit less 64", "descriptors − 64"),
        ("--allow ", "every subscribe- option, no publish- option", "subscribe-…"),
        ("--subprotocols ", "the first one offered", "first offered"),
    ];
    let same = |(name, help, _): &&(&str, &str, &str)| flag.starts_with(name) && default == *help;
    match WORDS.iter().find(same) {
        Some((.., page)) => (*page).to_owned(),
        None => default.replace("KiB", " KiB").replace("MiB", " MiB"),
    }
}

/// What a program has written, which has ended well.
fn text_of(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
