//! L2: an application in another process, which handles the conns of an endpoint over one link: a
//! Unix socket at which it listens and which is dialed.
//!
//! What happens to conns waits in the queue of their endpoint, as it does for an application in
//! this process; here it goes on as frames, and what the application wants comes back as orders,
//! the same ones. `words` is about what is in the frames. It has no socket and no clock. Its rules:
//! * a link that is lost is dialed again, after a pause that grows;
//! * as much is under way as the application has given credit for, and as much waits here as one
//!   turn sends; the rest stays in the queue, and when that is full no conn is read;
//! * where conns are kept for the next application, each has what it asked for kept here, and the
//!   next is told of it before anything else that happened to it;
//! * what is not understood of the application is refused by itself, and counted; behind a frame
//!   that cannot be framed the link ends.

mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::browser::endpoint::{ConnId, Order, SocketEvent};
use crate::browser::settings::HandlerSettings;
use crate::link::{Backoff, LinkId, SaidOnce, Target};
use crate::proto::handler::{
    FramingError, HandlerKind, HandlerReader, HandlerSaid, UNCOUNTED, VERSION, append,
};

/// Longest time for a dial and the greeting.
const GREETING_MS: u64 = 5_000;
/// How long what is wrong with a link may take to be told.
const LAST_WORDS_MS: u64 = 1_000;
/// Bytes that wait here before more stays in the queue.
const HIGH: usize = 256 << 10;
/// Capacity that is kept when nothing waits.
const KEPT: usize = 64 << 10;
/// From so many bytes on that wait for a conn the application is told.
const SLOW: usize = 64 << 10;
/// Most reasons why it is not there that are said.
const REASONS: usize = 4;
/// Most characters of a frame that says what is wrong.
const MAX_COMPLAINT: usize = 1024;

/// The application of an endpoint.
#[derive(Debug)]
pub(crate) struct Handler {
    settings: HandlerSettings,
    /// What the paths of its endpoint begin with.
    path: String,
    max_message: usize,
    state: State,
    link: Option<LinkId>,
    backoff: Backoff,
    reader: HandlerReader,
    outbox: Vec<u8>,
    sent: usize,
    /// Bytes that may be under way besides those that are; none is any number.
    credit: Option<i64>,
    /// Events that were taken from the queue, and are still of it.
    waiting: VecDeque<SocketEvent>,
    /// What each conn has asked for of which an application was told, where conns are kept.
    known: BTreeMap<u64, Box<[u8]>>,
    /// Those of them that this application is still to be told of.
    resuming: VecDeque<u64>,
    /// Conns that it was told are slow.
    slow: BTreeSet<u64>,
    /// Why it was not there, as far as that was said since it last was.
    said_away: Vec<String>,
    /// It was said that an order was wrong.
    pub said_wrong: SaidOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting {
        until_ms: u64,
    },
    Dialing {
        since_ms: u64,
    },
    Greeting {
        since_ms: u64,
    },
    Up {
        since_ms: u64,
    },
    /// It was told what is wrong, and the link is closed behind that.
    Ending {
        since_ms: u64,
    },
}

/// What the owner is to do about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandlerDue {
    /// Dial it.
    Dial,
    /// Give it up, for this reason.
    GiveUp(&'static str),
    /// Close it: what was to be told was not taken in time.
    Close,
}

/// What the application has said.
#[derive(Debug)]
pub(crate) enum HandlerStep {
    /// Nothing more that is whole.
    Idle,
    /// It has greeted, and decides about handshakes or not.
    Up(bool),
    /// Something that it wants.
    Order(Order),
    /// It may be sent more.
    More,
    /// Something that it may not want, and has been told so.
    Refused(String),
    /// What cannot be framed.
    Broken(FramingError),
}

impl Handler {
    /// That of an endpoint with this path; nothing is dialed yet.
    pub(crate) fn new(
        settings: &HandlerSettings,
        path: &str,
        max_message: usize,
        seed: u64,
    ) -> Handler {
        Handler {
            settings: settings.clone(),
            path: path.to_owned(),
            max_message,
            state: State::Resting { until_ms: 0 },
            link: None,
            backoff: Backoff::new(seed),
            reader: HandlerReader::new(max_message),
            outbox: Vec::new(),
            sent: 0,
            credit: Some(0),
            waiting: VecDeque::new(),
            known: BTreeMap::new(),
            resuming: VecDeque::new(),
            slow: BTreeSet::new(),
            said_away: Vec::new(),
            said_wrong: SaidOnce::default(),
        }
    }

    /// Whether it is to be said why it is not there: each reason once, and a few of them.
    pub(crate) fn says_away(&mut self, why: &str) -> bool {
        let is_new =
            self.said_away.len() < REASONS && !self.said_away.iter().any(|said| said == why);
        if is_new {
            self.said_away.push(why.to_owned());
        }
        is_new
    }

    /// The number of its endpoint.
    pub(crate) fn endpoint(&self) -> u8 {
        self.settings.endpoint
    }

