//! L4: `wsloop check`: what would be in force and where each value comes from, and everything that
//! is wrong, without serving anybody.
//!
//! It reads the files that it is given the names of, and asks nobody: whether Redis answers or an
//! address is free is not known to it.

use std::fmt::Write;

use clap::ArgMatches;

use super::draft::ServerDraft;
use super::file::File;
use super::flags::FLAGS;
use super::table::{Absent, Flag, Given};
use super::{Config, gather, values};
use crate::broker::HistorySize;

/// What was found.
#[derive(Debug, Default)]
pub struct Check {
    /// A line for every flag and rule: name, value, and where it comes from. Passwords are left
    /// out.
    pub in_force: String,
    /// A line for each thing that is wrong: where, what, and how to mend it.
    pub wrong: Vec<String>,
    /// Lines about what is probably a mistake.
    pub warnings: Vec<String>,
}

/// Judges what the server was given. `descriptors` is how many descriptors it may have open.
pub(crate) fn check(matches: &ArgMatches, descriptors: usize) -> Check {
    let (given, file, mut wrong) = gather(matches);
    let mut draft = ServerDraft::new();
    wrong.extend(given.faults(FLAGS, &mut draft).map(|wrong| given.line(&wrong)));
    let mut config = None;
    if wrong.is_empty() {
        match draft.finish(&given, &file, descriptors) {
            Ok(finished) => config = Some(finished),
            Err(fault) => wrong.push(given.line(&fault)),
        }
    }
    let mut warnings: Vec<String> = super::unknown_variables().collect();
    warnings.extend(config.iter().flat_map(|config| config.warnings.iter().cloned()));
    Check { in_force: in_force(&given, &file, config.as_ref()), wrong, warnings }
}

