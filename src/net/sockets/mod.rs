//! L3: a WebSocket server of one's own, in a few lines: the same core and the same loop as the
//! server's, with the application in the place of the broker.
//!
//! The loop has a thread of its own, so that pings, pongs and close handshakes go on whatever the
//! application does. Between the two go values: events come through a bounded queue, and while it
//! is full conns are not read, so that the kernel has their peers wait; orders go the other way,
//! and a [`Waker`](mio::Waker) has the loop look at them. Neither side ever waits for the other
//! with a lock in hand (`shared`); `desk` is the loop's side, `sender` the application's.

mod area;
mod desk;
mod sender;
mod shared;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::reactor::Reactor;
use crate::browser::endpoint::{Endpoint, Order, SocketEvent};
use crate::browser::settings::Settings;
use crate::server::Server;
pub use area::{AreaError, AreaNumber, SharedArea};
pub(super) use desk::Desk;
use desk::LoopEnd;
pub use sender::{AreaKind, Sender, Sent, SocketsError};
use shared::{Inbox, Orders, Took, Wait};

/// The WebSockets of an endpoint: their events are received here, and everything that a
/// [`Sender`] can do is done to them.
///
/// ```no_run
/// use wsloop::{SocketEvent, Sockets};
///
/// let mut sockets = Sockets::bind("127.0.0.1:8080")?;
/// loop {
///     if let SocketEvent::Message { conn, message } = sockets.recv()? {
///         sockets.send_message(conn, &message);
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), wsloop::SocketsError>(())
/// ```
///
/// When it is dropped its conns are closed with 1001, and whoever comes is refused with 503. With
/// the last one of a loop the loop ends, which [`Sockets::shut_down`] waits for.
#[derive(Debug)]
pub struct Sockets {
    sender: Sender,
    endpoint: usize,
    /// Events that were taken and not yet received.
    in_hand: VecDeque<SocketEvent>,
    addresses: Arc<[SocketAddr]>,
}

impl Sockets {
    /// Serves WebSockets of every path at an address, `HOST:PORT` or `unix:PATH`, with the settings
    /// of [`Settings::without_relay`]: messages of up to 1 MiB, pings after 30 s without a byte and
    /// 10 s for the answer, 1,000 conns at most.
    pub fn bind(address: &str) -> Result<Sockets, SocketsError> {
        Sockets::serve(&[address.to_owned()], Settings::without_relay(), Endpoint::default())
    }

    /// Serves one endpoint at these addresses. The relay is served too, below `url_prefix`, unless
    /// that is empty.
    pub fn serve(
        addresses: &[String],
        settings: Settings,
        endpoint: Endpoint,
    ) -> Result<Sockets, SocketsError> {
        let mut all = Sockets::serve_all(addresses, settings, vec![endpoint])?;
        all.pop().ok_or(SocketsError::Endpoints)
    }

    /// Serves several endpoints, each of which is received by itself, on whichever thread. They are
    /// returned in the order in which they are given.
    pub fn serve_all(
        addresses: &[String],
        settings: Settings,
        endpoints: Vec<Endpoint>,
    ) -> Result<Vec<Sockets>, SocketsError> {
        let count = endpoints.len();
        let is_path = |of: &Endpoint| of.path.starts_with('/') || of.path.is_empty() && of.joins;
        let deciders = endpoints.iter().filter(|endpoint| endpoint.joins).count();
        let are_sound = endpoints.iter().all(is_path) && deciders <= 1;
        if count == 0 || count > usize::from(u8::MAX) || !are_sound {
            return Err(SocketsError::Endpoints);
        }
        let keys = RandomState::new();
        let seed = keys.hash_one("seed");
        let server = Server::new(Settings { endpoints, ..settings }, keys, seed);
        let mut reactor = Reactor::bind(addresses, server).map_err(SocketsError::Loop)?;
        let orders = Arc::new(Orders::new(reactor.waker(), count));
        let inboxes: Vec<Arc<Inbox>> = (0..count).map(|_| Arc::default()).collect();
        reactor.desk = Some(Desk::new(orders.clone(), inboxes.clone()));
        let addresses: Arc<[SocketAddr]> = reactor.addresses().into();
        let end = LoopEnd(orders.clone(), inboxes.clone());
        let run = move || {
            let end = end;
            if let Err(error) = reactor.run() {
                tracing::error!("the loop has ended: {error}");
            }
            drop(end);
        };
        let thread = thread::Builder::new().name("wsloop".to_owned());
        thread.spawn(run).map_err(SocketsError::Thread)?;
        let sockets = inboxes.into_iter().enumerate().map(|(endpoint, inbox)| {
            let sender = Sender { orders: orders.clone(), inbox, receives: true };
            let (in_hand, addresses) = (VecDeque::new(), addresses.clone());
            Sockets { sender, endpoint, in_hand, addresses }
        });
        Ok(sockets.collect())
    }

    /// Where it listens: the ports chosen, where 0 was given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A sender for another thread.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Waits for the next event. [`SocketsError::ShutDown`] is the end, now and for ever.
    pub fn recv(&mut self) -> Result<SocketEvent, SocketsError> {
        loop {
            if let Some(event) = self.next(Wait::ForEver)? {
                return Ok(event);
            }
        }
    }

    /// Waits for the next event for so long; `None` when none has come.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<Option<SocketEvent>, SocketsError> {
        self.next(Wait::For(time))
    }

    /// The next event, if there is one already; `None` when there is none yet.
    pub fn recv_nb(&mut self) -> Result<Option<SocketEvent>, SocketsError> {
        self.next(Wait::Not)
    }

    /// Asks for the end of the loop, as [`Sender::shut_down`] does, and waits for it.
    pub fn shut_down(self) {
        self.sender.shut_down();
        self.sender.inbox.wait_for_the_end();
    }

    fn next(&mut self, wait: Wait) -> Result<Option<SocketEvent>, SocketsError> {
        if self.in_hand.is_empty() {
            let Sender { inbox, orders, .. } = &self.sender;
            if inbox.held_back.swap(false, Ordering::SeqCst) {
                orders.wake();
            }
            match inbox.take(&mut self.in_hand, wait) {
                Took::Some(loop_waits) => {
                    if loop_waits {
                        orders.wake();
                    }
                }
                Took::Nothing => return Ok(None),
                Took::Over => return Err(SocketsError::ShutDown),
            }
        }
        let event = self.in_hand.pop_front();
        if self.in_hand.is_empty() {
            self.sender.inbox.in_hand.store(false, Ordering::SeqCst);
        }
        Ok(event)
    }
}

impl Deref for Sockets {
    type Target = Sender;

    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let Sender { orders, inbox, .. } = &self.sender;
        inbox.in_hand.store(false, Ordering::SeqCst);
        inbox.is_over.store(true, Ordering::SeqCst);
        if orders.receivers.fetch_sub(1, Ordering::SeqCst) == 1 {
            orders.ends.store(true, Ordering::SeqCst);
        }
        orders.give(Order::Gone { endpoint: self.endpoint }, false);
        orders.wake();
    }
}
