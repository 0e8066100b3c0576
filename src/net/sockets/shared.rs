//! L3: what the loop's thread and the application's threads share: events in one direction, orders
//! in the other, and how much waits for each conn.
//!
//! Its rules:
//! * neither side ever waits for the other with a lock in hand, and no lock is held while anything
//!   is done but moving values;
//! * the application is woken once for all that a turn has brought;
//! * the loop is woken once for all orders until it looks, and not at all for orders that are given
//!   while the application has more events in hand, as long as the loop looks by itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;

use super::area::Changed;
use crate::browser::endpoint::{ConnId, Order, SocketEvent};
use crate::link::LinkId;

/// Orders on their way to the loop.
#[derive(Debug)]
pub(super) struct Orders {
    list: Mutex<Vec<Order>>,
    /// Shared areas that have changed, each once.
    changed: Mutex<Vec<Changed>>,
    waker: Arc<Waker>,
    /// The loop has been woken and has not looked yet.
    woken: AtomicBool,
    /// The loop looks within a millisecond, woken or not.
    pub looks: AtomicBool,
    /// The end is asked for.
    pub ends: AtomicBool,
    /// Endpoints whose events somebody receives.
    pub receivers: AtomicUsize,
    pub cells: Cells,
}

impl Orders {
    pub(super) fn new(waker: Arc<Waker>, receivers: usize) -> Orders {
        Orders {
            list: Mutex::default(),
            changed: Mutex::default(),
            waker,
            woken: AtomicBool::new(false),
            looks: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            receivers: AtomicUsize::new(receivers),
            cells: Cells::default(),
        }
    }

    /// Puts an order behind the others; whether the loop is still to be woken for it, because who
    /// gives it `may_wait` and the loop looks by itself.
    pub(super) fn give(&self, order: Order, may_wait: bool) -> bool {
        locked(&self.list).push(order);
        let waits = may_wait && self.looks.load(Ordering::SeqCst);
        if !waits {
            self.wake();
        }
        waits
    }

    /// Has the loop look.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!("the loop cannot be woken: {error}");
        }
    }

    /// Takes all orders; `into` is empty.
    pub(super) fn take(&self, into: &mut Vec<Order>) {
        self.woken.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *locked(&self.list), into);
    }

    /// Whether there are some.
    pub(super) fn has_some(&self) -> bool {
        !locked(&self.list).is_empty() || !locked(&self.changed).is_empty()
    }

    /// An area has changed that conns follow.
    pub(super) fn note_changed(&self, changed: Changed) {
        locked(&self.changed).push(changed);
        self.wake();
    }

    /// Takes the areas that have changed.
    pub(super) fn take_changed(&self) -> Vec<Changed> {
        std::mem::take(&mut *locked(&self.changed))
    }
}

/// Events on their way to the application.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    arrived: Mutex<Arrived>,
    news: Condvar,
    /// Events, and bytes of messages, that were received and of which the loop has not heard.
    received: [AtomicUsize; 2],
    /// The application has more than one event in hand, or will have when it receives.
    pub in_hand: AtomicBool,
    /// Orders were given for which the loop was not woken.
    pub held_back: AtomicBool,
    /// Nothing comes of orders any more: there is no loop, or nobody who receives.
    pub is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Arrived {
    events: VecDeque<SocketEvent>,
    bytes: usize,
    /// The loop reads nobody until some are received.
    is_full: bool,
    /// Somebody waits for them.
    is_awaited: bool,
    /// There will be no more.
    is_over: bool,
}

/// What came of asking for events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// Some, and whether the loop waits for that.
    Some(bool),
    /// None yet.
    Nothing,
    /// There will be no more.
    Over,
}

impl Inbox {
    /// Hands events over, all of `events`.
    pub(super) fn hand_over(&self, events: &mut Vec<SocketEvent>, is_full: bool) {
        let bytes = events.iter().map(SocketEvent::held_bytes).sum::<usize>();
        let mut arrived = locked(&self.arrived);
        arrived.events.extend(events.drain(..));
        arrived.bytes += bytes;
        arrived.is_full = is_full;
        if arrived.events.len() > 1 {
            self.in_hand.store(true, Ordering::SeqCst);
        }
        if std::mem::take(&mut arrived.is_awaited) {
            drop(arrived);
            self.news.notify_one();
        }
    }

