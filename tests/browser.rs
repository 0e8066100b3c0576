//! Pages in a real Chromium, the chat with both brokers among them: runs the tests in
//! `tests/browser`.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use support::redis::RedisServer;
use support::{Folder, Wsloop};

#[test]
#[ignore = "needs chromium and node"]
fn the_chat_with_the_embedded_broker() {
    chat(&[]);
}

#[test]
#[ignore = "needs chromium, node and redis-server"]
fn the_chat_with_redis() {
    let redis = RedisServer::start();
    chat(&["--redis", &redis.url(), "--demo"]);
}

#[test]
#[ignore = "needs chromium and node"]
fn tokens_that_expire() {
    tokens("status");
}

#[test]
#[ignore = "needs chromium and node"]
fn tokens_that_expire_where_refusals_are_closes() {
    tokens("close");
}

fn chat(args: &[&str]) {
    browse("chat.test.mjs", args, &[]);
}

fn tokens(refuse: &str) {
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "a secret of more than thirty-two bytes\n").expect("a file");
    let secret = secret.to_str().expect("text");
    let args = ["--token-key-file", secret, "--allow", "all", "--refuse", refuse];
    let more = [("WSLOOP_TOKEN_KEY", secret), ("WSLOOP_REFUSE", refuse)];
    browse("token.test.mjs", &args, &more);
}

/// Starts a server and has browser tests run against it.
fn browse(test: &str, args: &[&str], environment: &[(&str, &str)]) {
    // One browser at a time, and the packages installed once.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !folder.join("node_modules").exists() {
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder));
    }
    let server = Wsloop::start(args);
    let url = format!("http://{}", server.address());
    run(Command::new("node")
        .args(["--test", test])
        .current_dir(&folder)
        .env("WSLOOP_URL", url)
        .envs(environment.iter().copied()));
}

/// Runs a program to its end, and shows all that it said if it fails.
fn run(command: &mut Command) {
    let name = format!("{:?}", command.get_program());
    let Output { status, stdout, stderr } = command.output().expect(&name);
    let said = [stdout, stderr].concat();
    assert!(status.success(), "{name} fails, {status}:\n{}", String::from_utf8_lossy(&said));
}
