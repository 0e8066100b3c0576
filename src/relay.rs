//! L2: the conns and what they hear: deliveries go through here, and so does every closing.
//!
//! It knows conns, the hub, the timers and what waits to be put out; it does not know the broker,
//! to which the server carries what is asked for here ([`Relay::left`]). Its rules:
//! * a message is encoded once for all who get it, and a conn is put in line for flushing once;
//! * a conn leaves the hub when it begins to close, and its slot when its Close is put out.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use slab::Slab;

use crate::broker::Delivery;
use crate::conn::{Conn, Due, Pace, Stage};
use crate::handshake::{self, Refusal};
use crate::hub::{ChannelId, Hub};
use crate::link_id::LinkId;
use crate::metrics::Metrics;
use crate::outbox::Frame;
use crate::proto::frame::{self, Opcode};
use crate::server::Output;
use crate::settings::Settings;
use crate::stored::{ChannelState, Fetch, Fetches};
use crate::timers::{Tick, Wheel};

/// A link's place: a conn, or the broker's.
#[derive(Debug)]
pub struct Slot {
    generation: u32,
    party: Party,
}

#[derive(Debug)]
enum Party {
    Conn(Conn),
    Broker,
}

/// The conns, the hub, and what waits to be put out.
#[derive(Debug)]
pub struct Relay {
    /// What the core was told.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// Who hears what.
    pub hub: Hub<ChannelState>,
    /// Stored messages that were asked for.
    pub fetches: Fetches,
    /// Channels that nobody hears any more, and whether the broker had confirmed them.
    pub left: Vec<(Arc<str>, bool)>,
    /// Conns that have just opened and have sent something before that.
    pub woken: Vec<LinkId>,
    pace: Pace,
    keys: RandomState,
    slots: Slab<Slot>,
    /// Links that have ever been named.
    named: u32,
    wheel: Wheel,
    outputs: VecDeque<Output>,
    dirty: Vec<u32>,
    now: Tick,
}

impl Relay {
    /// No conns yet.
    pub fn new(settings: Settings, keys: RandomState) -> Self {
        Relay {
            metrics: Metrics::default(),
            hub: Hub::new(keys.clone()),
            fetches: Fetches::default(),
            left: Vec::new(),
            woken: Vec::new(),
            pace: Pace::new(&settings),
            keys,
            slots: Slab::new(),
            named: 0,
            wheel: Wheel::default(),
            outputs: VecDeque::new(),
            dirty: Vec::new(),
            now: 0,
            settings,
        }
    }

    /// Notes the time that everything until the next call happens at.
    pub fn set_now(&mut self, now: Tick) {
        self.now = now;
    }

    /// Names a link for a conn that was accepted.
    pub fn accept(&mut self) -> LinkId {
        let surplus = self.metrics.conns >= self.settings.max_connections as u64;
        let link = self.name(Party::Conn(Conn::new(self.now, surplus)));
        self.metrics.conns_accepted_total += 1;
        self.metrics.conns += 1;
        self.metrics.handshakes_pending += 1;
        self.metrics.conns_full_total += u64::from(surplus);
        self.rearm(link.index);
        link
    }

    /// Names a link for the broker, which is to be dialed.
    pub fn name_broker(&mut self) -> LinkId {
        self.name(Party::Broker)
    }

    /// The conn of that link, unless it has gone.
    pub fn conn(&mut self, link: LinkId) -> Option<&mut Conn> {
        match self.slots.get_mut(link.index as usize)? {
            Slot { generation, party: Party::Conn(conn) }
                if *generation == link.generation && conn.stage != Stage::Gone =>
            {
                Some(conn)
            }
            _ => None,
        }
    }

    /// The conn of that link, to be looked at; unless it has gone.
    pub fn peek(&self, link: LinkId) -> Option<&Conn> {
        match self.slots.get(link.index as usize)? {
            Slot { generation, party: Party::Conn(conn) } => {
                (*generation == link.generation && conn.stage != Stage::Gone).then_some(conn)
            }
            _ => None,
        }
    }

    /// The links of all conns in these stages, in the order of their places.
    pub fn links(&self, stages: &[Stage]) -> Vec<LinkId> {
        let of_slot = |(index, slot): (usize, &Slot)| match &slot.party {
            Party::Conn(conn) if stages.contains(&conn.stage) => {
                Some(LinkId { index: index as u32, generation: slot.generation })
            }
            _ => None,
        };
        self.slots.iter().filter_map(of_slot).collect()
    }

    /// Puts a frame into a conn's outbox.
    pub fn send(&mut self, link: LinkId, frame: Frame) {
        let (now, limit) = (self.now, self.settings.outbox_limit);
        let Some(conn) = self.conn(link) else { return };
        let first = conn.queue(frame, now);
        let slow = conn.is_slow(limit);
        if first {
            self.dirty.push(link.index);
        }
        if slow {
            self.close_slow(link);
        }
    }

