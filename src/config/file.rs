//! L4: the configuration file (TOML): values as the flags could have had them, and rules.
//!
//! Its keys are the flags of the table; what a value means is judged where flags are. Its rules:
//! whatever is wrong is one line that begins with file and line, and a table says nothing that is
//! not understood.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::ServerDraft;
use super::endpoints::{self, DialedEndpoint};
use super::flags::FLAGS;
use super::front::Route;
use super::table::{Flag, Given, Takes};
use super::values;
use crate::access::channel::{Allow, Audience, Direction};
use crate::access::nearest::similar;
use crate::access::permissions::{Rule, Rules, Who};
use crate::broker::{HistoryRule, HistorySize};
use crate::web::upstream::upstream;

/// What a configuration file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Its `[[allow]]` tables.
    pub rules: Rules,
    /// Its `[[route]]` tables.
    pub routes: Vec<Route>,
    /// Its `[[endpoint]]` tables.
    pub endpoints: Vec<DialedEndpoint>,
    /// Its `[[history]]` tables, and where each stands.
    pub histories: Vec<(HistoryRule, String)>,
    path: String,
    rule_lines: Vec<usize>,
    values: Vec<Entry>,
}

/// What it has for a flag.
#[derive(Debug)]
struct Entry {
    flag: &'static str,
    text: String,
    line: usize,
}

/// What is wrong, and where: bytes from the start of the file.
struct Fault {
    at: usize,
    why: String,
}

impl File {
    /// Reads the text of the file that was named `path`: what it says, and for everything that is
    /// wrong in it the whole line to print.
    pub(super) fn parse(path: &str, text: &str) -> (File, Vec<String>) {
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let mut file = File { path: path.to_owned(), ..File::default() };
        let faults = match DeTable::parse(text) {
            Ok(table) => file.take(table.get_ref(), line),
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                vec![Fault { at: span.start, why: broken(error.message(), text.get(span)) }]
            }
        };
        let said = |fault: Fault| format!("{path}:{}: {}", line(fault.at), fault.why);
        let faults = faults.into_iter().map(|fault| values::printable(&said(fault))).collect();
        (file, faults)
    }

    /// Adds its values to what was given.
    pub(super) fn give(&self, given: &mut Given) {
        for Entry { flag, text, line } in &self.values {
            given.add(flag, text.clone(), format!("{}:{line}", self.path));
        }
    }

    /// Where the rule stands that is the `number`th from 0: file and line.
    pub(super) fn place_of_rule(&self, number: usize) -> String {
        format!("{}:{}", self.path, self.rule_lines[number])
    }

    /// Where each rule stands.
    pub(super) fn places_of_rules(&self) -> impl Iterator<Item = String> {
        self.rule_lines.iter().map(|line| format!("{}:{line}", self.path))
    }

    /// Takes a table of one of those lists, in that line.
    fn take_table(
        &mut self,
        name: &str,
        table: &Spanned<DeValue<'_>>,
        line: usize,
    ) -> Result<(), Fault> {
        let place = format!("{}:{line}", self.path);
        match name {
            "allow" => {
                self.rules.0.push(rule(table)?);
                self.rule_lines.push(line);
            }
            "history" => self.histories.push((history(table)?, place)),
            _ => self.endpoints.push(endpoint(table, place)?),
        }
        Ok(())
    }

    fn take(&mut self, table: &DeTable<'_>, line: impl Fn(usize) -> usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, value) in in_order(table) {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if matches!(name, "allow" | "history" | "endpoint")
                && let Some(tables) = tables(value)
            {
                for table in tables {
                    faults.extend(self.take_table(name, table, line(table.span().start)).err());
                }
                continue;
            }
            if name == "route" {
                for table in tables(value).into_iter().flatten() {
                    let place = format!("{}:{}", self.path, line(table.span().start));
                    match route(table, place) {
                        Ok(route) => self.routes.push(route),
                        Err(fault) => faults.push(fault),
                    }
                }
                if tables(value).is_none() {
                    let why = "route: write each as a table of its own, below [[route]]".to_owned();
                    faults.push(Fault { at: value.span().start, why });
                }
                continue;
            }
            let Some(flag) = keys().find(|flag| flag.name == name) else {
                faults.push(Fault { at, why: unknown(name) });
                continue;
            };
            match as_text(value, &flag.takes) {
                Ok(text) => {
                    self.values.push(Entry { flag: flag.name, text, line: line(at) });
                }
                Err(why) => {
                    let at = value.span().start;
                    faults.push(Fault { at, why: format!("{name}: {why}") });
                }
            }
        }
        faults
    }
}

