//! Requests that go on to an application, and its responses on their way back.

mod ends;
mod flow;
mod heads;
mod pool;
pub mod stage;

/// A request whose head has these lines.
pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n")
}

/// What our own answer to a failure is.
#[track_caller]
pub fn is_answer(heard: &str, status: u16, words: &str) {
    assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    assert!(heard.contains(words) && heard.contains("\r\nConnection: close\r\n"), "{heard}");
}
