//! What the server was told, and what it made of that at once, for whoever watches.

use std::io::IoSlice;

use super::app::Mark;
use super::contract::{Cause, unsent};
use super::redis::{self, Arrival};
use super::resp_client::RespClientId;
use super::{BrowserId, Seen, World};

/// One thing that the server was told, and what it made of that at once.
#[derive(Debug)]
pub struct Call {
    pub told: Told,
    /// The latest time that there has been, and the time of day.
    pub now_ms: u64,
    pub unix_ms: u64,
    /// Who has been given a 101 and nothing that ends it.
    pub opened: Vec<BrowserId>,
    /// Who is closed from here on, and with which last bytes.
    pub closing: Vec<(BrowserId, Vec<u8>)>,
    /// What Redis is to do.
    pub commands: Vec<Vec<Vec<u8>>>,
    /// How many commands Redis was given on its link so far.
    pub begun: usize,
    /// Whether the broker is up.
    pub up: bool,
    /// Messages that have ever come from browsers.
    pub messages: u64,
    /// Stored messages that were ever given up.
    pub late: u64,
    /// Some of the bytes of the browser that this is about are left over.
    pub left_over: bool,
}

/// What the application said, or that it is gone, and what there was to it.
#[derive(Debug, Default)]
pub struct AppTold {
    /// What the script calls it.
    pub mark: Option<Mark>,
    /// What it was asked on that link, and has not begun to answer.
    pub question: String,
    /// The link was there, and had brought an answer before.
    pub connected: bool,
    pub rested: bool,
}

/// What the server was told.
#[derive(Debug)]
pub enum Told {
    /// So many bytes came from a browser.
    Bytes(BrowserId, usize),
    /// A browser's bytes that were left over were gone on with.
    WentOn(BrowserId),
    /// A browser sends no more, and may still read; or its link has failed.
    Ended(BrowserId, Cause),
    /// A browser takes no more.
    Blocked(BrowserId),
    /// Redis said this.
    Redis(Vec<Arrival>),
    /// Redis's link is being dialed.
    Dialed,
    /// The link to Redis is lost, or was given up; each is but once.
    Lost,
    /// Links to the application are being dialed, so many of which will come to nothing.
    AppSilent(usize),
    /// The application said something.
    App(AppTold),
    /// A link to the application has ended, failed or not been made.
    AppHungUp(AppTold),
    /// So many bytes came from a RESP client.
    Resp(RespClientId, usize),
    /// A RESP client sends no more, and may still read; or its link has failed.
    RespEnded(RespClientId, Cause),
    /// The process is asked to end.
    ShutDown,
    /// Time has passed.
    Tick,
    /// Anything else.
    Other,
}

/// Whether this is a close frame, and not the rest of another that begins like one.
fn is_close_frame(bytes: &[u8]) -> bool {
    match bytes {
        [0x88, 0] => true,
        [0x88, length, high, low, reason @ ..] if usize::from(*length) == reason.len() + 2 => {
            let code = u16::from_be_bytes([*high, *low]);
            (1000..5000).contains(&code) && std::str::from_utf8(reason).is_ok()
        }
        _ => false,
    }
}

/// Whether this is the last event of a stream.
fn is_last_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n")
        && (bytes.starts_with(b"event: close\n") || bytes.starts_with(b"retry: "))
}

impl Call {
    /// Whether nothing has come of it, nor need have.
    pub fn is_idle(&self) -> bool {
        matches!(self.told, Told::Other | Told::Tick | Told::Blocked(_))
            && self.opened.is_empty()
            && self.closing.is_empty()
            && self.commands.is_empty()
    }
}

impl World {
    /// Notes that Redis's link is lost, unless that is known.
    pub(super) fn note_loss(&mut self) {
        if !std::mem::replace(&mut self.loss_noted, true) {
            self.note(Told::Lost);
        }
    }

    /// Notes what the server was told and what has come of it, when it is watched.
    pub(super) fn note(&mut self, told: Told) {
        if self.calls.is_none() {
            return;
        }
        let (up, begun) = (self.metrics().broker_up == 1, self.redis.begun());
        let (opened, closing, commands) = (Vec::new(), Vec::new(), Vec::new());
        let messages = self.metrics().messages_in_total;
        let late = self.metrics().stored_late_total;
        let (now_ms, unix_ms) = (self.latest_ms(), self.unix_ms());
        let left_over = match told {
            Told::Bytes(id, _) | Told::WentOn(id) => self.is_left_over(id),
            _ => false,
        };
        let mut call = Call {
            told,
            now_ms,
            unix_ms,
            opened,
            closing,
            commands,
            begun,
            up,
            messages,
            late,
            left_over,
        };
        for id in 0..self.browsers.len() {
            let browser = &self.browsers[id];
            if browser.closed_ms.is_some() || browser.seen == Seen::Closing {
                continue;
            }
            let mut few = [IoSlice::new(&[]); 16];
            let used = unsent(&self.server, browser.link, &mut few);
            let mut many = Vec::new();
            let mut slices = &few[..used];
            if used == few.len() {
                many.resize(1 << 13, IoSlice::new(&[]));
                let used = unsent(&self.server, browser.link, &mut many);
                slices = &many[..used];
            }
            let (Some(first), Some(last)) = (slices.first(), slices.last()) else { continue };
            let mut seen = browser.seen;
            if seen == Seen::Nothing {
                let is_open = [&b"HTTP/1.1 101"[..], b"HTTP/1.1 200"]
                    .iter()
                    .any(|status| first.starts_with(status));
                let opens = is_open && first.ends_with(b"\r\n\r\n");
                seen = if opens { Seen::Open } else { Seen::Closing };
                call.opened.extend(opens.then_some(id));
                let browser = &mut self.browsers[id];
                let now_ms = self.now_ms.max(self.latest_ms);
                (browser.lively_ms, browser.spoken_to_ms) = (now_ms, now_ms);
            }
            if seen == Seen::Closing || is_close_frame(last) || is_last_event(last) {
                seen = Seen::Closing;
                call.closing.push((id, last.to_vec()));
                self.browsers[id].closing_ms = Some(self.latest_ms());
            }
            self.browsers[id].seen = seen;
        }
        if let Some(link) = self.redis_link {
            let mut slices = [IoSlice::new(&[])];
            if unsent(&self.server, link, &mut slices) > 0 {
                let mut rest = &slices[0][self.peeked.min(slices[0].len())..];
                while let Some((command, length)) = redis::parse_command(rest) {
                    call.commands.push(command);
                    rest = &rest[length..];
                }
                self.peeked = slices[0].len();
            }
        }
        self.calls.as_mut().expect("it is watched").push(call);
    }
}
