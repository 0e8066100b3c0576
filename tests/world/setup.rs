//! What a simulated server is told, in plain values: a simulation names nothing of the core.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsloop::internals::access::ask;
use wsloop::proto::ws::deflate::Compression;
use wsloop::{
    Allow, Entries, Format, Overflows, Refuse, Sessions, Settings, Sources, TokenKeys, Tokens,
};

use super::{app_target, redis_of, settings, with_redis};

/// What tokens are signed with.
const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// How messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Off,
    Shared,
    Dedicated,
}

/// The settings that a simulation draws.
#[derive(Clone, Debug)]
pub struct Setup {
    /// There is a Redis, and else the embedded broker.
    pub redis: bool,
    pub prefix: &'static str,
    pub allow: &'static str,
    pub require_login: bool,
    /// Tokens say who somebody is.
    pub tokens: bool,
    /// Sessions in the broker say it: `session:` and the key in the cookie `sessionid`.
    pub sessions: bool,
    /// The application says it, over so many links.
    pub application: Option<usize>,
    pub auth_timeout_ms: u64,
    pub heartbeat: Option<&'static [u8]>,
    /// 0 is off.
    pub ping_interval_ms: u64,
    pub pong_timeout_ms: u64,
    pub handshake_timeout_ms: u64,
    pub close_timeout_ms: u64,
    pub shutdown_timeout_ms: u64,
    pub max_message: usize,
    pub outbox_limit: usize,
    pub max_connections: usize,
    pub max_handshakes: usize,
    pub packing: Packing,
    /// Refusals are a 101 and a close frame.
    pub refuses_by_closing: bool,
    /// As `--overflow` has it.
    pub overflow: &'static str,
    /// 0 stores nothing.
    pub expire_s: u64,
    pub buffer_limit: usize,
}

impl Setup {
    /// Whether anything says who somebody is.
    pub fn identifies(&self) -> bool {
        self.tokens || self.sessions || self.application.is_some()
    }

    /// The same for the core.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings {
            prefix: self.prefix.to_owned(),
            allow: Allow::parse(self.allow).expect("a list"),
            require_login: self.require_login,
            sources: self.sources(),
            heartbeat: self.heartbeat.map(<[u8]>::to_vec),
            ping_interval_ms: self.ping_interval_ms,
            pong_timeout_ms: self.pong_timeout_ms,
            handshake_timeout_ms: self.handshake_timeout_ms,
            close_timeout_ms: self.close_timeout_ms,
            shutdown_timeout_ms: self.shutdown_timeout_ms,
            max_message_size: self.max_message,
            max_session_size: self.max_message,
            outbox_limit: self.outbox_limit,
            overflows: Overflows::parse(self.overflow).expect("a list"),
            max_connections: self.max_connections,
            max_handshakes: self.max_handshakes,
            compression: match self.packing {
                Packing::Off => Compression::Off,
                Packing::Shared => Compression::Shared,
                Packing::Dedicated => Compression::Dedicated,
            },
            compression_min: 8,
            refuse: if self.refuses_by_closing { Refuse::Close } else { Refuse::Status },
            ..if self.redis { with_redis() } else { settings() }
        };
        settings.broker.expire_s = self.expire_s;
        if self.redis {
            redis_of(&mut settings).buffer_limit = self.buffer_limit;
        }
        settings
    }

    fn sources(&self) -> Sources {
        let sessions = || Sessions {
            cookie: "sessionid".to_owned(),
            key: ("session:".to_owned(), String::new()),
            format: Format::Json,
            secrets: Vec::new(),
            entries: Entries { user: Some("user".to_owned()), groups: Some("groups".to_owned()) },
        };
        let application = |connections| ask::AskSettings {
            target: app_target(),
            host: "app".to_owned(),
            path: "/auth".to_owned(),
            timeout_ms: self.auth_timeout_ms,
            connections,
            keep_alive: connections % 2 == 1,
            waiting: 64,
        };
        let keys = || TokenKeys::from_file_bytes(SECRET, &[]).expect("a key");
        Sources {
            token: self.tokens.then(|| Tokens { keys: keys(), audience: None, leeway_ms: 0 }),
            session: self.sessions.then(sessions),
            auth: self.application.map(application),
        }
    }
}

/// A token with these claims, signed as the server expects it.
pub fn token(claims: &str) -> String {
    let [header, claims] = [r#"{"alg":"HS256"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let body = format!("{header}.{claims}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
}
