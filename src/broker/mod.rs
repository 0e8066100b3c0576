//! Where messages come from: `Redis`, or `Local` (in this process, the default).

use std::path::PathBuf;

/// What a broker is to be, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Seconds a published message stays stored for conns that come later; 0 stores nothing.
    pub expire_s: u64,
    /// Which broker.
    pub kind: Kind,
}

/// Which broker, with what only that one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In this process.
    Local {
        /// Bytes that stored messages and their names may take together.
        store_limit: usize,
    },
    /// A Redis server (6.0 or later) or one that speaks its protocol.
    Redis(RedisSettings),
}

/// How to reach a Redis and who to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it listens.
    pub target: Target,
    /// ACL user; `None` is Redis's `default`.
    pub user: Option<String>,
    /// Password, when one is needed.
    pub password: Option<String>,
    /// Database number of the stored messages (pub/sub ignores it).
    pub db: u32,
    /// Bytes of commands that may wait for Redis; past it, publishes are refused.
    pub buffer_limit: usize,
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host name or IP address, and a port.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}