/// The flags that are keys: all, but the one that names the file.
fn keys() -> impl Iterator<Item = &'static Flag<ServerDraft>> {
    FLAGS.iter().filter(|flag| flag.name != "config")
}

/// Keys and values in the order in which they stand in the file.
fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> Vec<(&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// What the parser says, with a way to mend it.
fn broken(message: &str, there: Option<&str>) -> String {
    let mend = match (message, there) {
        ("duplicate key", Some("allow")) => {
            "a file has either a list or [[allow]] rules; the list may come from --allow, and a \
             last rule decides about everything if it has facility = \"*\""
        }
        ("duplicate key", Some("history")) => {
            "a file has either a list or [[history]] rules; the list may come from --history"
        }
        ("duplicate key", _) => "give it once",
        _ => "TOML is written such as max-message-size = \"1MiB\"",
    };
    format!("{}; {mend}", message.replace('\n', " "))
}

/// What is said about a key that is none.
fn unknown(key: &str) -> String {
    if key == "config" {
        return "config cannot be a key of the file itself; remove it".to_owned();
    }
    let dashed = key.replace('_', "-").to_ascii_lowercase();
    let quoted = values::quoted(key);
    match similar(&dashed, keys().map(|flag| flag.name)) {
        Some(near) => format!("there is no key {quoted}; did you mean {near}?"),
        None => format!("there is no key {quoted}; wsloop --help lists the flags, without --"),
    }
}

/// A value as it would be given to a flag that takes such ones.
fn as_text<D>(value: &Spanned<DeValue<'_>>, takes: &Takes<D>) -> Result<String, String> {
    let is_switch = matches!(takes, Takes::Switch(_));
    let is_list = matches!(takes, Takes::List(..) | Takes::Entries(..) | Takes::Repeated(..));
    let is_number = matches!(
        takes,
        Takes::Bytes(..) | Takes::Seconds(..) | Takes::WholeSeconds(..) | Takes::Count(..)
    ) || matches!(takes, Takes::Text(text, _) if text.starts_with("COUNT|"));
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) if is_number => Ok(number.to_string()),
        DeValue::Float(number) if is_number => Ok(number.to_string()),
        DeValue::Boolean(on) if is_switch => Ok(if *on { "on" } else { "off" }.to_owned()),
        DeValue::Array(entries) if is_list => {
            let texts = entries.iter().map(|entry| entry.get_ref().as_str());
            let texts: Option<Vec<&str>> = texts.collect();
            let texts = texts.ok_or("the entries of the list must be texts in double quotes")?;
            Ok(texts.join(","))
        }
        other => Err(format!(
            "it is {}, and must be {}",
            kind(other),
            match () {
                () if is_number => "a number, or a text in double quotes",
                () if is_list => "a list such as [\"a\", \"b\"], or a text in double quotes",
                () if is_switch => "true or false",
                () => "a text in double quotes",
            }
        )),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A list's entries when there are tables among them, or a table that lacks a pair of brackets.
fn tables<'a, 'i>(
    value: &'a Spanned<DeValue<'i>>,
) -> Option<impl Iterator<Item = &'a Spanned<DeValue<'i>>>> {
    let entries = match value.get_ref() {
        DeValue::Array(entries) => entries.iter().collect(),
        DeValue::Table(_) => vec![value],
        _ => Vec::new(),
    };
    entries.iter().any(|entry| entry.get_ref().is_table()).then(|| entries.into_iter())
}

/// One table of `[[allow]]`.
fn rule(value: &Spanned<DeValue<'_>>) -> Result<Rule, Fault> {
    let fault = |span: Range<usize>, why: String| Fault { at: span.start, why };
    let Some(table) = value.get_ref().as_table() else {
        let why = "allow: a list of rules has nothing but rules in it".to_owned();
        return Err(fault(value.span(), why));
    };
    if table.is_empty() {
        let why = "this rule says nothing; with facility = \"*\" it would fit every facility";
        return Err(fault(value.span(), format!("[[allow]]: {why}")));
    }
    let mut rule =
        Rule { facility: "*".to_owned(), options: Allow::default(), who: Who::Anyone, grant: true };
    let (mut audiences, mut directions) = (Audience::ALL.to_vec(), Direction::ALL.to_vec());
    for (key, value) in in_order(table) {
        let name = key.get_ref().as_ref();
        let read = match name {
            "facility" => text(value).map(|text| rule.facility = text.to_owned()),
            "audience" => words(value, &AUDIENCES).map(|words| audiences = words),
            "direction" => words(value, &DIRECTIONS).map(|words| directions = words),
            "who" => text(value).and_then(who).map(|who| rule.who = who),
            "grant" => {
                let wrong =
                    || format!("it is {}, and must be true or false", kind(value.get_ref()));
                value.get_ref().as_bool().ok_or_else(wrong).map(|grant| rule.grant = grant)
            }
            _ => {
                let quoted = values::quoted(name);
                let why = format!(
                    "[[allow]]: there is no key {quoted}; a rule has facility, audience, \
                     direction, who and grant"
                );
                return Err(fault(key.span(), why));
            }
        };
        read.map_err(|why| fault(value.span(), format!("[[allow]] {name}: {why}")))?;
    }
    rule.options = Allow::of(&audiences, &directions);
    Ok(rule)
}

/// One table of `[[route]]`, which stands there.
fn route(value: &Spanned<DeValue<'_>>, place: String) -> Result<Route, Fault> {
    let fault = |span: Range<usize>, why: String| Fault { at: span.start, why };
    let (mut prefix, mut to) = (None, None);
    for (key, value) in value.get_ref().as_table().into_iter().flat_map(in_order) {
        let name = key.get_ref().as_ref();
        let read = match name {
            "prefix" => text(value).and_then(|text| {
                let no = || format!("{} begins without a slash", values::quoted(text));
                prefix = Some(text).filter(|text| text.starts_with('/')).map(str::to_owned);
                prefix.is_some().then_some(()).ok_or_else(no)
            }),
            "upstream" => text(value).and_then(upstream).map(|upstream| to = Some(upstream)),
            _ => {
                let quoted = values::quoted(name);
                let why =
                    format!("[[route]]: there is no key {quoted}; a route has prefix and upstream");
                return Err(fault(key.span(), why));
            }
        };
        read.map_err(|why| fault(value.span(), format!("[[route]] {name}: {why}")))?;
    }
    match (prefix, to) {
        (Some(prefix), Some(upstream)) => Ok(Route { prefix, upstream, place }),
        _ => {
            let why =
                "[[route]]: a route has both, prefix = \"/path/\" and upstream = \"http://…\"";
            Err(fault(value.span(), why.to_owned()))
        }
    }
}

/// One table of `[[history]]`.
fn history(value: &Spanned<DeValue<'_>>) -> Result<HistoryRule, Fault> {
    let fault = |span: Range<usize>, why: String| Fault { at: span.start, why };
    let (mut facility, mut audiences) = (None, Audience::ALL.to_vec());
    let (mut messages, mut seconds) = (None, None);
    for (key, value) in value.get_ref().as_table().into_iter().flat_map(in_order) {
        let name = key.get_ref().as_ref();
        let read = match name {
            "facility" => text(value).map(|text| facility = Some(text)),
            "audience" => words(value, &AUDIENCES).map(|words| audiences = words),
            "messages" => number(value).map(|number| messages = Some(number)),
            "seconds" => number(value).map(|number| seconds = Some(number)),
            _ => {
                let quoted = values::quoted(name);
                let why = format!(
                    "[[history]]: there is no key {quoted}; a rule has facility, messages, seconds \
                     and audience"
                );
                return Err(fault(key.span(), why));
            }
        };
        read.map_err(|why| fault(value.span(), format!("[[history]] {name}: {why}")))?;
    }
    let (Some(facility), Some(messages), Some(seconds)) = (facility, messages, seconds) else {
        let why = "[[history]]: a rule has facility = \"chat/*\", messages = 100 and seconds = 300";
        return Err(fault(value.span(), why.to_owned()));
    };
    let keeps = HistorySize { messages, seconds: seconds as u64 };
    let rule = HistoryRule::new(facility, audiences, keeps);
    rule.map_err(|why| fault(value.span(), format!("[[history]]: {why}")))
}

/// One table of `[[endpoint]]`, which stands there.
fn endpoint(value: &Spanned<DeValue<'_>>, place: String) -> Result<DialedEndpoint, Fault> {
    let fault = |span: Range<usize>, why: String| Fault { at: span.start, why };
    let (mut path, mut socket, mut keeps) = (None, None, None);
    for (key, value) in value.get_ref().as_table().into_iter().flat_map(in_order) {
        let name = key.get_ref().as_ref();
        let read = match name {
            "path" => text(value).map(|text| path = Some(text)),
            "socket" => text(value).map(|text| socket = Some(text)),
            "lost" => text(value).and_then(endpoints::keeps).map(|text| keeps = Some(text)),
            _ => {
                let why = format!(
                    "[[endpoint]]: there is no key {}; an endpoint has path, socket and lost",
                    values::quoted(name)
                );
                return Err(fault(key.span(), why));
            }
        };
        read.map_err(|why| fault(value.span(), format!("[[endpoint]] {name}: {why}")))?;
    }
    let (Some(path), Some(socket)) = (path, socket) else {
        let why = "[[endpoint]]: an endpoint has both, path = \"/chat/\" and socket = \"unix:/…\"";
        return Err(fault(value.span(), why.to_owned()));
    };
    let read = endpoints::dialed(path, socket);
    let read = read.map_err(|why| fault(value.span(), format!("[[endpoint]]: {why}")))?;
    Ok(DialedEndpoint { keeps, place: Some(place), ..read })
}

const AUDIENCES: [(&str, Audience); 4] = [
    ("broadcast", Audience::Broadcast),
    ("group", Audience::Group),
    ("user", Audience::User),
    ("session", Audience::Session),
];
const DIRECTIONS: [(&str, Direction); 2] =
    [("subscribe", Direction::Subscribe), ("publish", Direction::Publish)];

fn text<'a>(value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, String> {
    let text = value.get_ref().as_str();
    text.ok_or_else(|| format!("it is {}, and must be a text", kind(value.get_ref())))
}

