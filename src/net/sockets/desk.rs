//! L3: the loop's side of an application in the same process: takes its orders, hands over what has
//! happened.
//!
//! Its rules:
//! * events are handed over once a turn, when everything of that turn is done;
//! * a turn does a bounded number of orders, and the next one, which does not sleep, goes on;
//! * while the application has events in hand the loop looks every millisecond, so that what it is
//!   ordered meanwhile needs no waking; when there was nothing a few times it sleeps as ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::{Inbox, Orders};
use crate::browser::endpoint::{Order, SocketEvent};
use crate::net::reactor::Reactor;
use crate::server::Server;

/// Orders done in a turn.
const ORDERS: usize = 4096;
/// How often the loop looks for orders while the application has events in hand.
const LOOKS: Duration = Duration::from_millis(1);
/// After so many looks in vain it sleeps until it is woken.
const IN_VAIN: u32 = 8;

/// The application that the loop works for.
#[derive(Debug)]
pub(in crate::net) struct Desk {
    orders: Arc<Orders>,
    inboxes: Vec<Arc<Inbox>>,
    /// Orders that were taken and are not done.
    taken: std::vec::IntoIter<Order>,
    events: Vec<SocketEvent>,
    /// Looks without an order.
    in_vain: u32,
    /// The end was begun.
    ends: bool,
}

impl Desk {
    pub(super) fn new(orders: Arc<Orders>, inboxes: Vec<Arc<Inbox>>) -> Desk {
        let (taken, events) = (Vec::new().into_iter(), Vec::new());
        Desk { orders, inboxes, taken, events, in_vain: 0, ends: false }
    }

    /// How long the loop may sleep, if not as long as it wants.
    fn patience(&mut self) -> Option<Duration> {
        if self.taken.len() > 0 {
            return Some(Duration::ZERO);
        }
        let in_hand = self.inboxes.iter().any(|inbox| inbox.in_hand.load(Ordering::SeqCst));
        let looks = in_hand && self.in_vain < IN_VAIN;
        self.orders.looks.store(looks, Ordering::SeqCst);
        match looks {
            true => Some(LOOKS),
            // Whoever gave one before that counted on a look.
            false => self.orders.has_some().then_some(Duration::ZERO),
        }
    }

    /// The next orders, and what was received, which is one as well.
    fn next_orders(&mut self) -> Vec<Order> {
        let received = self.inboxes.iter().enumerate().filter_map(|(endpoint, inbox)| {
            let (events, bytes) = inbox.received()?;
            Some(Order::Received { endpoint, events, bytes })
        });
        let mut next: Vec<Order> = received.collect();
        if self.taken.len() == 0 {
            let mut list = Vec::new();
            self.orders.take(&mut list);
            self.in_vain = if list.is_empty() { self.in_vain.saturating_add(1) } else { 0 };
            self.taken = list.into_iter();
        }
        next.extend(self.taken.by_ref().take(ORDERS));
        // Behind the orders: who has just come to follow has what is new.
        for changed in self.orders.take_changed() {
            match changed.latest() {
                Ok(Some((area, content))) => next.push(Order::Show { area, content }),
                Ok(None) => {}
                Err(error) => tracing::warn!("a shared area cannot be read: {error}"),
            }
        }
        next
    }

    fn note_taken(&self, order: &Order) {
        if let Order::Send { conn, frame } = order {
            self.orders.cells.taken(*conn, frame.len());
        }
    }

    fn hand_over(&mut self, server: &mut Server) {
        server.take_slow(|conn, bytes| self.orders.cells.wait(conn, bytes));
        for (endpoint, inbox) in self.inboxes.iter().enumerate() {
            server.take_events(endpoint, &mut self.events);
            if self.events.is_empty() {
                continue;
            }
            for event in &self.events {
                match event {
                    SocketEvent::Opened { conn, .. }
                    | SocketEvent::Asked { conn, .. }
                    | SocketEvent::Joining { conn, .. } => self.orders.cells.set(*conn, true),
                    SocketEvent::Closed { conn, .. } | SocketEvent::Released { conn, .. } => {
                        self.orders.cells.set(*conn, false);
                    }
                    SocketEvent::Message { .. } | SocketEvent::Request { .. } => {}
                }
            }
            self.in_vain = 0;
            inbox.hand_over(&mut self.events, server.is_full(endpoint));
        }
    }
}

impl Reactor {
    /// How long the loop may sleep, as far as the application is concerned.
    pub(in crate::net) fn patience(&mut self) -> Option<Duration> {
        self.desk.as_mut().and_then(Desk::patience)
    }

    /// Does what the application wants.
    pub(in crate::net) fn look_at_orders(&mut self) {
        let Some(desk) = &mut self.desk else { return };
        let orders = desk.next_orders();
        if !orders.is_empty() {
            let orders = orders.into_iter().inspect(|order| desk.note_taken(order));
            self.server.obey(orders, self.now);
        }
        if desk.orders.ends.load(Ordering::SeqCst) && !std::mem::replace(&mut desk.ends, true) {
            self.leave(1);
        }
    }

    /// Hands over what has happened in this turn.
    pub(in crate::net) fn hand_over_events(&mut self) {
        if let Some(desk) = &mut self.desk {
            desk.hand_over(&mut self.server);
        }
    }
}

/// Tells the application that there is no loop any more, however it has ended.
#[derive(Debug)]
pub(super) struct LoopEnd(pub Arc<Orders>, pub Vec<Arc<Inbox>>);

impl Drop for LoopEnd {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::SeqCst);
        self.1.iter().for_each(|inbox| inbox.end());
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token, Waker};

    use super::*;

    #[test]
    fn the_loop_looks_by_itself_only_while_the_application_has_events_in_hand() {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let orders = Arc::new(Orders::new(Arc::new(waker), 1));
        let inbox = Arc::<Inbox>::default();
        let mut desk = Desk::new(orders.clone(), vec![inbox.clone()]);
        let order = || Order::Gone { endpoint: 0 };
        let turn = |desk: &mut Desk| (desk.patience(), desk.next_orders().len());

        assert_eq!(turn(&mut desk), (None, 0));
        assert!(!orders.give(order(), true), "it sleeps, and is woken");
        assert_eq!(turn(&mut desk), (Some(Duration::ZERO), 1), "what was given before is seen");
        inbox.in_hand.store(true, Ordering::SeqCst);
        assert_eq!(turn(&mut desk), (Some(LOOKS), 0));
        assert!(orders.give(order(), true), "it need not be woken");
        assert!(!orders.give(order(), false), "but for who gives one otherwise");
        assert_eq!(turn(&mut desk), (Some(LOOKS), 2));
        let looks = (0..100).filter(|_| turn(&mut desk).0.is_some()).count();
        assert_eq!(looks, IN_VAIN as usize, "not for ever");
        assert!(!orders.give(order(), true), "then it sleeps as ever");
    }

    #[test]
    fn a_turn_does_so_many_orders_and_the_next_does_not_sleep() {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let orders = Arc::new(Orders::new(Arc::new(waker), 1));
        let mut desk = Desk::new(orders.clone(), Vec::new());
        for _ in 0..ORDERS + 1 {
            orders.give(Order::Gone { endpoint: 0 }, false);
        }
        assert_eq!(desk.next_orders().len(), ORDERS);
        assert_eq!(desk.patience(), Some(Duration::ZERO));
        assert_eq!(desk.next_orders().len(), 1);
        assert_eq!(desk.patience(), None);
    }
}
