//! L3: names are looked up on a thread of their own, for the resolver blocks.
//!
//! Its rules:
//! * one look-up of a name is under way at a time, whoever waits for it;
//! * an answer for which nobody waits any more serves the next dial, as does one that took long;
//!   the name is then looked up beside that, so that the dial after it has what is newer.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::Waker;

use crate::link::LinkId;

/// Finds the addresses of a name, in the order in which they are to be tried.
pub(super) type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// What takes longer is said.
const LONG: Duration = Duration::from_secs(2);
/// How long an answer may serve.
const KEPT: Duration = Duration::from_secs(60);

type Found = io::Result<Vec<SocketAddr>>;

/// The look-ups that are under way, and what came of others.
#[derive(Debug)]
pub(super) struct Lookups {
    waker: Arc<Waker>,
    sender: Sender<(usize, Found)>,
    receiver: Receiver<(usize, Found)>,
    pub(super) look_up: LookUp,
    names: Vec<Name>,
    answered: VecDeque<(LinkId, Found)>,
}

#[derive(Debug)]
struct Name {
    host: String,
    port: u16,
    /// Since when it is being looked up, if it is.
    since: Option<Instant>,
    waiting: Vec<LinkId>,
    /// An answer for the next dial, and when it came.
    kept: Option<(Instant, Vec<SocketAddr>)>,
    said: bool,
}

impl Lookups {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (sender, receiver) = channel();
        let look_up = |host: &str, port| Ok((host, port).to_socket_addrs()?.collect());
        let (names, answered) = (Vec::new(), VecDeque::new());
        Lookups { waker, sender, receiver, look_up, names, answered }
    }

    /// The addresses of a name, if they are known; else `link` waits for them.
    pub(super) fn begin(
        &mut self,
        link: LinkId,
        host: &str,
        port: u16,
    ) -> io::Result<Option<Vec<SocketAddr>>> {
        let known = self.names.iter().position(|name| (&*name.host, name.port) == (host, port));
        let at = known.unwrap_or_else(|| {
            let (host, waiting) = (host.to_owned(), Vec::new());
            self.names.push(Name { host, port, since: None, waiting, kept: None, said: false });
            self.names.len() - 1
        });
        let kept = self.names[at].kept.take().filter(|(at, _)| at.elapsed() < KEPT);
        if self.names[at].since.is_none() {
            self.look_up(at)?;
        }
        if kept.is_none() {
            self.names[at].waiting.push(link);
        }
        Ok(kept.map(|(_, addresses)| addresses))
    }

    /// A link that has waited, and what was found.
    pub(super) fn next(&mut self) -> Option<(LinkId, Found)> {
        while let Ok((at, found)) = self.receiver.try_recv() {
            let name = &mut self.names[at];
            let took = name.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            if std::mem::take(&mut name.said) {
                tracing::warn!("looking up {} took {} s", name.host, took.as_secs());
            }
            let waiting = std::mem::take(&mut name.waiting);
            if let Ok(addresses) = found.as_ref()
                && (took >= LONG || waiting.is_empty())
            {
                name.kept = Some((Instant::now(), addresses.clone()));
            }
            self.answered.extend(waiting.into_iter().map(|link| (link, again(&found))));
        }
        self.answered.pop_front()
    }

    /// Nobody waits at that link any more.
    pub(super) fn forget(&mut self, link: LinkId) {
        let waiting = self.names.iter_mut().map(|name| &mut name.waiting);
        waiting.for_each(|waiting| waiting.retain(|one| *one != link));
        self.answered.retain(|(one, _)| *one != link);
    }

    /// Says which names take long; returns when there may be more to say.
    pub(super) fn say_slow(&mut self) -> Option<Duration> {
        let mut next = None;
        for name in self.names.iter_mut().filter(|name| !name.said) {
            let Some(since) = name.since else { continue };
            let left = LONG.saturating_sub(since.elapsed());
            if left.is_zero() {
                name.said = true;
                tracing::warn!(
                    "looking up {} takes long; it is dialed when there is an answer; see the name \
                     servers in /etc/resolv.conf",
                    name.host
                );
            } else {
                next = Some(next.map_or(left, |next: Duration| next.min(left)));
            }
        }
        next
    }

    fn look_up(&mut self, at: usize) -> io::Result<()> {
        let (waker, sender, look_up) = (self.waker.clone(), self.sender.clone(), self.look_up);
        let (host, port) = (self.names[at].host.clone(), self.names[at].port);
        std::thread::Builder::new().name("resolver".into()).spawn(move || {
            let found = look_up(&host, port);
            // The loop may have ended.
            let _ = sender.send((at, found));
            let _ = waker.wake();
        })?;
        self.names[at].since = Some(Instant::now());
        Ok(())
    }
}

