//! L3: those who run the server, at the master: each has a thread of its own, which asks all
//! workers and makes one answer of theirs.
//!
//! Its rule: nobody is waited for without end, neither who asks nor a worker.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::Socket;

use super::letters;
use crate::access::hosts::AllowedHosts;
use crate::browser::settings::Settings;
use crate::link::Frame;
use crate::link::figures::{about, line};
use crate::net::socket::Stream;
use crate::net::{clock, process};
use crate::proto::http::parse_head;
use crate::web::admin::summed::{self, FigureSet, Ledger};
use crate::web::admin::{self, Admin, Inspect};
use crate::web::text_response;

/// Those that are answered at one time.
const MOST: usize = 16;
/// How long a worker has to answer, and somebody to ask and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is waited for somebody to hang up who has their answer.
const LINGER: Duration = Duration::from_secs(1);
const MAX_HEAD: usize = 8192;

/// What the master's loop and these threads share.
#[derive(Debug)]
pub(super) struct Board {
    /// The workers that serve, by their place.
    posts: Mutex<Vec<Option<Post>>>,
    restarts: AtomicU64,
    ending: AtomicBool,
    admin: Option<Admin>,
    hosts: Mutex<AllowedHosts>,
    ledger: Mutex<Ledger>,
    answering: AtomicUsize,
    began_s: f64,
}

/// A worker that serves: its process and the socket to it.
#[derive(Clone, Debug)]
struct Post(u32, Arc<UnixStream>);

impl Board {
    pub(super) fn new(workers: usize, settings: &Settings) -> Board {
        Board {
            posts: Mutex::new(vec![None; workers]),
            restarts: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            admin: settings.admin.clone(),
            hosts: Mutex::new(settings.allowed_hosts.clone()),
            ledger: Mutex::default(),
            answering: AtomicUsize::new(0),
            began_s: clock::unix_s(),
        }
    }

    /// That worker serves, or does not.
    pub(super) fn post(&self, place: usize, worker: Option<(u32, Arc<UnixStream>)>) {
        lock(&self.posts)[place] = worker.map(|(process, socket)| Post(process, socket));
    }

    /// A worker has died and is to be replaced.
    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// The end was asked for.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// The configuration was read again.
    pub(super) fn renew(&self, settings: &Settings) {
        *lock(&self.hosts) = settings.allowed_hosts.clone();
    }

