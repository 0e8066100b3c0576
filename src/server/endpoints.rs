//! L2: conns whose messages are for the application that wsloop is a part of: who is let in, what
//! the application wants of them, and who is read again when it has received.
//!
//! It is out of the ways of other conns. Its rules:
//! * an order about a conn that has gone, or that is none of an endpoint's, does nothing;
//! * what is sent to one that takes no more is bounded as for every conn;
//! * who is read again comes behind those who were read before, so that nobody fills the queue
//!   alone.

use std::collections::BTreeMap;

use super::Server;
use super::lines::Line;
use super::table::Party;
use crate::browser::endpoint::{ConnId, Order, Receiver, SocketEvent};
use crate::fanout::encoded::Encoded;
use crate::link::{Frame, LinkId, Now, Output, Wish};
use crate::proto::ws::frame::Opcode;
use crate::proto::ws::message::Kind;
use crate::web::upstream::PlainAnswer;

/// Conns of endpoints whose sockets take no more, so that more waits for them than is new.
#[derive(Debug, Default)]
pub(super) struct Slow(BTreeMap<u32, LinkId>);

#[doc(hidden)]
impl Server {
    /// Does what the application wants of the conns of its endpoints.
    pub fn obey(&mut self, orders: impl Iterator<Item = Order>, now: Now) {
        self.set_now(now);
        for order in orders {
            self.do_order(order);
        }
        self.route();
    }

    /// Takes what has happened to the conns of that endpoint, behind what is there.
    pub fn take_events(&mut self, endpoint: usize, into: &mut Vec<SocketEvent>) {
        if let Some(queue) = self.cx.endpoints.get_mut(endpoint) {
            into.append(&mut queue.events);
        }
    }

    /// The number of endpoints.
    pub fn endpoints(&self) -> usize {
        self.cx.endpoints.len()
    }

    /// Whether its queue is full, so that it waits for the application to receive.
    pub fn is_full(&self, endpoint: usize) -> bool {
        self.cx.endpoints.get(endpoint).is_some_and(|queue| queue.is_full())
    }

    /// Conns that have not taken all that was sent them, and how many bytes wait for each. Those
    /// that have by now are said once more, with none.
    pub fn take_slow(&mut self, mut say: impl FnMut(ConnId, usize)) {
        let table = &self.table;
        self.slow.0.retain(|_, link| {
            let bytes = table.peek_conn(*link).map_or(0, |conn| conn.outbox.len());
            say(ConnId(*link), bytes);
            bytes > 0
        });
    }
}

impl Server {
    pub(super) fn do_order(&mut self, order: Order) {
        match order {
            Order::Send { conn, frame } => self.send(&[conn], &frame),
            Order::Broadcast { conns, frame } => self.send(&conns, &frame),
            Order::Close { conn: ConnId(link), code, reason } => {
                self.on_conn(link, |conn, cx| conn.end(link, code, &reason, cx));
            }
            Order::Subscribe { conn, channel } => self.hear_also(conn.0, &channel),
            Order::Unsubscribe { conn, channel } => self.hear_no_more(conn.0, &channel),
            Order::Follow { conn, area, binary, content } => {
                self.follow(conn, area, binary, &content);
            }
            Order::Unfollow { conn, area } => self.unfollow(conn, area),
            Order::Show { area, content } => self.show(area, &content),
            Order::Publish { channel, payload } => self.publish_to(&channel, &payload),
            Order::Accept { conn: ConnId(link), protocol, headers } => {
                let conn = self.table.conn(link);
                if conn.is_some_and(|conn| conn.accept(protocol.as_deref(), &headers)) {
                    self.join(link);
                }
            }
            Order::Refuse { conn: ConnId(link), status, text } => {
                self.on_conn(link, |conn, cx| conn.turn_away(link, status, &text, cx));
            }
            Order::Pause { conn, pauses } => self.pause(conn, pauses),
            Order::Grant { conn: ConnId(link), channels } => {
                if self.table.conn(link).is_some_and(|conn| conn.decide(*channels)) {
                    self.join(link);
                }
            }
            Order::Respond { id, status, headers, body } => {
                self.answer_request(id, &PlainAnswer { status, headers, body });
            }
            Order::Received { endpoint, events, bytes } => {
                if self.cx.told(endpoint, events, bytes) {
                    self.read_again(endpoint);
                }
                self.let_in_who_waits(endpoint);
                self.tell_requests(endpoint);
            }
            Order::Gone { endpoint } => self.lose(endpoint, 1001, "the application has ended"),
        }
        if self.cx.has_effects() {
            self.route_effects();
        }
    }