/// The same for another who has waited.
fn again(found: &Found) -> Found {
    match found {
        Ok(addresses) => Ok(addresses.clone()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use mio::{Poll, Token};

    use super::*;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);

    /// Answers one after the other, each when it is let.
    fn held(_: &str, port: u16) -> Found {
        let number = ASKED.fetch_add(1, Ordering::AcqRel) + 1;
        while ANSWERED.load(Ordering::Acquire) < number {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(vec![([127, 0, 0, number as u8], port).into()])
    }

    fn until(asked: usize) {
        while ASKED.load(Ordering::Acquire) < asked {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait(lookups: &mut Lookups) -> (u32, Vec<SocketAddr>) {
        loop {
            if let Some((link, found)) = lookups.next() {
                break (link.index, found.expect("addresses"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_name_is_looked_up_once_at_a_time_and_a_late_answer_serves_the_next_dial() {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let mut lookups = Lookups { look_up: held, ..Lookups::new(waker) };
        let link = |index| LinkId { index, generation: 1 };
        let address = |last| vec![SocketAddr::from(([127, 0, 0, last], 1))];
        for index in 0..3 {
            assert!(lookups.begin(link(index), "redis", 1).expect("a thread").is_none());
        }
        lookups.forget(link(1));
        until(1);
        ANSWERED.store(1, Ordering::Release);
        assert_eq!(wait(&mut lookups), (0, address(1)));
        assert_eq!(wait(&mut lookups), (2, address(1)));
        assert_eq!(ASKED.load(Ordering::Acquire), 1, "for all three");

        // It was quick: the next dial has its own.
        assert!(lookups.begin(link(3), "redis", 1).expect("a thread").is_none());
        lookups.forget(link(3));
        until(2);
        ANSWERED.store(2, Ordering::Release);
        while lookups.names[0].kept.is_none() {
            assert!(lookups.next().is_none(), "nobody waits");
        }
        // Nobody waited for it: the next dial begins at once, and has a newer one looked up.
        assert_eq!(lookups.begin(link(4), "redis", 1).expect("a thread"), Some(address(2)));
        assert!(lookups.begin(link(5), "redis", 1).expect("a thread").is_none());
        until(3);
        ANSWERED.store(3, Ordering::Release);
        assert_eq!(wait(&mut lookups), (5, address(3)));
    }

    /// Lines of the log.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_takes_long_is_said_once_with_what_to_look_at() {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let mut lookups = Lookups { look_up: |_, _| Ok(Vec::new()), ..Lookups::new(waker) };
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            let begun = lookups.begin(LinkId { index: 0, generation: 1 }, "redis.lan", 1);
            assert!(begun.expect("a thread").is_none());
            assert!(lookups.say_slow().is_some_and(|left| left <= LONG), "it is early");
            assert!(lines.0.lock().expect("nobody panicked").is_empty());
            // The answer waits to be taken, which is as if there were none.
            lookups.names[0].since = Instant::now().checked_sub(LONG);
            assert_eq!([lookups.say_slow(), lookups.say_slow()], [None, None]);
        });
        let said = String::from_utf8(lines.0.lock().expect("nobody panicked").clone());
        let said = said.expect("text");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("looking up redis.lan takes long"), "{said}");
        assert!(said.contains("/etc/resolv.conf"), "{said}");
    }
}
