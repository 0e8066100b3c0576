//! L2: what operators are told of the server: its figures, who listens to what, whether it is
//! ready.
//!
//! It looks at every conn, which is done when somebody asks, and at no other time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Server;
use super::table::Party;
use crate::access::channel::Audience;
use crate::broker::{Broker, Status};
use crate::link::figures::{about, line};
use crate::link::{Frame, LinkId};
use crate::web::admin::{self, Inspect};

/// Most entries of a list.
const MOST: usize = 100;
/// Most slow conns.
const SLOWEST: usize = 10;
/// Conns of operators that are accepted where no others are.
pub(crate) const OPERATORS: usize = 16;

/// What only the loop can find out about the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessFigures {
    /// Seconds of the processor.
    pub cpu_s: f64,
    /// Bytes of memory that are in use.
    pub resident_bytes: u64,
    /// Open descriptors, and most that may be.
    pub open_fds: u64,
    pub max_fds: u64,
    /// When it began, in seconds of Unix time.
    pub began_s: f64,
}

impl Server {
    /// Whether one more operator is accepted.
    pub(crate) fn accepting_operators(&self) -> bool {
        let most = self.cx.settings.max_connections + super::accepting::SURPLUS + OPERATORS;
        self.conns() < most
    }

    /// Whether something is still to be put out.
    pub(crate) fn has_outputs(&self) -> bool {
        self.table.has_outputs()
    }

    /// The process takes so much now.
    pub(crate) fn note_process(&mut self, figures: ProcessFigures) {
        self.process = figures;
    }

    /// So many bytes have ever come from those who were accepted, and gone to them.
    pub(crate) fn note_bytes(&mut self, bytes_in: u64, bytes_out: u64) {
        self.cx.metrics.bytes_in_total = bytes_in;
        self.cx.metrics.bytes_out_total = bytes_out;
    }

    /// A turn took so long, and, when it was the last in which messages were written that had
    /// arrived, so long after that.
    pub(crate) fn note_turn(&mut self, us: u64, fanout_us: Option<u64>) {
        self.cx.figures.turns.note(us);
        fanout_us.into_iter().for_each(|us| self.cx.figures.fanouts.note(us));
    }

    pub(super) fn inspect(&mut self, link: LinkId, what: Inspect) {
        let answer = match what {
            Inspect::Answer(answer) => answer,
            Inspect::Ready { bare } => admin::ready(&self.unready(), bare),
            Inspect::Metrics { bare } => {
                admin::document("text/plain; version=0.0.4; charset=utf-8", &self.figures(), bare)
            }
            Inspect::Conns { bare } => {
                let text = self.who_listens().to_string() + "\n";
                admin::document("application/json", &text, bare)
            }
        };
        self.respond(link, answer);
    }

    fn respond(&mut self, link: LinkId, answer: Frame) {
        self.on_conn(link, |conn, cx| conn.respond(link, answer, cx));
    }

