//! L2: applications in other processes that handle the conns of endpoints: their links, what is on
//! its way to them, what they want, and what becomes of their conns without them.
//!
//! It is out of the ways of other conns. Its rules:
//! * what an application wants is an order like one of an application in this process, and does
//!   nothing to the conns of another endpoint;
//! * while there is no application, who comes is refused with 503.

use super::Server;
use super::table::Party;
use crate::browser::endpoint::{ConnId, Order, Receiver};
use crate::browser::settings::Settings;
use crate::handler::{Handler, HandlerDue, HandlerStep};
use crate::link::{LinkId, Output, Wish};

/// What conns are closed with whose application is lost (RFC 6455 section 7.4, as registered).
const RESTARTS: u16 = 1012;

/// The applications of these settings, each with jitter of its own.
pub(super) fn handlers(settings: &Settings, seed: u64) -> Vec<Handler> {
    let all = settings.handlers.iter().zip(1..);
    let handler = all.filter_map(|(handler, number)| {
        let endpoint = settings.endpoints.get(usize::from(handler.endpoint))?;
        let seed = seed.wrapping_mul(number).wrapping_add(number);
        Some(Handler::new(handler, &endpoint.path, settings.max_message_size, seed))
    });
    handler.collect()
}

impl Server {
    /// No application has been found yet.
    pub(super) fn begin_handlers(&mut self) {
        for handler in &self.handlers {
            let queue = &mut self.cx.endpoints[usize::from(handler.endpoint())];
            queue.receiver = if handler.keeps() { Receiver::Away } else { Receiver::Gone };
        }
    }

    /// Dials and gives up what is due, and looks at who is slow.
    #[inline]
    pub(super) fn tick_handlers(&mut self) {
        if !self.handlers.is_empty() {
            self.tick_all_handlers();
        }
    }

    #[inline(never)]
    fn tick_all_handlers(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        for at in 0..self.handlers.len() {
            match self.handlers[at].tick(now_ms) {
                Some(HandlerDue::Dial) if self.ending.has_begun() => self.handlers[at].lost(now_ms),
                Some(HandlerDue::Dial) => {
                    self.cx.metrics.handler_dials_total += 1;
                    let target = self.handlers[at].target().clone();
                    self.table.dial(Party::Handler(at), target);
                }
                Some(HandlerDue::GiveUp(why)) => self.handler_lost(at, why),
                Some(HandlerDue::Close) => self.close_handler(at),
                None => {}
            }
        }
        let mut slow = Vec::new();
        self.take_slow(|conn, bytes| slow.push((conn, bytes)));
        for (conn, bytes) in slow {
            let endpoint = self.table.peek_conn(conn.0).and_then(|conn| conn.told_of());
            let its = |handler: &&mut Handler| Some(handler.endpoint()) == endpoint;
            if let Some(handler) = self.handlers.iter_mut().find(its) {
                handler.note_slow(conn, bytes);
            }
        }
        self.fill_handlers();
    }

    /// When something is to be done about one.
    #[inline]
    pub(super) fn handlers_ms(&self) -> Option<u64> {
        self.handlers.iter().filter_map(Handler::deadline_ms).min()
    }

    /// Has what happened go out to the applications.
    #[inline]
    pub(super) fn fill_handlers(&mut self) {
        // This is asked after every message of every browser.
        if !self.handlers.is_empty() {
            (0..self.handlers.len()).for_each(|at| self.fill_handler(at));
        }
    }

    #[inline(never)]
    fn fill_handler(&mut self, at: usize) {
        loop {
            let handler = &mut self.handlers[at];
            let endpoint = usize::from(handler.endpoint());
            handler.take(&mut self.cx.endpoints[endpoint].events);
            let (events, bytes) = handler.fill();
            if events == 0 {
                break;
            }
            self.cx.metrics.handler_events_total += events as u64;
            // There may be room for who waits now.
            self.do_order(Order::Received { endpoint, events, bytes });
        }
        let handler = &self.handlers[at];
        if let Some(link) = handler.link().filter(|_| !handler.unsent().is_empty()) {
            self.table.stand(link, 1);
        }
    }

    /// The kernel took bytes of an application's link.
    pub(super) fn handler_advance(&mut self, link: LinkId, at: usize, n: usize) {
        let sent = self.handlers[at].advance(n);
        if let Some(slot) = self.table.get(link) {
            slot.blocked &= !sent;
        }
        match self.handlers[at].is_ending() && sent {
            true => self.close_handler(at),
            false => self.fill_handler(at),
        }
    }

    /// What a link to an application wants as to its input.
    pub(super) fn handler_wish(&self, at: usize) -> Wish {
        if self.handlers[at].reads() { Wish::Read } else { Wish::Rest }
    }

    /// Bytes of an application.
    pub(super) fn handler_received(&mut self, at: usize, bytes: &[u8]) {
        let (now_ms, mut input) = (self.cx.now.mono_ms, bytes);
        while self.handlers[at].reads() {
            match self.handlers[at].next(&mut input, now_ms) {
                HandlerStep::Idle => return,
                HandlerStep::More => {}
                HandlerStep::Up(decides) => self.handler_up(at, decides),
                HandlerStep::Order(order) => self.obey_handler(at, order),
                HandlerStep::Refused(why) => {
                    self.cx.metrics.handler_orders_refused_total += 1;
                    if self.handlers[at].said_wrong.first() {
                        let path = self.handlers[at].path();
                        tracing::warn!(
                            "the application of --endpoint {path} was wrong in {why} (said once; \
                             then counted)"
                        );
                    }
                }
                HandlerStep::Broken(error) => {
                    self.say_handler_lost(at, &error.to_string());
                    self.part_from_handler(at);
                    self.handlers[at].end(&error, now_ms);
                }
            }
        }
    }

