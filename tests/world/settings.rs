//! The settings that most tests begin with.

use wsloop::access::channel::Allow;
use wsloop::broker::{BrokerSettings, Kind, RedisSettings};
use wsloop::browser::settings::Settings;
use wsloop::link::Target;

/// Seconds that stored messages live in [`settings`].
pub const EXPIRE_S: u64 = 3600;

/// Milliseconds after which a silent Redis is down in [`with_redis`].
pub const REDIS_TIMEOUT_MS: u64 = 5_000;

/// The settings most tests use: the embedded broker, everything allowed, and all that happens by
/// itself switched off.
pub fn settings() -> Settings {
    Settings {
        allow: Allow::parse("all").expect("a list"),
        ping_interval_ms: 0,
        max_fragments: 128,
        max_connections: 20_000,
        max_handshakes: 20_000,
        broker: BrokerSettings { expire_s: EXPIRE_S, kind: Kind::Local { store_limit: 64 << 20 } },
        ..Settings::base()
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
        window: 4 << 20,
    };
    let broker = BrokerSettings { expire_s: EXPIRE_S, kind: Kind::Redis(redis) };
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
