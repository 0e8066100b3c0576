//! The settings that most tests begin with.

use wsloop::{
    Allow, AskSettings, BrokerKind, BrokerSettings, Clustered, Entries, Format, RedisAddress,
    RedisSettings, Sessions, Settings, Sharding, Sources, Target,
};

/// Seconds that stored messages live in [`settings`].
pub const EXPIRE_S: u64 = 3600;

/// Milliseconds that the application may take to answer in [`by_application`].
pub const AUTH_TIMEOUT_MS: u64 = 3_000;

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
        broker: BrokerSettings {
            expire_s: EXPIRE_S,
            kind: BrokerKind::Local { store_limit: 64 << 20 },
        },
        ..Settings::base()
    }
}

/// The same with Redis.
pub fn with_redis() -> Settings {
    let redis = RedisSettings {
        address: RedisAddress::Fixed(Target::Tcp { host: "localhost".to_string(), port: 6379 }),
        user: None,
        password: None,
        db: 0,
        timeout_ms: REDIS_TIMEOUT_MS,
        buffer_limit: 16 << 20,
        window: 4 << 20,
    };
    let broker = BrokerSettings { expire_s: EXPIRE_S, kind: BrokerKind::Redis(vec![redis]) };
    Settings { broker, ..settings() }
}

/// The same with so many Redis.
pub fn with_several(count: u16) -> Settings {
    let mut settings = with_redis();
    let first = redis_of(&mut settings).clone();
    let target = |at| Target::Tcp { host: "localhost".to_string(), port: 6379 + at };
    let address = |at| RedisAddress::Fixed(target(at));
    let redis = |at| RedisSettings { address: address(at), ..first.clone() };
    settings.broker.kind = BrokerKind::Redis((0..count).map(redis).collect());
    settings
}

/// A Redis and its replica.
pub fn with_replica() -> Settings {
    let mut settings = with_several(2);
    if let BrokerKind::Redis(all) = &mut settings.broker.kind
        && let RedisAddress::Fixed(target) = all[1].address.clone()
    {
        all[1].address = RedisAddress::Replica(target);
    }
    settings
}

/// The same with a cluster, of which so many nodes are named.
pub fn with_cluster(count: u16, form: Sharding) -> Settings {
    let mut settings = with_redis();
    let target = |at| Target::Tcp { host: "localhost".to_string(), port: 6379 + at };
    let seeds = (0..count).map(target).collect();
    redis_of(&mut settings).address = RedisAddress::Cluster(Clustered { seeds, form });
    settings
}

/// Where the application is asked.
pub fn app_target() -> Target {
    Target::Unix("/app.sock".into())
}

/// How sessions are stored, and named by the cookie `sessionid`.
pub fn sessions() -> Sessions {
    Sessions {
        cookie: "sessionid".to_owned(),
        key: ("session:".to_owned(), String::new()),
        format: Format::Json,
        secrets: Vec::new(),
        entries: Entries {
            user: Some("wsloop:username".to_owned()),
            groups: Some("ws4redis:memberof".to_owned()),
        },
    }
}

/// How the application is asked.
pub fn application() -> AskSettings {
    AskSettings {
        target: app_target(),
        host: "app".to_owned(),
        path: "/auth?key=1".to_owned(),
        timeout_ms: AUTH_TIMEOUT_MS,
        connections: 2,
        keep_alive: false,
        waiting: 20_000,
    }
}

/// Redis, and sessions in it.
pub fn by_session() -> Settings {
    let sources = Sources { session: Some(sessions()), ..Sources::default() };
    Settings { sources, ..with_redis() }
}

/// The same, one question after another on a link.
pub fn on_kept_links() -> Settings {
    let sources = Sources {
        auth: Some(AskSettings { keep_alive: true, ..application() }),
        ..Sources::default()
    };
    Settings { sources, ..with_redis() }
}

/// Redis, and the application is asked.
pub fn by_application() -> Settings {
    let sources = Sources { auth: Some(application()), ..Sources::default() };
    Settings { sources, ..with_redis() }
}

/// The settings of Redis among them.
pub fn redis_of(settings: &mut Settings) -> &mut RedisSettings {
    match &mut settings.broker.kind {
        BrokerKind::Redis(all) => &mut all[0],
        BrokerKind::Local { .. } => panic!("these are not for Redis"),
    }
}
