//! L3: how the loop puts out what the core has to say.
//!
//! It knows budgets and what a kernel takes, not what is written. Its rules:
//! * each link is written to once in a turn, when everything of that turn has been queued; or as
//!   often as the core has no room for more before that, so that memory does not grow by what a
//!   crowd sends at one time;
//! * writing has a time budget, which is checked within a link as well; the rest is written in the
//!   next turn, which does not sleep.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use super::reactor::Reactor;
use super::tls::Written;
use crate::link::{Cause, Input, LinkId, Output};

/// Time for writing in a turn: a message to very many is written in several, so that Redis and
/// whoever else has something to say need not wait for all of it.
const WRITE_BUDGET: Duration = Duration::from_millis(3);
/// Bytes written between two looks at the clock; each takes a hundredth of a small write's time.
const UNTIMED_BYTES: usize = 16 << 10;
/// What a write counts for besides its bytes.
const WRITE_BYTES: usize = 2 << 10;
/// Buffers handed to one write. Mostly one is all that waits, and no room is made for so many.
const SLICES: usize = 16;
const FEW_SLICES: usize = 4;

impl Reactor {
    /// Does what the core wants done outside, as far as the time for it goes.
    pub(super) fn put_out(&mut self) {
        self.put_out_until(Instant::now() + WRITE_BUDGET);
    }

    /// The core has no room for what is still to be read: what it has queued goes out, in the time
    /// for reading if that has an end.
    pub(super) fn make_room(&mut self, until: Option<Instant>) {
        self.put_out_until(until.unwrap_or_else(|| Instant::now() + WRITE_BUDGET));
    }

    fn put_out_until(&mut self, until: Instant) {
        let mut untimed = 0;
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Flush(link) => {
                    if self.flush(link, until, &mut untimed) {
                        break;
                    }
                }
                Output::Resume(link) => self.leave_over(link),
                Output::Dial(link, target) => self.dial(link, target),
                Output::Finish(link) => {
                    self.finish(link);
                }
                Output::Close(link) => {
                    if self.link(link).is_some() {
                        let mut entry = self.links.remove(link.index as usize);
                        if entry.secured {
                            self.tls.close(link, &mut entry);
                        }
                        self.dials.end(link);
                        self.accept_after_ms = 0;
                    }
                }
            }
        }
    }

    /// Sends what waits for a link, until nothing does, the kernel takes less than it is given, or
    /// the time is up, counting what is written without a look at the clock. Whether that is so.
    fn flush(&mut self, link: LinkId, until: Instant, untimed: &mut usize) -> bool {
        let (mut over, mut secured) = (false, false);
        while let Some(entry) = self.links.get_mut(link.index as usize) {
            if entry.generation != link.generation || !entry.made {
                break;
            }
            secured = entry.secured;
            let mut few = [IoSlice::new(&[]); FEW_SLICES];
            let mut many;
            let used = match secured {
                false => self.server.next_write(link, &mut few, &mut self.gathered),
                true => self.server.slices(link, &mut few),
            };
            let slices = match used {
                0 => break,
                FEW_SLICES => {
                    many = [IoSlice::new(&[]); SLICES];
                    let used = self.server.slices(link, &mut many);
                    &many[..used]
                }
                _ => &few[..used],
            };
            let given: usize = slices.iter().map(|slice| slice.len()).sum();
            let accepted = entry.accepted;
            let written = match secured {
                false => entry.write(slices).map(|taken| {
                    let taken = taken.unwrap_or(0);
                    Written { taken, is_full: taken < given }
                }),
                true => self.tls.write(link, entry, slices),
            };
            match written {
                Ok(Written { taken, is_full }) => {
                    self.bytes[1] += if accepted { taken as u64 } else { 0 };
                    self.server.advance(link, taken);
                    *untimed += taken + WRITE_BYTES;
                    if *untimed >= UNTIMED_BYTES {
                        (*untimed, over) = (0, Instant::now() >= until);
                    }
                    if is_full {
                        self.blocked(link);
                        break;
                    }
                }
                Err(_) if self.server.may_have_answered(link) => {
                    entry.turn_deaf();
                    self.server.advance(link, given);
                    self.leave_over(link);
                }
                Err(error) => {
                    self.hung_up(link, Cause::Failed(error.to_string()));
                    break;
                }
            }
            if over {
                self.server.handle(Input::Writable { link }, self.now);
                break;
            }
        }
        if secured {
            self.tell_of(link);
        }
        over
    }

    /// All that waited is sent: our end is shut.
    fn finish(&mut self, link: LinkId) {
        let Some(entry) = self.links.get_mut(link.index as usize) else { return };
        if entry.generation != link.generation {
            return;
        }
        match entry.secured {
            false => entry.stream.shut_writing(),
            true => {
                self.tls.finish(link, entry);
                self.tell_of(link);
            }
        }
    }

    /// The kernel takes no more: it is to say when it does again.
    fn blocked(&mut self, link: LinkId) {
        self.tell_when_writable(link);
        self.server.handle(Input::Blocked { link }, self.now);
    }
}
