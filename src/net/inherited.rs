//! L3: listening sockets that this process was given when it began: by systemd, as `--listen
//! systemd` asks for them, by the process whose place it takes, or by its master if it is a worker.
//!
//! Rules:
//! * each is taken once, and nobody else in this process knows its number;
//! * systemd keeps what it gives: whoever waits there to be accepted is left to the next process;
//! * a master keeps the files of sockets, and a worker listens on nothing else than it was given.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Error, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{LazyLock, Mutex, PoisonError};

use socket2::{SockRef, Type};

use super::door::Door;
use super::system;

/// What asks for the sockets of systemd; `systemd:NAME` asks for those of a name.
const SYSTEMD: &str = "systemd";
/// The number of the first one that systemd gives.
const FIRST: i32 = 3;
/// What the process before has given: its own number, the number of a socket on which it waits for
/// word, and then in each line the number of a socket, a space, and its flag with the value.
pub(super) const HANDED_OVER: &str = "_WSLOOP_HANDED_OVER";

/// What a master has given: its own number, that of the worker, the number of the socket between
/// the two, and then in each line the number of a listening socket, whether systemd has it too, and
/// its flag with the value.
pub(super) const OF_MASTER: &str = "_WSLOOP_OF_MASTER";
/// Stands for a socket that systemd has too, or has not.
pub(super) const SHARED: [&str; 2] = ["alone", "shared"];

/// Everything that was given and not taken.
#[derive(Debug, Default)]
struct Given {
    /// Of systemd: the names of its socket units, or what those say.
    by_systemd: Vec<(String, OwnedFd)>,
    by_process: BTreeMap<String, Vec<OwnedFd>>,
    by_master: Option<BTreeMap<String, Vec<(OwnedFd, bool)>>>,
    /// Where the process before waits for word.
    waits: Option<UnixStream>,
}

/// What a worker knows of its master.
pub(super) struct Bond {
    /// The master's process.
    pub master: u32,
    /// Which of its workers this is, from 1 on.
    pub number: usize,
    /// The socket between the two.
    pub socket: UnixStream,
}

/// What was given for a value of a flag.
pub(super) struct Doors {
    /// The sockets.
    pub doors: Vec<Door>,
    /// Whoever gave them keeps them, to give them to another process.
    pub shared: bool,
    /// Their files are this process's from now on.
    pub owned: bool,
}

static GIVEN: LazyLock<Mutex<Given>> = LazyLock::new(|| Mutex::new(Given::of_this_process()));

/// The sockets for one value of a flag, if they were given. An error says why those that should
/// have been cannot be used.
pub(super) fn doors(flag: &str, text: &str) -> io::Result<Option<Doors>> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sockets) = given.by_process.remove(&name_of(flag, text)) {
        let doors = sockets.into_iter().map(Door::given).collect::<io::Result<_>>()?;
        return Ok(Some(Doors { doors, shared: false, owned: true }));
    }
    if let Some(by_master) = &mut given.by_master {
        let sockets = by_master.remove(&name_of(flag, text)).unwrap_or_default();
        let shared = sockets.iter().any(|(_, shared)| *shared);
        let doors = sockets.into_iter().map(|(socket, _)| Door::given(socket));
        let doors = doors.collect::<io::Result<_>>()?;
        return Ok(Some(Doors { doors, shared, owned: false }));
    }
    let name = match text.strip_prefix(SYSTEMD) {
        Some("") => None,
        Some(rest) if rest.starts_with(':') => Some(&rest[1..]),
        _ => return Ok(None),
    };
    let is_meant = |(of, _): &mut (String, OwnedFd)| name.is_none_or(|name| of == name);
    let taken: Vec<_> = given.by_systemd.extract_if(.., is_meant).collect();
    if taken.is_empty() {
        let why = "systemd has given no such socket; start this by a .socket unit, with \
                   FileDescriptorName= where a name is asked for";
        return Err(Error::new(ErrorKind::NotFound, why));
    }
    let doors = taken.into_iter().map(|(_, socket)| Door::given(socket));
    let doors = doors.collect::<io::Result<_>>()?;
    Ok(Some(Doors { doors, shared: true, owned: false }))
}

/// Under what name the sockets for one value of a flag are handed over.
pub(super) fn name_of(flag: &str, text: &str) -> String {
    format!("{flag} {text}")
}

