//! Real WebSocket clients that are no browsers, in `tests/clients`: what the book says of them.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Folder, Wsloop};

/// What the book says that is to be set for clients that are wrong about compression.
const MENDED: [&[&str]; 3] = [
    &["--compression", "off"],
    &["--compression", "dedicated"],
    &["--compression-for", "browsers"],
];

#[test]
#[ignore = "needs python3 with venv and PyPI"]
fn tornado_works_as_the_book_says() {
    let folder = Folder::new();
    let python = folder.join("venv/bin/python");
    run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(folder.join("venv")));
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "tornado==6.6.1"]));
    works_as_the_book_says(python.to_str().expect("text"), "tornado_client.py");
}

#[test]
#[ignore = "needs perl with Mojolicious"]
fn mojolicious_works_as_the_book_says() {
    works_as_the_book_says("perl", "mojolicious_client.pl");
}

/// By default its second compressed message is not understood; with any of the settings it is.
fn works_as_the_book_says(program: &str, client: &str) {
    let said = |args: &[&str]| {
        let server = Wsloop::start(&[args, &["--echo", "/echo"]].concat());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(client);
        let url = format!("ws://{}/echo", server.address());
        run(Command::new(program).arg(path).arg(url))
    };
    let line = said(&[]);
    assert!(line.contains("[True] 1007"), "the book need not warn any more: {line}");
    for args in MENDED {
        let line = said(args);
        assert!(line.contains("[True, True]"), "{args:?}: {line}");
    }
}

/// Runs a program to its end, and gives what it says.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{command:?}: {said}");
    said
}
