//! L4: what the server is to do while the flags are read, and what concerns several flags at once.

use tracing::level_filters::LevelFilter;

use crate::access::channel::Allow;
use crate::access::hosts::AllowedHosts;
use crate::access::permissions::Who;
use crate::broker::{BrokerKind, RedisSettings, Sharding};
use crate::browser::settings::Settings;
use crate::net::TlsUses;
use crate::server;
use crate::web::Page;
use crate::web::upstream::Upstream;

use super::endpoints::{self, DialedEndpoint};
use super::file::File;
use super::logs::LogFormat;
use super::pages::Chat;
use super::redis::{self, RedisTlsDraft, SentinelsDraft};
use super::sources::SourcesDraft;
use super::table::{Given, Wrong};
use super::tls::TlsDraft;
use super::workers::Workers;
use super::{Config, Resp, front, keeping, machine, pages, running, values};

/// Descriptors that are nobody's: standard streams, epoll, the waker, signals, and room for what
/// looking up names and libraries open.
const OWN_DESCRIPTORS: usize = 24;
/// Sockets to each Redis: one, and while it is replaced another.
const REDIS_DESCRIPTORS: usize = 2;
/// Links to one upstream that are closed and not gone yet.
const CLOSING: usize = 16;
/// Addresses that a name stands for.
const ADDRESSES: usize = 2;
/// Most Redis clients of the embedded broker, where there are descriptors enough.
const RESP_CLIENTS: usize = 128;
/// Most handshakes when nothing is said; of fewer conns it is half, so that who says nothing leaves
/// room for who does.
const HANDSHAKES: usize = 4096;
/// Where the embedded broker answers Redis clients when nothing is said: next to where Redis does,
/// so that neither is taken for the other.
const RESP: &str = "127.0.0.1:6380";
/// What the demo's page needs besides the default of `--allow`.
pub(super) const DEMO_ALLOW: &str =
    "subscribe-broadcast,subscribe-group,subscribe-user,subscribe-session,publish-broadcast";
/// How a server comes to know who a browser belongs to.
const GIVE_A_SOURCE: &str = "give --token-key-file, --session-key or --auth-url";

/// The values of the flags, in the settings where they stand alone.
pub(super) struct ServerDraft {
    pub settings: Settings,
    pub sources: SourcesDraft,
    pub listen: Vec<String>,
    pub tls: TlsDraft,
    /// `Some(None)` is off.
    pub resp: Option<Option<String>>,
    pub admin: Option<String>,
    pub admin_token: Option<Vec<u8>>,
    pub workers: Workers,
    pub log: LevelFilter,
    pub log_format: LogFormat,
    pub endpoints: Vec<DialedEndpoint>,
    pub endpoints_keep: bool,
    pub upstream: Option<Upstream>,
    pub redis: Vec<RedisSettings>,
    pub redis_replica: Option<RedisSettings>,
    pub redis_tls: RedisTlsDraft,
    pub sentinels: SentinelsDraft,
    pub redis_sharded: Option<Sharding>,
    pub redis_timeout_ms: u64,
    pub redis_buffer_limit: usize,
    pub redis_window: usize,
    pub store_limit: usize,
    pub heartbeat: String,
    pub memory_limit: Option<usize>,
    pub max_connections: Option<usize>,
    pub max_handshakes: Option<usize>,
    pub allow: Option<Allow>,
    pub demo: Option<bool>,
    pub allowed_hosts: Option<AllowedHosts>,
}

impl ServerDraft {
    /// Nothing given, and no default of the table either.
    pub(super) fn new() -> ServerDraft {
        ServerDraft {
            settings: Settings::base(),
            sources: SourcesDraft::default(),
            listen: Vec::new(),
            tls: TlsDraft::default(),
            resp: None,
            admin: None,
            admin_token: None,
            workers: Workers::Count(1),
            log: LevelFilter::INFO,
            log_format: LogFormat::Text,
            endpoints: Vec::new(),
            endpoints_keep: false,
            upstream: None,
            redis: Vec::new(),
            redis_replica: None,
            redis_tls: RedisTlsDraft::default(),
            sentinels: SentinelsDraft::default(),
            redis_sharded: None,
            redis_timeout_ms: 0,
            redis_buffer_limit: 0,
            redis_window: 0,
            store_limit: 0,
            heartbeat: String::new(),
            memory_limit: None,
            max_connections: None,
            max_handshakes: None,
            allow: None,
            demo: None,
            allowed_hosts: None,
        }
    }

