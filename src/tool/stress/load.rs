//! L4: what the conns of a run do with what they receive.

use std::collections::BTreeMap;

use crate::proto::ws::frame::{Opcode, encode_masked};

use super::Mode;
use super::conn::{Client, Task, Work, close_frame, mask};
use super::histogram::Histogram;
use super::payload::{Payload, Received};
use super::topic::{Tally, Topic};

/// The state of a run, as far as it depends on what arrives.
pub(super) struct Load {
    mode: Mode,
    /// From dialing a conn to its being open.
    pub connect: Histogram,
    /// The publishers and the probe's listener that are open.
    pub extras_open: usize,
    /// What the many hear.
    pub topic: Topic,
    /// What the probe hears.
    pub probe: Topic,
    /// What comes back to the many.
    pub echo: Echo,
    /// Close frames that were not asked for, by code and reason, and how often they came; without a
    /// code, the server hung up.
    pub closes: BTreeMap<Option<(u16, String)>, u64>,
    /// Conns that closed because we asked for it.
    pub churned: u64,
    /// A conn that publishes is over.
    pub publisher_gone: bool,
}

impl Load {
    /// A run at its beginning.
    pub(super) fn new(mode: Mode, topic: Topic, probe: Topic, echo: Echo) -> Load {
        Load {
            mode,
            connect: Histogram::default(),
            extras_open: 0,
            topic,
            probe,
            echo,
            closes: BTreeMap::new(),
            churned: 0,
            publisher_gone: false,
        }
    }

    /// What grows whenever the run gets on.
    pub(super) fn life(&self) -> u64 {
        let messages = self.topic.tally.received + self.echo.tally.received;
        self.connect.count() + self.extras_open as u64 + self.churned + messages
    }
}

impl Work for Load {
    fn opened(&mut self, conn: &mut Client, now_ns: u64, out: &mut Vec<u8>) {
        match (conn.task, self.mode) {
            (Task::Client, mode) => {
                self.connect.record(now_ns - conn.dialed_ns);
                match mode {
                    Mode::Fanout => self.topic.join(),
                    Mode::Churn => {
                        conn.closing = true;
                        close_frame(Some(1000), now_ns, out);
                    }
                    Mode::Echo | Mode::Idle => {}
                }
            }
            (Task::HearProbe, _) => {
                self.probe.join();
                self.extras_open += 1;
            }
            _ => self.extras_open += 1,
        }
    }

    #[inline]
    fn heard(&mut self, conn: &mut Client, data: &[u8], now_ns: u64, out: &mut Vec<u8>) {
        match (conn.task, self.mode) {
            (Task::Client, Mode::Fanout) => self.topic.heard(&mut conn.place, data, now_ns),
            (Task::Client, Mode::Echo) => self.echo.heard(conn, data, now_ns, out),
            (Task::HearProbe, _) => self.probe.heard(&mut conn.place, data, now_ns),
            _ => {}
        }
    }

    fn closed(&mut self, conn: &Client, close: Option<(u16, &str)>) {
        if conn.closing {
            self.churned += 1;
            return;
        }
        let close = close.map(|(code, reason)| (code, reason.to_owned()));
        *self.closes.entry(close).or_default() += 1;
        match (conn.task, self.mode) {
            (Task::Client, Mode::Fanout) => self.topic.leave(conn.place),
            (Task::Client, Mode::Echo) => self.echo.leave(conn),
            (Task::Client, Mode::Idle | Mode::Churn) => {}
            (Task::HearProbe, _) => self.probe.leave(conn.place),
            (Task::Publish | Task::PublishProbe, _) => self.publisher_gone = true,
        }
    }
}

/// Messages that each conn sends to have them back.
#[derive(Debug)]
pub(super) struct Echo {
    payload: Payload,
    messages: u32,
    window: u32,
    /// Messages that will not come any more or have come, of all conns.
    settled: u64,
    /// What came back.
    pub tally: Tally,
    text: Vec<u8>,
}

impl Echo {
    /// So many messages for each conn, so many of them in flight.
    pub(super) fn new(payload: Payload, messages: u32, window: u32) -> Echo {
        Echo { payload, messages, window, settled: 0, tally: Tally::default(), text: Vec::new() }
    }

    /// Appends the first messages of a conn.
    pub(super) fn begin(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        for number in 0..self.window.min(self.messages) {
            self.send(number, now_ns, out);
        }
    }

    /// Messages of all conns that need not be waited for.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    fn heard(&mut self, conn: &mut Client, data: &[u8], now_ns: u64, out: &mut Vec<u8>) {
        match self.payload.read(data) {
            Received::Ours { number, sent_ns } if number < self.messages && sent_ns <= now_ns => {
                let settled = self.tally.judge(&mut conn.place, number, now_ns - sent_ns);
                for number in settled {
                    self.settled += 1;
                    if let Some(next) = number.checked_add(self.window)
                        && next < self.messages
                    {
                        self.send(next, now_ns, out);
                    }
                }
            }
            _ => self.tally.corrupt += 1,
        }
    }

    fn leave(&mut self, conn: &Client) {
        self.settled += u64::from(self.messages - conn.place.next);
    }

    fn send(&mut self, number: u32, now_ns: u64, out: &mut Vec<u8>) {
        self.text.clear();
        self.payload.write(number, now_ns, &mut self.text);
        encode_masked(Opcode::Text, &self.text, mask(now_ns), out);
    }
}
