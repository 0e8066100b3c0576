//! The settings that most tests begin with.

use wsloop::access::channel::Allow;
use wsloop::access::permissions::Rules;
use wsloop::broker::{self, Kind, RedisSettings};
use wsloop::browser::settings::{Refuse, Settings};
use wsloop::link::Target;
use wsloop::proto::ws::deflate::Compression;
use wsloop::proto::ws::upgrade::AllowedOrigins;

/// Seconds that stored messages live in [`settings`].
pub const EXPIRE_S: u64 = 3600;

/// Milliseconds after which a silent Redis is down in [`with_redis`].
pub const REDIS_TIMEOUT_MS: u64 = 5_000;

/// The settings most tests use: the embedded broker, everything allowed, and all that happens by
/// itself switched off.
pub fn settings() -> Settings {
    Settings {
        url_prefix: "/ws/".to_string(),
        prefix: String::new(),
        allow: Allow::parse("all").expect("a list"),
        rules: Rules::default(),
        require_login: false,
        sources: Default::default(),
        heartbeat: None,
        ping_interval_ms: 0,
        pong_timeout_ms: 10_000,
        handshake_timeout_ms: 10_000,
        close_timeout_ms: 5_000,
        shutdown_timeout_ms: 10_000,
        max_head_size: 8192,
        max_message_size: 1 << 20,
        max_fragments: 128,
        outbox_limit: 4 << 20,
        overflows: Default::default(),
        max_connections: 20_000,
        max_handshakes: 20_000,
        subprotocols: None,
        allowed_origins: AllowedOrigins::Listed(Vec::new()),
        refuse: Refuse::Status,
        pages: Vec::new(),
        metrics_path: None,
        echo_path: None,
        compression: Compression::Shared,
        compression_min: 256,
        broker: broker::BrokerSettings {
            expire_s: EXPIRE_S,
            kind: Kind::Local { store_limit: 64 << 20 },
        },
    }
}

/// The same with Redis.
pub fn with_redis() -> Settings {
    let redis = RedisSettings {
        target: Target::Tcp { host: "localhost".to_string(), port: 6379 },
        user: None,
        password: None,
        db: 0,
        timeout_ms: REDIS_TIMEOUT_MS,
        buffer_limit: 16 << 20,
    };
    let broker = broker::BrokerSettings { expire_s: EXPIRE_S, kind: Kind::Redis(redis) };
    Settings { broker, ..settings() }
}

/// Where the application is asked.
pub fn app_target() -> Target {
    Target::Unix("/app.sock".into())
}

/// The settings of Redis among them.
pub fn redis_of(settings: &mut Settings) -> &mut RedisSettings {
    match &mut settings.broker.kind {
        Kind::Redis(redis) => redis,
        Kind::Local { .. } => panic!("these are not for Redis"),
    }
}