    /// All that can be open besides conns, so that accepting them never uses the descriptors up.
    fn reserved_descriptors(&self) -> usize {
        let resp = match (self.redis.len(), &self.resp) {
            (1.., _) => REDIS_DESCRIPTORS * self.redis.len(),
            (0, Some(None)) => 0,
            (0, _) => ADDRESSES + self.settings.max_resp_clients + server::SURPLUS_CLIENTS,
        };
        let application = match &self.sources.auth_url {
            // One that is closed may be there until the turn ends.
            Some(_) => 2 * self.sources.auth_connections,
            None => 0,
        };
        let operators = self.admin.as_ref().map_or(0, |_| ADDRESSES + server::OPERATORS);
        let listeners = ADDRESSES * self.listen.len() + operators;
        let front = &self.settings.front;
        // The same of these, a few in each turn.
        let upstreams = front.upstreams.len() * (front.connections + CLOSING);
        let handlers = 2 * self.settings.handlers.len();
        OWN_DESCRIPTORS + listeners + server::SURPLUS + resp + application + upstreams + handlers
    }

    /// Whether the demo is on: not in front of an application.
    fn is_demo(&self, is_open: bool, file: &File) -> Result<bool, Wrong> {
        match (self.demo, self.upstream.is_some() || !file.routes.is_empty()) {
            (Some(true), true) => {
                let why = "its pages are not served in front of an application (--upstream, \
                           [[route]]); leave one out";
                Err(Wrong { flag: "demo", why: why.to_owned() })
            }
            (demo, is_front) => Ok(demo.unwrap_or(is_open && !is_front)),
        }
    }

    /// What is granted, and to which hosts. What the demo has is for this machine alone, whosever
    /// page the browser shows.
    fn open_to(&mut self, demo: bool) {
        let is_local = demo
            && self.allowed_hosts != Some(AllowedHosts::Any)
            && self.listen.iter().all(|at| at.starts_with(values::UNIX) || values::is_loopback(at));
        self.settings.local_pages = is_local;
        self.settings.local_sockets = is_local && self.allow.is_none();
        self.settings.allowed_hosts = self.allowed_hosts.take().unwrap_or_default();
        self.settings.allow = match self.allow {
            Some(allow) => allow,
            None if demo => Allow::parse(DEMO_ALLOW).expect("a list of known options"),
            None => Allow::default(),
        };
    }

    /// How many workers there are, and how many conns each may have, and what they may take, where
    /// it may have `descriptors` open.
    fn limit(&mut self, descriptors: usize, notes: &mut Vec<String>) -> Result<usize, Wrong> {
        let is_measured = self.settings.metrics_path.is_some();
        let (workers, note) = self.workers.finish(!self.redis.is_empty(), is_measured)?;
        notes.extend(note);
        self.settings.max_resp_clients = (descriptors / 8).clamp(8, RESP_CLIENTS);
        let reserved = self.reserved_descriptors();
        let asked = self.max_connections;
        self.settings.max_connections = max_connections(asked, descriptors, reserved)?;
        self.settings.max_handshakes = self
            .max_handshakes
            .unwrap_or_else(|| HANDSHAKES.min(self.settings.max_connections / 2).max(1));
        let part = || machine::half_of_memory() / workers;
        self.settings.memory_limit = self.memory_limit.unwrap_or_else(part);
        Ok(workers)
    }

    /// Sees to it that each limit holds several of the largest messages.
    fn hold_messages(&mut self, given: &Given) -> Result<Vec<String>, Wrong> {
        let mut notes = Vec::new();
        let message = self.settings.max_message_size;
        for (flag, times, limit) in [
            ("outbox-limit", 2, &mut self.settings.outbox_limit),
            // PUBLISH and SET both carry the message, and one message may go to several channels.
            ("redis-buffer-limit", 4, &mut self.redis_buffer_limit),
        ] {
            notes.extend(hold_messages(flag, given.has(flag), limit, times, message)?);
        }
        Ok(notes)
    }

