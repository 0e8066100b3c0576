//! L4: the commands for a shell and for scripts: publish, fetch, disconnect and listen.
//!
//! What was asked for comes checked as a [`Task`]; running it ends in an exit status: 0 when it was
//! done, 1 when it failed (or when there was nothing to fetch), 2 when it was asked for what cannot
//! be, 3 when a disconnect was sent and nobody heard it. What was asked for goes to standard
//! output, and all else to standard error, a line each.

mod flags;
mod listen;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::access::channel::Audience;
use crate::broker::tls_mend;
use crate::client::publisher::{Error, Expire, Publisher, Recipients};
use crate::config::values::printable;

pub(crate) use flags::{commands, task};
pub(crate) use listen::Listen;

const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;
const UNHEARD: u8 = 3;
/// For connecting and logging in, and for the exchange: both together stay below 10 seconds.
const TIMEOUT: Duration = Duration::from_secs(4);

/// One thing to do, checked as far as it can be without doing it.
#[derive(Debug)]
pub enum Task {
    /// Publish a message.
    Publish {
        /// To the Redis, with the prefix.
        publisher: Publisher,
        /// To whom.
        to: To,
        /// What; `None` is what comes from standard input.
        message: Option<Vec<u8>>,
        /// How long it stays.
        expire: Expire,
        /// Say what was done as JSON.
        json: bool,
    },
    /// Print a stored message.
    Fetch {
        /// From the Redis, with the prefix.
        publisher: Publisher,
        /// Whose.
        to: To,
        /// Print it as JSON.
        json: bool,
    },
    /// Close the conns of somebody.
    Disconnect {
        /// To the Redis, with the prefix.
        publisher: Publisher,
        /// What the name is one of.
        audience: Audience,
        /// Whose conns.
        name: String,
        /// The close code.
        code: u16,
        /// The reason beside it.
        reason: String,
        /// Say what was done as JSON.
        json: bool,
    },
    /// Print what a WebSocket brings.
    Listen(Listen),
}

/// A facility and who of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The facility.
    pub facility: String,
    /// Everybody.
    pub broadcast: bool,
    /// Names of users.
    pub users: Vec<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Keys of sessions.
    pub sessions: Vec<String>,
}

impl To {
    fn recipients(self, publisher: &mut Publisher) -> Recipients<'_> {
        let to = publisher.to(self.facility);
        let to = if self.broadcast { to.broadcast() } else { to };
        to.users(self.users).groups(self.groups).sessions(self.sessions)
    }
}

impl Task {
    /// Does it, and says on standard error why if it cannot be done.
    pub fn run(self) -> ExitCode {
        let done = match self {
            Task::Publish { publisher, to, message, expire, json } => {
                publish(publisher, to, message, expire, json)
            }
            Task::Fetch { publisher, to, json } => fetch(publisher, to, json),
            Task::Disconnect { mut publisher, audience, name, code, reason, json } => {
                let heard = publisher.disconnect(audience, &name, code, &reason);
                heard.map_err(Failure::from).and_then(|receivers| disconnected(receivers, json))
            }
            Task::Listen(listen) => listen::run(&listen),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure { status, line }) => {
                notice(&line);
                ExitCode::from(status)
            }
        }
    }
}

/// Why a task was not done.
#[derive(Debug)]
struct Failure {
    status: u8,
    line: String,
}

