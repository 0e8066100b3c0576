//! L4: what a flag is: a row of a table from which come the command line, the help, the keys of the
//! configuration file, the documentation, and the value itself.
//!
//! A command has a table of rows [`Flag`] and a draft `D` of what it is to do. [`Given`] is what
//! somebody gave, as text; [`Given::apply`] judges each text as its row says and stores the value
//! in the draft, or the row's default when nothing was given. What concerns several flags at once
//! is judged afterwards, by the owner of the draft.
//!
//! Rules:
//! - A wrong value is one line: which flag, variable or line of the file, what is wrong, how to
//!   mend it.
//! - An empty environment variable is an unset one; an empty flag is an empty text.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Display, Formatter, Write};
use std::ops::RangeInclusive;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches};

use super::values;

/// One flag of a command whose draft is a `D`.
#[derive(Debug)]
pub(crate) struct Flag<D: 'static> {
    /// Its name, without dashes. In a configuration file it is the key.
    pub name: &'static str,
    /// The environment variable that stands for it; empty when there is none.
    pub variable: &'static str,
    /// What it takes, in which range, and where the value goes.
    pub takes: Takes<D>,
    /// What holds when it is not given.
    pub default: Absent,
    /// What it does. Words between backticks are code, where the output knows such a thing.
    pub help: &'static str,
}

