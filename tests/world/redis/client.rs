//! The one client of the Redis, and the bytes to it and from it.

use std::collections::{BTreeSet, VecDeque};

use super::Arrival;

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) inbox: Vec<u8>,
    pub(super) outbox: Vec<u8>,
    pub(super) subscribed: BTreeSet<Vec<u8>>,
    /// Channels of the shard.
    pub(super) sharded: BTreeSet<Vec<u8>>,
    pub(super) greeted: bool,
    pub(super) db: u32,
    /// PUBLISH commands executed or refused.
    pub(super) publishes: usize,
    /// Bytes ever put into the outbox and taken from it.
    pub(super) put: usize,
    pub(super) spoken: usize,
    /// What has arrived when so many bytes have been spoken.
    pub(super) marks: VecDeque<(usize, Arrival)>,
}

impl Client {
    pub(super) fn say(&mut self, bytes: &[u8], mark: Option<Arrival>) {
        self.outbox.extend_from_slice(bytes);
        self.put += bytes.len();
        self.marks.extend(mark.map(|mark| (self.put, mark)));
    }

    /// How many bytes it may say in one piece.
    pub(super) fn breath(&self) -> usize {
        let mut end = None;
        for (at, mark) in &self.marks {
            match (mark, end) {
                (Arrival::Answer { session: true, .. }, None) => end = Some(*at),
                (Arrival::Message { channel, .. }, Some(_)) if channel.ends_with(CONTROL) => {
                    end = Some(*at);
                }
                (_, Some(_)) => break,
                (_, None) => {}
            }
        }
        end.map_or(usize::MAX, |end| end - self.spoken)
    }

    pub(super) fn deliver(&mut self, channel: &[u8], payload: &[u8], publish: Option<usize>) {
        if self.subscribed.contains(channel) {
            let mut push = b">3\r\n$7\r\nmessage\r\n".to_vec();
            push.extend(bulk(channel));
            push.extend(bulk(payload));
            let (channel, payload) = (channel.to_vec(), payload.to_vec());
            self.say(&push, Some(Arrival::Message { channel, payload, publish }));
        }
    }

    pub(super) fn deliver_sharded(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        publish: Option<usize>,
    ) {
        if self.sharded.contains(channel) {
            let mut push = b">3\r\n$8\r\nsmessage\r\n".to_vec();
            push.extend(bulk(channel));
            push.extend(bulk(payload));
            let (channel, payload) = (channel.to_vec(), payload.to_vec());
            self.say(&push, Some(Arrival::Message { channel, payload, publish }));
        }
    }

    /// Hears a channel of the shard, or the opposite, and says so.
    pub(super) fn confirm_sharded(
        &mut self,
        name: &str,
        channel: &Vec<u8>,
    ) -> (Vec<u8>, Option<Arrival>) {
        std::mem::swap(&mut self.subscribed, &mut self.sharded);
        let word = name.strip_prefix('S').unwrap_or(name);
        let (push, mark) = self.confirm(word, channel);
        std::mem::swap(&mut self.subscribed, &mut self.sharded);
        let kind = name.to_ascii_lowercase();
        let head = [b">3\r\n", &bulk(kind.as_bytes())[..]].concat();
        let plain = [b">3\r\n", &bulk(&kind.as_bytes()[1..])[..]].concat();
        (push.strip_prefix(&plain[..]).map(|rest| [&head, rest].concat()).expect("a push"), mark)
    }

    /// Subscribes to a channel, or the opposite, and says so.
    pub(super) fn confirm(&mut self, name: &str, channel: &Vec<u8>) -> (Vec<u8>, Option<Arrival>) {
        let mark = match name {
            "SUBSCRIBE" => {
                self.subscribed.insert(channel.clone());
                Some(Arrival::Subscribed(channel.clone()))
            }
            _ => {
                self.subscribed.remove(channel);
                None
            }
        };
        let mut push = b">3\r\n".to_vec();
        push.extend(bulk(name.to_ascii_lowercase().as_bytes()));
        push.extend(bulk(channel));
        push.extend(format!(":{}\r\n", self.subscribed.len()).into_bytes());
        (push, mark)
    }
}

/// How the channel's name ends on which the application speaks to the servers.
const CONTROL: &[u8] = b"wsloop:control";

pub(super) fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The answer of a Redis with a module, as deep as it gets.
pub(super) fn hello(mode: &str, role: &str) -> Vec<u8> {
    let mut hello = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n\
        $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n$4\r\nmode\r\n"
        .to_vec();
    hello.extend(bulk(mode.as_bytes()));
    hello.extend(b"$4\r\nrole\r\n");
    hello.extend(bulk(role.as_bytes()));
    hello.extend(b"$7\r\nmodules\r\n*1\r\n%2\r\n$4\r\nname\r\n$2\r\nbf\r\n$4\r\nargs\r\n*0\r\n");
    hello
}

pub(super) fn number(digits: &[u8]) -> u64 {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// The command at the start of `bytes`, an array of bulk strings, and its length.
pub fn parse_command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let count = header(bytes, &mut at, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = header(bytes, &mut at, b'$')?;
        words.push(bytes.get(at..at + length)?.to_vec());
        assert_eq!(bytes.get(at + length..at + length + 2)?, b"\r\n");
        at += length + 2;
    }
    Some((words, at))
}

fn header(bytes: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    assert_eq!(rest[0], kind, "not a command: {}", rest.escape_ascii());
    *at += end + 2;
    Some(number(&rest[1..end]) as usize)
}