    /// Does what an application wants of conns of its own.
    fn obey_handler(&mut self, at: usize, mut order: Order) {
        self.cx.metrics.handler_orders_total += 1;
        let endpoint = Some(self.handlers[at].endpoint());
        let is_its = |ConnId(link): ConnId| {
            self.table.peek_conn(link).is_some_and(|conn| conn.told_of() == endpoint)
        };
        if let Order::Broadcast { conns, .. } = &mut order {
            *conns = conns.iter().copied().filter(|conn| is_its(*conn)).collect();
        }
        let conn = order.conn();
        if conn.is_some_and(|conn| !is_its(conn)) {
            return;
        }
        let may_refuse = matches!(order, Order::Refuse { .. } | Order::Close { .. });
        self.do_order(order);
        if let Some(conn) = conn.filter(|_| may_refuse)
            && self.table.peek_conn(conn.0).is_none_or(|conn| conn.told_of().is_none())
        {
            let handler = &mut self.handlers[at];
            handler.take(&mut self.cx.endpoints[usize::from(handler.endpoint())].events);
            handler.refused(conn);
        }
    }

    /// An application has greeted.
    fn handler_up(&mut self, at: usize, decides: bool) {
        let handler = &mut self.handlers[at];
        tracing::info!(
            "the application of --endpoint {} is there, at {}",
            handler.path(),
            handler.target()
        );
        self.cx.metrics.handlers_up += 1;
        self.cx.begin_endpoint(handler.endpoint(), decides);
    }

    /// The link to an application has ended, or could not be made.
    pub(super) fn handler_lost(&mut self, at: usize, why: &str) {
        if self.handlers[at].is_ending() {
            return self.close_handler(at);
        }
        self.say_handler_lost(at, why);
        self.part_from_handler(at);
        self.close_handler(at);
    }

    fn close_handler(&mut self, at: usize) {
        let link = self.handlers[at].link();
        self.handlers[at].lost(self.cx.now.mono_ms);
        link.into_iter().for_each(|link| self.table.close(link));
    }

    fn say_handler_lost(&mut self, at: usize, why: &str) {
        let conns = self.table.conns(|conn| conn.told_of() == Some(self.handlers[at].endpoint()));
        let handler = &mut self.handlers[at];
        let is_new = handler.says_away(why);
        let fate =
            if handler.keeps() { "are kept for the next one" } else { "are closed with 1012" };
        let (path, target, conns) =
            (handler.path().to_owned(), handler.target().clone(), conns.len());
        if handler.is_up() {
            tracing::warn!(
                "the application of --endpoint {path} at {target} is lost: {why}; its {conns} \
                 conns {fate}, and it is dialed again"
            );
        } else if is_new {
            tracing::warn!(
                "the application of --endpoint {path} cannot be reached at {target}: {why}; it is \
                 dialed again, and handshakes are refused with 503 until it is there"
            );
        }
    }

    /// What becomes of the conns of an application that is lost.
    fn part_from_handler(&mut self, at: usize) {
        if !self.handlers[at].is_up() {
            return;
        }
        self.cx.metrics.handlers_up -= 1;
        self.cx.metrics.handler_lost_total += 1;
        let endpoint = self.handlers[at].endpoint();
        if !self.handlers[at].keeps() {
            self.handlers[at].forget();
            return self.lose(usize::from(endpoint), RESTARTS, "the application has gone");
        }
        let queue = &mut self.cx.endpoints[usize::from(endpoint)];
        queue.receiver = Receiver::Away;
        queue.knocking.clear();
        for link in self.table.conns(|conn| conn.knocks() == Some(endpoint)) {
            self.on_conn(link, |conn, cx| conn.is_unheard(link, cx));
        }
        for link in self.table.conns(|conn| conn.endpoint() == Some(endpoint)) {
            self.do_order(Order::Pause { conn: ConnId(link), pauses: false });
        }
        let handler = &mut self.handlers[at];
        handler.take(&mut self.cx.endpoints[usize::from(endpoint)].events);
        let table = &self.table;
        let forgotten = handler.keep(|ConnId(link)| {
            table.peek_conn(link).is_some_and(|conn| conn.told_of() == Some(endpoint))
        });
        let endpoint = usize::from(endpoint);
        self.do_order(Order::Received { endpoint, events: forgotten, bytes: 0 });
    }

    /// A conn is to be read no more, or again.
    pub(super) fn pause(&mut self, ConnId(link): ConnId, pauses: bool) {
        if let Some(conn) = self.table.conn(link)
            && conn.pause(pauses, &mut self.cx)
            && !pauses
        {
            // Whatever it has said meanwhile is not read yet.
            conn.heard(&self.cx);
            self.table.put(Output::Resume(link));
        }
    }

    /// Whether all that happened has gone out to the applications that take it.
    pub(super) fn has_told_handlers(&self) -> bool {
        self.handlers.iter().all(|handler| !handler.is_up() || !handler.has_unsaid())
    }
}