fn number(value: &Spanned<DeValue<'_>>) -> Result<usize, String> {
    let number = match value.get_ref() {
        DeValue::Integer(number) => number.to_string().parse().ok(),
        _ => None,
    };
    let kind = kind(value.get_ref());
    number.ok_or_else(|| format!("it is {kind}, and must be a number, at least 1"))
}

/// One word or several.
fn words<T: Copy>(value: &Spanned<DeValue<'_>>, known: &[(&str, T)]) -> Result<Vec<T>, String> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let given = match value.get_ref() {
        DeValue::Array(entries) => entries.iter().map(text).collect(),
        _ => text(value).map(|word| vec![word]),
    };
    let given = given.map_err(|why| format!("{why}, or a list of: {names}"))?;
    if given.is_empty() {
        return Err(format!("the list is empty; write some of {names}, or leave it out for all"));
    }
    let read = given.into_iter().map(|word| {
        let known = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        known.ok_or_else(|| format!("{} is none of {names}", values::quoted(word)))
    });
    read.collect()
}

fn who(text: &str) -> Result<Who, String> {
    match text.strip_prefix("group:") {
        Some(group) if !group.is_empty() => Ok(Who::Group(group.to_owned())),
        _ if text == "anyone" => Ok(Who::Anyone),
        _ if text == "logged-in" => Ok(Who::LoggedIn),
        _ => {
            let quoted = values::quoted(text);
            Err(format!("{quoted} is nobody; write anyone, logged-in, or such as group:staff"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::access::channel::Options;
    use crate::access::identity::Identity;
    use crate::config::table::Wrong;

    #[track_caller]
    fn parsed(text: &str) -> File {
        let (file, faults) = File::parse("f", text);
        assert!(faults.is_empty(), "{text}: {faults:?}");
        file
    }

    #[track_caller]
    fn wrong(text: &str) -> String {
        let (_, faults) = File::parse("f", text);
        let line = faults.into_iter().next().unwrap_or_else(|| panic!("it is taken: {text}"));
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        line
    }

    #[test]
    fn values_are_what_the_flags_would_have_been_given() {
        for (text, argument) in [
            ("max-message-size = \"1MiB\"", "--max-message-size=1MiB"),
            ("max-message-size = 65536", "--max-message-size=65536"),
            ("max-message-size = 1_000", "--max-message-size=1000"),
            ("max-message-size = 0x10", "--max-message-size=0x10"),
            ("ping-interval = 0.5", "--ping-interval=0.5"),
            ("max-handshakes = \"9\"", "--max-handshakes=9"),
            ("expire = -1", "--expire=-1"),
            ("workers = 2", "--workers=2"),
            ("workers = \"auto\"", "--workers=auto"),
            ("demo = true", "--demo=on"),
            ("demo = false", "--demo=off"),
            ("demo = \"on\"", "--demo=on"),
            ("require-login = true", "--require-login=on"),
            (
                "allow = [\"publish-user\", \"subscribe-user\"]",
                "--allow=publish-user,subscribe-user",
            ),
            ("allow = []", "--allow="),
            ("allow = \"all\"", "--allow=all"),
            ("listen = [\"a:1\", \"b:2\"]", "--listen=a:1,b:2"),
            ("prefix = \"\"", "--prefix="),
            ("heartbeat = '--hb--'", "--heartbeat=--hb--"),
            ("\"log\" = \"debug\" # loud", "--log=debug"),
        ] {
            assert_eq!(arguments(text), [argument], "{text}");
        }
    }

    /// What the file has for flags, as the command line would have had it.
    fn arguments(text: &str) -> Vec<String> {
        let values = parsed(text).values.into_iter();
        values.map(|Entry { flag, text, .. }| format!("--{flag}={text}")).collect()
    }

    /// Whatever a flag is called, the file knows it, and takes from it what the help names.
    #[test]
    fn every_flag_is_a_key() {
        for Flag { name, .. } in FLAGS {
            let text = format!("\n{name} = 'x'");
            if *name == "config" {
                assert_eq!(
                    wrong(&text),
                    "f:2: config cannot be a key of the file itself; remove it"
                );
                continue;
            }
            let mut given = Given::default();
            parsed(&text).give(&mut given);
            assert_eq!(given.text(name), Some("x"));
            let wrong_value = Wrong { flag: name, why: "no".to_owned() };
            assert_eq!(given.line(&wrong_value), format!("f:2: {name}: no"));
            let date = wrong(&format!("{name} = 2020-01-01"));
            assert!(
                date.starts_with(&format!("f:1: {name}: it is a date, and must be ")),
                "{date}"
            );
        }
    }

    #[test]
    fn histories_are_rules_with_audiences_or_for_all() {
        let file = parsed(
            "[[history]]\nfacility = 'chat/*'\nmessages = 100\nseconds = 300\n\n\
             [[history]]\nfacility = 'cart'\nmessages = 1\nseconds = 9\naudience = ['user']",
        );
        let [(all, first), (one, second)] = &file.histories[..] else { panic!("{file:?}") };
        assert_eq!((all, &**first), (&HistoryRule::parse("chat/*=100/300").expect("one"), "f:1"));
        let audiences = vec![Audience::User];
        let user = HistoryRule { audiences, ..HistoryRule::parse("cart=1/9").expect("one") };
        assert_eq!((one, &**second), (&user, "f:6"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, words) in [
            (
                "\n\npin-interval = 1",
                3,
                "there is no key \"pin-interval\"; did you mean ping-interval?",
            ),
            ("max_message_size = 1", 1, "did you mean max-message-size?"),
            ("LOG = 'debug'", 1, "did you mean log?"),
            ("zzzz = 1\naaaa = 1", 1, "no key \"zzzz\"; wsloop --help lists"),
            ("[server]\nlog = 'info'", 1, "there is no key \"server\""),
            ("help = true", 1, "there is no key \"help\""),
            ("\"\\u001b[2J\" = 1", 1, "there is no key"),
            ("log = 'info'\n\nlog = 'debug'", 3, "duplicate key; give it once"),
            ("log = info", 1, "TOML is written such as"),
            ("log = 'info'\nexpire =\n", 2, "TOML is written such as"),
            ("log = \"info", 1, "TOML is written such as"),
            ("\n\n[[allow]\n", 3, "TOML is written such as"),
            ("log = 1", 1, "log: it is a number, and must be a text in double quotes"),
            ("expire = true", 1, "must be a number, or a text in double quotes"),
            ("allow = 1", 1, "must be a list such as [\"a\", \"b\"]"),
            ("allow = [1]", 1, "entries of the list must be texts"),
            ("log = ['info']", 1, "it is a list, and must be a text"),
            ("demo = 1", 1, "must be true or false"),
            ("compression = false", 1, "must be a text"),
            ("redis = { host = 'h' }", 1, "it is a table"),
            ("allow = 'all'\n\n[[allow]]\nfacility = '*'", 3, "either a list or [[allow]] rules"),
            ("allow = ['publish-user', { who = 'anyone' }]", 1, "nothing but rules in it"),
            ("expire = 1\n[[allow]]\n", 2, "this rule says nothing"),
            ("history = 'a=1/2'\n[[history]]\nfacility = 'b'", 2, "a list or [[history]] rules"),
            ("[[history]]\nfacility = 'a'\nmessages = 1", 1, "[[history]]: a rule has facility"),
            ("[[history]]\nlength = 1", 2, "there is no key \"length\"; a rule has facility, m"),
            ("[[history]]\nmessages = '1'", 2, "[[history]] messages: it is a text, and must be"),
            ("[[history]]\nseconds = -1", 2, "must be a number, at least 1"),
            ("[[history]]\naudience = 'all'", 2, "[[history]] audience: \"all\" is none of"),
            (
                "\n[[history]]\nfacility = 'a'\nmessages = 1\nseconds = 0",
                2,
                "[[history]]: 0 seconds are out of range; give 1 to",
            ),
            ("[[allow]]\nfacility = 1", 2, "facility: it is a number, and must be a text"),
            ("[[allow]]\n\nfacilty = '*'", 3, "there is no key \"facilty\"; a rule has facility"),
            (
                "[[allow]]\naudience = 'everyone'",
                2,
                "\"everyone\" is none of broadcast, group, user, session",
            ),
            ("[[allow]]\naudience = ['user', 'x']", 2, "\"x\" is none of"),
            ("[[allow]]\naudience = []", 2, "the list is empty"),
            ("[[allow]]\ndirection = 'both'", 2, "none of subscribe, publish"),
            ("[[allow]]\ndirection = 1", 2, "or a list of: subscribe, publish"),
            ("[[allow]]\nwho = 'john'", 2, "anyone, logged-in, or such as group:staff"),
            ("[[allow]]\nwho = 'group:'", 2, "is nobody"),
            ("[[allow]]\nwho = ['anyone']", 2, "it is a list, and must be a text"),
            ("[[allow]]\ngrant = 'no'", 2, "it is a text, and must be true or false"),
            ("[[allow]]\nwho = 'anyone'\nwho = 'anyone'", 3, "duplicate key"),
            ("[[allow]]\nwho = 'anyone'\nexpire = 1", 3, "there is no key \"expire\""),
        ] {
            let said = wrong(text);
            assert!(said.starts_with(&format!("f:{line}: ")), "{text:?}: {said}");
            assert!(said.contains(words), "{text:?}: {said}");
        }
        for text in ["redis://u:hush@h = 1", "\"redis://u:hush@h\" = 1", "redis = redis://:hush@h"]
        {
            assert!(!wrong(text).contains("hush"), "{text}");
        }
    }

    #[test]
    fn rules_are_kept_in_their_order() {
        let text = "
            expire = 1
            [[allow]]
            facility = 'chat/*'
            audience = ['broadcast', 'group']
            [[allow]]
            direction = 'publish'
            audience = 'user'
            who = 'logged-in'
            [[allow]]
            direction = ['subscribe', 'publish']
            who = 'group:a:b'
            grant = false
        ";
        let rule = |facility: &str, options: &str, who, grant| Rule {
            facility: facility.to_owned(),
            options: Allow::parse(options).expect("options"),
            who,
            grant,
        };
        let chat = "subscribe-broadcast,publish-broadcast,subscribe-group,publish-group";
        let expected = [
            rule("chat/*", chat, Who::Anyone, true),
            rule("*", "publish-user", Who::LoggedIn, true),
            rule("*", "all", Who::Group("a:b".to_owned()), false),
        ];
        let file = parsed(text);
        assert_eq!(file.rules.0, expected);
        assert_eq!([0, 1, 2].map(|number| file.place_of_rule(number)), ["f:3", "f:6", "f:10"]);
        let inline = parsed("allow = [{ facility = 'a' }, { grant = false }]").rules;
        let expected = [rule("a", "all", Who::Anyone, true), rule("*", "all", Who::Anyone, false)];
        assert_eq!(inline.0, expected);
        // One pair of brackets is one rule.
        assert_eq!(parsed("[allow]\nfacility = 'a'").rules.0, expected[..1]);
    }

    /// The example of the book is a file that can be used, and means what is said beside it.
    #[test]
    fn the_example_of_the_book_does_what_it_says() {
        const PAGE: &str = include_str!("../../docs/src/access.md");
        let (_, rest) = PAGE.split_once("```toml\n").expect("an example");
        let (text, _) = rest.split_once("```").expect("its end");
        let rules = parsed(text).rules;
        let anyone = Identity::default();
        let john = Identity { user: Some("john".to_owned()), ..Identity::default() };
        let staff = Identity { groups: vec!["staff".to_owned()], ..john.clone() };
        let both = "subscribe-broadcast,publish-broadcast";
        for (facility, identity, expected) in [
            ("chat/1", &anyone, "subscribe-broadcast"),
            ("chat/1", &john, both),
            ("admin/1", &anyone, ""),
            ("admin/1", &john, ""),
            ("admin/1", &staff, "subscribe-broadcast"),
            ("news", &anyone, "subscribe-broadcast"),
            ("news", &staff, "subscribe-broadcast"),
        ] {
            let asked = Options::parse(&both.replace(',', "&"));
            let granted = rules.granted(facility, asked, identity, Allow::default());
            assert_eq!(granted.to_string(), expected, "{facility} {identity:?}");
        }
    }
}
