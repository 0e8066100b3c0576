//! L4: what a configuration that is read again changes, and what it cannot change.
//!
//! Conns that are open keep what they were granted. What is judged anew for each handshake follows
//! the new values, and so do limits that are looked at each time. What links, timers and listeners
//! were made with needs a restart, and is named.

use super::Config;
use super::flags::FLAGS;

/// The flags that can change while conns are open, as `Settings::renew` does it.
const LIVE: [&str; 43] = [
    "tls-cert",
    "tls-key",
    "redis-ca",
    "redis-cert",
    "redis-key",
    "allow",
    "require-login",
    "token-key-file",
    "token-algorithm",
    "token-audience",
    "token-leeway",
    "session-key",
    "session-cookie",
    "session-format",
    "session-secret-file",
    "session-user",
    "session-groups",
    "handshake-timeout",
    "close-timeout",
    "shutdown-timeout",
    "drain",
    "drain-delay",
    "max-head-size",
    "max-fragments",
    "outbox-limit",
    "overflow",
    "memory-limit",
    "max-connections",
    "max-handshakes",
    "max-per-address",
    "message-rate",
    "handshake-rate",
    "max-subscriptions",
    "max-commands",
    "max-names-size",
    "ping-interval",
    "pong-timeout",
    "subprotocols",
    "allowed-hosts",
    "allowed-origins",
    "refuse",
    "log",
    "config",
];

/// What is another since the configuration was read before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names of what follows the new values, `[[allow]]` among them.
    pub live: Vec<&'static str>,
    /// Names of what stays as it was until a restart.
    pub fixed: Vec<&'static str>,
}

impl Config {
    /// Takes over what `new` has otherwise and can change, and says what that is, by what was
    /// given. Files with keys are read each time; whether they say something else is not found out.
    pub fn renew(&mut self, new: &Config) -> Changes {
        let mut changes = Changes::default();
        for flag in FLAGS.iter().map(|flag| flag.name) {
            let texts = |config: &Config| config.given.get(flag).map(|(texts, _)| texts.to_vec());
            if texts(self) == texts(new) {
                continue;
            }
            if LIVE.contains(&flag) && self.can_follow(flag, new) {
                self.given.copy(flag, &new.given);
                changes.live.push(flag);
            } else {
                changes.fixed.push(flag);
            }
        }
        if self.settings.rules != new.settings.rules {
            self.settings.rules = new.settings.rules.clone();
            changes.live.push("[[allow]]");
        }
        let history = |config: &Config| config.settings.history.clone();
        if history(self) != history(new) && !changes.fixed.contains(&"history") {
            changes.fixed.push("[[history]]");
        }
        let front = |config: &Config| {
            (config.settings.front.routes.clone(), config.settings.front.upstreams.clone())
        };
        if front(self) != front(new) && !changes.fixed.contains(&"upstream") {
            changes.fixed.push("[[route]]");
        }
        let handlers =
            |config: &Config| (config.settings.endpoints.clone(), config.settings.handlers.clone());
        let is_named = changes.fixed.iter().any(|flag| flag.starts_with("endpoint"));
        if handlers(self) != handlers(new) && !is_named {
            changes.fixed.push("[[endpoint]]");
        }
        changes
    }

    fn can_follow(&self, flag: &str, new: &Config) -> bool {
        let shows = |config: &Config| config.tls.shown.is_some();
        let asks = |config: &Config| config.tls.redis.is_some();
        let shown = shows(self) == shows(new);
        let asked = asks(self) == asks(new);
        let (old, new) = (&self.settings, &new.settings);
        match flag {
            "ping-interval" => old.ping_interval_ms > 0 && new.ping_interval_ms > 0,
            "outbox-limit" => old.max_message_size == new.max_message_size,
            flag if flag.starts_with("token-") => {
                old.sources.token.is_some() == new.sources.token.is_some()
            }
            flag if flag.starts_with("session-") => {
                old.sources.session.is_some() == new.sources.session.is_some()
            }
            flag if flag.starts_with("tls-") => shown,
            flag if flag.starts_with("redis-") => asked,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{command, serve};

    fn config(args: &[&str]) -> Config {
        let matches = command("wsloop").try_get_matches_from([&["wsloop"], args].concat());
        serve(&matches.expect("known flags"), 20_000).expect("a configuration")
    }

    #[test]
    fn what_can_follow_is_a_flag() {
        for name in LIVE {
            assert!(FLAGS.iter().any(|flag| flag.name == name), "{name}");
        }
    }

    #[test]
    fn what_changes_is_named_and_what_needs_a_restart_apart() {
        let same = ["--expire=60", "--allow=publish-user", "--max-handshakes=9"];
        let mut known = config(&same);
        assert_eq!(known.renew(&config(&same)), Changes::default());
        let other = config(&["--expire=61", "--max-handshakes=9", "--refuse=close"]);
        let changes = Changes { live: vec!["allow", "refuse"], fixed: vec!["expire"] };
        assert_eq!(known.renew(&other), changes);
        let changes = Changes { live: vec![], fixed: vec!["expire"] };
        assert_eq!(known.renew(&other), changes, "it waits for a restart still");
        let larger = ["--max-message-size=64KiB", "--outbox-limit=1MiB"];
        let changes = Changes { live: vec![], fixed: vec!["max-message-size", "outbox-limit"] };
        assert_eq!(config(&same).renew(&config(&[&same[..], &larger].concat())), changes);
    }

    #[test]
    fn pings_change_their_pace_but_neither_begin_nor_end() {
        let of = |args: &[&str]| config(args);
        let changes = of(&[]).renew(&of(&["--ping-interval=9", "--pong-timeout=2"]));
        assert_eq!(changes.live, ["ping-interval", "pong-timeout"]);
        assert_eq!(of(&[]).renew(&of(&["--ping-interval=0"])).fixed, ["ping-interval"]);
        assert_eq!(of(&["--ping-interval=0"]).renew(&of(&[])).fixed, ["ping-interval"]);
    }

    #[test]
    fn histories_wait_for_a_restart() {
        let changes = config(&[]).renew(&config(&["--history=a=1/2", "--history-limit=1KiB"]));
        assert_eq!((changes.live, changes.fixed), (vec![], vec!["history", "history-limit"]));
        let mut other = config(&[]);
        other.settings.history = config(&["--history=a=1/2"]).settings.history;
        assert_eq!(config(&[]).renew(&other).fixed, ["[[history]]"]);
    }

    #[test]
    fn endpoints_stay_until_a_restart() {
        let changes = config(&[]).renew(&config(&["--endpoint=/a=unix:/run/a"]));
        assert_eq!(changes.fixed, ["endpoint"]);
        let args = ["--endpoint=/a=unix:/run/a", "--endpoint-lost=keep"];
        let changes = config(&args[..1]).renew(&config(&args));
        assert_eq!((changes.fixed, changes.live), (vec!["endpoint-lost"], vec![]));
    }

    #[test]
    fn a_source_neither_begins_nor_ends() {
        let changes = config(&[]).renew(&config(&["--session-key=session:{}"]));
        assert_eq!(changes.fixed, ["session-key"]);
    }
}
