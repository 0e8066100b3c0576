//! SIGHUP: the configuration is read again where nobody has a terminal.

use std::fs;

use super::keys::{NEW, OLD, lets_in};
use super::support::client::Event;
use super::support::{Folder, Wsloop, eventually};

const READ: &str = "SIGHUP: the configuration is read again";

/// A server whose file has this text.
fn with_file(folder: &Folder, text: &str, args: &[&str]) -> Wsloop {
    let path = folder.join("wsloop.toml");
    fs::write(&path, text).expect("a file");
    Wsloop::start(&[&["--config", path.to_str().expect("UTF-8")], args].concat())
}

/// The file has this text now, and the server is told so.
fn change(server: &Wsloop, folder: &Folder, text: &str) {
    fs::write(folder.join("wsloop.toml"), text).expect("a file");
    server.process().signal("HUP");
}

/// Whether who comes now may publish.
fn may_publish(server: &Wsloop) -> bool {
    let answer = server.get("/ws/room?publish-broadcast");
    assert_eq!(answer.status, 426, "a plain GET says what is granted");
    answer.header("x-wsloop-granted") == Some("publish-broadcast")
}

#[test]
fn what_can_follow_does_and_what_needs_a_restart_is_named() {
    let folder = Folder::new();
    let server = with_file(&folder, "expire = 60\n", &["--demo=off"]);
    assert!(!may_publish(&server));
    let mut stays = server.connect("room?subscribe-broadcast");
    let rule = "[[allow]]\nfacility = \"room\"\n";
    change(&server, &folder, &format!("expire = 61\nmax-connections = 2\n{rule}"));
    server.expect_log(&[READ, "max-connections, [[allow]]"]);
    server.expect_log(&["SIGHUP: needs a restart: expire"]);
    assert!(may_publish(&server));
    // Whoever asked has gone when this is let in.
    let come = || server.try_connect("room?publish-broadcast").ok();
    let mut second = eventually("a place for the second", come);
    second.send("heard");
    assert_eq!(stays.text(), "heard", "who was there is there still");
    let third = server.try_connect("room?subscribe-broadcast");
    assert_eq!(third.err().map(|response| response.status), Some(503), "two at most");
    stays.close();
    second.close();
}

#[test]
fn pings_and_the_crowd_of_an_address_follow() {
    let folder = Folder::new();
    // Who is pinged here does not answer, and stays all the same.
    let server = with_file(&folder, "", &["--pong-timeout", "600"]);
    change(&server, &folder, "max-per-address = 2\nping-interval = 0.2\n");
    server.expect_log(&[READ, "ping-interval, max-per-address"]);
    let mut pinged = server.connect("room");
    assert!(matches!(pinged.next(), Event::Ping(_)));
    let second = server.connect("room");
    let third = server.try_connect("room");
    assert_eq!(third.err().map(|response| response.status), Some(429));
    drop((pinged, second));
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let folder = Folder::new();
    let server = with_file(&folder, "allow = \"all\"\n", &[]);
    assert!(may_publish(&server));
    change(&server, &folder, "allow = \"subscribe-user\"\nmax-handshakes = \"few\"\n");
    server.expect_log(&["SIGHUP: nothing is changed", "wsloop.toml:2: max-handshakes"]);
    assert!(may_publish(&server));
    change(&server, &folder, "allow = \"subscribe-broadcast\"\n");
    server.expect_log(&[READ, "allow"]);
    assert!(!may_publish(&server));
}

#[test]
fn keys_are_read_again() {
    let folder = Folder::new();
    let key = folder.join("key");
    fs::write(&key, OLD).expect("a file");
    let path = key.to_str().expect("UTF-8");
    let server = Wsloop::start(&["--token-key-file", path, "--allow", "all"]);
    assert!(lets_in(&server, OLD) && !lets_in(&server, NEW));
    fs::write(&key, NEW).expect("a file");
    server.process().signal("HUP");
    server.expect_log(&[READ]);
    assert!(lets_in(&server, NEW) && !lets_in(&server, OLD));
    fs::write(&key, "").expect("a file");
    server.process().signal("HUP");
    server.expect_log(&["SIGHUP: nothing is changed", "token-key-file"]);
    assert!(lets_in(&server, NEW));
}

#[test]
fn the_log_says_less_from_then_on() {
    let folder = Folder::new();
    let server = with_file(&folder, "", &[]);
    change(&server, &folder, "log = \"error\"\n");
    change_until_said(&server, &folder);
    let said = server.log().matches(READ).count();
    change(&server, &folder, "log = \"info\"\n");
    server.expect_log(&[READ, "log"]);
    assert!(said <= 1, "{}", server.log());
}

/// At the level of errors nothing is said of a file that is right; one that is wrong is an error.
fn change_until_said(server: &Wsloop, folder: &Folder) {
    change(server, folder, "nonsense = 1\n");
    server.expect_log(&["SIGHUP: nothing is changed", "nonsense"]);
}
