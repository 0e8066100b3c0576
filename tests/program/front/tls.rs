//! The application behind a port that speaks TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::version::TLS13;

use crate::support::Wsloop;
use crate::support::tls::{Authority, connect};

/// Answers with the head of each request.
fn application() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while let Ok(1..) = stream.read_line(&mut head) {
                if head.ends_with("\r\n\r\n") {
                    let head = std::mem::take(&mut head);
                    let length = head.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
                    stream.get_mut().write_all(answer.as_bytes()).expect("it is taken");
                }
            }
        }
    });
    format!("http://{address}")
}

/// However the conn came, and whatever it says of itself, one request after the other.
#[test]
#[ignore = "needs openssl"]
fn the_application_is_told_that_the_browser_speaks_tls() {
    let authority = Authority::new();
    let files = authority.issue("own", "DNS:localhost,IP:127.0.0.1");
    let pair = ["--tls-cert", &files.cert, "--tls-key", &files.key];
    let url = application();
    let more = ["--listen", "https://127.0.0.1:0", "--upstream", &url];
    let wsloop = Wsloop::start(&[&pair[..], &more[..]].concat());
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut stream = connect(wsloop.addresses()[1], &client, "localhost").expect("a handshake");
    for _ in 0..2 {
        stream
            .write_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: http\r\n\r\n")
            .expect("it is taken");
        let mut all = String::new();
        while !all.ends_with("\r\n\r\n") || all.matches("\r\n\r\n").count() < 2 {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).expect("an answer");
            all.push_str(std::str::from_utf8(&piece[..n]).expect("text"));
        }
        assert!(all.contains("\r\nX-Forwarded-Proto: https\r\n"), "{all}");
    }
    let plain = super::page(&wsloop, "/x").body;
    assert!(plain.contains("\r\nX-Forwarded-Proto: http\r\n"), "{plain}");
}
