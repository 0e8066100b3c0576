//! L2: requests that go on to an application, and its responses on their way back.
//!
//! It owns both ends of every exchange: the browser's link, which it borrows for that time, as a
//! [`Guest`], and the application's. It has no socket and no clock. Its rules:
//! * where a message ends is certain, or it is an error: nothing is passed on of which two readers
//!   could think differently;
//! * of either direction at most [`HIGH`] and one read wait here: whose other end takes no more is
//!   not read;
//! * a link of the application has one exchange at a time, and the next only when both messages of
//!   the one before have ended where they said;
//! * a request waits a little for an application that cannot be reached, as while it restarts:
//!   nothing of it was sent;
//! * an application may close a link that rests at any time. A request that may be sent twice is,
//!   once, if such a link brought no byte of an answer; another goes only over a link that is new
//!   or rested less than a second;
//! * what the browser has sent behind its request waits until that is answered.
//!
//! `request` and `response` are about heads, `exchange` about what passes, `pool` about links,
//! `ends` about how an exchange ends, `desk` about what the application in this process answers.

mod buffer;
mod desk;
mod ends;
mod exchange;
mod pool;
mod request;
mod response;
mod settings;

use std::collections::VecDeque;
use std::net::IpAddr;

use slab::Slab;

use crate::access::proxies::{Transport, Via};
use crate::link::timers::{self, Tick};
use crate::link::{LOOKUP_MS, LinkId, Metrics, SaidOnce, Target, Wish};
use crate::proto::http::body::{BodyReader, Framing};
use buffer::Buffer;
pub(crate) use desk::PlainAnswer;
use desk::{AtDesk, Desk};
pub use desk::{PlainRequest, PlainRequests, RequestId};
use request::Traits;
pub(crate) use request::{Asker, Forwarded, Unforwarded, ask, forward};
pub use settings::{Front, Speaks, Upstream};
pub(crate) use settings::{Way, upstream};

/// Bytes that may wait for one end before the other is not read any more.
const HIGH: usize = 64 << 10;
/// Bytes below which it is read again.
const LOW: usize = 32 << 10;
/// Most bytes that are kept of what comes behind a request.
const EARLY: usize = 16 << 10;
/// Longest head of an answer.
const MAX_HEAD: usize = 32 << 10;
/// The longest time for a dial.
const DIAL_MS: u64 = 5_000;
/// The time from a dial that failed to the next, while requests wait for one.
const AGAIN_MS: u64 = 100;

/// What the owner is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Dial that for the upstream link of this number, and say what it is called with
    /// [`Proxy::dialing`].
    Dial(usize, Target),
    /// Something waits for this link.
    Flush(LinkId),
    /// Ask for this link's wish again.
    Resume(LinkId),
    /// Look at this link's deadline again.
    Wake(LinkId),
    /// Close this link: it is forgotten here.
    Close(LinkId),
    /// Take this browser's link back.
    Return(Returned),
    /// Tell the application of that endpoint what waits for it, with [`Proxy::next_asked`].
    Tell(usize),
}

/// A browser's link that is given back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub link: LinkId,
    /// Where it comes from, as the request before said.
    pub address: Option<IpAddr>,
    /// How its bytes come, and by whom.
    pub via: (Transport, Via),
    /// When its timer entry fires.
    pub wake: Tick,
    /// What it sent behind its request.
    pub early: Vec<u8>,
    /// It may ask for more; else its end is to be shut.
    pub stays: bool,
}

/// A browser whose request is with an upstream.
#[derive(Debug)]
struct Guest {
    link: LinkId,
    address: Option<IpAddr>,
    via: (Transport, Via),
    wake: Tick,
    /// The number of the upstream, or of the endpoint if it is asked of that.
    to: usize,
    is_at_desk: bool,
    /// What the application of the endpoint is to be told.
    asked: Option<Box<PlainRequest>>,
    traits: Traits,
    stage: Stage,
    /// Its body, and how that goes on.
    body: BodyReader,
    framing: Framing,
    /// What waits for the upstream, and for the browser.
    up: Buffer,
    down: Buffer,
    early: Vec<u8>,
    /// When it came, and when something of it last moved.
    came: Tick,
    moved: Tick,
    /// A byte of an answer is on its way to it.
    answered: bool,
    /// Its link is closed behind the answer.
    closes: bool,
    /// Its answer ends too early: its link is closed behind what there is of it.
    breaks: bool,
    /// It was sent once before.
    again: bool,
}

