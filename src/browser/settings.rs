//! L2: what the core is told at the start, checked by whoever tells it.

use super::endpoint::Endpoint;
use crate::access::channel::Allow;
use crate::access::hosts::AllowedHosts;
use crate::access::permissions::Rules;
use crate::access::proxies::Proxies;
use crate::access::sources::Sources;
use crate::broker::{BrokerKind, BrokerSettings, HistoryRules};
use crate::fanout::overflow::Overflows;
use crate::link::Target;
use crate::proto::ws::deflate::Compression;
use crate::proto::ws::upgrade::AllowedOrigins;
use crate::web::Page;
use crate::web::admin::Admin;
use crate::web::upstream::Front;

/// Everything the core is told. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What WebSocket paths of the relay begin with; the rest of the path is the facility. Empty is
    /// no relay.
    pub url_prefix: String,
    /// What Redis names begin with (a colon follows it), or empty.
    pub prefix: String,
    /// Which subscribe and publish options are granted that no rule decides about.
    pub allow: Allow,
    /// Who is granted what on which facilities.
    pub rules: Rules,
    /// Whether handshakes without a user are refused.
    pub require_login: bool,
    /// Where identities come from.
    pub sources: Sources,
    /// The heartbeat text, when heartbeats are on.
    pub heartbeat: Option<Vec<u8>>,
    /// The idle time after which a ping goes out; 0 is off.
    pub ping_interval_ms: u64,
    /// The time after which a pong that nobody has asked for keeps a conn in use to which nothing
    /// was sent (RFC 6455 section 5.5.3); 0 is off. A heartbeat takes its place.
    pub pong_interval_ms: u64,
    /// The time in which a ping must be answered.
    pub pong_timeout_ms: u64,
    /// From the accepting of a conn to its 101.
    pub handshake_timeout_ms: u64,
    /// How long a closing conn may take to hang up.
    pub close_timeout_ms: u64,
    /// How long a shutdown waits for closing conns.
    pub shutdown_timeout_ms: u64,
    /// Over how long a shutdown spreads the closing of conns, which are told that the server
    /// restarts; 0 is all at once, and that it goes away.
    pub drain_ms: u64,
    /// How long a shutdown that was asked for waits before it begins.
    pub drain_delay_ms: u64,
    /// Largest request head; as much may follow it before the 101 has gone out.
    pub max_head_size: usize,
    /// Largest message from a browser or from the broker.
    pub max_message_size: usize,
    /// Largest session of the application that is read.
    pub max_session_size: usize,
    /// Most fragments of one message.
    pub max_fragments: usize,
    /// What is done about permessage-deflate.
    pub compression: Compression,
    /// Who is given permessage-deflate.
    pub compression_for: CompressionFor,
    /// Messages to browsers that are smaller are not compressed.
    pub compression_min: usize,
    /// Bytes of earlier messages that are kept for each conn whose messages refer to them.
    pub compression_window: usize,
    /// Most bytes that may wait for a conn whose socket takes no more.
    pub outbox_limit: usize,
    /// What is done then, by facility.
    pub overflows: Overflows,
    /// Most bytes that the kernel takes for a conn before it can send them; 0 is as many as its
    /// buffer holds.
    pub unsent_limit: usize,
    /// Who may connect to a Unix socket that is listened on, as its file's mode.
    pub socket_mode: u32,
    /// Most bytes of memory for what peers make grow; 0 is any number.
    pub memory_limit: usize,
    /// Most conns; a few more are answered 503, and the rest wait to be accepted.
    pub max_connections: usize,
    /// Most conns that have not yet had their 101. When one more comes, one gives way whose
    /// request is not whole; where there is none, it waits to be accepted.
    pub max_handshakes: usize,
    /// Most conns of one IPv4 address or IPv6 /64 that is no trusted proxy; 0 is any number.
    pub max_per_address: usize,
    /// Most messages of one conn in a second; 0 is any number.
    pub message_rate: usize,
    /// Most conns that come from one IPv4 address or IPv6 /64 in a second; 0 is any number.
    pub handshake_rate: usize,
    /// Most facilities that one conn of `wsloop.1` hears, each audience by itself.
    pub max_subscriptions: usize,
    /// Most commands of such a conn that are not answered.
    pub max_commands: usize,
    /// Most bytes of the names of all channels that such a conn hears.
    pub max_names_size: usize,
    /// Which proxies are believed, and how they say where requests come from.
    pub proxies: Proxies,
    /// What Redis clients of the embedded broker have to say before anything is done for them.
    pub resp_password: Option<Vec<u8>>,
    /// Most Redis clients of the embedded broker; a few more are told so.
    pub max_resp_clients: usize,
    /// The sub-protocols spoken here; `None` takes the first one offered.
    pub subprotocols: Option<Vec<String>>,
    /// Which hosts are answered to.
    pub allowed_hosts: AllowedHosts,
    /// Whether pages and metrics answer to `localhost` and addresses alone besides those.
    pub local_pages: bool,
    /// The same for WebSockets.
    pub local_sockets: bool,
    /// Which pages may connect besides those of the same host.
    pub allowed_origins: AllowedOrigins,
    /// How a WebSocket handshake is refused.
    pub refuse: Refuse,
    /// Pages served to plain GET requests.
    pub pages: Vec<Page>,
    /// Path that answers with the counters in Prometheus's text format.
    pub metrics_path: Option<String>,
    /// Whether the log has a line for each conn at its end.
    pub access_log: bool,
    /// Path that says whether this server is ready for browsers.
    pub health_path: Option<String>,
    /// What operators need to be answered, where they are.
    pub admin: Option<Admin>,
    /// Path of WebSockets whose messages come back.
    pub echo_path: Option<String>,
    /// WebSockets that are the application's own; at most 255.
    pub endpoints: Vec<Endpoint>,
    /// Which of those have their applications in other processes, that are dialed.
    pub handlers: Vec<HandlerSettings>,
    /// Where requests go that are not for this server itself.
    pub front: Front,
    /// Which channels keep their last messages.
    pub history: HistoryRules,
    /// Bytes that these may take in the embedded broker.
    pub history_limit: usize,
    /// Where messages come from.
    pub broker: BrokerSettings,
}

