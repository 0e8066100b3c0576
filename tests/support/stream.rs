//! A stream of server-sent events, as a page reads it: an event counts when it is whole, and its id
//! with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::PATIENCE;
use super::client::{Response, tcp};

pub struct EventStream {
    tcp: TcpStream,
    pub head: Response,
    unread: Vec<u8>,
    /// The id of the last event that had one.
    pub last_id: String,
}

/// The name of an event, and what it says.
pub type PageEvent = (String, Vec<u8>);

impl EventStream {
    /// One that goes on behind this id, if there is one.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str, last_id: &str) -> EventStream {
        let stream = EventStream::ask(address, target, last_id);
        assert_eq!(stream.head.status, 200, "{target}: {}", stream.head.body);
        stream
    }

    /// The same, whatever the answer is.
    pub fn ask(address: SocketAddr, target: &str, last_id: &str) -> EventStream {
        let mut tcp = tcp(address);
        let last = match last_id {
            "" => String::new(),
            last_id => format!("Last-Event-ID: {last_id}\r\n"),
        };
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        tcp.write_all(request.as_bytes()).expect("it is taken");
        let (head, unread) = Response::read_head(&mut tcp);
        EventStream { tcp, head, unread, last_id: last_id.to_owned() }
    }

    /// The next event, if it comes in time.
    pub fn next_within(&mut self, patience: Duration) -> Option<PageEvent> {
        let deadline = Instant::now() + patience;
        loop {
            while let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("a stream is UTF-8");
                if let Some(event) = self.dispatch(event.trim_end_matches('\n')) {
                    return Some(event);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut piece = [0; 16 << 10];
            self.tcp.set_read_timeout(Some(left)).expect("a socket");
            match self.tcp.read(&mut piece) {
                Ok(0) => panic!("the server ended it"),
                Ok(n) => self.unread.extend_from_slice(&piece[..n]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => panic!("reading failed: {error}"),
                },
            }
        }
    }

    /// What the next event says, which has no name.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let (name, data) = self.next_within(PATIENCE).expect("an event");
        assert_eq!(name, "", "{:?}", String::from_utf8_lossy(&data));
        String::from_utf8(data).expect("text")
    }

    fn dispatch(&mut self, event: &str) -> Option<PageEvent> {
        let (mut name, mut data, mut id) = ("", Vec::new(), None);
        for line in event.split('\n') {
            let (field, value) = line.split_once(':').expect("every line has a field");
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = Some(value),
                "event" => name = value,
                "data" => data.push(value),
                "" | "retry" => {}
                other => panic!("no field of ours: {other:?}"),
            }
        }
        let text = data.join("\n");
        // Firefox forgets an id without data.
        if let Some(id) = id.filter(|_| !data.is_empty()) {
            self.last_id = id.to_owned();
        }
        match name {
            _ if data.is_empty() => None,
            "subscribed" => None,
            "text" | "binary" => Some((name.to_owned(), STANDARD.decode(text).expect("base64"))),
            name => Some((name.to_owned(), text.into_bytes())),
        }
    }
}