/// Where an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits for a link.
    Waiting,
    /// It is on that link.
    On(usize),
    /// Bytes of any kind go both ways on that link.
    Tunnel(usize),
    /// The application in this process is to answer.
    Desk(AtDesk),
    /// The answer is whole.
    Done,
}

/// A link to an upstream.
#[derive(Debug)]
struct Uplink {
    /// Its name, once it is being dialed.
    link: Option<LinkId>,
    to: usize,
    state: State,
    wake: Tick,
    /// It has brought an answer before.
    used: bool,
    /// The beginning of a head that has not arrived whole.
    head: Vec<u8>,
    /// The body that is arriving, and how it goes on.
    body: Option<(BodyReader, response::Plan)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialing { until: Tick },
    Resting { since: Tick },
    Serving { guest: usize },
}

/// One upstream.
#[derive(Debug)]
struct App {
    settings: Upstream,
    /// Its links, dialed ones among them, and how many of those are not made.
    links: usize,
    dialing: usize,
    /// Those that rest, the one that was used last at the end.
    resting: Vec<usize>,
    /// Guests that wait, in the order of their coming.
    waiting: VecDeque<usize>,
    /// It could not be reached: no link is dialed before that time, and but one at a time then.
    away: Option<Tick>,
    /// It was seen to leave a link open behind an answer, and did not close one soon after since.
    keeps_links: bool,
    said: SaidOnce,
}

/// Everything that goes on between browsers and upstreams.
#[derive(Debug)]
pub(crate) struct Proxy {
    apps: Vec<App>,
    /// Endpoints, by their numbers.
    desks: Vec<Desk>,
    /// Guests that are asked of endpoints, or were.
    at_desks: usize,
    /// Requests that endpoints were ever asked.
    asked: u64,
    guests: Slab<Guest>,
    uplinks: Slab<Uplink>,
    errands: VecDeque<Errand>,
    timeout: Tick,
    tunnel_timeout: Tick,
    patience: Tick,
    connections: usize,
    idle: usize,
    most_waiting: usize,
    now: Tick,
    /// The server ends: no link is kept.
    ending: bool,
}

