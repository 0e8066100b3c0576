//! What is compared after every step, after time has passed, and at the end.

use super::super::super::world::REDIS_TIMEOUT_MS;
use super::super::model::guest::Life;
use super::{CLOSE_MS, Game, HANDSHAKE_MS, PING_MS};

/// A message goes out when none did for so long, within a tick of 50 ms.
const HEARTBEAT_MS: u64 = 3_900 + 50;

impl Game {
    pub(super) fn check(&mut self, idle: bool) {
        for id in 0..self.world.browsers.len() {
            self.model.check(id, &mut self.world.browsers[id], idle);
            let open = self.model.guests[id].life == Life::Open;
            if idle && open && self.world.browsers[id].appetite == Some(0) {
                let waiting = self.world.waiting(id);
                assert!(
                    waiting <= self.setup.outbox_limit,
                    "{waiting} bytes wait for browser {id}"
                );
            }
        }
        if idle || self.world.flushes == usize::MAX {
            assert!(!self.world.has_output(), "output after the drain");
        }
        self.check_resp(idle);
        if idle {
            self.check_questions();
        }
        let redis = &self.world.redis;
        let clear = !redis.paused && !redis.held && redis.appetite.is_none();
        if self.setup.redis && idle && clear && self.model.is_up() && redis.has_client() {
            assert!(self.model.is_settled(), "Redis has not answered everything");
            let wanted = self.model.wanted_channels();
            let subscribed = redis.subscribed();
            assert!(subscribed.iter().eq(&wanted), "{subscribed:?} are subscribed, not {wanted:?}");
            let now_ms = self.world.latest_ms();
            let stored = |channel: &str| redis.stored(0, channel, now_ms).map(<[u8]>::to_vec);
            self.model.check_quiet(stored);
        } else if !self.setup.redis && idle {
            self.model.check_quiet(|_| None);
        }
    }

    fn check_resp(&mut self, idle: bool) {
        let Some(local) = &mut self.model.local else { return };
        for id in 0..self.world.resp_clients.len() {
            let received = self.world.take_received(id);
            let client = &mut local.clients[id];
            let closed = self.world.resp_clients[id].closed;
            assert!(!closed || client.gone, "RESP client {id} is closed for nothing");
            let all = idle && !client.gone && self.world.resp_clients[id].appetite.is_none();
            if let Err(fault) = client.check(&received, all) {
                panic!("RESP client {id}: {fault}");
            }
        }
    }

    /// Whatever was due has happened.
    pub(super) fn check_times(&self) {
        let now_ms = self.world.now_ms;
        if now_ms < self.world.latest_ms() {
            return;
        }
        let silent_ms = self.model.silent_ms(now_ms).min(now_ms - self.jumped_ms.min(now_ms));
        let most_ms = 2 * REDIS_TIMEOUT_MS;
        assert!(silent_ms <= most_ms, "Redis is not given up after {silent_ms} ms");
        for (id, browser) in self.world.browsers.iter().enumerate() {
            let guest = &self.model.guests[id];
            if browser.closed_ms.is_some() {
                continue;
            }
            let since = |at_ms: u64| now_ms.saturating_sub(at_ms);
            match guest.life {
                Life::Closing => {
                    let at_ms = browser.closing_ms.unwrap_or(now_ms);
                    let closed = since(at_ms) <= CLOSE_MS + 100;
                    assert!(closed, "browser {id} is not closed in the end");
                }
                Life::Open => {
                    let unix_ms = self.world.unix_ms();
                    let expired = guest.expires_ms.is_some_and(|at_ms| at_ms + 150 < unix_ms);
                    assert!(!expired, "browser {id} stays though its token has expired");
                    if browser.appetite.is_some() {
                        continue;
                    }
                    let pings = self.world.server_pings();
                    let ping = !pings || since(browser.lively_ms) <= PING_MS + 100;
                    assert!(ping || !browser.pongs, "browser {id} is not pinged");
                    let beats = self.setup.heartbeat.is_none()
                        || since(browser.spoken_to_ms) <= HEARTBEAT_MS + 50;
                    assert!(beats, "browser {id} hears no heartbeat");
                }
                life => {
                    let late = since(browser.came_ms) > HANDSHAKE_MS + 100;
                    assert!(!late, "browser {id} waits for ever");
                    let asked_ms = since(guest.asking_ms);
                    let late = life == Life::Asking && asked_ms > self.setup.auth_timeout_ms + 100;
                    assert!(!late, "browser {id} waits for the application for ever");
                }
            }
        }
    }

    /// Everybody has gone.
    pub(super) fn check_empty(&self) {
        let metrics = self.world.metrics();
        let left =
            [metrics.conns, metrics.conns_open, metrics.handshakes_pending, metrics.channels];
        assert_eq!(left, [0; 4], "nothing is left");
        let subscribed = self.world.redis.subscribed();
        let mut wanted = self.model.wanted_channels();
        wanted.retain(|_| self.world.redis.has_client());
        assert!(subscribed.iter().eq(&wanted), "{subscribed:?} are subscribed, not {wanted:?}");
        let unclosed = self.world.browsers.iter().position(|b| b.closed_ms.is_none());
        assert_eq!(unclosed, None, "everybody was closed");
    }
}