impl Settings {
    /// Whether somebody may publish whom nobody else grants it.
    pub(crate) fn grants_publishing(&self) -> bool {
        let rules = self.rules.0.iter().filter(|rule| rule.grant);
        rules.map(|rule| rule.options).chain([self.allow]).any(Allow::publishes)
            || self.endpoints.iter().any(|endpoint| endpoint.joins)
    }

    /// Whether somebody may ask if the server is ready.
    pub(crate) fn is_watched(&self) -> bool {
        self.health_path.is_some() || self.admin.is_some()
    }

    /// Takes over what can change while conns are open. The rest is what links, timers and parsers
    /// were made with, and stays as it was. Sources are neither begun nor ended by this: only what
    /// they are checked with changes. Whoever changes this list changes `config/reload.rs` too.
    pub(crate) fn renew(&mut self, new: Settings) {
        self.allow = new.allow;
        self.rules = new.rules;
        self.require_login = new.require_login;
        if self.sources.token.is_some() && new.sources.token.is_some() {
            self.sources.token = new.sources.token;
        }
        if self.sources.session.is_some() && new.sources.session.is_some() {
            self.sources.session = new.sources.session;
        }
        self.handshake_timeout_ms = new.handshake_timeout_ms;
        self.close_timeout_ms = new.close_timeout_ms;
        self.shutdown_timeout_ms = new.shutdown_timeout_ms;
        self.drain_ms = new.drain_ms;
        self.drain_delay_ms = new.drain_delay_ms;
        self.max_head_size = new.max_head_size;
        self.max_fragments = new.max_fragments;
        if self.max_message_size == new.max_message_size {
            // It was judged beside the size of a message.
            self.outbox_limit = new.outbox_limit;
        }
        self.overflows = new.overflows;
        self.memory_limit = new.memory_limit;
        self.max_connections = new.max_connections;
        self.max_handshakes = new.max_handshakes;
        self.max_per_address = new.max_per_address;
        self.message_rate = new.message_rate;
        self.handshake_rate = new.handshake_rate;
        self.max_subscriptions = new.max_subscriptions;
        self.max_commands = new.max_commands;
        self.max_names_size = new.max_names_size;
        if self.ping_interval_ms > 0 && new.ping_interval_ms > 0 {
            // Whoever is not pinged has no timer, and is looked after by the kernel.
            self.ping_interval_ms = new.ping_interval_ms;
        }
        self.pong_timeout_ms = new.pong_timeout_ms;
        self.subprotocols = new.subprotocols;
        self.allowed_hosts = new.allowed_hosts;
        self.local_pages = new.local_pages;
        self.local_sockets = new.local_sockets;
        self.allowed_origins = new.allowed_origins;
        self.refuse = new.refuse;
    }