    /// Hands a message to everyone who hears its channel.
    pub fn deliver(&mut self, delivery: Delivery<'_>) {
        self.metrics.deliveries_total += 1;
        let name = std::str::from_utf8(delivery.channel).ok();
        if let Some(channel) = name.and_then(|name| self.hub.find(name))
            && !delivery.payload.is_empty()
        {
            self.fan_out(channel, delivery.payload, delivery.except);
        }
    }

    /// Hands a stored message to those who wait for it, or, when it is news, to everyone.
    pub fn deliver_stored(&mut self, fetch: &Fetch, payload: &[u8]) {
        let current = self.hub.contains(fetch.channel)
            && Arc::ptr_eq(self.hub.name(fetch.channel), &fetch.name);
        if !current || payload.is_empty() {
            return;
        }
        let hash = self.hash(payload);
        let state = self.hub.state(fetch.channel);
        if state.is_news(hash) && fetch.catch_up {
            self.fan_out(fetch.channel, payload, None);
            return;
        }
        let links: Vec<LinkId> = fetch.entitled(state).collect();
        let mut frames = Frames::new(payload);
        for link in links {
            if let Some(conn) = self.conn(link) {
                let frame = frames.of(conn.binary);
                self.metrics.messages_out_total += 1;
                self.send(link, frame);
            }
        }
    }

    /// The broker has confirmed the channel: conns that waited for nothing else open.
    pub fn confirmed(&mut self, name: &[u8]) {
        let Some(channel) = std::str::from_utf8(name).ok().and_then(|name| self.hub.find(name))
        else {
            return;
        };
        self.hub.state(channel).confirmed = true;
        for index in self.hub.take_waiting(channel) {
            let generation = self.slots[index as usize].generation;
            let link = LinkId { index, generation };
            if let Some(conn) = self.conn(link) {
                conn.joining -= 1;
                if conn.joining == 0 {
                    self.opened(link);
                }
            }
        }
    }

    /// The conn is open from now on: what waits for it goes out.
    pub fn opened(&mut self, link: LinkId) {
        let now = self.now;
        let Some(conn) = self.conn(link) else { return };
        conn.stage = Stage::Open;
        (conn.heard, conn.spoken) = (now, now);
        let first = !std::mem::replace(&mut conn.dirty, true);
        let waits = conn.early.as_ref().is_some_and(|early| !early.bytes.is_empty());
        if !waits {
            conn.early = None;
        }
        self.metrics.handshakes_pending -= 1;
        self.metrics.handshakes_total += 1;
        self.metrics.conns_open += 1;
        if first {
            self.dirty.push(link.index);
        }
        if waits {
            self.woken.push(link);
        }
        self.rearm(link.index);
    }

    /// Refuses a conn's request, and closes.
    pub fn refuse(&mut self, link: LinkId, refusal: Refusal) {
        tracing::debug!("{link} refused: {} {}", refusal.status, refusal.text);
        self.metrics.handshakes_refused_total += 1;
        self.finish(link, refusal.bytes);
    }

    /// Sends a close frame, and closes.
    pub fn close(&mut self, link: LinkId, close: Option<(u16, &str)>) {
        tracing::debug!("{link} closes: {close:?}");
        self.finish(link, Frame::from(frame::encode_close(close)));
    }

    /// Sends the last bytes of a conn; then its end is shut, and what it still sends discarded.
    pub fn finish(&mut self, link: LinkId, last: Frame) {
        let now = self.now;
        let Some(conn) = self.conn(link).filter(|conn| conn.stage != Stage::Closing) else {
            return;
        };
        if conn.stage == Stage::Joining {
            conn.outbox.drop_unstarted();
        }
        self.settle(link, Stage::Closing);
        let Some(conn) = self.conn(link) else { return };
        conn.since = now;
        if conn.queue(last, now) {
            self.dirty.push(link.index);
        }
        self.rearm(link.index);
    }

    /// Closes a conn's link at once, whatever waits.
    pub fn drop_conn(&mut self, link: LinkId) {
        if self.conn(link).is_some() {
            self.settle(link, Stage::Gone);
            self.outputs.push_back(Output::Close(link));
        }
    }

    /// The conn's socket ended or failed.
    pub fn hung_up(&mut self, link: LinkId, clean: bool) {
        let Some(conn) = self.conn(link) else { return };
        conn.ended = true;
        if !clean || conn.stage != Stage::Closing || conn.outbox.is_empty() {
            self.drop_conn(link);
        }
    }

