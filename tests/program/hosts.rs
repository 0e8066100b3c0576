//! Which hosts are answered to: a page whose name was pointed at this machine gets nothing.

use crate::support::Wsloop;
use crate::support::client::{Client, Response};

/// The status of a plain request for that path and host.
fn status(server: &Wsloop, path: &str, host: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    Response::to(server.address(), &request).status
}

/// The status of a handshake of a page of that host, with the page's own origin.
fn opens(server: &Wsloop, path: &str, host: &str) -> u16 {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    match Client::open(server.address(), &request) {
        Ok(client) => {
            client.close();
            101
        }
        Err(response) => response.status,
    }
}

const CHAT: &str = "/ws/chat?subscribe-broadcast&publish-broadcast";
const LOCAL: [&str; 5] = ["localhost:1", "LocalHost.", "127.0.0.1:8080", "[::1]", "192.0.2.7"];
const REBOUND: [&str; 4] =
    ["rebound.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "a.localhost"];

#[test]
fn a_page_whose_name_was_pointed_here_neither_listens_nor_speaks_nor_reads_metrics() {
    let server = Wsloop::start(&[]);
    for host in LOCAL {
        assert_eq!(opens(&server, CHAT, host), 101, "{host}");
        for (path, expected) in [("/chat/", 200), ("/metrics", 200), (CHAT, 426)] {
            assert_eq!(status(&server, path, host), expected, "{host} {path}");
        }
    }
    for host in REBOUND {
        assert_eq!(opens(&server, CHAT, host), 421, "{host}");
        for path in ["/", "/chat/", "/wsloop.js", "/metrics", CHAT] {
            assert_eq!(status(&server, path, host), 421, "{host} {path}");
        }
    }
    let refused = (REBOUND.len() * 6) as u64;
    server.expect_metric("hosts_refused_total", |n| n == refused);
    server.expect_log(&["WARN", "answers only to localhost", "--allowed-hosts"]);
}

#[test]
fn a_host_that_is_named_is_answered_to_beside_the_machine_s_own() {
    let server = Wsloop::start(&["--allowed-hosts", "shop.example,*.test"]);
    for host in ["shop.example", "a.test:8080", "localhost", "127.0.0.1"] {
        assert_eq!(opens(&server, CHAT, host), 101, "{host}");
        assert_eq!(status(&server, "/chat/", host), 200, "{host}");
    }
    for host in ["rebound.example", "www.shop.example", "test"] {
        assert_eq!(opens(&server, CHAT, host), 421, "{host}");
        assert_eq!(status(&server, "/chat/", host), 421, "{host}");
    }
    let server = Wsloop::start(&["--allowed-hosts=*"]);
    assert_eq!(opens(&server, CHAT, "any.example"), 101);
    assert_eq!(status(&server, "/chat/", "any.example"), 200);
}

#[test]
fn without_the_demo_every_host_is_answered_to_until_hosts_are_named() {
    let server = Wsloop::start(&["--demo=off"]);
    assert_eq!(opens(&server, "/ws/chat?subscribe-broadcast", "shop.example"), 101);
    assert_eq!(status(&server, "/metrics", "shop.example"), 200);
    // What --allow grants is not the demo's, but its pages are.
    let server = Wsloop::start(&["--demo", "--allow=subscribe-broadcast"]);
    assert_eq!(opens(&server, "/ws/chat?subscribe-broadcast", "shop.example"), 101);
    assert_eq!(status(&server, "/chat/", "shop.example"), 421);
    // Whoever listens for others has chosen to be reached by names.
    let server = Wsloop::start(&["--listen=0.0.0.0:0"]);
    assert_eq!(opens(&server, CHAT, "shop.example"), 101);
    assert_eq!(status(&server, "/chat/", "shop.example"), 200);
    let server = Wsloop::start(&["--demo=off", "--allowed-hosts=shop.example"]);
    for (host, expected) in [("shop.example", 101), ("127.0.0.1", 421), ("localhost", 421)] {
        assert_eq!(opens(&server, "/ws/chat?subscribe-broadcast", host), expected, "{host}");
    }
}
