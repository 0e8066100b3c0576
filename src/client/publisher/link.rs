//! L4: one blocking connection to a Redis: commands in one write, their replies in order.
//!
//! It knows whether a command can have reached the server, and not what a command does. Its rules:
//! - A [`Fault::Untaken`] means that the server has nothing of the commands, so that they may be
//!   sent again; after a [`Fault::Lost`] it may have them all.
//! - A link that failed is of no more use. Its owner drops it.

use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::broker::RedisSettings;
use crate::link::Target;
use crate::net::ClientTls;
use crate::proto::resp::{self, Decoder, Item, Reply};

/// The largest value that a Redis keeps unless it is told otherwise, in bytes.
const MAX_VALUE: usize = 512 << 20;
/// Bytes of an answer that is looked into, unless more is expected.
const INSIDE_BYTES: usize = 16 << 10;
/// After so long a silence a link is asked whether it is still there: what stands between may have
/// forgotten it without telling either end.
const TRUSTED: Duration = Duration::from_secs(10);

/// A link that is logged in.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Stream,
    decoder: Decoder,
    timeout: Duration,
    heard: Instant,
}

/// Why commands have no replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no connection.
    Unreachable(String),
    /// The server will not serve us, in its words.
    Login(String),
    /// Nothing of the commands was taken.
    Untaken(String),
    /// Some of the commands were taken, and not all are answered.
    Lost(String),
}

impl Link {
    /// Connects and logs in, within `timeout` altogether. Later each exchange may take as long.
    pub(crate) fn dial(
        target: &Target,
        settings: &RedisSettings,
        tls: Option<&ClientTls>,
        timeout: Duration,
    ) -> Result<Link, Fault> {
        let now = Instant::now();
        let deadline = now + timeout;
        let stream = Stream::dial(target, tls, deadline)
            .map_err(|error| Fault::Unreachable(error.to_string()))?;
        let mut link = Link { stream, decoder: Decoder::new(MAX_VALUE), timeout, heard: now };
        match link.log_in(settings, deadline) {
            Err(Fault::Untaken(why) | Fault::Lost(why)) => Err(Fault::Unreachable(why)),
            done => done.map(|()| link),
        }
    }

