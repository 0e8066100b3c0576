//! What a RESP client hears: channels and patterns.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commands::{Command, Wrong};
use super::{MAX_NAME, MAX_PATTERN, MAX_WORK_PER_MESSAGE, OVERHEAD, Session, Step};
use crate::broker::glob;
use crate::proto::resp::reply::{self, Version};

/// Most bytes that the names and patterns of a RESP client may take.
const MAX_HEARING: usize = 4 << 20;

/// Names in the order of their bytes, so that what is said about them has one.
pub(crate) type NameSet = BTreeSet<Arc<[u8]>>;

/// What a client hears.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    channels: NameSet,
    patterns: NameSet,
    bytes: usize,
}

impl Hearing {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a message on the channel is told; `None` when to find that out is too much work.
    pub(super) fn ears(&self, channel: &[u8]) -> Option<usize> {
        Some(usize::from(self.channels.contains(channel)) + self.fitting(channel)?.len())
    }

    /// Whether it hears the channel by its name.
    pub(super) fn names(&self, channel: &[u8]) -> bool {
        self.channels.contains(channel)
    }

    /// The channels it hears by their names, and its patterns.
    pub(super) fn all(&self) -> (&NameSet, &NameSet) {
        (&self.channels, &self.patterns)
    }

    /// Tells of a message: once for the channel, and once for every pattern that fits. `None` when
    /// to find those is too much work.
    pub(super) fn hear(
        &self,
        channel: &[u8],
        payload: &[u8],
        out: &mut Vec<u8>,
        version: Version,
    ) -> Option<()> {
        if self.channels.contains(channel) {
            reply::push(out, 3, version);
            for part in [b"message", channel, payload] {
                reply::bulk(out, part);
            }
        }
        for pattern in self.fitting(channel)? {
            reply::push(out, 4, version);
            for part in [b"pmessage", &pattern[..], channel, payload] {
                reply::bulk(out, part);
            }
        }
        Some(())
    }

    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn fitting(&self, channel: &[u8]) -> Option<Vec<&Arc<[u8]>>> {
        let (mut work, mut fitting) = (MAX_WORK_PER_MESSAGE, Vec::new());
        for pattern in &self.patterns {
            if glob::matches_within(pattern, channel, &mut work)? {
                fitting.push(pattern);
            }
        }
        Some(fitting)
    }

    /// False when it was there already.
    fn add(&mut self, name: &Arc<[u8]>, pattern: bool) -> Result<(), Wrong> {
        if name.len() > if pattern { MAX_PATTERN } else { MAX_NAME } {
            return Err(Wrong::Long);
        }
        let bytes = self.bytes + name.len() + OVERHEAD;
        let names = if pattern { &mut self.patterns } else { &mut self.channels };
        if names.contains(name) {
            return Ok(());
        }
        if bytes > MAX_HEARING {
            return Err(Wrong::TooMuch);
        }
        names.insert(name.clone());
        self.bytes = bytes;
        Ok(())
    }

    fn remove(&mut self, name: &[u8], pattern: bool) {
        let names = if pattern { &mut self.patterns } else { &mut self.channels };
        if names.remove(name) {
            self.bytes -= name.len() + OVERHEAD;
        }
    }
}

impl Session {
    /// Subscribes or unsubscribes, and confirms each name.
    pub(super) fn subscribe(&mut self, command: Command, names: &[&[u8]]) {
        let (kind, pattern, adds) = match command {
            Command::Subscribe => ("subscribe", false, true),
            Command::PSubscribe => ("psubscribe", true, true),
            Command::PUnsubscribe => ("punsubscribe", true, false),
            _ => ("unsubscribe", false, false),
        };
        let hearing = &mut self.hearing;
        let mut names: Vec<Arc<[u8]>> = names.iter().map(|name| Arc::from(*name)).collect();
        if names.is_empty() {
            let all = if pattern { &hearing.patterns } else { &hearing.channels };
            names.extend(all.iter().cloned());
            if names.is_empty() {
                return confirm(&mut self.out, self.version, kind, None, hearing.len());
            }
        }
        for name in names {
            match adds.then(|| hearing.add(&name, pattern)) {
                Some(Err(wrong)) => reply::error(&mut self.out, &wrong.to_string()),
                Some(Ok(())) => {
                    confirm(&mut self.out, self.version, kind, Some(&name), hearing.len());
                }
                None => {
                    hearing.remove(&name, pattern);
                    confirm(&mut self.out, self.version, kind, Some(&name), hearing.len());
                }
            }
        }
    }

    /// PING, which has the shape of a message where only such may come.
    pub(super) fn ping(&mut self, args: &[&[u8]]) -> Step {
        let (out, text) = (&mut self.out, args.get(1));
        if self.version == Version::Two && !self.hearing.is_empty() {
            reply::array(out, 2);
            reply::bulk(out, b"pong");
            reply::bulk(out, text.copied().unwrap_or_default());
        } else {
            match text {
                Some(text) => reply::bulk(out, text),
                None => reply::status(out, "PONG"),
            }
        }
        Step::Done
    }
}

fn confirm(out: &mut Vec<u8>, version: Version, kind: &str, name: Option<&[u8]>, count: usize) {
    reply::push(out, 3, version);
    reply::bulk(out, kind.as_bytes());
    match name {
        Some(name) => reply::bulk(out, name),
        None => reply::null(out, version),
    }
    reply::integer(out, count as i64);
}