    /// The same as [`Settings::base`] without the relay: for a server of WebSockets of one's own.
    pub fn without_relay() -> Settings {
        Settings { url_prefix: String::new(), ..Settings::base() }
    }

    /// The defaults of the program, for the embedded broker and without pages, with room for 1000
    /// conns: where the settings of a test or of a server of one's own begin.
    pub fn base() -> Settings {
        Settings {
            url_prefix: "/ws/".to_owned(),
            prefix: String::new(),
            allow: Allow::default(),
            rules: Rules::default(),
            require_login: false,
            sources: Sources::default(),
            heartbeat: None,
            ping_interval_ms: 30_000,
            pong_interval_ms: 0,
            pong_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            close_timeout_ms: 5_000,
            shutdown_timeout_ms: 10_000,
            drain_ms: 0,
            drain_delay_ms: 0,
            max_head_size: 8 << 10,
            max_message_size: 1 << 20,
            max_session_size: 1 << 20,
            max_fragments: 131_072,
            compression: Compression::Shared,
            compression_for: CompressionFor::All,
            compression_min: 256,
            compression_window: 1 << 10,
            outbox_limit: 4 << 20,
            overflows: Overflows::default(),
            unsent_limit: 512 << 10,
            socket_mode: 0o660,
            memory_limit: 0,
            max_connections: 1000,
            max_handshakes: 4096,
            max_per_address: 0,
            message_rate: 0,
            handshake_rate: 0,
            max_subscriptions: 1000,
            max_commands: 64,
            max_names_size: 128 << 10,
            proxies: Proxies::default(),
            resp_password: None,
            max_resp_clients: 128,
            subprotocols: None,
            allowed_hosts: AllowedHosts::Any,
            local_pages: false,
            local_sockets: false,
            allowed_origins: AllowedOrigins::Listed(Vec::new()),
            refuse: Refuse::Status,
            pages: Vec::new(),
            metrics_path: None,
            access_log: false,
            health_path: None,
            admin: None,
            echo_path: None,
            endpoints: Vec::new(),
            handlers: Vec::new(),
            front: Front::default(),
            history: HistoryRules::default(),
            history_limit: 64 << 20,
            broker: BrokerSettings {
                expire_s: 3600,
                kind: BrokerKind::Local { store_limit: 64 << 20 },
            },
        }
    }
}

/// Who is given permessage-deflate, of those who offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionFor {
    /// Everybody.
    All,
    /// Who is a browser by a sign that browsers leave. Some other clients offer what they do not
    /// do, as is said in the book.
    Browsers,
}

/// The application of an endpoint, where it is another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerSettings {
    /// The place of its endpoint among all.
    pub endpoint: u8,
    /// What to dial.
    pub target: Target,
    /// Whether conns are kept for the next application when it is lost, and not closed with 1012.
    pub keeps: bool,
}

/// How a WebSocket handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// With the HTTP status (browsers hide it from the page).
    Status,
    /// Accepted, then closed with 4000 + the status, which the page sees.
    Close,
}