    /// Hands a frame to each of these conns.
    fn send(&mut self, conns: &[ConnId], frame: &Frame) {
        let (now, limit) = (self.cx.now.tick(), self.cx.settings.outbox_limit);
        let line = Line::of(conns.len());
        let (kind, payload) = message_of(frame);
        let mut encoded = Encoded::of(kind, payload);
        self.cx.queued_bytes(frame.len());
        self.cx.took(frame.len());
        for ConnId(link) in conns {
            let Some((at, slot, lines)) = self.table.at_and_lines(link.index) else { continue };
            let Party::Browser(conn) = &mut slot.party else { continue };
            if at != *link || conn.application().is_none() {
                continue;
            }
            let Some((outbox, member, _)) = conn.receiver() else { continue };
            member.spoken = now;
            outbox.push(match member.form.window_bits {
                0 if !member.form.is_events() => frame.clone(),
                _ => self.cx.encoder.frame(&mut encoded, link.index, member.form),
            });
            self.cx.metrics.messages_out_total += 1;
            self.cx.queued(1);
            if !slot.blocked {
                slot.enter(link.index, line, lines);
            } else if conn.is_over(limit) {
                conn.overflowed(*link, &mut self.cx);
                self.after(*link);
            }
        }
        self.cx.metrics.compressions_total = self.cx.encoder.compressions();
    }

    /// A conn that is to be let in by an endpoint: whether it is, now.
    #[inline(never)]
    pub(super) fn knock(&mut self, link: LinkId, endpoint: u8) -> bool {
        let Some(conn) = self.table.conn(link) else { return false };
        let queue = &mut self.cx.endpoints[usize::from(endpoint)];
        if queue.receiver != Receiver::There {
            self.on_conn(link, |conn, cx| conn.is_unheard(link, cx));
            return false;
        }
        if queue.is_full() {
            if conn.stand_in_line(true) {
                queue.knocking.push_back(link);
            }
            return false;
        }
        let Some((request, wanted)) = conn.take_request() else { return false };
        let waits = queue.decides || wanted.is_some();
        if !waits {
            conn.let_in();
        }
        let conn = ConnId(link);
        let event = match wanted {
            Some(wanted) => SocketEvent::Joining { conn, request, wanted },
            None if waits => SocketEvent::Asked { conn, request },
            None => SocketEvent::Opened { conn, request },
        };
        self.cx.tell(endpoint, event);
        !waits
    }

    /// The kernel takes no more of a conn: it may be one of an endpoint's.
    #[inline(never)]
    pub(super) fn note_slow(&mut self, link: LinkId) {
        let is_ones = self.table.peek_conn(link).is_some_and(|conn| conn.application().is_some());
        if is_ones {
            self.slow.0.insert(link.index, link);
        }
    }

    /// What a link wants when not all may be read: conns of an endpoint whose queue is full rest.
    #[cold]
    #[inline(never)]
    pub(super) fn wish_without_room(&self, link: LinkId, wish: Wish) -> Wish {
        let conn = self.table.peek_conn(link);
        match conn {
            _ if self.cx.has_queued_enough() => Wish::Later,
            Some(conn) if conn.is_passed_over(&self.cx) => Wish::Rest,
            _ => wish,
        }
    }

    /// There is room in the queue again: those who rested are read, the next after the last first.
    fn read_again(&mut self, endpoint: usize) {
        let is_of = Some(endpoint as u8);
        let mut links = self.table.conns(|conn| conn.endpoint() == is_of);
        let last = self.cx.endpoints[endpoint].last;
        let next = links.partition_point(|link| link.index <= last);
        links.rotate_left(next);
        for link in links {
            // Whatever it has said meanwhile is not read yet.
            if let Some(conn) = self.table.conn(link) {
                conn.heard(&self.cx);
            }
            self.table.put(Output::Resume(link));
        }
    }

    fn let_in_who_waits(&mut self, endpoint: usize) {
        while let Some(queue) = self.cx.endpoints.get_mut(endpoint)
            && !queue.is_full()
            && let Some(link) = queue.knocking.pop_front()
        {
            if self.table.conn(link).is_some_and(|conn| conn.stand_in_line(false)) {
                self.join(link);
            }
        }
    }

    /// Nobody receives what is for an endpoint: its conns are told to go.
    pub(super) fn lose(&mut self, endpoint: usize, code: u16, reason: &str) {
        if endpoint >= self.cx.endpoints.len() {
            return;
        }
        self.cx.end_endpoint(endpoint);
        self.end_requests(endpoint);
        let of = Some(endpoint as u8);
        for link in self.table.conns(|conn| conn.told_of() == of || conn.knocks() == of) {
            self.on_conn(link, |conn, cx| match conn.is_open() {
                true => conn.end(link, code, reason, cx),
                false => conn.is_unheard(link, cx),
            });
        }
        self.cx.endpoints[endpoint].knocking.clear();
    }

    fn publish_to(&mut self, channel: &str, payload: &[u8]) {
        let done = self.broker.publish(channel, payload, None, None, self.cx.now);
        let metrics = &mut self.cx.metrics;
        match done {
            Ok(()) => metrics.publishes_total += 1,
            Err(error) => {
                metrics.publishes_dropped_total += 1;
                self.said.undelivered(error);
            }
        }
    }
}

/// What is in a frame of ours that is not compressed.
fn message_of(frame: &[u8]) -> (Kind, &[u8]) {
    let kind = match frame.first().map(|first| first & 0x0f) {
        Some(code) if code == Opcode::Text as u8 => Kind::Text,
        _ => Kind::Binary,
    };
    let head = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    (kind, frame.get(head..).unwrap_or_default())
}
