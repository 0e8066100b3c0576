//! L4: the load tool: a crowd of WebSocket clients in one loop, and what it takes to serve them.
//!
//! It measures any WebSocket server, and itself less than the server: what it does for a delivery
//! is a read and a comparison in place. It knows nothing of the server's inside; what it says of
//! processor and memory is what /proc says of the processes it was told.
//!
//! Rules:
//! - every message is checked by every client: its bytes, its number, its turn;
//! - what the tool could not do is one sentence, and a run that lost anything is a failure, never
//!   only a smaller figure;
//! - phases do not overlap: connecting, quiet, traffic, quiet.

mod conn;
mod flags;
mod histogram;
mod load;
mod payload;
mod pool;
mod process;
mod report;
mod run;
mod topic;

use std::fmt;
use std::io;

use crate::broker::RedisSettings;
use crate::proto::resp::RespError;
use crate::proto::ws::client::ServerAnswerError;
use crate::proto::ws::frame::ProtocolError;

pub(crate) use flags::{command, plan};
pub(crate) use payload::LEAST as LEAST_SIZE;
pub use run::run;

use crate::client::url::Url;

/// What the crowd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All hear what one publishes.
    Fanout,
    /// Each has its own messages sent back.
    Echo,
    /// They are only there.
    Idle,
    /// They come and go.
    Churn,
}

impl Mode {
    /// Its name, as `--mode` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Fanout => "fanout",
            Mode::Echo => "echo",
            Mode::Idle => "idle",
            Mode::Churn => "churn",
        }
    }
}

/// What is to be done.
#[derive(Clone)]
pub struct Plan {
    /// What the crowd does.
    pub mode: Mode,
    /// Where it connects.
    pub url: Url,
    /// How many they are.
    pub clients: u32,
    /// Messages published in all, or echoed to each.
    pub messages: u32,
    /// Bytes of a payload, at least `LEAST_SIZE`.
    pub size: usize,
    /// Messages in flight, at least 1.
    pub window: u32,
    /// Most messages a second.
    pub rate: Option<f64>,
    /// How the messages get to the server; of interest for `Mode::Fanout` only.
    pub publish: Way,
    /// A second, quiet stream of messages.
    pub probe: Option<Probe>,
    /// Milliseconds of idling or churning.
    pub duration_ms: u64,
    /// Most handshakes under way.
    pub pending: usize,
    /// Milliseconds without anything arriving after which the run is given up.
    pub timeout_ms: u64,
    /// The server's processes.
    pub pids: Vec<u32>,
    /// Milliseconds of quiet between phases.
    pub settle_ms: u64,
    /// The report is JSON.
    pub json: bool,
}

/// How messages are published.
#[derive(Clone)]
pub enum Way {
    /// Over this WebSocket.
    WebSocket(Url),
    /// With PUBLISH.
    Redis {
        /// Which Redis.
        redis: RedisSettings,
        /// The channel.
        channel: String,
    },
}

/// Small messages at long intervals, on a channel of their own.
#[derive(Clone)]
pub struct Probe {
    /// Where its one listener connects.
    pub url: Url,
    /// How its messages get to the server.
    pub publish: Way,
    /// Milliseconds from one message to the next.
    pub interval_ms: u64,
}

/// Why a run ended without a report.
#[derive(Debug)]
pub enum StressError {
    /// The system failed us.
    System(io::Error),
    /// Nobody answers there.
    Unreachable {
        /// Host and port, or Redis.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// A handshake was answered with another status than 101.
    Refused {
        /// The status.
        status: u16,
        /// The first line of the body, which may be empty.
        line: String,
    },
    /// A handshake was answered with something that opens no WebSocket.
    Answer(ServerAnswerError),
    /// The connection ended before the handshake was answered.
    HungUp(Option<io::Error>),
    /// A conn was closed while others were still connecting.
    Closed {
        /// The code of the close frame; `None` when there was none.
        code: Option<u16>,
        /// Its reason, which may be empty.
        reason: String,
    },
    /// The server broke the protocol.
    Protocol(ProtocolError),
    /// Redis refused, or went away.
    Redis(String),
    /// Nothing arrived for too long while connecting.
    Stalled {
        /// Conns that are open.
        open: usize,
        /// Conns that were to be.
        of: usize,
    },
    /// A process of which nothing can be read.
    Process {
        /// Its id.
        pid: u32,
        /// What the system said.
        error: io::Error,
    },
}

impl StressError {
    fn refused(status: u16, body: &[u8]) -> StressError {
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        StressError::Refused { status, line: line.replace(|c: char| c.is_control(), "?") }
    }

    fn resp(error: RespError) -> StressError {
        StressError::Redis(error.to_string())
    }
}

impl fmt::Display for StressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StressError::System(error) => write!(f, "the system refused: {error}"),
            StressError::Unreachable { what, error } => {
                write!(f, "cannot connect to {what}: {error}")
            }
            StressError::Refused { status, line } if line.is_empty() => {
                write!(f, "the server refuses with {status}")
            }
            StressError::Refused { status, line } => {
                write!(f, "the server refuses with {status}: {line}")
            }
            StressError::Answer(error) => error.fmt(f),
            StressError::HungUp(None) => f.write_str("the server hung up during a handshake"),
            StressError::HungUp(Some(error)) => write!(f, "a handshake failed: {error}"),
            StressError::Closed { code: None, .. } => {
                f.write_str("the server hung up on an open conn")
            }
            StressError::Closed { code: Some(code), reason } => {
                write!(f, "the server closes an open conn with {code} {}", reason.escape_debug())
            }
            StressError::Protocol(error) => write!(f, "the server breaks the protocol: {error}"),
            StressError::Redis(text) => write!(f, "Redis: {text}"),
            StressError::Stalled { open, of } => {
                write!(f, "nothing arrives any more, with {open} of {of} conns open")
            }
            StressError::Process { pid, error } => {
                write!(f, "nothing can be read of process {pid}: {error}")
            }
        }
    }
}

impl std::error::Error for StressError {}

impl From<io::Error> for StressError {
    fn from(error: io::Error) -> StressError {
        StressError::System(error)
    }
}