    /// The kernel took no more of a conn's bytes.
    pub fn blocked(&mut self, link: LinkId) {
        let limit = self.settings.outbox_limit;
        let Some(conn) = self.conn(link) else { return };
        conn.blocked = true;
        if conn.is_slow(limit) {
            self.close_slow(link);
        }
    }

    /// The kernel took `n` of a conn's bytes.
    pub fn advance(&mut self, link: LinkId, n: usize) {
        let Some(conn) = self.conn(link) else { return };
        conn.outbox.advance(n);
        if !conn.outbox.is_empty() {
            return;
        }
        conn.blocked = false;
        if conn.stage == Stage::Closing {
            match conn.ended {
                true => self.drop_conn(link),
                false => self.outputs.push_back(Output::Finish(link)),
            }
        }
    }

    /// Asks for a link to be closed that is not a conn's.
    pub fn put_out(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            if let Output::Close(link) = &output {
                self.free(*link);
            }
            return Some(output);
        }
        while let Some(index) = self.dirty.pop() {
            if let Some(Slot { generation, party: Party::Conn(conn) }) =
                self.slots.get_mut(index as usize)
                && std::mem::take(&mut conn.dirty)
            {
                return Some(Output::Flush(LinkId { index, generation: *generation }));
            }
        }
        None
    }

    /// Lets time pass for the conns: pings, heartbeats and what is overdue.
    pub fn tick(&mut self) {
        while let Some((at, indexes)) = self.wheel.fire(self.now) {
            for index in indexes {
                if let Some(Slot { generation, party: Party::Conn(conn) }) =
                    self.slots.get_mut(index as usize)
                    && conn.wake == at
                {
                    conn.wake = 0;
                    let link = LinkId { index, generation: *generation };
                    self.look_after(link);
                }
            }
        }
    }

    /// The tick at which a conn next needs looking after.
    pub fn next_wake(&self) -> Option<Tick> {
        self.wheel.next()
    }

    /// The number of conns, in whatever stage.
    pub fn conns(&self) -> usize {
        self.metrics.conns as usize
    }

    /// Panics when what is counted and indexed disagrees with what is there.
    pub fn check_invariants(&self) {
        self.hub.check_invariants();
        let conns = || {
            self.slots.iter().filter_map(|(index, slot)| match &slot.party {
                Party::Conn(conn) => Some((index as u32, conn)),
                Party::Broker => None,
            })
        };
        let count = |wanted: fn(&Conn) -> bool| conns().filter(|(_, c)| wanted(c)).count() as u64;
        assert_eq!(self.metrics.conns, count(|_| true));
        assert_eq!(self.metrics.handshakes_pending, count(Conn::is_pending));
        assert_eq!(self.metrics.conns_open, count(|conn| conn.stage == Stage::Open));
        for (index, conn) in conns() {
            let channels: Vec<ChannelId> = self.hub.channels_of(conn.subscriptions).collect();
            for channel in &channels {
                assert!(self.hub.subscribers(*channel).any(|subscriber| subscriber == index));
            }
            let hears = matches!(conn.stage, Stage::Joining | Stage::Open);
            assert!(hears || channels.is_empty(), "a conn that is not open hears something");
        }
    }

    fn fan_out(&mut self, channel: ChannelId, payload: &[u8], except: Option<LinkId>) {
        let hash = self.hash(payload);
        self.hub.state(channel).delivered(hash);
        let mut frames = Frames::new(payload);
        let mut slow = Vec::new();
        let mut queued = 0;
        for index in self.hub.subscribers(channel) {
            let Slot { generation, party: Party::Conn(conn) } = &mut self.slots[index as usize]
            else {
                continue;
            };
            let link = LinkId { index, generation: *generation };
            if except == Some(link) {
                continue;
            }
            if conn.queue(frames.of(conn.binary), self.now) {
                self.dirty.push(index);
            }
            if conn.is_slow(self.settings.outbox_limit) {
                slow.push(link);
            }
            queued += 1;
        }
        self.metrics.messages_out_total += queued;
        slow.into_iter().for_each(|link| self.close_slow(link));
    }

    /// A frame of which a byte is on its way must be finished; the rest is given up for a close
    /// frame that says why, should the browser ever read on.
    fn close_slow(&mut self, link: LinkId) {
        let Some(conn) = self.conn(link).filter(|conn| conn.stage != Stage::Closing) else {
            return;
        };
        let dropped = conn.outbox.drop_unstarted();
        self.metrics.frames_dropped_total += dropped as u64;
        self.metrics.slow_total += 1;
        if self.metrics.slow_total == 1 {
            tracing::warn!(
                "{link} reads too slowly and is closed, see --outbox-limit (said once; the rest \
                 is counted)"
            );
        }
        self.close(link, Some((1008, "this connection reads too slowly")));
    }

    fn look_after(&mut self, link: LinkId) {
        let now = self.now;
        let Some(conn) = self.conn(link) else { return };
        if let Some((at, due)) = conn.due(&self.pace).filter(|(at, _)| *at <= now) {
            debug_assert!(at <= now);
            self.overdue(link, due);
        }
        self.rearm(link.index);
    }

    fn overdue(&mut self, link: LinkId, due: Due) {
        let now = self.now;
        match due {
            Due::CloseTimeout => self.drop_conn(link),
            Due::PongTimeout => {
                self.metrics.pong_timeouts_total += 1;
                self.close(link, Some((1001, "nothing came in answer to a ping")));
            }
            Due::HandshakeTimeout => {
                self.metrics.handshake_timeouts_total += 1;
                self.handshake_timed_out(link);
            }
            Due::Ping => {
                self.metrics.pings_total += 1;
                if let Some(conn) = self.conn(link) {
                    (conn.pinged, conn.since) = (true, now);
                }
                self.send(link, frame::encode(Opcode::Ping, &[]));
            }
            Due::Heartbeat => self.send_heartbeat(link),
        }
    }

    /// Sends the heartbeat text.
    pub fn send_heartbeat(&mut self, link: LinkId) {
        if let Some(text) = &self.settings.heartbeat {
            let frame = Frames::new(text).of(false);
            self.metrics.heartbeats_total += 1;
            self.send(link, frame);
        }
    }

    fn handshake_timed_out(&mut self, link: LinkId) {
        let Some(conn) = self.conn(link) else { return };
        let early = conn.early.take().unwrap_or_default();
        match conn.stage {
            Stage::Head if early.bytes.is_empty() => self.drop_conn(link),
            Stage::Head => {
                let refusal = handshake::too_late(&self.settings);
                self.refuse(link, refusal);
            }
            _ => {
                let text = "The message broker did not answer in time; try again later.";
                let accepted = early.pending.map(|pending| pending.accepted);
                let refusal = handshake::unavailable(text, accepted.as_deref(), &self.settings);
                self.refuse(link, refusal);
            }
        }
    }

    /// Moves a conn into one of the last two stages: it hears nothing more and is counted anew.
    fn settle(&mut self, link: LinkId, stage: Stage) {
        let Some(Slot { party: Party::Conn(conn), .. }) = self.slots.get_mut(link.index as usize)
        else {
            return;
        };
        let pending = conn.is_pending();
        self.metrics.handshakes_pending -= u64::from(pending);
        self.metrics.conns_open -= u64::from(conn.stage == Stage::Open);
        conn.stage = stage;
        conn.early = None;
        conn.reader = Default::default();
        conn.publications = Box::default();
        while let Some(gone) = self.hub.unsubscribe(&mut conn.subscriptions) {
            if let Some((name, state)) = gone {
                self.left.push((name, state.confirmed));
            }
        }
    }

    fn name(&mut self, party: Party) -> LinkId {
        self.named = self.named.wrapping_add(1);
        let generation = self.named;
        let index = self.slots.insert(Slot { generation, party }) as u32;
        LinkId { index, generation }
    }

    fn free(&mut self, link: LinkId) {
        let index = link.index as usize;
        if self.slots.get(index).is_some_and(|slot| slot.generation == link.generation)
            && let Slot { party: Party::Conn(_), .. } = self.slots.remove(index)
        {
            self.metrics.conns -= 1;
        }
    }

    /// Makes sure that the conn's timer fires no later than its deadline.
    fn rearm(&mut self, index: u32) {
        let Some(Slot { party: Party::Conn(conn), .. }) = self.slots.get_mut(index as usize)
        else {
            return;
        };
        let Some((at, _)) = conn.due(&self.pace) else { return };
        if conn.wake == 0 || at < conn.wake {
            conn.wake = self.wheel.schedule(at, index);
        }
    }

    fn hash(&self, payload: &[u8]) -> u64 {
        self.keys.hash_one(payload) | 1
    }
}

/// One message, encoded once for each kind of frame that somebody wants.
struct Frames<'a> {
    payload: &'a [u8],
    text: Option<Frame>,
    binary: Option<Frame>,
}

impl<'a> Frames<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Frames { payload, text: None, binary: None }
    }

    /// Text stays text; what is not UTF-8 can only go out as binary.
    fn of(&mut self, binary: bool) -> Frame {
        if !binary && self.text.is_none() && std::str::from_utf8(self.payload).is_ok() {
            self.text = Some(frame::encode(Opcode::Text, self.payload));
        }
        match &self.text {
            Some(text) if !binary => text.clone(),
            _ => self
                .binary
                .get_or_insert_with(|| frame::encode(Opcode::Binary, self.payload))
                .clone(),
        }
    }
}
