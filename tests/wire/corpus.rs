//! Replays the fuzz targets' corpora: what the fuzzer found worth keeping stays judged rightly.

use crate::fuzzed;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a corpus that can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        println!("{}", file.display());
        check(&std::fs::read(&file).expect("a corpus file that can be read"));
    }
}

#[test]
fn cookie() {
    replay("cookie", fuzzed::cookie::check);
}

#[test]
fn answer() {
    replay("answer", fuzzed::answer::check);
}

#[test]
fn body() {
    replay("body", fuzzed::body::check);
}

#[test]
fn deflate() {
    replay("deflate", fuzzed::deflate::check);
}

#[test]
fn frame() {
    replay("frame", fuzzed::frame::check);
}

#[test]
fn command() {
    replay("command", fuzzed::command::check);
}

#[test]
fn handler() {
    replay("handler", fuzzed::handler::check);
}

#[test]
fn history() {
    replay("history", fuzzed::history::check);
}

#[test]
fn http_head() {
    replay("http_head", fuzzed::http_head::check);
}

#[test]
fn cluster() {
    replay("cluster", fuzzed::cluster::check);
}

#[test]
fn replication() {
    replay("replication", fuzzed::replication::check);
}

#[test]
fn sentinel() {
    replay("sentinel", fuzzed::sentinel::check);
}

#[test]
fn server() {
    replay("server", fuzzed::server::check);
}

#[test]
fn proxied() {
    replay("proxied", fuzzed::proxied::check);
}

#[test]
fn resp() {
    replay("resp", fuzzed::resp::check);
}

#[test]
fn session() {
    replay("session", fuzzed::session::check);
}

#[test]
fn token() {
    replay("token", fuzzed::token::check);
}

#[test]
fn resp_client() {
    replay("resp_client", fuzzed::resp_client::check);
}

#[test]
fn vector() {
    replay("vector", fuzzed::vector::check);
}