    /// Whether the other end seems to be there still.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.is_alive_by(Instant::now() + self.timeout)
    }

    /// The same, when it is asked for no longer than that.
    pub(super) fn is_alive_by(&mut self, deadline: Instant) -> bool {
        self.stream.is_quiet()
            && (self.heard.elapsed() < TRUSTED || self.ask(&[b"PING"], deadline).is_ok())
    }

    /// Sends `commands`, which are `replies` in number, and hands over each reply with its place.
    pub(crate) fn exchange(
        &mut self,
        commands: &[u8],
        replies: usize,
        mut on_reply: impl FnMut(usize, Reply<'_>),
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + self.timeout;
        let on_reply = |at, reply: Reply<'_>, _: &[u8]| on_reply(at, reply);
        self.exchange_until(commands, replies, 0, on_reply, deadline)
    }

    /// The same link, of which each exchange may take so long from now on.
    pub(super) fn with_timeout(mut self, timeout: Duration) -> Link {
        self.timeout = timeout;
        self
    }

    /// Sends one command: its reply as it came, or the server's error. Of a long reply there is
    /// only the beginning.
    pub(crate) fn answer(
        &mut self,
        command: &[&[u8]],
        deadline: Instant,
    ) -> Result<Result<Vec<u8>, String>, Fault> {
        self.long_answer(command, INSIDE_BYTES, deadline)
    }

    /// The same with another limit for what there is of a reply, in bytes.
    pub(super) fn long_answer(
        &mut self,
        command: &[&[u8]],
        inside_bytes: usize,
        deadline: Instant,
    ) -> Result<Result<Vec<u8>, String>, Fault> {
        let mut bytes = Vec::new();
        resp::command(&mut bytes, command);
        let mut answer = Ok(Vec::new());
        let on_reply = |_, reply: Reply<'_>, raw: &[u8]| {
            answer = match reply {
                Reply::Error(why) => Err(why.to_owned()),
                _ => Ok(raw.to_vec()),
            };
        };
        self.exchange_until(&bytes, 1, inside_bytes, on_reply, deadline)?;
        Ok(answer)
    }

    /// `HELLO 3`, or what came before it when the server is so old.
    fn log_in(&mut self, settings: &RedisSettings, deadline: Instant) -> Result<(), Fault> {
        let password = settings.password.as_ref().map(|password| password.as_bytes());
        let user = settings.user.as_ref().map(|user| user.as_bytes());
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = password {
            hello.extend([&b"AUTH"[..], user.unwrap_or(b"default"), password]);
        }
        match (self.ask(&hello, deadline)?, password) {
            (Err(why), _) if !is_old(&why) => return Err(Fault::Login(why)),
            (Err(_), Some(password)) => {
                let mut auth = vec![&b"AUTH"[..]];
                auth.extend(user);
                auth.push(password);
                self.ask(&auth, deadline)?.map_err(Fault::Login)?;
            }
            _ => {}
        }
        if settings.db != 0 {
            let db = settings.db.to_string();
            self.ask(&[b"SELECT", db.as_bytes()], deadline)?.map_err(Fault::Login)?;
        }
        Ok(())
    }

    /// Sends one command: done, or the server's error.
    fn ask(&mut self, command: &[&[u8]], deadline: Instant) -> Result<Result<(), String>, Fault> {
        Ok(self.answer(command, deadline)?.map(|_| ()))
    }

    fn exchange_until(
        &mut self,
        commands: &[u8],
        replies: usize,
        inside_bytes: usize,
        mut on_reply: impl FnMut(usize, Reply<'_>, &[u8]),
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut sent = 0;
        while sent < commands.len() {
            sent += self.stream.write(&commands[sent..], deadline).map_err(|error| match sent {
                0 => Fault::Untaken(error.to_string()),
                _ => Fault::Lost(error.to_string()),
            })?;
        }
        let mut room = [0; 16 << 10];
        let mut answered = 0;
        let mut raw = Vec::new();
        while answered < replies {
            let read = self.stream.read(&mut room, deadline);
            let mut input = match read.map_err(|error| Fault::Lost(error.to_string()))? {
                0 => return Err(Fault::Lost("the connection was closed".to_owned())),
                n => &room[..n],
            };
            loop {
                let before = input;
                let item = self.decoder.next(&mut input);
                let taken = &before[..before.len() - input.len()];
                raw.extend_from_slice(&taken[..taken.len().min(inside_bytes - raw.len())]);
                match item {
                    Ok(None) => break,
                    Ok(Some(Item::Push(_))) => {}
                    Ok(Some(Item::Reply(_))) if answered == replies => {
                        return Err(Fault::Lost("there is an answer too many".to_owned()));
                    }
                    Ok(Some(Item::Reply(reply))) => {
                        on_reply(answered, reply, &raw);
                        answered += 1;
                    }
                    Err(error) => return Err(Fault::Lost(error.to_string())),
                }
                raw.clear();
            }
        }
        self.heard = Instant::now();
        Ok(())
    }
}

/// Whether a server that answers this to HELLO is one from before it.
fn is_old(why: &str) -> bool {
    why.starts_with("NOPROTO") || why.to_ascii_lowercase().contains("unknown command")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{Read, Write};
    use std::net::TcpListener;

    use crate::config::redis_url;

    /// Whether a link that was silent for long is alive when its PING is answered so.
    fn is_alive_after_silence(answer: Option<&'static [u8]>) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let settings = redis_url::parse(&url).expect("a URL");
        let crate::broker::RedisAddress::Fixed(target) = settings.address.clone() else {
            panic!("it names no sentinels");
        };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut room = [0; 1024];
            let n = stream.read(&mut room).expect("a connection");
            assert_eq!(&room[..n], b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
            stream.write_all(b"%1\r\n+proto\r\n:3\r\n").expect("a connection");
            let n = stream.read(&mut room).expect("a connection");
            assert_eq!(&room[..n], b"*1\r\n$4\r\nPING\r\n");
            if let Some(answer) = answer {
                stream.write_all(answer).expect("a connection");
            }
            let _ = stream.read(&mut room);
        });
        let mut link =
            Link::dial(&target, &settings, None, Duration::from_secs(20)).expect("a server");
        assert!(link.is_alive(), "it is trusted when it was heard just now");
        link.heard = link.heard.checked_sub(TRUSTED).expect("the machine is up for longer");
        if answer.is_none() {
            link.timeout = Duration::from_millis(100);
        }
        let alive = link.is_alive();
        drop(link);
        server.join().expect("the server saw what it should");
        alive
    }

    #[test]
    fn a_link_that_was_long_silent_is_asked_before_it_is_trusted() {
        assert!(is_alive_after_silence(Some(b"+PONG\r\n")));
        assert!(!is_alive_after_silence(Some(b"+PONG\r\n+PONG\r\n")));
        assert!(!is_alive_after_silence(None));
    }
}