    /// There will be no more events.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        locked(&self.arrived).is_over = true;
        self.news.notify_all();
    }

    /// Waits until there will be no more events.
    pub(super) fn wait_for_the_end(&self) {
        let mut arrived = locked(&self.arrived);
        while !arrived.is_over {
            arrived = self.news.wait(arrived).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes all events; `into` is empty. Waits for some until that time: for ever, if the time is
    /// too far off to be said.
    pub(super) fn take(&self, into: &mut VecDeque<SocketEvent>, wait: Wait) -> Took {
        let until = match wait {
            Wait::Not => Some(Instant::now()),
            Wait::For(time) => Instant::now().checked_add(time),
            Wait::ForEver => None,
        };
        let mut arrived = locked(&self.arrived);
        while arrived.events.is_empty() {
            if arrived.is_over {
                return Took::Over;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Took::Nothing;
            }
            arrived.is_awaited = true;
            arrived = match left {
                None => self.news.wait(arrived).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.news.wait_timeout(arrived, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            arrived.is_awaited = false;
        }
        std::mem::swap(&mut arrived.events, into);
        let bytes = std::mem::take(&mut arrived.bytes);
        self.received[0].fetch_add(into.len(), Ordering::SeqCst);
        self.received[1].fetch_add(bytes, Ordering::SeqCst);
        Took::Some(std::mem::take(&mut arrived.is_full))
    }

    /// Events and bytes that were received since this was last asked.
    pub(super) fn received(&self) -> Option<(usize, usize)> {
        let [events, bytes] = &self.received;
        if events.load(Ordering::SeqCst) == 0 {
            return None;
        }
        Some((events.swap(0, Ordering::SeqCst), bytes.swap(0, Ordering::SeqCst)))
    }
}

/// How long somebody waits for events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Not,
    For(Duration),
    ForEver,
}

/// A lock is held only to move values, so that what a thread that panicked has left is whole.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first list of cells has so many, and each other one twice as many as that before it.
const FIRST: usize = 64;

/// What senders may know of each place for a conn. Lists are made when there is a conn for them,
/// and stay.
#[derive(Debug, Default)]
pub(super) struct Cells([OnceLock<Box<[Cell]>>; 27]);

/// What is known of one place.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// The generation of the conn that is there; 0 is none.
    generation: AtomicU32,
    /// Bytes of orders that the loop has not taken.
    ordered: AtomicUsize,
    /// Bytes that its socket did not take at once.
    waiting: AtomicUsize,
}

impl Cells {
    /// The conn is there from now on, or no more.
    pub(super) fn set(&self, ConnId(link): ConnId, is_there: bool) {
        let (list, at) = place(link);
        let new = || (0..FIRST << list).map(|_| Cell::default()).collect();
        let cell = &self.0[list].get_or_init(new)[at];
        match is_there {
            true => cell.generation.store(link.generation, Ordering::SeqCst),
            false if cell.generation.load(Ordering::SeqCst) == link.generation => {
                cell.generation.store(0, Ordering::SeqCst);
            }
            false => {}
        }
    }

    /// Notes that so many bytes are ordered for a conn; how many wait for it then. Nothing if it
    /// has gone.
    pub(super) fn ordered(&self, conn: ConnId, bytes: usize) -> Option<usize> {
        let cell = self.cell(conn)?;
        if cell.generation.load(Ordering::SeqCst) != conn.0.generation {
            return None;
        }
        let ordered = cell.ordered.fetch_add(bytes, Ordering::Relaxed) + bytes;
        Some(ordered + cell.waiting.load(Ordering::Relaxed))
    }

    /// The loop has taken an order of so many bytes.
    pub(super) fn taken(&self, conn: ConnId, bytes: usize) {
        if let Some(cell) = self.cell(conn) {
            cell.ordered.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// So many bytes wait for a conn whose socket takes no more.
    pub(super) fn wait(&self, conn: ConnId, bytes: usize) {
        if let Some(cell) = self.cell(conn) {
            cell.waiting.store(bytes, Ordering::Relaxed);
        }
    }

    fn cell(&self, ConnId(link): ConnId) -> Option<&Cell> {
        let (list, at) = place(link);
        self.0[list].get().map(|cells| &cells[at])
    }
}

/// The list that a conn's cell is in, and its place there.
fn place(link: LinkId) -> (usize, usize) {
    let number = link.index as usize + FIRST;
    let list = (number / FIRST).ilog2() as usize;
    (list, number - (FIRST << list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_conn_has_a_cell_of_its_own() {
        let cells = Cells::default();
        let conn = |index, generation| ConnId(LinkId { index, generation });
        for index in (0..1000).chain([1 << 20, u32::MAX]) {
            let (list, at) = place(LinkId { index, generation: 1 });
            assert!(at < FIRST << list && list < cells.0.len(), "{index}");
        }
        (0..1000).for_each(|index| cells.set(conn(index, index + 1), true));
        for index in 0..1000 {
            assert_eq!(cells.ordered(conn(index, index + 1), 5), Some(5), "{index}");
            assert_eq!(cells.ordered(conn(index, index + 2), 5), None, "another generation");
        }
        cells.wait(conn(7, 8), 100);
        assert_eq!(cells.ordered(conn(7, 8), 1), Some(106));
        cells.taken(conn(7, 8), 5);
        assert_eq!(cells.ordered(conn(7, 8), 0), Some(101));
        cells.set(conn(7, 8), false);
        assert_eq!(cells.ordered(conn(7, 8), 1), None, "it has gone");
        assert_eq!(cells.ordered(conn(1 << 20, 1), 1), None, "nobody was there ever");
    }
}