    /// Whether conns are kept for the next application.
    pub(crate) fn keeps(&self) -> bool {
        self.settings.keeps
    }

    /// Where it is to be dialed.
    pub(crate) fn target(&self) -> &Target {
        &self.settings.target
    }

    /// What the paths of its endpoint begin with.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its link, when it has one.
    pub(crate) fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// Whether it has greeted.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Whether it is read.
    pub(crate) fn reads(&self) -> bool {
        !matches!(self.state, State::Ending { .. })
    }

    /// Whether it only waits for its last words to be taken.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. })
    }

    /// Bytes of memory that it holds. Events are counted in the queue of its endpoint.
    pub(crate) fn held_bytes(&self) -> usize {
        let known = self.known.values().map(|request| request.len()).sum::<usize>();
        self.outbox.capacity() + self.reader.held_bytes() + known
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Option<HandlerDue> {
        if self.deadline_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return None;
        }
        match self.state {
            State::Resting { .. } => {
                self.state = State::Dialing { since_ms: now_ms };
                Some(HandlerDue::Dial)
            }
            State::Dialing { .. } => Some(HandlerDue::GiveUp("the dial took too long")),
            State::Greeting { .. } => Some(HandlerDue::GiveUp("it did not greet in time")),
            State::Ending { .. } => Some(HandlerDue::Close),
            State::Up { .. } => None,
        }
    }

    /// When [`Handler::tick`] has something to do next.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Resting { until_ms } => Some(until_ms),
            State::Dialing { since_ms } | State::Greeting { since_ms } => {
                Some(since_ms + GREETING_MS)
            }
            State::Ending { since_ms } => Some(since_ms + LAST_WORDS_MS),
            State::Up { .. } => None,
        }
    }

    /// Its link has this name, and is being dialed.
    pub(crate) fn dialing(&mut self, link: LinkId, now_ms: u64) {
        (self.link, self.state) = (Some(link), State::Dialing { since_ms: now_ms });
    }

    /// The dial succeeded: greets.
    pub(crate) fn connected(&mut self, now_ms: u64) {
        self.state = State::Greeting { since_ms: now_ms };
        let longest = u32::try_from(self.max_message).unwrap_or(u32::MAX);
        let parts = [&VERSION.to_be_bytes()[..], &longest.to_be_bytes(), self.path.as_bytes()];
        append(HandlerKind::Hello, 0, &parts, &mut self.outbox);
    }

    /// What it says next, from the front of `input`. Call it until it is [`HandlerStep::Idle`].
    pub(crate) fn next(&mut self, input: &mut &[u8], now_ms: u64) -> HandlerStep {
        let is_up = self.is_up();
        let frame = match self.reader.next(input) {
            Ok(Some(frame)) => frame,
            Ok(None) => return HandlerStep::Idle,
            // Whoever does not greet is another program, whatever its first bytes would be.
            Err(_) if !is_up => return HandlerStep::Broken(FramingError::NoHello),
            Err(error) => return HandlerStep::Broken(error),
        };
        if !is_up {
            return match frame.hello() {
                Ok(hello) => {
                    self.state = State::Up { since_ms: now_ms };
                    self.said_away.clear();
                    self.credit = (hello.credit != UNCOUNTED).then_some(i64::from(hello.credit));
                    self.resuming = self.known.keys().copied().collect();
                    HandlerStep::Up(hello.decides)
                }
                Err(error) => HandlerStep::Broken(error),
            };
        }
        let (kind, conn) = (frame.kind, frame.conn);
        let order = match frame.said() {
            Ok(HandlerSaid::Credit(bytes)) => {
                let most = i64::from(u32::MAX);
                self.credit = self.credit.map(|credit| most.min(credit + i64::from(bytes)));
                return HandlerStep::More;
            }
            Ok(said) => match words::order(said) {
                Some(order) => order.checked().map_err(|bad| bad.to_string()),
                None => return HandlerStep::More,
            },
            Err(wrong) => Err(wrong.to_string()),
        };
        match order {
            Ok(order) => HandlerStep::Order(order),
            Err(why) => {
                let why = format!("an order of kind {kind}: {why}");
                self.complain(conn, &why);
                HandlerStep::Refused(why)
            }
        }
    }

    /// It is gone, or could not be reached.
    pub(crate) fn lost(&mut self, now_ms: u64) {
        let up_ms = match self.state {
            State::Up { since_ms } => Some(now_ms.saturating_sub(since_ms)),
            _ => None,
        };
        self.link = None;
        self.state = State::Resting { until_ms: now_ms + self.backoff.pause_ms(up_ms) };
        self.forget_link();
    }

    /// It is to be told what is wrong with it, and its link closed behind that.
    pub(crate) fn end(&mut self, error: &FramingError, now_ms: u64) {
        self.forget_link();
        self.complain(0, &error.to_string());
        self.state = State::Ending { since_ms: now_ms };
    }

    fn forget_link(&mut self) {
        self.reader = HandlerReader::new(self.max_message);
        (self.outbox, self.sent, self.credit) = (Vec::new(), 0, Some(0));
        self.resuming.clear();
        self.slow.clear();
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.outbox[self.sent..]
    }

    /// The first `n` of them are sent; whether that was all.
    pub(crate) fn advance(&mut self, n: usize) -> bool {
        self.sent += n;
        assert!(self.sent <= self.outbox.len(), "more was sent than waited");
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.outbox.shrink_to(KEPT);
            self.sent = 0;
        } else if self.sent >= HIGH {
            self.outbox.drain(..self.sent);
            self.sent = 0;
        }
        self.outbox.is_empty()
    }

    /// Whether something of it is still to be sent that it may be sent.
    pub(crate) fn has_unsaid(&self) -> bool {
        let waits = !self.waiting.is_empty() || !self.resuming.is_empty();
        !self.unsent().is_empty() || waits && self.has_room()
    }

    /// Takes events over from the queue of its endpoint, behind those that it has.
    pub(crate) fn take(&mut self, events: &mut Vec<SocketEvent>) {
        self.waiting.extend(events.drain(..));
    }

    /// Makes frames of what waits, as much as may go out. Returns how many events those were, with
    /// how many bytes of messages, which are out of the queue then.
    pub(crate) fn fill(&mut self) -> (usize, usize) {
        let (mut events, mut bytes) = (0, 0);
        while self.has_room()
            && let Some(conn) = self.resuming.pop_front()
        {
            let before = self.outbox.len();
            if let Some(request) = self.known.get(&conn) {
                append(HandlerKind::Resumed, conn, &[request], &mut self.outbox);
            }
            self.spend(before);
        }
        while self.has_room()
            && let Some(event) = self.waiting.pop_front()
        {
            let before = self.outbox.len();
            events += 1;
            bytes += event.held_bytes();
            self.say(event);
            self.spend(before);
        }
        (events, bytes)
    }

    /// So many bytes wait for a conn whose socket takes no more, or none any more.
    pub(crate) fn note_slow(&mut self, conn: ConnId, bytes: usize) {
        let name = words::name(conn);
        let is_new = match bytes {
            0 => self.slow.remove(&name),
            _ => bytes >= SLOW && self.has_room() && self.slow.insert(name),
        };
        if is_new && self.is_up() {
            let before = self.outbox.len();
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
            append(HandlerKind::Slow, name, &[&bytes], &mut self.outbox);
            self.spend(before);
        }
    }

    /// Conns are kept for the next application, but for those that were never let in: `is_open`
    /// says who was. Returns how many events are forgotten with them.
    pub(crate) fn keep(&mut self, is_open: impl Fn(ConnId) -> bool) -> usize {
        let is_asked = |event: &SocketEvent| matches!(event, SocketEvent::Asked { .. });
        let before = self.waiting.len();
        self.waiting.retain(|event| !is_asked(event));
        let closed: BTreeSet<u64> = self.waiting.iter().filter_map(words::closed).collect();
        self.known.retain(|name, _| is_open(words::conn(*name)) || closed.contains(name));
        before - self.waiting.len()
    }

    /// Nothing is kept for the next application.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.known.clear();
    }

    /// A conn that had asked was refused: nothing more is said of it.
    pub(crate) fn refused(&mut self, conn: ConnId) {
        let name = words::name(conn);
        if !self.waiting.iter().any(|event| words::closed(event) == Some(name)) {
            self.known.remove(&name);
        }
    }

    /// Whether another frame may be made: there is credit, and little waits.
    fn has_room(&self) -> bool {
        self.is_up() && self.unsent().len() < HIGH && self.credit.is_none_or(|credit| credit > 0)
    }

    /// What stands behind `before` is under way.
    fn spend(&mut self, before: usize) {
        let bytes = (self.outbox.len() - before) as i64;
        self.credit = self.credit.map(|credit| credit - bytes);
    }

    /// Makes a frame of an event. Where conns are kept, nothing is said of one that the application
    /// was not told of: it came and went before.
    fn say(&mut self, event: SocketEvent) {
        let keeps = self.settings.keeps;
        let Some(name) = words::conn_of(&event) else { return };
        match &event {
            SocketEvent::Opened { request, .. } | SocketEvent::Asked { request, .. } if keeps => {
                self.known.insert(name, words::request(request).into());
            }
            SocketEvent::Closed { .. } => {
                self.slow.remove(&name);
                if self.known.remove(&name).is_none() && keeps {
                    return;
                }
            }
            SocketEvent::Message { .. } if keeps && !self.known.contains_key(&name) => return,
            _ => {}
        }
        words::append_event(name, event, &mut self.outbox);
    }

    fn complain(&mut self, conn: u64, why: &str) {
        if self.unsent().len() >= HIGH {
            return;
        }
        let why: String = why.chars().take(MAX_COMPLAINT).collect();
        let before = self.outbox.len();
        append(HandlerKind::Error, conn, &[why.as_bytes()], &mut self.outbox);
        self.spend(before);
    }
}
