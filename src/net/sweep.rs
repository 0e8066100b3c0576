//! L3: what the loop does after a pause: of the process, of its container or of the whole machine.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::Events;

use super::reactor::{EVENTS, Reactor};

/// A turn that begins so much later than it was meant to comes after a pause.
const PAUSE_MS: u64 = 1000;

/// Whether a turn that began so long after the one before, though it was to sleep for that time at
/// most, comes after a pause.
pub(super) fn is_after_pause(since_ms: u64, timeout: Option<Duration>) -> bool {
    timeout.is_some_and(|timeout| since_ms > timeout.as_millis() as u64 + PAUSE_MS)
}

impl Reactor {
    /// The process did not run for a while. Whatever peers have said in the meantime is read,
    /// however much that is, before anybody is judged by what was not read: by a ping that was
    /// answered long ago. Nobody is read more often than a turn allows, twice at most.
    pub(super) fn sweep(&mut self, events: &mut Events) -> io::Result<()> {
        let since = Instant::now();
        // What arrives meanwhile has no end; whoever was there at the end of the pause has one.
        for _ in 0..=self.links.len() / EVENTS {
            self.hear(events, None);
            self.put_out();
            match self.poll.poll(events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                other => other?,
            }
            if events.is_empty() {
                break;
            }
        }
        self.hear(events, None);
        self.read_leftovers(self.leftovers.len(), None);
        tracing::info!(
            "the process was paused; what had arrived was read in {} ms",
            since.elapsed().as_millis()
        );
        Ok(())
    }
}
