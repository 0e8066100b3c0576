//! Any bytes as what a Redis answers to INFO replication: nothing panics, and what is read is what
//! one of the lines says, however the lines are ended and whatever comes behind them.

use wsloop::internals::broker::replica::Replication;

/// Panics when something is read wrongly.
pub fn check(data: &[u8]) {
    let Some(read) = Replication::parse(data) else { return };
    let text = std::str::from_utf8(data).expect("what is read is a text");
    let has = |line: &str| text.lines().any(|of| of == line);
    assert!(read.history.len() <= 64);
    assert!(has(&format!("master_replid:{}", read.history)));
    assert!(has("role:master") || !read.is_master);
    assert!(has("master_link_status:up") || !read.is_linked);
    let whose = if read.is_master { "master" } else { "slave" };
    let name = format!("{whose}_repl_offset:");
    let mut said = text.lines().filter_map(|line| line.strip_prefix(&name));
    assert!(said.any(|said| said.parse().unwrap_or(0) == read.offset));
    // Nothing is cut off, and what Redis may say besides changes nothing.
    let more = [data, b"\nrole:none\nmaster_replid:\n"].concat();
    assert_eq!(Replication::parse(&more), Some(read));
}
