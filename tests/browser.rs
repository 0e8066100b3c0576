//! The chat in a real Chromium, with both brokers: runs the tests in `tests/browser`.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use support::Wsloop;
use support::redis::RedisServer;

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

/// Starts a server and has the browser tests run against it.
fn chat(args: &[&str]) {
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
        .args(["--test", "chat.test.mjs"])
        .current_dir(&folder)
        .env("WSLOOP_URL", url));
}

/// Runs a program to its end, and shows all that it said if it fails.
fn run(command: &mut Command) {
    let name = format!("{:?}", command.get_program());
    let Output { status, stdout, stderr } = command.output().expect(&name);
    let said = [stdout, stderr].concat();
    assert!(status.success(), "{name} fails, {status}:\n{}", String::from_utf8_lossy(&said));
}