/// What binds this process to a master, if it is a worker of one: asked for once, before anything
/// else is. A master that has gone is an error.
pub(super) fn bond() -> io::Result<Option<Bond>> {
    let Ok(text) = env::var(OF_MASTER) else { return Ok(None) };
    let mut lines = text.lines();
    let mut head = lines.next().unwrap_or_default().split(' ');
    let mut next = || head.next().and_then(|text| text.parse::<i32>().ok());
    let (master, number, socket) = (next(), next(), next().and_then(adopted));
    let is_there = |id: &u32| *id == std::os::unix::process::parent_id();
    let master = master.and_then(|id| u32::try_from(id).ok()).filter(is_there);
    let (Some(master), Some(number), Some(socket)) = (master, number, socket) else {
        return Err(gone());
    };
    let mut sockets = BTreeMap::<String, Vec<(OwnedFd, bool)>>::new();
    for line in lines {
        let mut parts = line.splitn(3, ' ');
        let socket = parts.next().and_then(|fd| fd.parse().ok()).and_then(adopted);
        if let (Some(socket), Some(shared), Some(name)) = (socket, parts.next(), parts.next()) {
            sockets.entry(name.to_owned()).or_default().push((socket, shared == SHARED[1]));
        }
    }
    let socket = UnixStream::from(socket);
    // A thread waits for what is said there.
    socket.set_nonblocking(false)?;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.by_master = Some(sockets);
    given.waits = Some(socket.try_clone()?);
    Ok(Some(Bond { master, number: usize::try_from(number).unwrap_or_default(), socket }))
}

/// There is no master to this worker.
pub(super) fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "this is a worker, and its master has gone")
}

/// Whether this process is a worker.
pub(super) fn is_worker() -> bool {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).by_master.is_some()
}

/// Whether another process waits for word that this one serves.
pub(super) fn takes_a_place() -> bool {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).waits.is_some()
}

/// This process serves: who waits for that is told. What was given and is not wanted is closed.
pub(super) fn serves() {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.by_systemd.clear();
    given.by_process.clear();
    given.by_master.iter_mut().for_each(BTreeMap::clear);
    if let Some(mut waits) = given.waits.take() {
        // Nobody to be told is no reason not to serve.
        let _ = waits.write_all(b"1");
    }
}

impl Given {
    fn of_this_process() -> Given {
        let mut given = Given::default();
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        let own = i32::try_from(std::process::id()).ok();
        if let Some(count) = number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == own) {
            let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
            let mut names = names.split(':');
            for fd in FIRST..FIRST.saturating_add(count) {
                let name = names.next().unwrap_or_default().to_owned();
                given.by_systemd.extend(adopted(fd).map(|socket| (name, socket)));
            }
        }
        let handed = env::var(HANDED_OVER).unwrap_or_default();
        let mut lines = handed.lines();
        let head = lines.next().and_then(|line| line.split_once(' '));
        if let Some((parent, waits)) = head
            && parent.parse() == Ok(std::os::unix::process::parent_id())
        {
            given.waits = waits.parse().ok().and_then(adopted).map(UnixStream::from);
            for (fd, name) in lines.filter_map(|line| line.split_once(' ')) {
                let socket = fd.parse().ok().and_then(adopted);
                given.by_process.entry(name.to_owned()).or_default().extend(socket);
            }
        }
        given
    }
}

/// The socket of that number, which is this process's alone from here on. `None` where there is no
/// socket.
fn adopted(fd: i32) -> Option<OwnedFd> {
    let socket = (fd >= FIRST).then(|| system::own(fd)).flatten()?;
    let set = SockRef::from(&socket);
    set.set_cloexec(true).and_then(|()| set.set_nonblocking(true)).ok()?;
    Some(socket)
}

/// Whether it can be listened on.
pub(super) fn check(socket: &OwnedFd) -> io::Result<()> {
    let set = SockRef::from(socket);
    match set.r#type()? == Type::STREAM && set.is_listener()? {
        true => Ok(()),
        false => {
            let why = "a socket that was given is not listening for streams; a .socket unit wants \
                       ListenStream= and Accept=no";
            Err(Error::new(ErrorKind::InvalidInput, why))
        }
    }
}