    /// Answers somebody, on a thread of its own.
    pub(super) fn answer(self: &Arc<Board>, stream: Stream) {
        let socket = match stream {
            Stream::Tcp(stream) => OwnedFd::from(stream),
            Stream::Unix(stream) => OwnedFd::from(stream),
            Stream::Unmade => return,
        };
        if self.answering.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.answering.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let board = self.clone();
        thread::spawn(move || {
            // Whoever has gone is answered no more.
            let _ = board.serve(&Socket::from(socket));
            board.answering.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn serve(&self, mut socket: &Socket) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let until = Instant::now() + PATIENCE;
        let (mut bytes, mut room) = (Vec::new(), [0; 1024]);
        let answer = loop {
            match parse_head(&bytes, MAX_HEAD) {
                Ok(None) => match read(socket, &mut room, until)? {
                    0 => return Ok(()),
                    n => bytes.extend_from_slice(&room[..n]),
                },
                Ok(Some((head, _))) => {
                    let hosts = lock(&self.hosts).clone();
                    let admin = self.admin.clone().unwrap_or_default();
                    let asked = admin::asked(&head, Some(&admin), &hosts, None);
                    break asked.map(|what| self.inspect(what));
                }
                Err(error) => {
                    let text = error.to_string();
                    break Some(Frame::from(text_response(error.status(), &[], &text, false)));
                }
            }
        };
        let Some(answer) = answer else { return Ok(()) };
        socket.write_all(&answer)?;
        socket.shutdown(Shutdown::Write)?;
        let until = Instant::now() + LINGER;
        while read(socket, &mut room, until)? > 0 {}
        Ok(())
    }

    fn inspect(&self, what: Inspect) -> Frame {
        match what {
            Inspect::Answer(answer) => answer,
            Inspect::Ready { bare } => admin::ready(&self.unready(), bare),
            Inspect::Metrics { bare } => {
                admin::document("text/plain; version=0.0.4; charset=utf-8", &self.figures(), bare)
            }
            Inspect::Conns { bare } => {
                let said = self.ask_all("/conns").into_iter().filter_map(|(number, _, said)| {
                    Some((number, serde_json::from_str::<Value>(&said?.body).ok()?))
                });
                let text = summed::conns(&said.collect::<Vec<_>>()).to_string() + "\n";
                admin::document("application/json", &text, bare)
            }
        }
    }

    /// Why browsers are not to be sent here: every worker may get them.
    fn unready(&self) -> Vec<String> {
        if self.ending.load(Ordering::Relaxed) {
            return vec!["the server is shutting down".to_owned()];
        }
        let said = self.ask_all("/readyz").into_iter().filter_map(|(number, process, said)| {
            let why = match (process, said) {
                (_, Some(Said { status: 200, .. })) => return None,
                (_, Some(said)) => {
                    let text = said.body.trim();
                    text.strip_prefix("not ready: ").unwrap_or(text).to_owned()
                }
                (None, None) => "it is being started".to_owned(),
                (Some(_), None) => "it does not answer".to_owned(),
            };
            Some(format!("worker {number}: {why}"))
        });
        said.collect()
    }

    fn figures(&self) -> String {
        let said = self.ask_all("/metrics");
        let all = said.len();
        let said: Vec<(usize, u32, FigureSet)> = said
            .into_iter()
            .filter_map(|(number, process, said)| {
                Some((number, process?, FigureSet::parse(&said?.body)))
            })
            .collect();
        let ready = u8::from(said.len() == all && !self.ending.load(Ordering::Relaxed));
        let restarts = self.restarts.load(Ordering::Relaxed);
        let mut own = String::new();
        for (name, kind, help, value) in [
            ("ready", "gauge", "1 when browsers may be sent here.", u64::from(ready)),
            ("workers", "gauge", "Workers that answer, see --workers.", said.len() as u64),
            ("workers_restarted_total", "counter", "Workers that had died.", restarts),
        ] {
            about(&mut own, name, kind, help);
            line(&mut own, &format!("wsloop_{name}"), &value);
        }
        about(&mut own, "worker_conns_open", "gauge", "Open conns of each worker.");
        for (number, _, figures) in &said {
            let name = format!("wsloop_worker_conns_open{{worker=\"{number}\"}}");
            line(&mut own, &name, &figures.value("wsloop_conns_open"));
        }
        process::figures(self.began_s).write(&mut own);
        lock(&self.ledger).figures(said, &FigureSet::parse(&own))
    }

    /// What every worker answers, and nothing for one that does not: its number, its process if it
    /// serves, and what it says.
    fn ask_all(&self, path: &str) -> Vec<(usize, Option<u32>, Option<Said>)> {
        let posts = lock(&self.posts).clone();
        let token = self.admin.as_ref().and_then(|admin| admin.token.as_deref());
        let request = request(path, token);
        thread::scope(|scope| {
            let asked: Vec<_> = posts
                .iter()
                .map(|post| {
                    post.as_ref().map(|Post(_, socket)| scope.spawn(|| ask(socket, &request)))
                })
                .collect();
            let said = asked.into_iter().zip(&posts).enumerate().map(|(place, (asked, post))| {
                let said = asked.and_then(|asked| asked.join().ok()?.ok());
                (place + 1, post.as_ref().map(|Post(process, _)| *process), said)
            });
            said.collect()
        })
    }
}

/// What a worker has answered.
struct Said {
    status: u16,
    body: String,
}

fn request(path: &str, token: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
    if let Some(token) = token {
        bytes.extend_from_slice(b"Authorization: Bearer ");
        bytes.extend_from_slice(token);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Asks a worker as somebody does who runs the server, on a socket that it is given.
fn ask(worker: &UnixStream, request: &[u8]) -> io::Result<Said> {
    let (ours, theirs) = UnixStream::pair()?;
    letters::say(worker, letters::OPERATOR, Some(theirs.as_fd()))?;
    drop(theirs);
    (&ours).write_all(request)?;
    let socket = Socket::from(OwnedFd::from(ours));
    let until = Instant::now() + PATIENCE;
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match read(&socket, &mut room, until)? {
            0 => break,
            n => bytes.extend_from_slice(&room[..n]),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Said { status: status.ok_or(ErrorKind::InvalidData)?, body: body.to_owned() })
}

/// Reads once, until that time at most.
fn read(mut socket: &Socket, room: &mut [u8], until: Instant) -> io::Result<usize> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))?;
    socket.read(room)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
