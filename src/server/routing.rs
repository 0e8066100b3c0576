//! What conns want of others, routed: asks, subscriptions, publishes, and what they leave behind.

use std::collections::BTreeSet;

use super::Server;
use super::table::Party;
use crate::access::ask::Errand;
use crate::broker::{Ask, PublishOutcome, Receipt, Status};
use crate::browser::topics::Publishing;
use crate::browser::{Effect, Kept, Left, Said, Source};
use crate::fanout::hub::Waits;
use crate::link::{LinkId, Output, Wish};

impl Server {
    /// Routes what everybody wants and what the broker has to say, until there is nothing left or
    /// the turn is full.
    pub(super) fn route(&mut self) {
        loop {
            self.route_effects();
            self.ask_for_stored();
            self.ask_about_topics();
            if self.cx.is_full() {
                break;
            } else if let Some(node) = self.broker.with_more() {
                self.broker_events(node, &mut &[][..]);
            } else if let Some(link) = self.cx.next_postponed() {
                self.go_on(link);
            } else {
                break;
            }
        }
        while let Some(link) = self.cx.next_postponed() {
            self.table.put(Output::Resume(link));
        }
        self.close_slow_clients();
        self.run_errands();
        self.run_upstream_errands();
        self.fill_handlers();
        self.flush_nodes();
    }

    /// Routes what conns want, and the application's answers to them.
    #[inline]
    pub(super) fn route_effects(&mut self) {
        // This is asked after every message, of which hardly one has effects.
        if self.cx.has_effects() || self.application.is_some() {
            self.route_all_effects();
        }
    }

    fn route_all_effects(&mut self) {
        loop {
            if let Some((link, effect)) = self.cx.take() {
                // Whoever comes now has not heard what arrived before.
                self.deliver_arrived();
                self.route_effect(link, effect);
            } else if let Some((link, number, verdict)) =
                self.application.as_mut().and_then(|app| app.next_answer())
            {
                self.on_conn(link, |conn, cx| conn.on_verdict(link, number, verdict, cx));
            } else {
                return;
            }
        }
    }

    /// Bytes from a browser, or none when it goes on with those that it has kept.
    pub(super) fn browser_received(&mut self, link: LinkId, bytes: &mut [u8]) {
        self.cx.begin_go();
        let Some(conn) = self.table.conn(link) else { return };
        let stranger = conn.stranger();
        if !bytes.is_empty() {
            conn.heard(&self.cx);
        }
        let mut kept = conn.take_kept();
        let mut input = match &mut kept {
            Some(kept) => {
                kept.bytes.extend_from_slice(bytes);
                &mut kept.bytes[kept.done..]
            }
            None => bytes,
        };
        while let Some(conn) = self.table.conn(link)
            && let Some(Said::Message(data)) = conn.received(link, &mut input, &mut self.cx)
        {
            self.publish(link, &data);
        }
        let left = input.len();
        if left > 0
            && let Some(conn) = self.table.conn(link)
        {
            let mut rest =
                kept.unwrap_or_else(|| Box::new(Kept { bytes: bytes.to_vec(), done: 0 }));
            rest.done = rest.bytes.len() - left;
            conn.keep(rest);
        }
        if let Some(network) = stranger
            && let Some(conn) = self.table.peek_conn(link)
            && conn.stranger().is_none()
            && !(conn.is_closing() && self.cx.leaves_as_stranger(link))
        {
            self.met(network);
        }
        self.after(link);
    }

    fn route_effect(&mut self, link: LinkId, effect: Effect) {
        match effect {
            Effect::Moved(from) => {
                let to = self.table.peek_conn(link).and_then(|conn| conn.stranger());
                to.into_iter().for_each(|to| self.strangers.rename(link, from, to));
            }
            Effect::Inspect(what) => self.inspect(link, what),
            Effect::Forward(request) => self.forward(link, *request),
            Effect::AskSession(name) => self.ask_session(link, &name),
            Effect::AskApplication(question) => self.ask_application(link, question),
            Effect::AskAboutTopic { command, question } => {
                self.ask_about_topic(link, command, question);
            }
            Effect::Say { command, channels, payload } => {
                self.say_on_topic(link, command, &channels, &payload);
            }
            Effect::Own(owners) => self.own(link, owners),
            Effect::Join => self.join(link),
            // What is stored for it and at hand goes out before what it has said is acted on.
            Effect::GoOn if self.broker.has_more() => self.cx.postpone(link),
            Effect::GoOn => self.go_on(link),
            Effect::Hear(hear) => self.hear_topic(link, hear),
            Effect::Unhear { channel, .. } => self.unhear_topic(link, &channel),
            Effect::Resume => self.table.put(Output::Resume(link)),
            Effect::Drained => {
                self.topics.wake(link, self.cx.now.mono_ms);
                self.ask_about_topics();
                self.flush_nodes();
            }
            Effect::Settle => {
                if !self.broker.settle(link) {
                    self.on_conn(link, |conn, _| conn.settled());
                }
            }
            Effect::Publish => self.publish_post(link),
            Effect::Rested(behind) => self.rest(link, behind),
            Effect::Left(left) => self.on_left(link, left),
            Effect::Finish => self.table.put(Output::Finish(link)),
            Effect::Drop => self.table.close(link),
        }
    }