    /// Judges the values beside each other, and works out what depends on several.
    pub(super) fn finish(
        mut self,
        given: &Given,
        file: &File,
        descriptors: usize,
    ) -> Result<Config, Wrong> {
        let (mut warnings, mut notes) = (Vec::new(), Vec::new());
        redis::with_replica(&mut self.redis, self.redis_replica.take())?;
        let has_sources = self.sources.has_any(given);
        let is_open = self.redis.is_empty() && !self.settings.require_login && !has_sources;
        let demo = self.is_demo(is_open, file)?;
        endpoints::finish(&mut self, &file.endpoints)?;
        let hidden = self.sources.auth_url.as_ref().map(|(_, _, path)| path.as_str());
        front::finish(&mut self.settings, self.upstream.take(), &file.routes, hidden)?;
        if demo {
            notes.push(demo_note(self.allow.is_some()).to_owned());
        }
        self.open_to(demo);
        let workers = self.limit(descriptors, &mut notes)?;
        notes.extend(self.hold_messages(given)?);
        // Their paths are no one else's. What is in them waits until everything else is known.
        self.settings.pages = pages::pages(demo.then(Chat::default).as_ref(), &[]);
        self.settings.heartbeat = Some(self.heartbeat.into_bytes()).filter(|text| !text.is_empty());
        own_paths(&self.settings)?;
        self.settings.admin = running::admin(self.admin.as_ref(), self.admin_token.take())?;
        somebody_announces(&self.settings)?;
        let (timeout_ms, buffer_limit) = (self.redis_timeout_ms, self.redis_buffer_limit);
        let window = self.redis_window;
        let limits = |redis| RedisSettings { timeout_ms, buffer_limit, window, ..redis };
        let redis =
            self.redis_tls.finish_for(self.sentinels, self.redis_sharded, &mut self.redis)?;
        let db = self.redis.iter().map(|redis| redis.db).find(|db| *db != 0).unwrap_or(0);
        warnings.extend(shared_channels(db, &self.settings.prefix));
        let resp = resp(self.resp, !self.redis.is_empty())?;
        self.settings.broker.kind = match self.redis.is_empty() {
            true => BrokerKind::Local { store_limit: self.store_limit },
            false => BrokerKind::Redis(self.redis.into_iter().map(limits).collect()),
        };
        let timeout_ms = self.settings.handshake_timeout_ms;
        let sources = self.sources.finish(given, self.settings.max_handshakes, timeout_ms)?;
        self.settings.sources = sources.sources;
        warnings.extend(sources.warnings);
        notes.extend(sources.notes);
        if !self.settings.sources.is_some() {
            warnings.extend(without_sources(self.settings.require_login, file));
        }
        self.settings.rules = file.rules.clone();
        warnings.extend(keeping::finish(&mut self.settings, file));
        let (shown, expired) = self.tls.finish(&self.listen)?;
        warnings.extend(expired);
        let (settings, listen, admin, log) = (self.settings, self.listen, self.admin, self.log);
        let (given, log_format) = (Given::default(), self.log_format);
        let tls = TlsUses { shown, redis };
        let mut config = Config {
            listen,
            tls,
            resp,
            admin,
            workers,
            log,
            log_format,
            warnings,
            notes,
            settings,
            demo,
            given,
        };
        config.redis_clients_are_answered_at(&[]);
        Ok(config)
    }
}

fn demo_note(allow_is_given: bool) -> &'static str {
    match allow_is_given {
        true => "the demo is on at /chat/; what it can do is what --allow grants",
        false => {
            "the demo is on at /chat/ and publish-broadcast is granted for it; \
             --allow decides what is granted, --demo=off ends it"
        }
    }
}

fn max_connections(
    asked: Option<usize>,
    descriptors: usize,
    reserved: usize,
) -> Result<usize, Wrong> {
    let flag = "max-connections";
    let most = descriptors.saturating_sub(reserved);
    let limit = format!(
        "the limit of {descriptors} open files leaves room for {most} conns \
         ({reserved} are for what else can be open); raise it (ulimit -n, systemd's LimitNOFILE=)"
    );
    match asked {
        None if most == 0 => Err(Wrong { flag, why: limit }),
        None => Ok(most),
        Some(asked) if asked > most => {
            Err(Wrong { flag, why: format!("{asked} is too many: {limit} or ask for fewer") })
        }
        Some(asked) => Ok(asked),
    }
}

