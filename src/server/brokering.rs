//! L2: acts on what the nodes of the broker say: answers, deliveries, the state of their links, and
//! the application's orders on `wsloop:control` (`on_control`).

use std::sync::Arc;

use super::Server;
use super::relay::Relay;
use super::table::{Party, Table};
use super::topics::Topics;
use crate::access::control;
use crate::broker::{Ask, Broker, BrokerEvent, MASTER, Notice, Receipt, Status, denies_command};
use crate::browser::Context;
use crate::link::LinkId;

/// What is left to do when an event has been handed on.
enum Rest {
    Nothing,
    /// Something has happened to these conns.
    After(Vec<LinkId>),
    /// The application has something to say to us.
    Control(Vec<u8>),
    Up,
    /// A replica has begun anew.
    Anew,
    /// A channel is heard at another node now.
    Unheard(Arc<str>),
    /// What is stored for these channels is to be asked for again.
    FetchAgain(Vec<Arc<str>>),
    Lost(Why, String),
}

/// Why a link is of no more use.
enum Why {
    Broken,
    Ill,
    Demoted,
    Moved,
}

/// What has become of the link of a node.
pub(super) enum Loss<'a> {
    /// Redis has ended it, or the network has.
    HungUp(&'a str),
    /// It cannot be gone on with.
    Broken(&'a str),
    /// Redis is in no state to answer.
    Ill(&'a str),
    /// Redis has become a replica.
    Demoted(&'a str),
    /// Redis is a replica, and there may be a master.
    Left,
    /// Redis is elsewhere now, as the sentinels or the cluster say.
    Moved,
}

impl Server {
    /// Bytes from a node, or none when it goes on with those that were kept. Those behind what
    /// fills a turn are kept for the next.
    pub(super) fn broker_received(&mut self, node: usize, bytes: &[u8]) {
        let mut kept = self.broker.redis(node).map(|redis| redis.take_kept()).unwrap_or_default();
        let mut input = bytes;
        if !kept.is_empty() {
            kept.extend_from_slice(bytes);
            input = &kept;
        }
        self.broker_events(node, &mut input);
        if let Some(redis) = self.broker.redis(node).filter(|_| !input.is_empty()) {
            redis.keep(input);
        }
    }

    /// Takes what a node has to say, until that is all or a turn is full.
    pub(super) fn broker_events(&mut self, node: usize, input: &mut &[u8]) {
        while !self.cx.is_full()
            && let Some(rest) = self.next_event(node, input)
        {
            match rest {
                Rest::Nothing => {}
                Rest::After(links) => links.into_iter().for_each(|link| self.after(link)),
                Rest::Control(message) => self.on_control(&message),
                Rest::Up => self.on_broker_up(node),
                Rest::Anew => self.on_anew(node),
                Rest::Unheard(name) => self.on_unheard(node, name),
                Rest::FetchAgain(channels) => self.fetch_again(&channels),
                Rest::Lost(why, reason) => {
                    *input = &[];
                    let loss = match why {
                        Why::Broken => Loss::Broken(&reason),
                        Why::Ill => Loss::Ill(&reason),
                        Why::Demoted => Loss::Demoted(&reason),
                        Why::Moved => Loss::Moved,
                    };
                    self.on_broker_lost(node, loss);
                }
            }
            self.route_effects();
            if self.nodes.is_pair && node == MASTER {
                // What is behind the master's answer may come from its replica as well.
                self.on_replication(MASTER);
            }
        }
        self.ask_about_topics();
        self.deliver_arrived();
        if self.broker.is_cluster() {
            self.hand_ready();
            self.on_cluster_news(node);
        } else if self.nodes.is_pair {
            self.on_replication(node);
        }
        self.broker.pass_echoes(self.cx.now.mono_ms);
    }

    /// Hands out the messages that may have had to wait for others to go with.
    pub(super) fn deliver_arrived(&mut self) {
        self.relay.deliver_arrived(&mut self.table, &mut self.cx);
        for link in self.relay.take_slow() {
            self.after(link);
        }
    }

    /// What a message that was handed out leaves to do: mostly nothing.
    #[inline]
    fn delivered(&mut self) -> Rest {
        if self.relay.slow.is_empty() && !self.topics.has_slow() {
            return Rest::Nothing;
        }
        let mut touched = self.relay.take_slow();
        touched.append(&mut self.topics.take_slow());
        Rest::After(touched)
    }

    fn next_event(&mut self, node: usize, input: &mut &[u8]) -> Option<Rest> {
        let event = self.broker.next(node, input, self.cx.now.mono_ms)?;
        let (relay, table, cx) = (&mut self.relay, &mut self.table, &mut self.cx);
        let control = self.control.as_ref().map(|name| name.as_bytes());
        if let BrokerEvent::Delivery(delivery) = &event {
            self.clients.hear(delivery.channel, delivery.payload, table, cx);
        }
        if let BrokerEvent::Delivery(delivery) | BrokerEvent::Announced(delivery) = event {
            if control == Some(delivery.channel) {
                return Some(relay.order(node, delivery, cx).map_or(Rest::Nothing, Rest::Control));
            }
            if self.canary.heard(node, delivery.channel, cx.now.mono_ms) {
                return Some(Rest::Nothing);
            }
            if self.nodes.may_overlap && relay.is_repeated(node, delivery, &self.nodes, cx) {
                self.topics.on_repeated(delivery.channel);
                return Some(Rest::Nothing);
            }
            if !self.topics.is_empty() {
                self.topics.deliver(delivery, table, cx);
            }
            relay.deliver(delivery, table, cx);
            return Some(self.delivered());
        }
        if event == BrokerEvent::Quiet {
            return Some(Rest::Nothing);
        }
        relay.deliver_arrived(table, cx);
        let rest = rest_of(event);
        let Err(event) = rest else { return rest.ok() };
        let (mut touched, topics) = (Vec::new(), &mut self.topics);
        match event {
            BrokerEvent::Answer { ask, payload } => {
                touched.extend(answered(node, ask, Ok(payload), (relay, topics), table, cx));
            }
            BrokerEvent::NoAnswer { ask, reason } => {
                self.said.at(node).no_answer(ask, &reason, &mut cx.metrics);
                touched.extend(answered(node, ask, Err(()), (relay, topics), table, cx));
            }
            BrokerEvent::Settled { conn } => touched.extend(settled(conn, &mut self.broker, table)),
            BrokerEvent::Published { receipt: Receipt { conn: link, number }, outcome } => {
                let conn = table.conn(link).into_iter();
                conn.for_each(|conn| conn.on_published(link, number, outcome, cx));
                touched.push(link);
            }
            BrokerEvent::Subscribed { channel } => {
                if control == Some(channel) {
                    self.nodes.heard_control(node, &mut cx.metrics);
                    self.said.at(node).hears_control();
                }
                self.nodes.deaf.hears(channel);
                touched.extend(subscribed(node, channel, (relay, topics), table, cx))
            }
            BrokerEvent::Denied { channel, reason } => {
                return Some(Rest::After(self.on_denied(node, &channel, &reason)));
            }
            BrokerEvent::Skipped => {
                let skipped = self.broker.skipped_channel(node);
                self.said.at(node).skipped(skipped, cx);
            }
            BrokerEvent::Notice(Notice::CanaryDenied) => self.canary.denied(node),
            BrokerEvent::Notice(notice) => self.said.notice(node, notice, &mut cx.metrics),
            _ => {}
        }
        touched.extend(relay.take_slow());
        touched.append(&mut self.topics.take_slow());
        Some(Rest::After(touched))
    }

    /// A channel is not to be heard: one of our own, or one of conns, which are returned.
    fn on_denied(&mut self, node: usize, channel: &Arc<str>, reason: &str) -> Vec<LinkId> {
        if self.control.as_ref() == Some(channel) {
            self.said.at(node).control_denied(channel, reason, &mut self.cx.metrics);
            self.nodes.denied_control(node, self.cx.now.mono_ms);
            return Vec::new();
        }
        if self.canary.channel() == Some(channel) {
            self.canary.denied(node);
            return Vec::new();
        }
        if denies_command(reason) {
            self.nodes.deaf.denied(node, channel, self.cx.now.mono_ms);
        }
        self.said.at(node).denied(channel, reason, &mut self.cx.metrics);
        let mut touched = self.relay.on_denied(channel, &mut self.table, &mut self.cx);
        for link in self.topics.on_denied(channel, &mut self.table, &mut self.cx) {
            self.on_conn(link, |conn, cx| conn.on_denied(link, cx));
        }
        touched.append(&mut self.topics.take_slow());
        touched.extend(self.relay.take_slow());
        touched
    }

    pub(super) fn dial_broker(&mut self, node: usize) {
        let target = self.broker.redis(node).and_then(|redis| redis.target().cloned());
        let Some(target) = target else { return };
        self.table.dial(Party::Redis(node), target);
        self.cx.metrics.broker_dials_total += 1;
    }

    /// The hub is the truth: what it knows of is subscribed to and fetched again, where that is.
    fn on_broker_up(&mut self, node: usize) {
        self.before_pair_up(node);
        self.cx.metrics.broker_up = u64::from(self.broker.status() == Status::Up);
        let mut names = self.topics.catch_up(node);
        let topics = names.len();
        names.retain(|name| self.relay.hub.find(name.as_bytes()).is_none());
        let heard = self.relay.catch_up(node, &mut self.table);
        self.said.up(node, heard.len() + topics);
        names.extend(heard);
        if self.broker.is_cluster() {
            self.rehear(&names);
        }
        let spread = self.broker.spread();
        // Wherever it is published in a cluster, all nodes have it; and a replica may not.
        let hears = |name: &&Arc<str>| match self.broker.is_cluster() {
            true => spread.hears(name) == node,
            false => spread.heard_at().is_none() || node == MASTER,
        };
        names.extend(self.control.iter().filter(hears).cloned());
        // What is published at the master is to come back from the replica.
        let sends = !self.nodes.is_pair || node == MASTER;
        self.canary.begin(node, sends.then_some(self.cx.now.mono_ms));
        self.broker.subscribe_at(node, names, self.cx.now.mono_ms);
        if let Some(canary) = self.canary.channel().cloned() {
            self.broker.subscribe_plainly_at(node, canary, self.cx.now.mono_ms);
        }
        self.ask_for_stored();
        for link in self.table.conns(|conn| conn.is_pending()) {
            self.on_conn(link, |conn, cx| conn.on_broker_up(link, cx));
        }
    }

    /// Channels are subscribed to only now, after what is stored for them was asked for.
    fn fetch_again(&mut self, channels: &[Arc<str>]) {
        for name in channels {
            self.relay.catch_up_with(name, &mut self.table);
        }
        self.ask_for_stored();
    }

    /// Browsers stay; who has no 101 yet and needs that node waits for the dial that follows, or is
    /// refused.
    pub(super) fn on_broker_lost(&mut self, node: usize, loss: Loss<'_>) {
        let Some(link) = self.nodes.lost(node, &mut self.cx.metrics) else { return };
        self.table.close(link);
        let rests = self.flush_overlaps(node);
        let is_up = self.broker.status_at(node) == Status::Up;
        let Some(redis) = self.broker.redis(node) else { return };
        let was_up = is_up || redis.is_leaving();
        let mut lost = redis.lost(self.cx.now.mono_ms);
        let place = redis.dialed();
        if matches!(loss, Loss::Demoted(_)) {
            redis.refute();
        }
        self.canary.begin(node, None);
        self.cx.metrics.broker_up = 0;
        self.cx.metrics.broker_lost_total += u64::from(was_up);
        self.said.at(node).lost(&loss, &place, was_up, lost.owed);
        let down = self.broker.status_at(node) == Status::Down;
        for (Receipt { conn: link, number }, outcome) in std::mem::take(&mut lost.receipts) {
            self.on_conn(link, |conn, cx| conn.on_published(link, number, outcome, cx));
        }
        for conn in std::mem::take(&mut lost.settled) {
            if self.broker.has_settled(conn) {
                self.on_conn(conn, |conn, _| conn.settled());
            }
        }
        for ask in std::mem::take(&mut lost.asks) {
            if let Ask::Session(link) = ask {
                self.on_conn(link, |conn, cx| conn.on_no_broker(link, down, cx));
            }
        }
        if self.broker.is_cluster() {
            self.after_loss(node, lost, &loss);
            self.after_overlaps(rests);
        } else if self.nodes.is_pair {
            self.after_pair_loss(node);
        }
        if down {
            self.refuse_pending(node);
        }
    }

    /// A node is down: whoever has no 101 yet and needs it is told.
    pub(super) fn refuse_pending(&mut self, node: usize) {
        for link in self.table.conns(|conn| conn.is_pending()) {
            if self.needs_node(link, node) {
                self.on_conn(link, |conn, cx| conn.on_no_broker(link, true, cx));
            }
        }
    }

    /// Whether a handshake that is under way, or a message that is posted, needs that node.
    fn needs_node(&self, link: LinkId, node: usize) -> bool {
        let Some(conn) = self.table.peek_conn(link) else { return false };
        let spread = self.broker.spread();
        if spread.nodes() == 1 {
            return true;
        }
        if let Some(session) = conn.asked_session(&self.cx) {
            return spread.keeps(&session) == node;
        }
        let hub = &self.relay.hub;
        let heard = hub.channels_of(link.index).map(|channel| &**hub.name(channel));
        let mut channels = conn.needed_channels().chain(heard);
        channels.any(|channel| spread.places(channel).contains(&node))
    }

    pub(super) fn note_evictions(&mut self) {
        let evicted = self.broker.evicted();
        self.cx.metrics.stored_evicted_total = evicted;
        if evicted > 0 && self.said.evicted.first() {
            tracing::warn!("stored messages were given up, see --store-limit (said once)");
        }
        let forgotten = self.broker.history_evicted();
        self.cx.metrics.history_evicted_total = forgotten;
        if forgotten > 0 && self.said.forgotten.first() {
            tracing::warn!("messages of histories were given up, see --history-limit (said once)");
        }
    }

    /// The application has something to say to us. What came before it is heard before, and whoever
    /// a session that was read before is about is let in before: so it is about them, too.
    pub(super) fn on_control(&mut self, message: &[u8]) {
        self.deliver_arrived();
        self.route_effects();
        let disconnect = match control::parse(message) {
            Ok(disconnect) => disconnect,
            Err(error) => {
                self.cx.metrics.controls_refused_total += 1;
                if self.said.control.first() {
                    tracing::warn!(
                        "a message on {} was not understood: {error} (said once; then counted)",
                        control::CHANNEL
                    );
                }
                return;
            }
        };
        tracing::debug!("asked to disconnect somebody, with {}", disconnect.code);
        if let Some(application) = &mut self.application {
            application.revoke(&disconnect.owner, self.cx.now.mono_ms);
        }
        let mut links = self.relay.conns_of(&disconnect.owner, &mut self.table);
        for link in self.topics.conns_of(&disconnect.owner, &mut self.table) {
            if !links.contains(&link) {
                links.push(link);
            }
        }
        self.cx.metrics.disconnected_total += links.len() as u64;
        for link in links {
            let (code, reason) = (disconnect.code, &disconnect.reason);
            self.on_conn(link, |conn, cx| conn.disconnect(link, code, reason, cx));
        }
    }
}

/// What is left to do about an event that is about a whole node or channel.
fn rest_of(event: BrokerEvent<'_>) -> Result<Rest, BrokerEvent<'_>> {
    Ok(match event {
        BrokerEvent::Up => Rest::Up,
        BrokerEvent::Anew => Rest::Anew,
        BrokerEvent::Unheard { channel } => {
            Rest::Unheard(String::from_utf8_lossy(channel).into_owned().into())
        }
        BrokerEvent::AskedAgain { channels } => Rest::FetchAgain(channels),
        BrokerEvent::Broken { reason } => Rest::Lost(Why::Broken, reason),
        BrokerEvent::Ill { reason } => Rest::Lost(Why::Ill, reason),
        BrokerEvent::Demoted { reason } => Rest::Lost(Why::Demoted, reason),
        BrokerEvent::Left => Rest::Lost(Why::Moved, String::new()),
        event => return Err(event),
    })
}

/// A node has answered what it was asked when a conn was to be told of that: the conn, if all have.
fn settled(link: LinkId, broker: &mut Broker, table: &mut Table) -> Option<LinkId> {
    let is_settled = broker.has_settled(link);
    table.conn(link).filter(|_| is_settled)?.settled();
    Some(link)
}

/// A channel is heard at a node; the conns that this concerns.
fn subscribed(
    node: usize,
    channel: &[u8],
    (relay, topics): (&mut Relay, &mut Topics),
    table: &mut Table,
    cx: &mut Context,
) -> Vec<LinkId> {
    topics.on_subscribed(channel);
    let links = relay.on_subscribed(node, channel, table, cx);
    // What waited for that is older than what is stored.
    if relay.hub.find(channel).is_some() || topics.hears(channel) {
        for kept in relay.overlaps.slots.take_waiting(channel) {
            let delivery = kept.of(channel);
            if !topics.is_empty() {
                topics.deliver(delivery, table, cx);
            }
            relay.deliver(delivery, table, cx);
        }
    }
    links
}

/// A node has answered an ask, with nothing of use if that is an error: the conn that it is about.
pub(super) fn answered(
    node: usize,
    ask: Ask,
    answer: Result<Option<&[u8]>, ()>,
    (relay, topics): (&mut Relay, &mut Topics),
    table: &mut Table,
    cx: &mut Context,
) -> Option<LinkId> {
    let payload = answer.ok().flatten();
    match ask {
        Ask::Stored(fetch) => relay.on_stored(fetch, payload, table, cx),
        Ask::Place(number) => relay.on_place(number, payload, node, cx),
        Ask::Missed(fetch) => relay.on_missed(fetch, payload, cx),
        Ask::Topic(number) => {
            topics.on_answer(number, answer, table, cx);
            let now_ms = cx.now.mono_ms;
            for (name, hash) in topics.take_early() {
                relay.note_early(&name, hash, now_ms);
            }
            for (name, hash) in topics.take_mended() {
                relay.on_mended(&name, hash, now_ms);
            }
        }
        Ask::Session(link) => {
            let conn = table.conn(link).into_iter();
            conn.for_each(|conn| conn.on_session(link, answer, cx));
            return Some(link);
        }
    }
    None
}
