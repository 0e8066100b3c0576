//! `wsloop man` and `wsloop completions`, read by those that they are for.

use std::fs;
use std::process::{Command, Output};

use crate::support::Folder;

const COMMANDS: [&str; 9] =
    ["serve", "check", "stress", "publish", "fetch", "listen", "disconnect", "completions", "man"];

fn printed(args: &[&str]) -> String {
    // What the help says of the environment must not hang on it.
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).args(args).env_clear().output();
    success(&output.expect("the program runs"))
}

#[track_caller]
fn success(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Flags of the server, as the documentation has them.
fn flags() -> Vec<String> {
    let table = printed(&["--flags-as-markdown"]);
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `"));
    let flags = rows.map(|row| row.split([' ', '[', '`']).next().expect("a name").to_owned());
    let flags: Vec<String> = flags.collect();
    assert!(flags.len() > 40, "{flags:?}");
    flags
}

#[test]
#[ignore = "needs man"]
fn man_reads_the_pages_without_a_warning() {
    let folder = Folder::new();
    let file = folder.join("page.1");
    let man = |text: &str| {
        fs::write(&file, text).expect("a file");
        let mut man = Command::new("man");
        man.args(["--warnings", "-Tutf8", "--encoding=UTF-8", "--local-file"]).arg(&file);
        man.env("LC_ALL", "C.UTF-8").env("MANPAGER", "cat");
        man.env("GROFF_NO_SGR", "1").output().expect("man")
    };
    assert!(!man(".TH A 1\n.SH \\fX\n.XX\n").stderr.is_empty(), "man would warn");
    for command in [None].into_iter().chain(COMMANDS.map(Some)) {
        let text = printed(&["man"].into_iter().chain(command).collect::<Vec<_>>());
        let name = command.map_or("wsloop".to_owned(), |command| format!("wsloop-{command}"));
        // Overstrikes are how it writes bold letters.
        let read = without_overstrikes(&success(&man(&text)));
        assert!(read.starts_with(&format!("{name}(1)")), "{read}");
        let words = read.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!(" NAME {name} - ")), "{read}");
        let version = format!("wsloop {}", env!("CARGO_PKG_VERSION"));
        assert!(read.lines().rfind(|line| !line.is_empty()).is_some_and(|l| l.contains(&version)));
        if command.is_none() {
            for command in COMMANDS {
                assert!(read.contains(&format!("wsloop-{command}(1)")), "{command}: {read}");
            }
        }
        if [None, Some("serve"), Some("check")].contains(&command) {
            for flag in flags() {
                let variable = flag.replacen("--", "WSLOOP-", 1).replace('-', "_").to_uppercase();
                assert!(read.contains(&format!("\n       {flag}")), "{flag}: {read}");
                assert!(read.contains(&variable), "{variable}: {read}");
            }
        }
    }
}

fn without_overstrikes(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '\u{8}' => drop(plain.pop()),
            letter => plain.push(letter),
        }
    }
    plain
}

/// What bash, sourcing the completions, offers for the last of these words.
fn offered_by_bash(words: &[&str]) -> Vec<String> {
    const SCRIPT: &str = r#"
        source "$1" || exit
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        "$(complete -p wsloop | sed 's/.* -F \([^ ]*\).*/\1/')" wsloop "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = Folder::new();
    let file = folder.join("wsloop.bash");
    fs::write(&file, printed(&["completions", "bash"])).expect("a file");
    fs::write(folder.join("a-file"), "").expect("a file");
    let mut bash = Command::new("bash");
    // `compopt` is for a completion that is under way; this one is not.
    bash.args(["--norc", "-c", &format!("compopt() {{ :; }}\n{SCRIPT}"), "bash"]).arg(&file);
    bash.arg("wsloop").args(words).current_dir(folder.path());
    let text = success(&bash.output().expect("bash"));
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_flags_commands_and_values() {
    let offered = offered_by_bash(&["--"]);
    for flag in flags() {
        assert!(offered.contains(&flag), "{flag}: {offered:?}");
    }
    assert!(!offered.contains(&"--flags-as-markdown".to_owned()), "{offered:?}");
    let commands = offered_by_bash(&[""]);
    for command in COMMANDS {
        assert!(commands.contains(&command.to_owned()), "{command}: {commands:?}");
    }
    let cases: [(&[&str], &[&str]); 9] = [
        (
            &["--comp"],
            &["--compression", "--compression-min", "--compression-window", "--compression-for"],
        ),
        (&["pub"], &["publish"]),
        (&["--compression", ""], &["off", "shared", "dedicated"]),
        (&["serve", "--refuse", "c"], &["close"]),
        (&["publish", "--us"], &["--user"]),
        (&["completions", "z"], &["zsh"]),
        (&["man", "disc"], &["disconnect"]),
        (&["--config", "a-"], &["a-file"]),
        // Nothing is known of it, so that the word stays.
        (&["--expire", "a-"], &["a-"]),
    ];
    for (words, expected) in cases {
        let mut offered = offered_by_bash(words);
        let mut expected: Vec<String> = expected.iter().map(|word| (*word).to_owned()).collect();
        offered.sort();
        expected.sort();
        assert_eq!(offered, expected, "{words:?}");
    }
}

#[test]
#[ignore = "needs zsh and fish"]
fn zsh_and_fish_take_the_completions() {
    let folder = Folder::new();
    let file = |shell: &str| {
        let file = folder.join(shell);
        fs::write(&file, printed(&["completions", shell])).expect("a file");
        file
    };
    // Where zsh looks for it, it is a function; its first word says of which command.
    fs::rename(file("zsh"), folder.join("_wsloop")).expect("a file");
    let script = "fpath=($PWD $fpath); autoload -Uz compinit && compinit -D -u && \
                  echo $_comps[wsloop] && autoload +X _wsloop && zsh -n _wsloop";
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", script]).current_dir(folder.path()).env("HOME", folder.path());
    assert!(success(&zsh.output().expect("zsh")).starts_with("_wsloop\n"));

    let offers = |words: &str| {
        let script = format!("source {}; complete --do-complete '{words}'", file("fish").display());
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &script]).env("HOME", folder.path());
        let text = success(&fish.output().expect("fish"));
        let words = text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned());
        words.collect::<Vec<_>>()
    };
    assert_eq!(offers("wsloop --compression-w"), ["--compression-window"]);
    assert_eq!(offers("wsloop disc"), ["disconnect"]);
    assert_eq!(offers("wsloop --overflow-"), [""; 0]);
}

#[test]
fn another_shell_is_refused_with_those_that_are_known() {
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).args(["completions", "tcsh"]).output();
    let output = output.expect("it runs");
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("bash, zsh, fish") && line.lines().count() == 1, "{line}");
}