/// What a flag takes, its range, and the setter of the value.
#[derive(Debug)]
pub(crate) enum Takes<D: 'static> {
    /// A size in bytes.
    Bytes(RangeInclusive<usize>, fn(&mut D, usize)),
    /// Seconds that may have a fraction; range and value are in milliseconds.
    Seconds(RangeInclusive<u64>, fn(&mut D, u64)),
    /// Whole seconds, at most so many.
    WholeSeconds(u64, fn(&mut D, u64)),
    /// How many of something.
    Count(RangeInclusive<usize>, fn(&mut D, usize)),
    /// On or off; the name alone is on.
    Switch(fn(&mut D, bool)),
    /// The name alone, which is never the key of a file.
    Bare(fn(&mut D)),
    /// A text; the help names it so.
    Text(&'static str, Setter<D>),
    /// A text that may begin with dashes.
    AnyText(&'static str, Setter<D>),
    /// A list with commas between; the setter gets it whole.
    List(&'static str, Setter<D>),
    /// A list with commas between, and repeatable; the setter gets each entry.
    Entries(&'static str, Setter<D>),
    /// Repeatable; the setter gets each text.
    Repeated(&'static str, Setter<D>),
}

/// Judges a text and stores what it means, or says what is wrong and how to mend it.
pub(crate) type Setter<D> = fn(&mut D, &str) -> Result<(), String>;

/// What holds when a flag is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// This value, as it could have been given.
    Value(&'static str),
    /// What the words say. The draft has it from its beginning, or its owner works it out.
    Words(&'static str),
    /// Nothing that would need to be said.
    Nothing,
}

/// Stores what was read, in a place for it or for an `Option` of it.
pub(crate) fn put<T, P: From<T>>(place: &mut P, read: Result<T, String>) -> Result<(), String> {
    *place = read?.into();
    Ok(())
}

/// A value that will not do.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// The flag, without its dashes; or what is no flag, in capitals as the usage has it.
    pub flag: &'static str,
    /// What is wrong and how to mend it.
    pub why: String,
}

impl<D> Flag<D> {
    /// It, as clap is to see it.
    pub(crate) fn arg(&self) -> clap::Arg {
        let arg = clap::Arg::new(self.name).long(self.name).help(self.help_text());
        let arg = match self.takes {
            Takes::Bare(_) => return arg.action(ArgAction::SetTrue),
            Takes::Switch(_) => {
                arg.num_args(0..=1).require_equals(true).default_missing_value("on")
            }
            Takes::AnyText(..) => arg.allow_hyphen_values(true),
            Takes::Entries(..) | Takes::Repeated(..) => arg.action(ArgAction::Append),
            _ => arg,
        };
        let arg = arg.value_name(self.takes.value_name());
        let is_empty = env::var_os(self.variable).is_some_and(|text| text.is_empty());
        match self.variable.is_empty() || is_empty {
            true => arg,
            // What the variable holds may be a password, which does not belong in the help.
            false => arg.env(self.variable).hide_env_values(true),
        }
    }

    fn help_text(&self) -> String {
        match self.default {
            Absent::Nothing => self.help.to_owned(),
            Absent::Value(text) | Absent::Words(text) => format!("{} [default: {text}]", self.help),
        }
        .replace('`', "")
    }

    fn set(&self, draft: &mut D, text: &str) -> Result<(), String> {
        match &self.takes {
            Takes::Bytes(range, set) => set(draft, values::size(text, range.clone())?),
            Takes::Seconds(range, set) => set(draft, values::seconds(text, range.clone())?),
            Takes::WholeSeconds(most, set) => set(draft, values::whole_seconds(text, *most)?),
            Takes::Count(range, set) => set(draft, values::count(text, range.clone())?),
            Takes::Switch(set) => set(draft, values::on_off(text)?),
            Takes::Bare(set) => set(draft),
            Takes::Text(_, set) | Takes::AnyText(_, set) | Takes::Repeated(_, set) => {
                return set(draft, text);
            }
            Takes::List(_, set) => {
                // Whoever reads the list may repeat its entries, and does not expect a URL with a
                // password that was given to the wrong flag.
                if text.contains('@') {
                    let text = values::quoted(text);
                    return Err(format!("{text} has an @, which belongs in no list"));
                }
                return set(draft, text);
            }
            Takes::Entries(_, set) => {
                return text.split(',').try_for_each(|entry| set(draft, entry));
            }
        }
        Ok(())
    }
}

impl<D> Takes<D> {
    /// What stands for the value in the help.
    pub(crate) fn value_name(&self) -> &'static str {
        match self {
            Takes::Bytes(..) => "BYTES",
            Takes::Seconds(..) | Takes::WholeSeconds(..) => "SECONDS",
            Takes::Count(..) => "COUNT",
            Takes::Switch(_) => "on|off",
            Takes::Bare(_) => "",
            Takes::Text(name, _)
            | Takes::AnyText(name, _)
            | Takes::List(name, _)
            | Takes::Entries(name, _)
            | Takes::Repeated(name, _) => name,
        }
    }
}

/// The table as Markdown, for the documentation.
pub(crate) fn markdown<D>(flags: &[Flag<D>]) -> String {
    let mut text = "| flag | default | meaning |\n|---|---|---|\n".to_owned();
    for flag in flags {
        let name = match (&flag.takes, flag.takes.value_name()) {
            (Takes::Bare(_), _) => flag.name.to_owned(),
            (Takes::Switch(_), values) => format!("{}[={values}]", flag.name),
            (_, value) => format!("{} {value}", flag.name),
        };
        let default = match flag.default {
            Absent::Value(text) => format!("`{text}`"),
            Absent::Words(text) => text.to_owned(),
            Absent::Nothing => String::new(),
        };
        let cells = [format!("`--{name}`"), default, flag.help.to_owned()];
        let [name, default, help] = cells.map(|cell| cell.replace('|', r"\|"));
        writeln!(text, "| {name} | {default} | {help} |").expect("a string takes all");
    }
    text
}

/// What was given for the flags of one command, as text.
#[derive(Debug, Default)]
pub(crate) struct Given(BTreeMap<&'static str, (Vec<String>, Place)>);

/// Where something was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the command line.
    CommandLine,
    /// In the environment variable of this name.
    Variable(&'static str),
    /// In a file; its path and line.
    File(String),
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Place::CommandLine => f.write_str("the command line"),
            Place::Variable(name) => f.write_str(name),
            Place::File(place) => f.write_str(place),
        }
    }
}

impl Given {
    /// What the command line and the environment have for these flags.
    pub(crate) fn of<'a, D: 'static>(
        flags: impl IntoIterator<Item = &'a Flag<D>>,
        matches: &ArgMatches,
    ) -> Given {
        let mut given = Given::default();
        for flag in flags {
            let place = match matches.value_source(flag.name) {
                Some(ValueSource::CommandLine) => Place::CommandLine,
                Some(ValueSource::EnvVariable) => Place::Variable(flag.variable),
                _ => continue,
            };
            let texts = match flag.takes {
                Takes::Bare(_) => vec![String::new()],
                _ => matches.get_many(flag.name).into_iter().flatten().cloned().collect(),
            };
            given.0.insert(flag.name, (texts, place));
        }
        given
    }

    /// Adds what a file has for a flag, unless it was given already.
    pub(crate) fn add(&mut self, name: &'static str, text: String, place: String) {
        self.0.entry(name).or_insert_with(|| (vec![text], Place::File(place)));
    }

    /// Whether the flag was given, be it empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether the flag was given, and not as an empty text.
    pub(crate) fn has_text(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|(texts, _)| texts.iter().any(|text| !text.is_empty()))
    }

    /// The text of a flag that was given once.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.0.first().map(String::as_str)
    }

    /// Judges what was given and stores it in the draft, and the default of everything else.
    pub(crate) fn apply<'a, D: 'static>(
        &self,
        flags: impl IntoIterator<Item = &'a Flag<D>>,
        draft: &mut D,
    ) -> Result<(), Wrong> {
        self.faults(flags, draft).next().map_or(Ok(()), Err)
    }

    /// The same, for who wants to know of everything that is wrong.
    pub(crate) fn faults<'a, D: 'static>(
        &self,
        flags: impl IntoIterator<Item = &'a Flag<D>>,
        draft: &mut D,
    ) -> impl Iterator<Item = Wrong> {
        flags.into_iter().filter_map(|flag| {
            let done = match (self.0.get(flag.name), flag.default) {
                (Some((texts, _)), _) => texts.iter().try_for_each(|text| flag.set(draft, text)),
                (None, Absent::Value(text)) => flag.set(draft, text),
                (None, _) => Ok(()),
            };
            done.err().map(|why| Wrong { flag: flag.name, why })
        })
    }

    /// Has for a flag what `other` has.
    pub(crate) fn copy(&mut self, name: &'static str, other: &Given) {
        match other.0.get(name) {
            Some(given) => drop(self.0.insert(name, given.clone())),
            None => drop(self.0.remove(name)),
        }
    }

    /// What was given for a flag, as text, and where.
    pub(crate) fn get(&self, name: &str) -> Option<(&[String], &Place)> {
        self.0.get(name).map(|(texts, place)| (&texts[..], place))
    }

    /// Refuses what is given without the flag that it belongs to.
    pub(crate) fn only_with(
        &self,
        main: &str,
        others: &[&'static str],
        mend: &str,
    ) -> Result<(), Wrong> {
        match others.iter().find(|other| self.has_text(other) && !self.has(main)) {
            Some(flag) => Err(Wrong { flag, why: mend.to_owned() }),
            None => Ok(()),
        }
    }

    /// The one line, which names the flag, the variable or the file's line, whichever was used.
    pub(crate) fn line(&self, wrong: &Wrong) -> String {
        let Wrong { flag, why } = wrong;
        let name = match self.0.get(flag) {
            Some((_, Place::Variable(name))) => (*name).to_owned(),
            Some((_, Place::File(place))) => format!("{place}: {flag}"),
            _ if flag.starts_with(|c: char| c.is_ascii_uppercase()) => (*flag).to_owned(),
            _ => format!("--{flag}"),
        };
        values::printable(&format!("{name}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of flag.
    #[derive(Debug, Default, PartialEq)]
    struct Draft {
        size: usize,
        time_ms: u64,
        count: usize,
        on: bool,
        bare: bool,
        text: Option<String>,
        entries: Vec<String>,
        repeated: Vec<String>,
    }

    fn row(name: &'static str, takes: Takes<Draft>, default: Absent) -> Flag<Draft> {
        Flag { name, variable: "", takes, default, help: "What `it` does, a|b" }
    }

    fn table() -> Vec<Flag<Draft>> {
        let text = |draft: &mut Draft, text: &str| put(&mut draft.text, Ok(text.to_owned()));
        vec![
            row("size", Takes::Bytes(1..=9, |draft, n| draft.size = n), Absent::Value("7")),
            row("time", Takes::Seconds(0..=9000, |draft, n| draft.time_ms = n), Absent::Nothing),
            row("count", Takes::Count(1..=9, |draft, n| draft.count = n), Absent::Words("`few`")),
            row("on", Takes::Switch(|draft, on| draft.on = on), Absent::Value("off")),
            row("bare", Takes::Bare(|draft| draft.bare = true), Absent::Nothing),
            row("text", Takes::Text("x|y", text), Absent::Nothing),
            row("list", Takes::List("LIST", text), Absent::Nothing),
            row(
                "entries",
                Takes::Entries("E", |draft, text| {
                    draft.entries.push(text.to_owned());
                    Ok(())
                }),
                Absent::Value("a,b"),
            ),
            row(
                "repeated",
                Takes::Repeated("R", |draft, text| {
                    draft.repeated.push(text.to_owned());
                    Ok(())
                }),
                Absent::Nothing,
            ),
        ]
    }

    fn read(args: &[&str]) -> (Given, Result<Draft, String>) {
        let flags = table();
        let command = clap::Command::new("test").args(flags.iter().map(Flag::arg));
        let matches = command.try_get_matches_from([&["test"], args].concat()).expect("flags");
        let given = Given::of(&flags, &matches);
        let mut draft = Draft::default();
        let done = given.apply(&flags, &mut draft).map_err(|wrong| given.line(&wrong));
        (given, done.map(|()| draft))
    }

    #[test]
    fn what_is_given_goes_where_the_row_says_and_defaults_where_nothing_is() {
        let ab = vec!["a".to_owned(), "b".to_owned()];
        let untouched = Draft { size: 7, entries: ab.clone(), ..Draft::default() };
        assert_eq!(read(&[]).1, Ok(untouched));
        let (given, draft) = read(&[
            "--size=8",
            "--time=0.5",
            "--count=3",
            "--on",
            "--bare",
            "--list=l,m",
            "--entries=c,d",
            "--entries=e",
            "--repeated=f,g",
            "--repeated=",
        ]);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let expected = Draft {
            size: 8,
            time_ms: 500,
            count: 3,
            on: true,
            bare: true,
            text: Some("l,m".to_owned()),
            entries: texts(&["c", "d", "e"]),
            repeated: texts(&["f,g", ""]),
        };
        assert_eq!(draft, Ok(expected));
        assert!(given.has("bare") && given.has("repeated") && !given.has("text"));
        let (given, draft) = read(&["--text=", "--on=no"]);
        assert!(given.has("text") && !given.has_text("text"));
        assert_eq!(draft.map(|draft| (draft.text, draft.on)), Ok((Some(String::new()), false)));
    }

    #[test]
    fn what_is_wrong_names_where_it_was_given() {
        for (arg, words) in [
            ("--size=10", "--size: \"10\" is out of range; give 1 to 9 bytes"),
            ("--time=10", "--time: \"10\" is out of range; give 0, or 0.001 to 9 seconds"),
            ("--count=x", "--count: \"x\" is no whole number"),
            ("--on=maybe", "--on: \"maybe\" is neither on nor off"),
            ("--list=u:pw@h", "--list: \"…@h\" has an @"),
        ] {
            let line = read(&[arg]).1.expect_err(arg);
            assert!(line.starts_with(words), "{line}");
        }
        let mut given = Given::default();
        given.add("size", "x".to_owned(), "f:3".to_owned());
        given.add("size", "y".to_owned(), "f:4".to_owned());
        let wrong = given.apply(&table(), &mut Draft::default()).expect_err("no size");
        assert!(given.line(&wrong).starts_with("f:3: size: \"x\" is no size"), "{wrong:?}");
        given.0.insert("size", (vec![], Place::Variable("SIZE")));
        assert!(given.line(&wrong).starts_with("SIZE: \"x\""), "{wrong:?}");
        let url = Wrong { flag: "URL", why: "is missing".to_owned() };
        assert_eq!(given.line(&url), "URL: is missing");
    }

    #[test]
    fn what_belongs_to_another_flag_is_wrong_without_it() {
        let only = |args: &[&str]| read(args).0.only_with("size", &["text", "list"], "give --size");
        assert!(only(&[]).is_ok() && only(&["--text="]).is_ok());
        assert!(only(&["--text=a", "--size=1"]).is_ok());
        assert!(matches!(only(&["--list=a"]), Err(Wrong { flag: "list", .. })));
    }

    #[test]
    fn the_documentation_is_a_table() {
        let table = markdown(&table());
        let rows = [
            "| `--size BYTES` | `7` | What `it` does, a\\|b |",
            "| `--count COUNT` | `few` | ",
            "| `--on[=on\\|off]` | `off` | ",
            "| `--bare` |  | ",
            "| `--text x\\|y` |  | ",
        ];
        for row in rows {
            assert_eq!(table.matches(&format!("\n{row}")).count(), 1, "{row}\n{table}");
        }
    }
}