    /// A conn that has opened goes on with what came behind its request, unless its application has
    /// no room for that: then it is resumed when there is.
    fn go_on(&mut self, link: LinkId) {
        if self.table.peek_conn(link).is_some_and(|conn| conn.is_passed_over(&self.cx)) {
            return;
        }
        self.browser_received(link, &mut []);
        if self.table.conn(link).is_some_and(|conn| conn.wish() == Wish::GoOn) {
            self.table.put(Output::Resume(link));
        }
    }

    fn ask_session(&mut self, link: LinkId, name: &str) {
        match self.broker.status_of_name(name) {
            Status::Up => self.broker.ask_name(Ask::Session(link), name, self.cx.now.mono_ms),
            status => {
                let down = status == Status::Down;
                self.on_conn(link, |conn, cx| conn.on_no_broker(link, down, cx));
            }
        }
    }

    fn ask_application(&mut self, link: LinkId, question: Vec<u8>) {
        let Some(conn) = self.table.conn(link).filter(|conn| conn.has_question()) else { return };
        let Some(application) = &mut self.application else { return };
        self.cx.metrics.questions_total += 1;
        match application.ask(link, question, self.cx.now.mono_ms) {
            Ok(number) => conn.on_asked(number),
            Err(_) => self.on_conn(link, |conn, cx| conn.on_busy_application(link, cx)),
        }
    }

    fn ask_about_topic(&mut self, link: LinkId, command: u64, question: Vec<u8>) {
        let Some(conn) = self.table.conn(link) else { return };
        let Some(application) = &mut self.application else { return };
        if !conn.has_topic_question(command) {
            return;
        }
        self.cx.metrics.questions_total += 1;
        match application.ask(link, question, self.cx.now.mono_ms) {
            Ok(number) => conn.on_topic_asked(command, number),
            Err(_) => self.on_conn(link, |conn, cx| conn.on_topic_unasked(link, command, cx)),
        }
    }

    fn own(&mut self, link: LinkId, owners: BTreeSet<String>) {
        if self.table.conn(link).is_some_and(|conn| conn.is_pending()) {
            let owners = owners.iter().map(String::as_str);
            self.relay.owners.subscribe(link.index, owners, |_| Waits::default());
        }
    }

    /// Subscribes a conn to what it was granted. Its 101 waits until the broker has confirmed that,
    /// so that a page whose socket is open misses nothing that is published from then on.
    pub(super) fn join(&mut self, link: LinkId) {
        let now_ms = self.cx.now.mono_ms;
        if let Some(endpoint) = self.table.conn(link).and_then(|conn| conn.knocks())
            && !self.knock(link, endpoint)
        {
            return;
        }
        let Some(conn) = self.table.conn(link) else { return };
        match self.broker.status_of_all(conn.needed_channels()) {
            Status::Up => {}
            _ if !conn.needs_broker() => {}
            status => {
                let down = status == Status::Down;
                return self.on_conn(link, |conn, cx| conn.on_no_broker(link, down, cx));
            }
        }
        let Some((names, live)) = conn.join(link, &mut self.cx) else { return };
        // What is known not to be stored need not be waited for.
        let local = self.broker.local();
        let live = match local.is_some_and(|local| local.stores_none_of(&names, now_ms)) {
            true => names.len(),
            false => live,
        };
        let (leaves, mut fresh) = (self.relay.overlaps.leaves_any(), Vec::new());
        self.relay.subscribe(link, conn, (names, live), |new| {
            self.said.braces(&self.cx.settings.history, &new);
            fresh.extend(leaves.then(|| new.clone()));
            self.broker.subscribe(new, now_ms);
        });
        fresh.into_iter().for_each(|name| self.overlap_new(name));
        self.ask_for_stored();
        self.note_channels();
        self.on_conn(link, |conn, cx| conn.open_if_joined(link, cx));
    }

