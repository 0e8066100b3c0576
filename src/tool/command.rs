//! L4: what the program is asked for: to serve, or one of its tools.
//!
//! Each command has a table of flags of its own; clap reads the command line that the tables make
//! up and judges nothing but names. What clap says in several lines is made one here.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

use crate::access::nearest::nearest;
use crate::config::{self, Check, Config, values};
use crate::tool::stress::{self, Plan};
use crate::tool::{cli, manual};

/// What the program is to do, checked.
pub enum Command {
    /// Serve browsers.
    Serve(Box<Config>),
    /// Say what would be in force.
    Check(Box<Check>),
    /// Put load on a server.
    Stress(Box<Plan>),
    /// Do one thing for a shell or a script.
    Do(Box<cli::Task>),
}

/// Why there is no [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `--help` or `--version` was asked for: the text for standard output, newline included.
    Print(String),
    /// Something is wrong: one line that says what and how to mend it, without a newline.
    Wrong(String),
}

/// For who writes the documentation: prints the server's flags as a table in Markdown.
const MARKDOWN: &str = "flags-as-markdown";

impl Command {
    /// Reads the program's arguments (the first is its name) and its `WSLOOP_…` environment.
    /// `descriptors` is how many descriptors it may have open.
    pub fn load<I, T>(args: I, descriptors: usize) -> Result<Command, Stop>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString>,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let first = args.get(1).map(|arg| arg.to_string_lossy().into_owned());
        let matches = tree().try_get_matches_from(args);
        let matches = matches.map_err(|error| clap_stop(&error, first.as_deref()))?;
        if matches.get_flag(MARKDOWN) {
            return Err(Stop::Print(config::markdown()));
        }
        match matches.subcommand() {
            Some(("stress", given)) => {
                let plan = stress::plan(given, descriptors).map_err(Stop::Wrong)?;
                Ok(Command::Stress(Box::new(plan)))
            }
            Some(("check", given)) => {
                Ok(Command::Check(Box::new(config::check(given, descriptors))))
            }
            Some(("completions", given)) => {
                let shell = given.get_one::<String>(manual::SHELL).expect("it is required");
                Err(Stop::Print(manual::completions(commands(), shell)))
            }
            Some(("man", given)) => {
                let command = given.get_one::<String>(manual::COMMAND);
                Err(Stop::Print(manual::page(commands(), command.map(String::as_str))))
            }
            Some((name, given)) if name != "serve" => {
                let task = cli::task(name, given).map_err(Stop::Wrong)?;
                Ok(Command::Do(Box::new(task)))
            }
            serve => {
                let given = serve.map_or(&matches, |(_, given)| given);
                let config = config::serve(given, descriptors).map_err(Stop::Wrong)?;
                Ok(Command::Serve(Box::new(config)))
            }
        }
    }
}

/// The command line as clap is to see it: all that people are told of, and what they are not.
fn tree() -> clap::Command {
    let markdown = clap::Arg::new(MARKDOWN).long(MARKDOWN).action(clap::ArgAction::SetTrue);
    commands().arg(markdown.hide(true))
}

/// The flags of `serve` with and without its name, and the other commands.
fn commands() -> clap::Command {
    let tree = config::command("wsloop")
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .version(env!("BUILT_VERSION"))
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .subcommand(
            config::command("serve")
                .about("Serves browsers; what is done when no command is given"),
        )
        .subcommand(config::command("check").about(
            "Says what would be in force, where each value comes from, and all that is wrong",
        ))
        .subcommand(stress::command())
        .subcommands(cli::commands());
    let names: Vec<String> = tree.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    tree.subcommands(manual::commands(&names))
}

/// Makes clap's several lines one. `first` is the first argument.
fn clap_stop(error: &clap::Error, first: Option<&str>) -> Stop {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Stop::Print(text);
    }
    if let Some(line) = stray_word(error, first) {
        return Stop::Wrong(values::printable(&line));
    }
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = parts.join("; ").replace(":; ", ": ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let line = values::printable(&values::without_password(line));
    Stop::Wrong(format!("{line} (wsloop --help lists the flags)"))
}

/// What is said about a word that is no command. Where a command could be it was meant as one;
/// behind flags it is most likely the rest of a list.
fn stray_word(error: &clap::Error, first: Option<&str>) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let tree = tree();
    let commands: Vec<&str> = tree.get_subcommands().map(clap::Command::get_name).collect();
    if commands.contains(&word.as_str()) {
        return None;
    }
    let quoted = values::quoted(word);
    if first != Some(word) {
        let mend = "a command comes before all flags, and lists are separated by commas";
        return Some(format!("unexpected argument {quoted}; {mend}"));
    }
    let is_name = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let near = nearest(word, commands).filter(|_| is_name);
    let near = near.map_or(String::new(), |near| format!("the nearest is {near}, and "));
    Some(format!("there is no command {quoted}; {near}wsloop --help lists all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wrong(args: &[&str]) -> String {
        match Command::load([&["wsloop"], args].concat(), 20_000) {
            Err(Stop::Wrong(line)) => line,
            Err(stop) => panic!("{args:?}: {stop:?}"),
            Ok(_) => panic!("{args:?} is taken"),
        }
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_tables() {
        tree().debug_assert();
    }
    #[test]
    fn a_word_that_is_no_command_is_told_the_nearest() {
        for (args, line) in [
            (
                &["chek"][..],
                "there is no command \"chek\"; the nearest is check, and wsloop --help lists all",
            ),
            (
                &["serv"],
                "there is no command \"serv\"; the nearest is serve, and wsloop --help lists all",
            ),
            (&["a b"], "there is no command \"a b\"; wsloop --help lists all"),
            (
                &["--allow", "echo", "binary"],
                "unexpected argument \"binary\"; a command comes before all flags, and lists are \
                 separated by commas",
            ),
        ] {
            assert_eq!(wrong(args), line);
        }
    }

    #[test]
    fn a_password_is_in_no_error() {
        let cases: [&[&str]; 16] = [
            &["redis://:hush@h"],
            &["serve", "redis://u:hu'sh@h"],
            &["u:hush@h"],
            &["--rediss=redis://:hush@h"],
            &["--demo", "redis://:hush@h"],
            &["--listen=redis://:hush@h:6379"],
            &["--listen=u:hush@h:6379"],
            &["--allow=redis://:hush@h:6379"],
            &["--allowed-origins=u:hush@h:6379"],
            &["--expire=redis://u:hu\"sh@h"],
            &["--redis=u:hush@h"],
            &["--redis=http://u:hush@h"],
            &["--redis=rediss://u:hush@h:port"],
            &["--redis=redis://u:hush/@h"],
            &["--redis=redis://u:hush%zz@h"],
            &["--redis=redis://u:hush@h:port"],
        ];
        for args in cases {
            let line = wrong(args);
            assert!(!line.contains("hu"), "{args:?}: {line}");
            assert!(!line.contains('\n'), "{args:?}: {line}");
        }
    }

    #[test]
    fn text_that_would_steer_a_terminal_is_not_repeated() {
        for flag in ["--\u{1b}[2J\r\n", "--log=\u{1b}[2J\r\n", "--allow=\u{1b}[2J\r\n"] {
            let line = wrong(&[flag]);
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }
    }
}
