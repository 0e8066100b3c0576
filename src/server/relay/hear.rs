//! What conns hear: channels, deliveries and stored messages.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::Relay;
use crate::broker::Delivery;
use crate::browser::conn::Stage;
use crate::fanout::encoded::{Encoded, Run};
use crate::fanout::hub::ChannelId;
use crate::fanout::overflow::Overflow;
use crate::fanout::stored::{Asked, Fetch};
use crate::link::LinkId;
use crate::proto::ws::message::Kind;

/// Messages of more bytes than this are not joined with others, which would copy them.
const JOINED_MESSAGE: usize = 4 << 10;
/// Most bytes that are joined.
const JOINED_BYTES: usize = 64 << 10;

/// Messages for one channel that arrived one right after the other and go out together.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    channel: ChannelId,
    except: Option<LinkId>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Relay {
    /// Lets a conn hear a channel. True is for the channel's first subscriber: then the broker is
    /// to be asked for it, and until it has confirmed the conn does not open.
    pub fn subscribe(&mut self, link: LinkId, name: &str) -> Option<(ChannelId, bool)> {
        let conn = self.slots.conn(link)?;
        let (channel, first) =
            self.hub.subscribe(link.index, &mut conn.subscriptions, name, |state| !state.confirmed);
        conn.awaiting += u16::from(!self.hub.state(channel).confirmed);
        self.metrics.channels = self.hub.len() as u64;
        Some((channel, first))
    }

    /// Lets a conn wait for the channel's stored message, which is to come after that of fetch
    /// `after`. True is for a fetch that the broker is to be asked for.
    pub fn wait_for_stored(&mut self, link: LinkId, channel: ChannelId, after: u64) -> (u64, bool) {
        let name = self.hub.name(channel).clone();
        self.fetches.wait(link, channel, &name, self.hub.state(channel), after)
    }

    /// The broker has come up and knows nothing: the channels to ask it for, both for their
    /// messages and for what is stored.
    pub fn catch_up(&mut self) -> Vec<Arc<str>> {
        let forgotten = self.fetches.forgotten();
        let mut names = Vec::new();
        for channel in self.in_the_order_of_conns() {
            let name = self.hub.name(channel).clone();
            let state = self.hub.state(channel);
            state.confirmed = false;
            self.fetches.catch_up(channel, name.clone(), state);
            names.push(name);
        }
        for fetch in forgotten {
            if self.is_current(&fetch) {
                let state = self.hub.state(fetch.channel);
                self.fetches.wait_again(fetch, state);
            }
        }
        names
    }

    /// Hands a message to everyone who hears its channel. Until the broker has confirmed the
    /// channel its messages are the rest of an earlier subscription: who joins now gets what is
    /// stored, which is newer. The next may be for the same: after the last comes
    /// [`Relay::deliver_arrived`].
    pub fn deliver(&mut self, delivery: Delivery<'_>) {
        self.metrics.deliveries_total += 1;
        let Delivery { channel: name, payload, except } = delivery;
        let Some(mut channel) = self.heard_channel(name).filter(|_| !payload.is_empty()) else {
            return;
        };
        if !self.arrived.takes(channel, except, payload) {
            self.deliver_arrived();
            // Who was too slow for those is closed, and may have been the last to hear this one.
            let Some(still) = self.heard_channel(name) else { return };
            channel = still;
        }
        if payload.len() > JOINED_MESSAGE {
            return self.fan_out(channel, Run::new([payload].into_iter()), except);
        }
        (self.arrived.channel, self.arrived.except) = (channel, except);
        self.arrived.bytes.extend_from_slice(payload);
        self.arrived.ends.push(self.arrived.bytes.len());
    }

    /// Hands out the messages that may have had to wait for others to go with.
    pub fn deliver_arrived(&mut self) {
        if self.arrived.ends.is_empty() {
            return;
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        self.fan_out(arrived.channel, Run::new(arrived.payloads()), arrived.except);
        arrived.bytes.clear();
        arrived.ends.clear();
        self.arrived = arrived;
    }

    /// The oldest fetch is answered: its stored message goes to those who wait for it, or, when it
    /// is news after an outage, to everyone.
    pub fn on_answer(&mut self, payload: Option<&[u8]>) {
        let fetch = match self.fetches.answered() {
            Some(Asked::Message(fetch)) => fetch,
            Some(Asked::Session(link)) => {
                let session = payload.map(<[u8]>::to_vec);
                return self.looked_up.push_back((link, Some(session)));
            }
            None => return,
        };
        let Some(payload) = payload.filter(|p| !p.is_empty() && self.is_current(&fetch)) else {
            return;
        };
        let hash = self.hash(payload);
        let state = self.hub.state(fetch.channel);
        if state.is_news(hash) && fetch.is_for_everyone(state) {
            return self.fan_out(fetch.channel, Run::new([payload].into_iter()), None);
        }
        let links: Vec<LinkId> = fetch.entitled(state).collect();
        let mut encoded = Encoded::new(payload);
        for link in links {
            self.send_encoded(link, &mut encoded);
        }
    }

    /// Sends a conn its own message back.
    pub fn echo(&mut self, link: LinkId, kind: Kind, payload: &[u8]) {
        self.metrics.messages_in_total += 1;
        self.send_encoded(link, &mut Encoded::of(kind, payload));
    }

    /// The oldest fetch is answered with nothing of use.
    pub fn on_no_answer(&mut self, reason: &str) {
        match self.fetches.answered() {
            Some(Asked::Message(_)) => {}
            Some(Asked::Session(link)) => return self.on_no_session(link, reason),
            None => return,
        }
        self.metrics.stored_unreadable_total += 1;
        if self.metrics.stored_unreadable_total == 1 {
            tracing::warn!("a stored message is not sent: {reason} (said once; then counted)");
        }
    }

    /// Notes that the session of a conn was asked for.
    pub fn look_up(&mut self, link: LinkId) {
        self.fetches.look_up(link);
    }

    fn on_no_session(&mut self, link: LinkId, reason: &str) {
        self.looked_up.push_back((link, None));
        self.metrics.sessions_unreadable_total += 1;
        if self.metrics.sessions_unreadable_total == 1 {
            tracing::error!(
                "a session cannot be read: {reason}; see --session-key, --max-message-size (said \
                 once; then counted)"
            );
        }
    }

    /// A message was too large and has been skipped.
    pub fn on_skipped(&mut self) {
        self.metrics.deliveries_skipped_total += 1;
        if self.metrics.deliveries_skipped_total == 1 {
            tracing::warn!(
                "a message from Redis was skipped, see --max-message-size (said once; then counted)"
            );
        }
    }

    /// The broker has confirmed the channel: conns that waited for nothing else open.
    pub fn on_subscribed(&mut self, name: &[u8]) {
        let name = std::str::from_utf8(name).ok();
        let Some(channel) = name.and_then(|name| self.hub.find(name)) else { return };
        self.hub.state(channel).confirmed = true;
        for index in self.hub.take_waiting(channel) {
            if let Some((link, conn)) = self.slots.at(index) {
                conn.awaiting -= 1;
                self.open_if_joined(link);
            }
        }
    }

    /// The broker will not let us hear the channel: whoever counts on it is told, not left waiting.
    pub fn on_denied(&mut self, name: &str, reason: &str) {
        self.metrics.broker_errors_total += 1;
        if !std::mem::replace(&mut self.said_denied, true) {
            // A session's key is not for the log.
            let shown = if name.contains("session:") { "a session's channel" } else { name };
            tracing::error!(
                "Redis does not let wsloop hear {shown:?}: {reason}; see ACL SETUSER (said once; \
                 then counted)"
            );
        }
        let Some(channel) = self.hub.find(name) else { return };
        let conns: Vec<u32> = self.hub.subscribers(channel).collect();
        for index in conns {
            let Some((link, conn)) = self.slots.at(index) else { continue };
            if conn.is_pending() {
                let accepted = conn.take_accepted();
                self.refuse_unavailable(link, accepted.as_deref());
            } else {
                self.close(link, Some(1011), "the server may not hear this channel");
            }
        }
    }

    /// Sends the heartbeat text.
    pub fn send_heartbeat(&mut self, link: LinkId) {
        if let Some(text) = &self.settings.heartbeat {
            let frame = Encoded::new(text).frame(false);
            self.metrics.heartbeats_total += 1;
            self.send_message(link, frame);
        }
    }

    /// The channel of that name, if somebody hears it and the broker has confirmed it.
    fn heard_channel(&mut self, name: &[u8]) -> Option<ChannelId> {
        let channel = self.hub.find(std::str::from_utf8(name).ok()?)?;
        self.hub.state(channel).confirmed.then_some(channel)
    }

    /// All channels, so that those of each conn are in its own order, as far as conns agree.
    fn in_the_order_of_conns(&self) -> Vec<ChannelId> {
        let ids = || self.hub.channels().map(|(channel, _)| channel);
        let places = ids().last().map_or(0, |last| last as usize + 1);
        // The channels that come right behind a channel for some conn, and how often it is one.
        let (mut behind, mut before) = (vec![Vec::new(); places], vec![0u32; places]);
        for (_, conn) in self.slots.conns() {
            let mut last = None;
            for channel in self.hub.channels_of(conn.subscriptions) {
                if let Some(last) = last.replace(channel) {
                    behind[last as usize].push(channel);
                    before[channel as usize] += 1;
                }
            }
        }
        let mut free: VecDeque<ChannelId> = ids().filter(|id| before[*id as usize] == 0).collect();
        let (mut order, mut taken) = (Vec::new(), vec![false; places]);
        let mut rest = ids();
        while let Some(channel) =
            free.pop_front().or_else(|| rest.find(|channel| !taken[*channel as usize]))
        {
            if std::mem::replace(&mut taken[channel as usize], true) {
                continue;
            }
            order.push(channel);
            for next in std::mem::take(&mut behind[channel as usize]) {
                before[next as usize] -= 1;
                if before[next as usize] == 0 {
                    free.push_back(next);
                }
            }
        }
        order
    }

    fn fan_out(&mut self, channel: ChannelId, mut run: Run<'_>, except: Option<LinkId>) {
        for payload in run.payloads() {
            let hash = self.hash(payload);
            self.hub.state(channel).delivered(hash);
        }
        let (mut slow, mut superseded) = (Vec::new(), Vec::new());
        let subscribers = self.hub.subscribers(channel);
        let receivers = subscribers.len();
        for index in subscribers {
            let Some((link, conn)) = self.slots.at(index).filter(|(link, _)| except != Some(*link))
            else {
                continue;
            };
            conn.spoken = self.now;
            if conn.skips {
                let frame = run.last(&mut self.encoder, index, conn.form);
                let others = run.messages() - 1;
                superseded.push((link, conn.outbox.replace(frame, channel) + others));
            } else {
                let frames = run.frames(&mut self.encoder, index, conn.form);
                match conn.overflow {
                    Overflow::Close => conn.outbox.push(frames),
                    Overflow::Latest => conn.outbox.push_labelled(frames, Some(channel)),
                }
            }
            self.lines.stand(index, conn, receivers);
            if conn.is_slow(self.settings.outbox_limit) {
                slow.push(link);
            }
            self.metrics.messages_out_total += run.messages() as u64;
            self.queued += 1;
        }
        self.metrics.compressions_total = self.encoder.compressions();
        superseded.into_iter().for_each(|(link, messages)| self.supersede(link, messages));
        slow.into_iter().for_each(|link| self.overflow(link));
    }

    /// Sends a message to one conn, unless it has said goodbye while that was fetched.
    fn send_encoded(&mut self, link: LinkId, message: &mut Encoded<'_>) {
        let conn = self.peek(link).filter(|conn| conn.stage != Stage::Closing);
        let Some(form) = conn.map(|conn| conn.form) else { return };
        let frame = self.encoder.frame(message, link.index, form);
        self.metrics.compressions_total = self.encoder.compressions();
        self.metrics.messages_out_total += 1;
        self.send_message(link, frame);
    }

    /// Whether the channel that was asked about is still the one of that id.
    fn is_current(&self, fetch: &Fetch) -> bool {
        self.hub.contains(fetch.channel) && Arc::ptr_eq(self.hub.name(fetch.channel), &fetch.name)
    }

    fn hash(&self, payload: &[u8]) -> u64 {
        self.keys.hash_one(payload) | 1
    }
}

impl Arrived {
    /// Whether a message may go out together with those that are here.
    fn takes(&self, channel: ChannelId, except: Option<LinkId>, payload: &[u8]) -> bool {
        (channel, except) == (self.channel, self.except)
            && payload.len() <= JOINED_MESSAGE
            && self.bytes.len() + payload.len() <= JOINED_BYTES
    }

    fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}
