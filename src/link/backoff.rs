//! L1: how long to wait before somebody is dialed again.

const FIRST_MS: u64 = 100;
const LAST_MS: u64 = 5_000;
/// A link that was up for less is dialed again only after a pause.
const STEADY_MS: u64 = 1_000;

/// The pauses between dials of one target.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Dials in a row that came to nothing.
    attempts: u32,
    random: u64,
}

impl Backoff {
    /// Nothing was dialed; `seed` is for the jitter.
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff { attempts: 0, random: seed | 1 }
    }

    /// How long to wait after a dial has failed, or the link is lost that was up for so long.
    pub(crate) fn pause_ms(&mut self, up_ms: Option<u64>) -> u64 {
        if up_ms.is_some_and(|ms| ms >= STEADY_MS) {
            self.attempts = 0;
            return 0;
        }
        self.attempts += 1;
        self.next_ms()
    }

    /// Doubles from try to try up to the last, less up to a half by chance, so that the processes
    /// that lost somebody together do not return together.
    fn next_ms(&mut self) -> u64 {
        let doublings = self.attempts.saturating_sub(1).min(10);
        let most_ms = (FIRST_MS << doublings).min(LAST_MS);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        most_ms - self.random % (most_ms / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_begin_again_behind_a_steady_link() {
        let mut backoff = Backoff::new(7);
        for most in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = backoff.pause_ms(None);
            assert!((most / 2..=most).contains(&pause), "{pause} of {most}");
        }
        assert!(backoff.pause_ms(Some(STEADY_MS - 1)) >= 2_500, "it was hardly there");
        assert_eq!(backoff.pause_ms(Some(STEADY_MS)), 0);
        assert!(backoff.pause_ms(None) <= 100);
    }
}
