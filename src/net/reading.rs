//! L3: how the loop reads.
//!
//! It knows budgets and what a kernel has, not what is read. Its rules:
//! * a link is read at most [`READS`] times in a turn, however many events and leftovers name it;
//! * reading has a time budget, which is checked after each read; who is left over is read in the
//!   next turn, which does not sleep;
//! * a link whose wish it is to be filled is read into its room, as much as that takes.

use std::time::Instant;

use super::reactor::Reactor;
use super::socket::Reading;
use crate::link::{Cause, Input, LinkId, Wish};

/// Bytes of which a read that puts them where they are needed counts as one more.
const FILL_BYTES: usize = 1 << 20;
/// Reads of one link in a turn.
const READS: usize = 4;

impl Reactor {
    /// Reads those that come first, then the others that have something new to say.
    pub(super) fn read_all(
        &mut self,
        first: Vec<LinkId>,
        fresh: Vec<LinkId>,
        until: Option<Instant>,
    ) {
        for link in first {
            self.read(link, None);
        }
        let mut over = false;
        for link in fresh {
            match over {
                false => over = self.read(link, until),
                true => self.leave_over(link),
            }
        }
    }

    /// Reads those that an earlier turn has left over, of whom at least one has its turn.
    pub(super) fn read_leftovers(&mut self, mut left: usize, until: Option<Instant>) {
        let mut first = true;
        while left > 0
            && let Some(link) = self.leftovers.pop_front()
        {
            left -= 1;
            let Some(entry) = self.link(link) else { continue };
            entry.left_over = false;
            let over = match entry.comes_first {
                true => self.read(link, None),
                false => self.read(link, until),
            };
            if !std::mem::take(&mut first) && over {
                break;
            }
        }
    }

    /// Hands what arrived on a link to the core, until there is no more or a budget is used up.
    /// Whether that is the one of time.
    fn read(&mut self, link: LinkId, until: Option<Instant>) -> bool {
        let (mut over, mut has_made_room) = (false, false);
        let mut reads = 0;
        while reads < READS {
            reads += 1;
            let Some(entry) = self.links.get_mut(link.index as usize) else { return over };
            if entry.generation != link.generation || !entry.made {
                return over;
            }
            let accepted = entry.accepted;
            match self.server.wish(link) {
                Wish::Rest => return over,
                Wish::Later if has_made_room => break,
                Wish::Later => {
                    self.make_room(until);
                    has_made_room = true;
                }
                Wish::GoOn => self.server.handle(Input::WentOn { link }, self.now),
                Wish::Read | Wish::Fill if entry.over || !entry.has_more => return over,
                wish => match if entry.secured {
                    self.read_secured(link)
                } else if wish == Wish::Fill
                    && let Some(room) = self.server.room(link, entry.waiting())
                {
                    entry.fill(room)
                } else {
                    entry.read(&mut self.scratch)
                } {
                    Reading::Some(n) => {
                        self.bytes[0] += if accepted { n as u64 } else { 0 };
                        let bytes = &mut self.scratch[..n];
                        self.server.handle(Input::Received { link, bytes }, self.now);
                    }
                    Reading::Filled(n) => {
                        self.bytes[0] += n as u64;
                        reads += n / FILL_BYTES;
                        self.server.handle(Input::Filled { link, bytes: n }, self.now);
                    }
                    Reading::Inner => {}
                    Reading::Nothing => return over,
                    Reading::Ended => self.hung_up(link, Cause::Ended),
                    Reading::Failed(error) => {
                        self.hung_up(link, Cause::Failed(error.to_string()));
                    }
                    Reading::Insecure(why) => self.hung_up(link, Cause::Tls(why)),
                },
            }
            over = until.is_some_and(|until| Instant::now() >= until);
            if over {
                break;
            }
        }
        self.leave_over(link);
        over
    }

    /// Has a link read in the next turn, whether or not more arrives; unless it has nothing to
    /// read and nothing to go on with.
    pub(super) fn leave_over(&mut self, link: LinkId) {
        let wish = self.server.wish(link);
        let Some(entry) = self.link(link) else { return };
        let idle = match wish {
            Wish::Rest => true,
            Wish::Read | Wish::Fill => entry.over || !entry.has_more,
            Wish::GoOn | Wish::Later => false,
        };
        if !idle && !std::mem::replace(&mut entry.left_over, true) {
            debug_assert!(!self.leftovers.contains(&link), "a link is left over once");
            self.leftovers.push_back(link);
        }
    }
}