fn in_force(given: &Given, file: &File, config: Option<&Config>) -> String {
    let rows = FLAGS.iter().filter_map(|flag| row(flag, given, config));
    let rules = file.places_of_rules().map(|place| ("[[allow]]", "a rule".to_owned(), place));
    let routes = file.routes.iter().map(|route| {
        let value = format!("{} to {}", route.prefix, route.upstream.target);
        ("[[route]]", values::printable(&value), route.place.clone())
    });
    let histories = file.histories.iter().map(|(rule, place)| {
        let HistorySize { messages, seconds } = rule.keeps;
        let value = format!("{}={messages}/{seconds}", rule.facility);
        ("[[history]]", values::printable(&value), place.clone())
    });
    let rules = rules.chain(histories);
    let endpoints = file.endpoints.iter().map(|endpoint| {
        let value = format!("{} to {}", endpoint.path, endpoint.target);
        let place = endpoint.place.clone().unwrap_or_default();
        ("[[endpoint]]", values::printable(&value), place)
    });
    let rows: Vec<_> = rows.chain(rules).chain(routes).chain(endpoints).collect();
    let width = |of: fn(&(&str, String, String)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (names, texts) = (width(|row| row.0.len()), width(|row| row.1.chars().count().min(40)));
    let mut text = String::new();
    for (name, value, place) in &rows {
        writeln!(text, "{name:names$}  {value:texts$}  {place}").expect("a string takes all");
    }
    text
}

/// A flag's name, its value and where that comes from, unless it has none.
fn row<D>(
    flag: &Flag<D>,
    given: &Given,
    config: Option<&Config>,
) -> Option<(&'static str, String, String)> {
    let (text, place) = match (given.get(flag.name), flag.default) {
        (Some((texts, place)), _) => {
            let texts: Vec<String> = texts.iter().map(|text| without_passwords(text)).collect();
            let text = texts.join(",");
            let count = config.filter(|_| flag.name == "workers" && text == "auto");
            let count = count.map(|config| format!(", {}", config.workers)).unwrap_or_default();
            (text + &count, place.to_string())
        }
        (None, Absent::Value(text)) => (text.to_owned(), "default".to_owned()),
        (None, Absent::Words(words)) => {
            let worked_out = config.and_then(|config| worked_out(flag.name, config));
            (worked_out.unwrap_or_else(|| words.replace('`', "")), "default".to_owned())
        }
        (None, Absent::Nothing) => return None,
    };
    let text = values::printable(&text);
    Some((flag.name, if text.is_empty() { "\"\"".to_owned() } else { text }, place))
}

/// A text without passwords. URLs with spaces between hide each its own; of anything else too much
/// is hidden rather than too little.
fn without_passwords(text: &str) -> String {
    match text.split(' ').all(|word| word.contains("://")) {
        true => text.split(' ').map(values::without_password).collect::<Vec<_>>().join(" "),
        false => values::without_password(text),
    }
}

/// What nobody gave and depends on other values or on the machine.
fn worked_out(flag: &str, config: &Config) -> Option<String> {
    let settings = &config.settings;
    Some(match flag {
        "allow" => settings.allow.to_string(),
        "demo" => if config.demo { "on" } else { "off" }.to_owned(),
        "resp" if config.resp.is_none() => "off".to_owned(),
        "max-connections" => settings.max_connections.to_string(),
        "max-handshakes" => settings.max_handshakes.to_string(),
        "memory-limit" => settings.memory_limit.to_string(),
        "outbox-limit" => settings.outbox_limit.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(args: &[&str]) -> Check {
        let matches =
            super::super::command("wsloop").try_get_matches_from([&["wsloop"], args].concat());
        check(&matches.expect("known flags"), 20_000)
    }

    /// The value and the place of a flag, as they are said.
    fn said(check: &Check, name: &str) -> (String, String) {
        let row = check.in_force.lines().find(|line| line.split("  ").next() == Some(name));
        let row = row.unwrap_or_else(|| panic!("{name}: {}", check.in_force));
        let mut parts = row.split("  ").map(str::trim).filter(|part| !part.is_empty()).skip(1);
        let mut next = || parts.next().expect("three columns").to_owned();
        (next(), next())
    }

    /// Runs a check with a file of this text as well, and what is to be said of its path.
    fn with_file(name: &str, text: &str, args: &[&str]) -> (Check, String) {
        let name = format!("wsloop-check-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        let text = path.to_str().expect("a path").to_owned();
        let check = checked(&[&[&*format!("--config={text}")], args].concat());
        std::fs::remove_file(path).expect("a file can be removed");
        (check, text)
    }

    #[test]
    fn every_value_says_where_it_comes_from() {
        let text = "prefix = \"a\"\nmax-handshakes = 9\n[[allow]]\nfacility = \"news\"\n";
        let args = ["--prefix=b", "--redis=redis://u:hush@h/1"];
        let (check, path) = with_file("places", text, &args);
        assert!(check.wrong.is_empty() && check.warnings.is_empty(), "{check:?}");
        let pair = |value: &str, place: &str| (value.to_owned(), place.to_owned());
        assert_eq!(said(&check, "prefix"), pair("b", "the command line"));
        assert_eq!(said(&check, "max-handshakes"), pair("9", &format!("{path}:2")));
        assert_eq!(said(&check, "expire"), pair("3600", "default"));
        assert_eq!(said(&check, "max-connections").1, "default");
        assert!(said(&check, "max-connections").0.parse::<usize>().is_ok(), "a number");
        assert_eq!(said(&check, "[[allow]]"), pair("a rule", &format!("{path}:3")));
        assert_eq!(said(&check, "redis").0, "redis://…@h/1");
        assert!(!check.in_force.contains("hush"));
    }

    #[test]
    fn of_several_urls_each_hides_its_own_password() {
        let args = ["--redis=redis://u:hush@h/1", "--redis=redis://i", "--redis=redis://:hush@j"];
        let check = checked(&args);
        assert!(check.wrong.is_empty(), "{check:?}");
        assert_eq!(said(&check, "redis").0, "redis://…@h/1,redis://i,redis://…@j");
        assert_eq!(without_passwords("redis://:a@h redis://:b@i"), "redis://…@h redis://…@i");
        assert_eq!(without_passwords("redis://:a b@h"), "redis://…@h");
    }

    #[test]
    fn how_many_workers_there_are_is_said() {
        let workers = |args: &[&str]| said(&checked(args), "workers").0;
        let cores = std::thread::available_parallelism().expect("a number");
        assert_eq!(workers(&["--redis=redis://h", "--workers=auto"]), format!("auto, {cores}"));
        assert_eq!((workers(&["--workers=auto"]), workers(&[])), ("auto, 1".into(), "1".into()));
        let wrong = checked(&["--workers=2"]).wrong;
        assert!(wrong.len() == 1 && wrong[0].contains("through Redis alone"), "{wrong:?}");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = "expire = \"soon\"\nnonsense = 1\nprefix = 2\n[[allow]]\nwho = \"x\"\n";
        let (check, path) = with_file("faults", text, &["--ping-interval=never"]);
        let starts = [
            format!("{path}:2: there is no key"),
            format!("{path}:3: prefix: it is a number"),
            format!("{path}:5: [[allow]] who:"),
            format!("{path}:1: expire: "),
            "--ping-interval: ".to_owned(),
        ];
        assert_eq!(check.wrong.len(), starts.len(), "{:?}", check.wrong);
        for (line, start) in check.wrong.iter().zip(&starts) {
            assert!(line.starts_with(start), "{line} is not {start}");
        }
    }
}