impl Proxy {
    /// Nothing is dialed yet. Endpoints answer such requests, or none.
    pub(crate) fn new<'r>(
        front: &Front,
        endpoints: impl Iterator<Item = Option<&'r PlainRequests>>,
    ) -> Proxy {
        let app = |settings: &Upstream| App {
            settings: settings.clone(),
            links: 0,
            dialing: 0,
            resting: Vec::new(),
            waiting: VecDeque::new(),
            away: None,
            keeps_links: false,
            said: SaidOnce::default(),
        };
        Proxy {
            apps: front.upstreams.iter().map(app).collect(),
            desks: endpoints.map(|settings| Desk::new(settings.copied())).collect(),
            at_desks: 0,
            asked: 0,
            guests: Slab::new(),
            uplinks: Slab::new(),
            errands: VecDeque::new(),
            timeout: timers::ticks(front.timeout_ms),
            tunnel_timeout: timers::ticks(front.tunnel_timeout_ms),
            patience: timers::ticks(front.patience_ms),
            connections: front.connections,
            idle: front.idle,
            most_waiting: front.waiting,
            now: 0,
            ending: false,
        }
    }

    /// It is now.
    pub(crate) fn set_now(&mut self, now: Tick) {
        self.now = now;
    }

    /// Takes over a browser's link for its request, which is all that is read of it so far. The
    /// number that is returned names the guest.
    pub(crate) fn welcome(
        &mut self,
        link: LinkId,
        from: (Option<IpAddr>, (Transport, Via), Tick),
        request: Forwarded,
        metrics: &mut Metrics,
    ) -> usize {
        let Forwarded { to, head, framing, traits, early, asked } = request;
        let (address, via, wake) = from;
        let repeatable = traits.idempotent && matches!(framing, Framing::Empty | Framing::Sized(0));
        let up = Buffer::of(head, repeatable);
        let at = self.guests.insert(Guest {
            link,
            address,
            via,
            wake,
            to,
            is_at_desk: asked.is_some(),
            asked,
            traits,
            stage: Stage::Waiting,
            body: BodyReader::new(framing),
            framing,
            up,
            down: Buffer::default(),
            early: Vec::new(),
            came: self.now,
            moved: self.now,
            answered: false,
            closes: self.ending,
            breaks: false,
            again: false,
        });
        match self.guests[at].is_at_desk {
            true => self.come_to_desk(at, metrics),
            false => self.come_to_app(at, metrics),
        }
        if !early.is_empty() {
            self.guest_received(at, &early, metrics);
        }
        at
    }

    fn come_to_app(&mut self, at: usize, metrics: &mut Metrics) {
        metrics.upstream_requests_total += 1;
        let Guest { to, traits, .. } = self.guests[at];
        if traits.expects && self.apps[to].settings.speaks == Speaks::Uwsgi {
            self.go_on(at);
        }
        match self.apps[to].waiting.len() < self.most_waiting {
            true => {
                self.apps[to].waiting.push_back(at);
                self.serve(to, metrics);
            }
            false => {
                let text = "Too many requests wait for the application; try again later.";
                self.fail(at, 503, text, "too many requests wait for it", metrics);
            }
        }
    }

    /// Who waits for a 100 has its body wanted.
    fn go_on(&mut self, at: usize) {
        let guest = &mut self.guests[at];
        guest.down.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.errands.push_back(Errand::Flush(guest.link));
    }

    /// Whether the owner is to do something.
    #[inline]
    pub(crate) fn has_errands(&self) -> bool {
        !self.errands.is_empty()
    }

    /// The next thing that the owner is to do.
    pub(crate) fn next_errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// What a guest wants as to its input.
    pub(crate) fn guest_wish(&self, at: usize) -> Wish {
        match self.guests.get(at) {
            Some(guest) if guest.early.len() >= EARLY => Wish::Rest,
            Some(guest) if guest.up.len() >= HIGH && !guest.is_at_desk => Wish::Rest,
            Some(_) => Wish::Read,
            None => Wish::Rest,
        }
    }

    /// What an upstream's link wants as to its input.
    pub(crate) fn uplink_wish(&self, at: usize) -> Wish {
        match self.uplinks.get(at).map(|uplink| uplink.state) {
            Some(State::Serving { guest }) if self.guests[guest].down.len() >= HIGH => Wish::Rest,
            Some(_) => Wish::Read,
            None => Wish::Rest,
        }
    }

    /// What waits for a guest.
    pub(crate) fn guest_unsent(&self, at: usize) -> &[u8] {
        self.guests.get(at).map_or(&[], |guest| guest.down.unsent())
    }

    /// What waits for an upstream's link.
    pub(crate) fn uplink_unsent(&self, at: usize) -> &[u8] {
        match self.uplinks.get(at).map(|uplink| uplink.state) {
            Some(State::Serving { guest }) => self.guests[guest].up.unsent(),
            _ => &[],
        }
    }

    /// Bytes of memory that a guest holds, for both ends.
    pub(crate) fn guest_held(&self, at: usize) -> usize {
        self.guests.get(at).map_or(0, |guest| {
            let head = guest.uplink().map_or(0, |up| self.uplinks[up].head.capacity());
            let asked = guest.asked.as_ref().map_or(0, |asked| asked.held_bytes());
            let waiting = guest.up.held_bytes() + guest.down.held_bytes() + guest.early.capacity();
            waiting + head + asked
        })
    }

    /// When [`Proxy::guest_due`] has something to do, if that is before its timer entry fires:
    /// then that is to fire at the tick that is noted with [`Proxy::guest_wakes`].
    pub(crate) fn guest_deadline(&self, at: usize) -> Option<Tick> {
        let guest = self.guests.get(at)?;
        let mut deadline = guest.moved + self.patience_of(guest);
        if guest.stage == Stage::Waiting
            && let Some(again) = self.apps[guest.to].away.filter(|again| *again > self.now)
        {
            deadline = deadline.min(again);
        }
        (guest.wake == 0 || deadline < guest.wake).then_some(deadline)
    }

    /// The longest time in which nothing may move at the stage where it is.
    fn patience_of(&self, guest: &Guest) -> Tick {
        match guest.stage {
            Stage::Tunnel(_) => self.tunnel_timeout,
            Stage::Desk(_) => self.desks[guest.to].timeout,
            _ => self.timeout,
        }
    }

    /// The same for an upstream's link.
    pub(crate) fn uplink_deadline(&self, at: usize) -> Option<Tick> {
        let uplink = self.uplinks.get(at)?;
        let deadline = match uplink.state {
            State::Dialing { until } => until,
            State::Resting { since } => since + timers::ticks(pool::REST_MS),
            State::Serving { .. } => return None,
        };
        (uplink.wake == 0 || deadline < uplink.wake).then_some(deadline)
    }

    /// A guest's timer entry fires then.
    pub(crate) fn guest_wakes(&mut self, at: usize, wake: Tick) {
        self.guests[at].wake = wake;
    }

    /// The same for an upstream's link.
    pub(crate) fn uplink_wakes(&mut self, at: usize, wake: Tick) {
        self.uplinks[at].wake = wake;
    }

    /// The link of that number is being dialed, under this name.
    pub(crate) fn dialing(&mut self, at: usize, link: LinkId) {
        let until = self.now + timers::ticks(DIAL_MS).min(self.timeout);
        if let Some(uplink) = self.uplinks.get_mut(at) {
            (uplink.link, uplink.state) = (Some(link), State::Dialing { until });
        }
    }

    /// Its name is being looked up, or was.
    pub(crate) fn on_lookup(&mut self, at: usize, begins: bool) {
        let most = if begins { LOOKUP_MS } else { DIAL_MS };
        let until = self.now + timers::ticks(most).min(self.timeout);
        if let Some(uplink) = self.uplinks.get_mut(at)
            && let State::Dialing { .. } = uplink.state
        {
            uplink.state = State::Dialing { until };
        }
    }

    /// The server ends: what is under way is ended, and nothing is kept.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.guests.iter_mut().for_each(|(_, guest)| guest.closes = true);
    }

    /// The guests, and the links to upstreams that have their names.
    pub(crate) fn count(&self) -> (usize, usize) {
        let named = self.uplinks.iter().filter(|(_, uplink)| uplink.link.is_some());
        (self.guests.len(), named.count())
    }

    /// The numbers of all guests.
    pub(crate) fn all(&self) -> Vec<usize> {
        self.guests.iter().map(|(at, _)| at).collect()
    }

    /// Tells what is so now.
    pub(crate) fn measure(&self, metrics: &mut Metrics) {
        metrics.upstream_pending = (self.guests.len() - self.at_desks) as u64;
        metrics.upstream_links = self.uplinks.len() as u64;
        let resting = self.apps.iter().map(|app| app.resting.len()).sum::<usize>();
        metrics.upstream_links_idle = resting as u64;
    }

    /// Panics when the parts disagree with each other: a bug of ours.
    pub(crate) fn check_invariants(&self) {
        self.check_desks();
        for (at, guest) in self.guests.iter().filter(|(_, guest)| !guest.is_at_desk) {
            let waits = self.apps[guest.to].waiting.contains(&at);
            assert_eq!(waits, guest.stage == Stage::Waiting, "who waits is in line");
            if let Some(uplink) = guest.uplink() {
                assert_eq!(self.uplinks[uplink].state, State::Serving { guest: at });
            }
        }
        for (number, app) in self.apps.iter().enumerate() {
            let links = self.uplinks.iter().filter(|(_, uplink)| uplink.to == number);
            let is_dialing = |uplink: &Uplink| matches!(uplink.state, State::Dialing { .. });
            let dialing = links.clone().filter(|(_, uplink)| is_dialing(uplink)).count();
            assert_eq!((app.links, app.dialing), (links.count(), dialing));
            let rests = |at: &usize| matches!(self.uplinks[*at].state, State::Resting { .. });
            assert!(app.resting.iter().all(rests), "what is said to rest does");
        }
    }
}

impl Guest {
    /// The link that it is on.
    fn uplink(&self) -> Option<usize> {
        match self.stage {
            Stage::On(at) | Stage::Tunnel(at) => Some(at),
            Stage::Waiting | Stage::Desk(_) | Stage::Done => None,
        }
    }
}
