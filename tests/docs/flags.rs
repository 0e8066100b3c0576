//! The flags: the table is that of `--help`, and those that are named exist.

use std::process::{Command, Output};

use crate::markdown;
use crate::pages;

const PAGE: &str = include_str!("../../docs/src/flags.md");
/// Of other programs.
const OTHERS: [&str; 4] = ["--runserver", "--print", "--no-deps", "--http-socket"];

#[test]
fn the_table_of_flags_is_the_program_s() {
    const HEAD: &str = "| flag | default | meaning |\n";
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).arg("--flags-as-markdown").output();
    let table = text_of(output.expect("the program runs"));
    assert!(table.starts_with(HEAD) && table.lines().count() > 40, "{table}");
    let at = PAGE.find(HEAD).expect("the page has the table");
    let page: Vec<&str> = PAGE[at..].lines().take_while(|row| row.starts_with('|')).collect();
    assert!(
        page.iter().copied().eq(table.lines()),
        "the page's table is not what wsloop --flags-as-markdown prints:\n{table}"
    );
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

/// What a program has written, which has ended well.
fn text_of(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