impl Failure {
    fn failed(line: impl Into<String>) -> Failure {
        Failure { status: FAILED, line: line.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match error {
            Error::Url(_)
            | Error::Tls(_)
            | Error::History(_)
            | Error::Prefix(_)
            | Error::Facility(_)
            | Error::Name { .. }
            | Error::Expire(_)
            | Error::Close { .. }
            | Error::NoAudience => WRONG_USE,
            Error::Unreachable { .. }
            | Error::Login { .. }
            | Error::Refused { .. }
            | Error::MaybePublished(_)
            | Error::Unanswered(_) => FAILED,
        };
        let line = match error {
            Error::NoAudience => {
                let flags = "--broadcast, --user NAME, --group NAME or --session KEY";
                format!("nobody is named; give {flags}, or several of them")
            }
            Error::Unreachable { ref reason, .. } => match tls_mend(reason) {
                "" => format!("{error}; --redis says where else it may be"),
                mend => format!("{error}{mend}"),
            },
            error => error.to_string(),
        };
        Failure { status, line }
    }
}

fn publish(
    mut publisher: Publisher,
    to: To,
    message: Option<Vec<u8>>,
    expire: Expire,
    json: bool,
) -> Result<(), Failure> {
    let message = match message {
        Some(message) => message,
        None => {
            let mut message = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut message);
            read.map_err(|error| Failure::failed(format!("standard input: {error}")))?;
            message
        }
    };
    let recipients = to.recipients(&mut publisher);
    let unkept = recipients.unkept();
    let done = recipients.publish(message, expire)?;
    if let Some(channel) = unkept {
        notice(&format!("channel {channel:?} has no history, as its name has a brace in it"));
    }
    let (channels, receivers) = (done.channels, done.receivers);
    print(match json {
        true => format!("{{\"channels\":{channels},\"receivers\":{receivers}}}\n"),
        false => {
            let channels = count(channels as u64, "channel");
            format!("published to {channels}, heard by {}\n", count(receivers, "subscriber"))
        }
    })
}

fn fetch(mut publisher: Publisher, to: To, json: bool) -> Result<(), Failure> {
    let Some(message) = to.recipients(&mut publisher).fetch()? else {
        if json {
            print("null\n")?;
        }
        return Err(Failure::failed("no message is stored there"));
    };
    let (is_text, to_terminal) =
        (std::str::from_utf8(&message).is_ok(), io::stdout().is_terminal());
    if json {
        let line = format!("{{{}}}\n", json_of(&message, is_text));
        return print(shown(line.into_bytes(), to_terminal));
    }
    // A text is a line for a terminal or a script; whatever else it is stays as it is for a script.
    let end = if is_text || to_terminal { "\n" } else { "" };
    print(shown([&message, end.as_bytes()].concat(), to_terminal))
}

/// What is printed, with everything escaped that would steer a terminal if it goes to one: the
/// controls but tabs and ends of lines, and what turns the direction of writing.
fn shown(text: Vec<u8>, to_terminal: bool) -> Vec<u8> {
    if !to_terminal {
        return text;
    }
    let turns = |c: char| {
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{61c}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in String::from_utf8_lossy(&text).chars() {
        match c {
            '\n' | '\t' => safe.push(c),
            _ if c.is_control() || turns(c) => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => safe.push(c),
        }
    }
    safe.into_bytes()
}

/// Says how many processes heard that somebody is to be disconnected. That none did has a status of
/// its own: most likely prefix or Redis are wrong, and somebody stays connected.
fn disconnected(receivers: u64, json: bool) -> Result<(), Failure> {
    if json {
        print(format!("{{\"receivers\":{receivers}}}\n"))?;
    }
    match receivers {
        0 => {
            let line = "no process heard it; give the --redis and the --prefix of the server (one \
                        without --token-key-file, --session-key and --auth-url does not listen)";
            Err(Failure { status: UNHEARD, line: line.to_owned() })
        }
        _ if json => Ok(()),
        _ => print(format!("told {}\n", count(receivers, "process"))),
    }
}

/// Kind and data of a message as members of a JSON object: a text as it is, bytes in base64.
fn json_of(message: &[u8], is_text: bool) -> String {
    match std::str::from_utf8(message) {
        Ok(text) if is_text => {
            format!("\"kind\":\"text\",\"data\":{}", serde_json::Value::from(text))
        }
        _ => format!("\"kind\":\"binary\",\"data\":\"{}\"", STANDARD.encode(message)),
    }
}

fn print(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output: {error}")))
        }
        // A reader that has seen enough is no failure.
        _ => Ok(()),
    }
}

fn count(number: u64, what: &str) -> String {
    match (number, what) {
        (1, what) => format!("1 {what}"),
        (number, "process") => format!("{number} processes"),
        (number, what) => format!("{number} {what}s"),
    }
}

/// A line on standard error, with nothing in it that would steer a terminal.
fn notice(line: &str) {
    let _ = writeln!(io::stderr(), "wsloop: {}", printable(line));
}