/// Sees to it that a limit holds several of the largest messages. The default grows with them,
/// which is a note; a limit that was given is not changed behind the operator's back.
fn hold_messages(
    flag: &'static str,
    is_given: bool,
    limit: &mut usize,
    times: usize,
    message: usize,
) -> Result<Option<String>, Wrong> {
    let least = message.saturating_mul(times);
    if *limit >= least {
        return Ok(None);
    }
    let needs = format!("{times} times the message limit of {}", values::in_units(message));
    if is_given {
        let (limit, least) = (values::in_units(*limit), values::in_units(least));
        let mend = format!("give at least {least}, or lower --max-message-size");
        return Err(Wrong { flag, why: format!("{limit} is less than {needs}; {mend}") });
    }
    *limit = least;
    Ok(Some(format!("--{flag} is {}, {needs}", values::in_units(least))))
}

/// The paths of `--metrics` and `--echo` are nobody else's.
fn own_paths(settings: &Settings) -> Result<(), Wrong> {
    let Settings { metrics_path, health_path, echo_path, pages, .. } = settings;
    let is_page = |path: &String| pages.iter().any(|page: &Page| page.path == path);
    for (flag, path) in [("metrics", metrics_path), ("health", health_path), ("echo", echo_path)] {
        if let Some(path) = path.as_ref().filter(|path| is_page(path)) {
            let why = "is already a page of the server; write another path, such as";
            return Err(Wrong { flag, why: format!("{} {why} /{flag}", values::quoted(path)) });
        }
    }
    for (flag, path, others) in [
        ("health", health_path, &[("metrics", metrics_path)][..]),
        ("echo", echo_path, &[("metrics", metrics_path), ("health", health_path)]),
    ] {
        let taken = others.iter().find(|(_, other)| path.is_some() && *other == path);
        if let (Some(path), Some((other, _))) = (path, taken) {
            let path = values::quoted(path);
            let why = format!("{path} is the path of --{other} too; write another path, such as");
            return Err(Wrong { flag, why: format!("{why} /{flag}") });
        }
    }
    Ok(())
}

/// What a database of its own does not keep apart.
fn shared_channels(db: u32, prefix: &str) -> Option<String> {
    (db != 0 && prefix.is_empty()).then(|| {
        format!(
            "--redis names database {db}, but Redis has one set of channels for all databases: \
             another wsloop on this Redis hears the same messages and disconnects the same users; \
             give each a --prefix of its own"
        )
    })
}

/// Whom the PROXY protocol is taken from.
fn somebody_announces(settings: &Settings) -> Result<(), Wrong> {
    match settings.proxies.announce && settings.proxies.trusted.is_empty() {
        false => Ok(()),
        true => {
            let why = "is taken from trusted proxies alone, and none is; name them with \
                       --trusted-proxies";
            Err(Wrong { flag: "proxy-protocol", why: why.to_owned() })
        }
    }
}

fn resp(given: Option<Option<String>>, has_redis: bool) -> Result<Option<Resp>, Wrong> {
    match given {
        Some(Some(_)) if has_redis => {
            let why = "with --redis there is no embedded broker that could answer; leave one out";
            Err(Wrong { flag: "resp", why: why.to_owned() })
        }
        Some(address) => Ok(address.map(|address| Resp { address, given: true })),
        None if has_redis => Ok(None),
        None => Ok(Some(Resp { address: RESP.to_owned(), given: false })),
    }
}

/// What has no effect, or too much of it, when nothing says who a browser belongs to.
fn without_sources(require_login: bool, file: &File) -> Vec<String> {
    let mut warnings = Vec::new();
    if require_login {
        warnings.push(format!(
            "--require-login is on and nothing says who a browser belongs to, so every handshake \
             is refused with 403; {GIVE_A_SOURCE}"
        ));
    }
    for (number, rule) in file.rules.0.iter().enumerate() {
        let who = match &rule.who {
            Who::Anyone => continue,
            Who::LoggedIn => "logged-in".to_owned(),
            Who::Group(group) => format!("group:{group}"),
        };
        warnings.push(values::printable(&format!(
            "{}: [[allow]] who = {} fits nobody, for nothing says who a browser belongs to; \
             {GIVE_A_SOURCE}",
            file.place_of_rule(number),
            values::quoted(&who),
        )));
    }
    warnings
}
