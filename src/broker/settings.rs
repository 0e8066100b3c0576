//! L1: what a broker is to be, and how a Redis is reached.

use std::fmt;

use crate::link::Target;

/// What a broker is to be, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerSettings {
    /// Seconds a published message stays stored for conns that come later; 0 stores nothing.
    pub expire_s: u64,
    /// Which broker.
    pub kind: BrokerKind,
}

/// Which broker, with what only that one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// In this process.
    Local {
        /// Bytes that stored messages and their names may take together.
        store_limit: usize,
    },
    /// Redis servers (6.0 or later) or ones that speak its protocol: one, or several among which
    /// channels are spread in this order, or one and its replica. There must be one at least.
    Redis(Vec<RedisSettings>),
}

impl BrokerSettings {
    /// How long an answer may take.
    pub(crate) fn patience_ms(&self) -> u64 {
        match &self.kind {
            BrokerKind::Local { .. } => LOCAL_PATIENCE_MS,
            BrokerKind::Redis(all) => {
                all.iter().map(|redis| redis.timeout_ms).max().unwrap_or(LOCAL_PATIENCE_MS)
            }
        }
    }
}

/// The embedded broker answers as soon as a turn has room for it.
const LOCAL_PATIENCE_MS: u64 = 5_000;

/// How to reach a Redis and who to be there.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is.
    pub address: RedisAddress,
    /// ACL user; `None` is Redis's `default`.
    pub user: Option<String>,
    /// Password, when one is needed.
    pub password: Option<String>,
    /// Database number of the stored messages (pub/sub ignores it).
    pub db: u32,
    /// Milliseconds after which a dial, or a silence where an answer is due, is a failure.
    pub timeout_ms: u64,
    /// Bytes of commands that may wait for Redis; past it, publishes are refused.
    pub buffer_limit: usize,
    /// Bytes of answers that Redis is expected to owe us at one time; four times as many at most.
    pub window: usize,
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// It is always there.
    Fixed(Target),
    /// It is always there, and a replica of the one before it, in whose place it is heard and read.
    Replica(Target),
    /// These say where it is.
    Watched(Sentinels),
    /// It is a cluster, whose nodes say where they are.
    Cluster(Clustered),
}

/// A cluster, and how channels are heard there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clustered {
    /// Where some of its nodes listen, at least one. All are asked by TLS if these are.
    pub seeds: Vec<Target>,
    /// How channels are heard, and published on.
    pub form: Sharding,
}

/// Which of the two forms of pub/sub a cluster has is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharding {
    /// SUBSCRIBE and PUBLISH: a message goes to all nodes.
    #[default]
    Off,
    /// Channels are heard in both forms and published on by SPUBLISH: for as long as not all who
    /// publish do so.
    Both,
    /// SSUBSCRIBE and SPUBLISH: a message stays at the shard of its channel.
    On,
}

impl Sharding {
    /// Whether messages are published to those who hear the shard.
    pub(crate) fn is_sharded(self) -> bool {
        self != Sharding::Off
    }
}

impl Clustered {
    /// Whether its nodes are asked by TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.seeds.first(), Some(Target::Tls { .. }))
    }
}

/// The sentinels that watch a Redis, and who to be there.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// The name under which they watch it.
    pub name: String,
    /// Where they listen, at least one. Redis is asked by TLS if they are.
    pub targets: Vec<Target>,
    /// ACL user; `None` is Redis's `default`.
    pub user: Option<String>,
    /// Password, when one is needed.
    pub password: Option<String>,
}

impl Sentinels {
    /// Whether they and Redis are asked by TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.targets.first(), Some(Target::Tls { .. }))
    }
}

impl RedisAddress {
    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            RedisAddress::Fixed(target) | RedisAddress::Replica(target) => {
                matches!(target, Target::Tls { .. })
            }
            RedisAddress::Watched(sentinels) => sentinels.is_tls(),
            RedisAddress::Cluster(cluster) => cluster.is_tls(),
        }
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisAddress::Fixed(target) | RedisAddress::Replica(target) => target.fmt(f),
            RedisAddress::Watched(sentinels) => {
                let targets: Vec<String> =
                    sentinels.targets.iter().map(Target::to_string).collect();
                write!(f, "{} by the sentinels at {}", sentinels.name, targets.join(", "))
            }
            RedisAddress::Cluster(cluster) => {
                let seeds: Vec<String> = cluster.seeds.iter().map(Target::to_string).collect();
                write!(f, "the cluster of {}", seeds.join(", "))
            }
        }
    }
}

/// What a broker is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// Messages of more bytes are skipped.
    pub max_message: usize,
    /// Sessions of more bytes are not read.
    pub max_session: usize,
    /// Somebody may publish.
    pub publishes: bool,
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sentinels of {} at {:?} as {:?}", self.name, self.targets, self.user)
    }
}

impl fmt::Debug for RedisSettings {
    /// Leaves the password out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis at {} as {:?}, database {}", self.address, self.user, self.db)
    }
}