    /// Asks for stored messages that somebody waits for, as many as each node of the broker has
    /// room for.
    #[inline]
    pub(super) fn ask_for_stored(&mut self) {
        if self.relay.has_to_ask() || self.relay.trails.has_to_ask() {
            (0..self.broker.nodes()).for_each(|node| self.ask_node_for_stored(node));
        }
    }

    fn ask_node_for_stored(&mut self, node: usize) {
        while self.relay.has_to_ask()
            && self.broker.has_room(node)
            && let Some((fetch, name)) = self.relay.next_to_ask(node)
        {
            self.ask_for_missed(node, fetch, &name);
            self.broker.ask(node, Ask::Stored(fetch), &name, self.cx.now.mono_ms);
        }
        if self.relay.trails.has_to_ask() {
            self.ask_for_places(node);
        }
    }

    /// A conn has begun to close: it hears nothing more, and nobody is asked about it any more.
    fn on_left(&mut self, link: LinkId, left: Left) {
        if let (Some(Source::Application(number)), Some(app)) = (left.asked, &mut self.application)
        {
            app.forget(number);
        }
        if let Some(application) = &mut self.application {
            left.questions.into_iter().for_each(|number| application.forget(number));
        }
        if let Some(network) = left.stranger {
            self.met(network);
        }
        self.cx.encoder.forget(link.index);
        if let Some(released) = left.released {
            released.tell(link, self.relay.heard_by(link), &mut self.cx);
        }
        let mut forgotten = Vec::new();
        self.relay.leave(link, |name, confirmed| forgotten.push((name, confirmed)));
        for (name, confirmed) in forgotten {
            self.unsubscribe(name, confirmed);
        }
        self.leave_topics(link);
        self.note_channels();
    }

    /// What is to be done about the links to the application.
    fn run_errands(&mut self) {
        let Some(application) = &mut self.application else { return };
        while let Some(errand) = application.next_wish() {
            match errand {
                Errand::Close(link) => self.table.close(link),
                Errand::Dial(at) => self.table.dial(Party::App(at), application.target().clone()),
            }
        }
        while let Some(link) = application.next_flush() {
            self.table.stand(link, 1);
        }
    }

    fn publish(&mut self, link: LinkId, data: &[u8]) {
        let Some(Party::Browser(conn)) = self.table.peek(link).map(|slot| &slot.party) else {
            return;
        };
        let (mut published, mut failed) = (0, None);
        for publication in conn.publications() {
            self.said.braces(&self.cx.settings.history, &publication.channel);
            let except = publication.withhold.then_some(link);
            match self.broker.publish(&publication.channel, data, except, None, self.cx.now) {
                Ok(()) => published += 1,
                Err(error) => failed = Some(error),
            }
        }
        let wanted = conn.publications().len() as u64;
        if wanted == 0 && conn.has_topics() {
            return self.publish_on_topic(link, data);
        }
        let metrics = &mut self.cx.metrics;
        metrics.publishes_unrouted_total += u64::from(wanted == 0);
        if wanted == 0 && self.said.unrouted.first() {
            tracing::warn!(
                "{link} sent a message that goes nowhere: its URL asks for no publish- option, or \
                 none is granted, see --allow (said once; then counted)"
            );
        }
        metrics.publishes_total += published;
        metrics.publishes_dropped_total += wanted - published;
        if let Some(error) = failed {
            self.said.undelivered(error);
        }
    }

    /// Publishes what a conn says that speaks `wsloop.1`. What it wanted before is done before.
    fn publish_on_topic(&mut self, link: LinkId, data: &[u8]) {
        self.route_effects();
        let Some(conn) = self.table.conn(link) else { return };
        let Some(Publishing { command, channels, payload_at }) = conn.take_publishing() else {
            return;
        };
        self.say_on_topic(link, command, &channels, &data[payload_at..]);
    }

    /// Publishes what a conn says under that number.
    fn say_on_topic(&mut self, link: LinkId, command: u64, channels: &[String], payload: &[u8]) {
        if self.table.conn(link).is_none_or(|conn| !conn.has_topics()) {
            return;
        }
        let receipt = Some(Receipt { conn: link, number: command });
        for channel in channels {
            self.said.braces(&self.cx.settings.history, channel);
            let done = self.broker.publish(channel, payload, None, receipt, self.cx.now);
            let metrics = &mut self.cx.metrics;
            metrics.publishes_total += u64::from(done.is_ok());
            metrics.publishes_dropped_total += u64::from(done.is_err());
            if let Err(error) = done {
                self.said.undelivered(error);
                let outcome = PublishOutcome::Failed;
                self.on_conn(link, |conn, cx| conn.on_published(link, command, outcome, cx));
            }
        }
    }
}
