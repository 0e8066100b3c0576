//! Programs of the book that have to be compiled: each is built as it stands there, and what it
//! does to the history is looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::markdown::{self, Step};
use crate::place::ROOT;
use crate::support::{Folder, Wsloop};

const PAGE: &str = include_str!("../../docs/src/history.md");

/// Writes the page's file of that name into the folder, for a broker that is at another port.
fn write(name: &str, folder: &Path, port: u16) -> PathBuf {
    let steps = markdown::steps(PAGE).expect("a page that can be followed");
    let text = steps.iter().find_map(|step| match step {
        Step::Block(block) if block.file() == Some(name) => Some(&block.text),
        _ => None,
    });
    let text = text.expect("a file of the page");
    assert!(text.contains(":6380"), "{name}:\n{text}");
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, text.replace(":6380", &format!(":{port}"))).expect("a file");
    path
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("a program");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}, {status}:\n{said}");
    String::from_utf8(stdout).expect("a text")
}

/// A server whose histories the page's program writes to.
fn server() -> Wsloop {
    Wsloop::start(&["--resp", "127.0.0.1:0", "--history", "chat/*=100/300"])
}

fn port(server: &Wsloop) -> u16 {
    server.resp_address().port()
}

/// The history of the page's channel is this message.
fn expect_kept(server: &Wsloop, text: &str) {
    let port = port(server).to_string();
    let stream = "wsloop:history:{broadcast:chat/42}";
    let range = run(Command::new("redis-cli").args(["-p", &port, "XRANGE", stream, "-", "+"]));
    let lines: Vec<&str> = range.lines().skip(1).collect();
    assert_eq!(lines, ["message", text]);
    let ttl = run(Command::new("redis-cli").args(["-p", &port, "TTL", stream]));
    let seconds: u32 = ttl.trim().parse().expect("seconds");
    assert!((250..=300).contains(&seconds), "{seconds}");
}

#[test]
#[ignore = "needs go with redigo, and redis-cli"]
fn go_keeps_a_message() {
    let (server, folder) = (server(), Folder::new());
    let program = write("keep.go", Path::new(folder.path()), port(&server));
    let mut command = Command::new("go");
    command.args(["run", program.to_str().expect("a path")]);
    // Libraries are where Debian has them, and nothing is fetched.
    let library = [("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")];
    command.envs(library).env("GOCACHE", folder.join("cache"));
    run(&mut command);
    expect_kept(&server, "from Go");
}

/// A package of its own, so that nothing else is built with what it needs.
#[test]
#[ignore = "needs crates from the registry, and redis-cli"]
fn rust_keeps_a_message() {
    let server = server();
    let folder = Path::new(ROOT).join("target/compiled");
    write("keep/src/main.rs", &folder, port(&server));
    let manifest = "[package]\nname = \"keep\"\nedition = \"2024\"\n[workspace]\n\
                    [dependencies]\nredis = { version = \"1\", default-features = false }\n";
    fs::write(folder.join("keep/Cargo.toml"), manifest).expect("a file");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(Command::new(cargo).arg("run").current_dir(folder.join("keep")));
    expect_kept(&server, "from Rust");
}
