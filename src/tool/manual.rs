//! L4: what is made of the command line for others: manual pages, and completions for shells.
//!
//! Both come from the tables of flags, as the help does, so that they know every flag.

use std::io::{self, Write};

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

/// What takes the shell's name.
pub(super) const SHELL: &str = "SHELL";
/// What takes the name of a command, for `wsloop man`.
pub(super) const COMMAND: &str = "COMMAND";

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

const SYNOPSIS: &str = r".SH SYNOPSIS
\fBwsloop\fR [\fIFLAG\fR]...
.br
\fBwsloop\fR \fICOMMAND\fR [\fIFLAG\fR]...
";

/// Sections that only the page of the program has.
const SECTIONS: &str = r#".SH SIGNALS
.TP
SIGTERM, SIGINT
Ends: browsers are told, and what they still say is published. A second one hurries, a third one
ends at once.
.TP
SIGHUP
Reads the configuration, keys and certificates again. In a terminal it ends, as SIGTERM does.
.TP
SIGUSR2
Starts the program anew and hands it the listening sockets; then this process drains and ends.
.SH EXIT STATUS
.TP
0
All went as asked.
.TP
1
It failed.
.TP
2
It was asked for what cannot be: a wrong flag, an address in use.
.TP
3
A disconnect was sent, and no server heard it.
"#;

/// The commands that print them. `others` are the names of the other commands.
pub(super) fn commands(others: &[String]) -> [Command; 2] {
    let shell = Arg::new(SHELL)
        .required(true)
        .value_parser(PossibleValuesParser::new(SHELLS))
        .help("The shell");
    let names = others.iter().map(String::as_str).chain(["completions", "man"]);
    let command = Arg::new(COMMAND)
        .value_parser(PossibleValuesParser::new(names.map(str::to_owned)))
        .hide_possible_values(true)
        .help("A command, for its own page");
    [
        Command::new("completions")
            .about("Prints what lets a shell complete commands, flags and values")
            .arg(shell),
        Command::new("man").about("Prints a manual page, in roff").arg(command),
    ]
}

/// The completions of a shell, by its name.
pub(super) fn completions(tree: Command, shell: &str) -> String {
    let shell = match shell {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut hinted(tree), "wsloop", &mut text);
    String::from_utf8(text).expect("flags and their help are UTF-8")
}

/// Says what may stand behind each flag; a server's flags say it in the names of their values.
fn hinted(command: Command) -> Command {
    let hint = |arg: Arg| {
        let Some([name]) = arg.get_value_names() else { return arg };
        let words: Vec<String> = name.split('|').map(str::to_owned).collect();
        let is_word = |word: &String| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        match name.as_str() {
            "FILE" => arg.value_hint(ValueHint::FilePath),
            _ if words.iter().all(is_word) => arg.value_parser(PossibleValuesParser::new(words)),
            // Nothing that a shell could know, not even the names of files.
            _ => arg.value_hint(ValueHint::Other),
        }
    };
    command.mut_args(hint).mut_subcommands(hinted)
}

/// The manual page of the program, or of one of its commands.
pub(super) fn page(tree: Command, command: Option<&str>) -> String {
    // Without what clap adds for its own help, which has no page.
    let mut tree = tree.disable_help_subcommand(true);
    tree.build();
    let version = tree.get_version().unwrap_or_default().to_owned();
    let chosen = command.and_then(|name| tree.find_subcommand(name)).cloned();
    let name = command.map_or("wsloop".to_owned(), |command| format!("wsloop-{command}"));
    let is_whole = chosen.is_none();
    let page = Man::new(chosen.unwrap_or(tree).display_name(&name));
    let text = sections(&page, is_whole).expect("a vector takes all");
    let text = String::from_utf8(text).expect("flags and their help are UTF-8");
    let text = format!(".TH {name} 1 \"\" \"wsloop {version}\" wsloop\n{text}");
    text.chars().map(spelled).collect()
}

/// All sections of a page. That of the program has too many flags to be listed in a synopsis.
fn sections(page: &Man, is_whole: bool) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // It sets up what later lines use, apostrophes among them.
    page.render_name_section(&mut text)?;
    if is_whole {
        text.write_all(SYNOPSIS.as_bytes())?;
    } else {
        page.render_synopsis_section(&mut text)?;
    }
    page.render_options_section(&mut text)?;
    if is_whole {
        page.render_subcommands_section(&mut text)?;
        text.write_all(SECTIONS.as_bytes())?;
    } else {
        text.write_all(b".SH SEE ALSO\n\\fBwsloop\\fR(1)\n")?;
    }
    Ok(text)
}

/// Troff wants ASCII.
fn spelled(letter: char) -> String {
    match letter.is_ascii() {
        true => letter.to_string(),
        false => format!("\\[u{:04X}]", u32::from(letter)),
    }
}
