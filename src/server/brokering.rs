//! What the broker says, and what is carried to it.

use super::{Said, Server};
use crate::broker::{Event, Status};
use crate::browser::conn::Conn;
use crate::link::Output;
use crate::server::relay::Relay;

/// What the broker says about itself.
enum Turned {
    Up,
    Broken { reason: String },
}

impl Server {
    /// Bytes from the broker. Those behind what fills a turn are kept for the next.
    pub(super) fn on_broker_bytes(&mut self, bytes: &[u8]) {
        if !self.kept.is_empty() {
            return self.kept.extend_from_slice(bytes);
        }
        let mut input = bytes;
        self.on_broker_events(&mut input);
        self.kept = input.to_vec();
    }

    /// Takes what the broker has to say, until that is all or a turn is full.
    pub(super) fn on_broker_events(&mut self, input: &mut &[u8]) {
        while !self.relay.is_full() {
            let Some(event) = self.broker.next(input, self.now_ms) else { break };
            if let Event::Delivery(delivery) = &event {
                self.visitors.hear(delivery.channel, delivery.payload, &mut self.relay);
            }
            if let Event::Delivery(delivery) | Event::Announced(delivery) = &event
                && self.control.as_ref().is_some_and(|name| name.as_bytes() == delivery.channel)
            {
                let message = delivery.payload.to_vec();
                self.on_control(&message);
                continue;
            }
            match tell(&mut self.relay, &mut self.said, event) {
                None => {}
                Some(Turned::Up) => self.on_broker_up(),
                Some(Turned::Broken { reason }) => {
                    *input = &[];
                    return self.on_broker_lost(&reason);
                }
            }
        }
        self.relay.deliver_arrived();
    }

    /// The hub is the truth: what it knows of is subscribed to and fetched again.
    fn on_broker_up(&mut self) {
        tracing::info!("Redis is up, {} channels", self.relay.hub.len());
        self.said = Said::default();
        self.relay.metrics.broker_up = 1;
        let names = self.relay.catch_up();
        let control = self.control.iter().cloned();
        self.broker.subscribe(names.iter().cloned().chain(control).collect(), self.now_ms);
        for name in names {
            self.broker.fetch(&name, self.now_ms);
        }
        for link in self.relay.links(Conn::waits_for_broker) {
            let Some(early) = self.relay.conn(link).map(|conn| conn.early()) else { continue };
            if early.waiting.is_some() {
                self.look_up(link);
            } else if let Some(grant) = early.grant.take()
                && let Some(accepted) = early.accepted.take()
            {
                self.join(link, grant, accepted);
            }
        }
    }

    /// Answers the closes of those whose publishing the broker has answered.
    fn say_farewell(&mut self, answered: u64) {
        while let Some((_, link)) = self.farewells.front().filter(|(asked, _)| *asked <= answered) {
            self.relay.release(*link);
            self.farewells.pop_front();
        }
    }

    /// Browsers stay; who has no 101 yet waits for the dial that follows, or is refused.
    pub(super) fn on_broker_lost(&mut self, reason: &str) {
        let Some(link) = self.broker_link.take() else { return };
        self.kept = Vec::new();
        self.say_farewell(u64::MAX);
        self.relay.put_out(Output::Close(link));
        let Some(redis) = self.broker.redis() else { return };
        redis.lost(self.now_ms);
        let target = redis.target().clone();
        if std::mem::take(&mut self.relay.metrics.broker_up) == 1 {
            self.relay.metrics.broker_lost_total += 1;
            tracing::warn!("Redis at {target} is lost: {reason}; browsers stay; dialing again");
        } else if !std::mem::replace(&mut self.said.unreachable, true) {
            tracing::warn!(
                "Redis at {target} cannot be used: {reason}; dialing until it can (said once)"
            );
        }
        if self.broker.status() == Status::Down {
            self.relay.refuse_all_waiting();
        }
    }

    /// Carries between the relay and the broker until neither has anything left for the other.
    pub(super) fn carry(&mut self) {
        if !self.kept.is_empty() {
            let kept = std::mem::take(&mut self.kept);
            self.on_broker_bytes(&kept);
        }
        loop {
            self.on_broker_events(&mut &[][..]);
            self.take_identities();
            self.attend_woken_visitors();
            self.unsubscribe_left();
            if self.relay.is_full() {
                break;
            }
            let Some(link) = self.relay.woken.pop_front() else { break };
            if let Some(mut early) = self.relay.conn(link).and_then(|conn| conn.early.take()) {
                self.on_frames(link, &mut early.bytes);
            }
        }
        self.say_farewell(self.broker.answered());
        if let (Some(link), Some(unsent)) = (self.broker_link, self.broker.unsent())
            && !unsent.is_empty()
            && !self.broker_blocked
        {
            self.relay.flush_broker(link);
        }
    }

    /// Asks for no more messages of channels that nobody hears. It comes before anything is
    /// subscribed to, which may be the same channel again.
    pub(super) fn unsubscribe_left(&mut self) {
        for (name, confirmed) in std::mem::take(&mut self.relay.left) {
            self.broker.unsubscribe(name, confirmed, self.now_ms);
        }
    }

    pub(super) fn note_evictions(&mut self) {
        let evicted = self.broker.evicted();
        self.relay.metrics.stored_evicted_total = evicted;
        if evicted > 0 && !std::mem::replace(&mut self.said.evicted, true) {
            tracing::warn!("stored messages were given up, see --store-limit (said once)");
        }
    }
}

/// Tells the relay what the broker said, unless that was about the broker itself.
fn tell(relay: &mut Relay, said: &mut Said, event: Event<'_>) -> Option<Turned> {
    if !matches!(event, Event::Delivery(_) | Event::Announced(_) | Event::Quiet) {
        relay.deliver_arrived();
    }
    match event {
        Event::Delivery(delivery) | Event::Announced(delivery) => relay.deliver(delivery),
        Event::Answer(payload) => relay.on_answer(payload),
        Event::NoAnswer { reason } => relay.on_no_answer(&reason),
        Event::Subscribed { channel } => relay.on_subscribed(channel),
        Event::Denied { channel, reason } => relay.on_denied(&channel, &reason),
        Event::Skipped => relay.on_skipped(),
        Event::Quiet => {}
        Event::Refused { reason } => {
            relay.metrics.broker_errors_total += 1;
            if !std::mem::replace(&mut said.refused, true) {
                tracing::error!("Redis refused a command: {reason} (said once)");
            }
        }
        Event::Up => return Some(Turned::Up),
        Event::Broken { reason } => return Some(Turned::Broken { reason }),
    }
    None
}