    /// All figures as Prometheus reads them.
    fn figures(&self) -> String {
        let mut text = self.cx.metrics.prometheus();
        self.cx.figures.write(&mut text);
        let (states, slow, waiting) = self.states();
        about(&mut text, "conns_by_state", "gauge", "Conns, by where in their life they are.");
        for (state, count) in states {
            line(&mut text, &format!("wsloop_conns_by_state{{state=\"{state}\"}}"), &count);
        }
        let (stored, histories) = match &self.broker {
            Broker::Local(local) => (local.stored_bytes(), local.history_bytes()),
            Broker::Redis(_) => (0, 0),
        };
        let limit = self.cx.settings.memory_limit;
        for (name, help, value) in [
            ("conns_slow", "Conns whose socket takes no more.", slow),
            (
                "outbox_bytes",
                "Bytes that wait for browsers; a shared one counts for each.",
                waiting,
            ),
            ("memory_limit_bytes", "What --memory-limit is; 0 is any number.", limit),
            (
                "held_bytes",
                "Bytes of live messages that wait for a stored one.",
                self.relay.held_bytes(),
            ),
            (
                "redis_buffer_bytes",
                "Bytes of commands that wait for Redis.",
                self.broker.unsent_bytes(),
            ),
            ("store_bytes", "Bytes of stored messages in the embedded broker.", stored),
            ("history_bytes", "Bytes of histories in the embedded broker.", histories),
            ("ready", "1 when browsers may be sent here.", usize::from(self.unready().is_empty())),
        ] {
            about(&mut text, name, "gauge", help);
            line(&mut text, &format!("wsloop_{name}"), &value);
        }
        if self.broker.nodes() > 1 || self.broker.is_cluster() {
            about(&mut text, "redis_up", "gauge", "1 when that Redis answers, of several.");
            for node in (0..self.broker.nodes()).filter(|node| self.names_node(*node)) {
                let name = self.said.name_of(node).trim_start_matches("Redis at ");
                let name = name.replace('\\', r"\\").replace('"', "\\\"");
                let is_up = usize::from(self.broker.status_at(node) == Status::Up);
                line(&mut text, &format!("wsloop_redis_up{{redis=\"{name}\"}}"), &is_up);
            }
        }
        about(&mut text, "build_info", "gauge", "What was built.");
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("BUILT_COMMIT"));
        let built = format!("wsloop_build_info{{version=\"{version}\",commit=\"{commit}\"}}");
        line(&mut text, &built, &1);
        self.process.write(&mut text);
        text
    }

    /// Whether a node has a figure of its own: a replica that is not in use has.
    fn names_node(&self, node: usize) -> bool {
        self.broker.counts(node) || !self.broker.is_cluster()
    }

    /// How many conns are in each state, how many read too slowly, and the bytes that wait.
    fn states(&self) -> (BTreeMap<&'static str, usize>, usize, usize) {
        let names = ["head", "asking", "waiting", "joining", "open", "closing"];
        let mut states: BTreeMap<_, usize> = names.into_iter().map(|name| (name, 0)).collect();
        let (mut slow, mut waiting) = (0, 0);
        for slot in self.table.slots() {
            if let Party::Browser(conn) = &slot.party {
                *states.entry(conn.state()).or_default() += 1;
                slow += usize::from(slot.blocked);
                waiting += conn.outbox.len();
            }
        }
        (states, slow, waiting)
    }

    /// Who listens to what. Sessions are named nowhere: their keys are secrets.
    fn who_listens(&self) -> Value {
        let prefix = &self.cx.settings.prefix;
        let (mut facilities, mut users, mut groups) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut sessions = 0;
        let relay = &self.relay.hub;
        let plain = relay.channels().map(|(id, name)| (&name[..], relay.subscribers(id).len()));
        for (name, count) in plain.chain(self.topics.channels()) {
            let name = match prefix.is_empty() {
                true => name,
                false => name.get(prefix.len() + 1..).unwrap_or_default(),
            };
            let Some((audience, rest)) = name.split_once(':') else { continue };
            let (who, facility) = match audience == Audience::Broadcast.word() {
                true => ("", rest),
                false => rest.rsplit_once(':').unwrap_or((rest, "")),
            };
            *facilities.entry(facility).or_default() += count;
            match audience {
                "user" => *users.entry(who).or_default() += count,
                "group" => *groups.entry(who).or_default() += count,
                "session" => sessions += count,
                _ => {}
            }
        }
        json!({
            "conns": self.cx.metrics.conns,
            "open": self.cx.metrics.conns_open,
            "channels": self.relay.hub.len() + self.topics.len(),
            "sessions": sessions,
            "facilities": largest(facilities),
            "users": largest(users),
            "groups": largest(groups),
            "slowest": self.slowest(),
        })
    }

    fn slowest(&self) -> Vec<Value> {
        let waiting = |(link, slot): (LinkId, &super::table::Slot)| match &slot.party {
            Party::Browser(conn) if slot.blocked => Some((conn.outbox.len(), link)),
            _ => None,
        };
        let mut slow: Vec<_> = self.table.places().filter_map(waiting).collect();
        slow.sort_unstable_by_key(|(bytes, link)| (std::cmp::Reverse(*bytes), link.index));
        slow.truncate(SLOWEST);
        let entry = |(bytes, link): (usize, LinkId)| {
            let channels = self.relay.hub.channels_of(link.index).len();
            let channels = channels + self.topics.channels_of(link);
            json!({ "conn": link.to_string(), "waiting": bytes, "channels": channels })
        };
        slow.into_iter().map(entry).collect()
    }
}

/// The names with the largest counts.
fn largest(counts: BTreeMap<&str, usize>) -> Vec<Value> {
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    all.truncate(MOST);
    let entry = |(name, count)| json!({ "name": name, "subscriptions": count });
    all.into_iter().map(entry).collect()
}

impl ProcessFigures {
    pub(crate) fn write(&self, text: &mut String) {
        let (cpu, began) = (self.cpu_s, self.began_s);
        let values: [(&str, &str, &str, &dyn std::fmt::Display); 5] = [
            ("cpu_seconds_total", "counter", "Time of the processor.", &cpu),
            ("resident_memory_bytes", "gauge", "Memory in use.", &self.resident_bytes),
            ("open_fds", "gauge", "Open descriptors.", &self.open_fds),
            ("max_fds", "gauge", "Most open descriptors.", &self.max_fds),
            ("start_time_seconds", "gauge", "When the process began, in Unix time.", &began),
        ];
        for (name, kind, help, value) in values {
            let name = format!("process_{name}");
            about(text, &name, kind, help);
            line(text, &name, value);
        }
    }
}
