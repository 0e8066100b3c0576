//! What the log tells the developer of a page that was not granted what it asks for.

use crate::support::Wsloop;
use crate::support::client::{Client, Response, upgrade as upgrade_of};

#[test]
fn the_log_names_the_page_its_path_and_what_it_is_denied_and_no_value_of_its_query() {
    let server = Wsloop::start(&["--allow", "subscribe-broadcast"]);
    let host = server.address();
    let origin = format!("Origin: http://{host}\r\n");
    let ask = |path: &str| {
        drop(Client::open(host, &upgrade_of(path, host, &origin)).expect("a 101"));
    };
    ask("room/7?subscribe-broadcast&publish-user&secret=hush");
    server.expect_log(&[&format!("http://{host}"), "\"/ws/room/7\"", "denied publish-user"]);
    ask("deaf?echo");
    server.expect_log(&["\"/ws/deaf\"", "asks for nothing to hear or say"]);
    ask("heard?subscribe-broadcast");
    // A few a minute, not once: the next developer is told, too.
    for room in 0..20 {
        ask(&format!("again-{room}?subscribe-session"));
    }
    server.expect_log(&["\"/ws/again-1\""]);
    server.expect_metric("options_denied_total", |denied| denied == 21);
    let log = server.log();
    assert!(!log.contains("hush") && !log.contains("/ws/heard"), "{log}");
    assert!(!log.contains("again-2\""), "a few a minute\n{log}");
}

#[test]
fn a_second_stray_origin_is_not_mute_because_of_the_first() {
    let server = Wsloop::start(&[]);
    let host = server.address();
    for stray in ["http://first.example", "http://second.example"] {
        let request = upgrade_of("room", host, &format!("Origin: {stray}\r\n"));
        assert_eq!(Response::to(host, &request).status, 403);
        server.expect_log(&[stray, "--allowed-origins"]);
    }
}
