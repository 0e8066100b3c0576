//! L4: what the operator asks for, raw and then checked.
//!
//! Defaults <- file <- environment <- flags. `Flags` is the raw layer: every field is the text that
//! was given, or `None`; clap lays the flags over the environment and judges nothing but their
//! names. The configuration file fills the fields that are still `None` before `check` sees them:
//! its keys are those that clap knows. `check` is the only place that knows defaults, ranges and
//! meaning, and it makes the [`Config`] that everything else is told.
//!
//! Rules:
//! - A wrong value is one line: which flag, variable or line of the file, what is wrong, how to
//!   mend it.
//! - No line repeats a password: values are quoted by `values::quoted` and a Redis URL never is.
//! - An empty environment variable is an unset one; an empty flag is an empty text.

mod file;
mod flags;
mod pages;
pub(crate) mod redis_url;
mod sources;
pub(crate) mod stress;
pub(crate) mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use tracing::level_filters::LevelFilter;

use crate::access::channel::Allow;
use crate::access::permissions::Rules;
use crate::broker::{self, BrokerSettings};
use crate::browser::settings::{Refuse, Settings};
use crate::fanout::overflow::Overflows;
use crate::proto::ws::deflate::Compression;
use crate::proto::ws::upgrade::AllowedOrigins;
use crate::tool::cli;
use crate::tool::stress::Plan;
use crate::web::Page;

use file::File;
pub(crate) use flags::guard_environment;
use flags::{Flags, clap_stop, command, unknown_variables};
use pages::Chat;
use values::{KIB, MIB};

/// What the program is to do, checked.
pub enum Command {
    /// Serve browsers.
    Serve(Box<Config>),
    /// Put load on a server.
    Stress(Box<Plan>),
    /// Do one thing for a shell or a script.
    Do(Box<cli::Task>),
}

/// How to serve, checked.
pub struct Config {
    /// Where to listen: `HOST:PORT` each, with an IPv6 address in brackets; port 0 is any free one.
    pub listen: Vec<String>,
    /// Where the embedded broker answers Redis clients, if it does.
    pub resp: Option<Resp>,
    /// The least severe level that is logged.
    pub log: LevelFilter,
    /// Lines for the log that explain choices made here. They are to be logged once the server
    /// listens, because a failure to do so is one line and no more.
    pub notes: Vec<String>,
    /// What the core is told.
    pub settings: Settings,
    /// The demo is on.
    demo: bool,
}

impl Config {
    /// Says where the embedded broker answers Redis clients, which is known only once it listens:
    /// the demo's page has a command line for it.
    pub fn redis_clients_are_answered_at(&mut self, addresses: &[SocketAddr]) {
        let chat = self.demo.then(|| Chat::of(&self.settings));
        self.settings.pages = pages::pages(chat.as_ref(), addresses);
    }
}

/// Where Redis clients are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resp {
    /// `HOST:PORT`, of this machine.
    pub address: String,
    /// It was asked for, so that it is a failure when it is taken.
    pub given: bool,
}

/// Why there is no [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `--help` or `--version` was asked for: the text for standard output, newline included.
    Print(String),
    /// Something is wrong: one line that says what and how to mend it, without a newline.
    Wrong(String),
}

impl Command {
    /// Reads the program's arguments (the first is its name) and its `WSLOOP_…` environment.
    /// `descriptors` is how many descriptors it may have open.
    pub fn load<I, T>(args: I, descriptors: usize) -> Result<Command, Stop>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let matches = command().try_get_matches_from(args).map_err(clap_stop)?;
        let (name, given) = matches.subcommand().unwrap_or(("serve", &matches));
        if name == "stress" {
            let wrong = |wrong: Wrong| Stop::Wrong(wrong.line(given, &File::default()));
            let flags = stress::Flags::from_arg_matches(given).map_err(clap_stop)?;
            let plan = stress::check(&flags, descriptors).map_err(wrong)?;
            return Ok(Command::Stress(Box::new(plan)));
        }
        if cli::NAMES.contains(&name) {
            let wrong = |wrong: Wrong| Stop::Wrong(wrong.line(given, &File::default()));
            let task = cli::task(name, given).map_err(clap_stop)?.map_err(wrong)?;
            return Ok(Command::Do(Box::new(task)));
        }
        serve(given, descriptors).map(|config| Command::Serve(Box::new(config)))
    }
}

/// What `serve` was given: the file first, then the environment and the flags over it.
fn serve(given: &ArgMatches, descriptors: usize) -> Result<Config, Stop> {
    let named = Flags::from_arg_matches(given).map_err(clap_stop)?.config;
    let file = match named {
        Some(path) => {
            let text = text_of(&path).map_err(|why| Wrong { flag: "config", why });
            let text = text.map_err(|wrong| Stop::Wrong(wrong.line(given, &File::default())))?;
            File::parse(&path, &text).map_err(Stop::Wrong)?
        }
        None => File::default(),
    };
    let mut flags = file.flags()?;
    flags.update_from_arg_matches(given).map_err(clap_stop)?;
    let config = check(flags, file.rules.clone(), descriptors);
    let mut config = config.map_err(|wrong| Stop::Wrong(wrong.line(given, &file)))?;
    config.notes.extend(unknown_variables());
    Ok(config)
}

/// Descriptors that are no conn's: standard streams, epoll, wakers, listeners, Redis, and room for
/// what libraries open.
const RESERVED_DESCRIPTORS: usize = 64;
/// A year: longer waits are typing errors.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;
/// A hundred years. Redis refuses an expiry whose milliseconds overflow.
pub(crate) const LONGEST_EXPIRE_S: u64 = 100 * 365 * 24 * 3600;
/// Where the embedded broker answers Redis clients when nothing is said: next to where Redis does,
/// so that neither is taken for the other.
const RESP: &str = "127.0.0.1:6380";
/// What the demo's page needs besides the default of `--allow`.
const DEMO_ALLOW: &str =
    "subscribe-broadcast,subscribe-group,subscribe-user,subscribe-session,publish-broadcast";

/// Said at the start, for nothing says yet who a browser belongs to.
const NOBODY_LOGS_IN: &str = "--require-login is on and nothing says who a browser belongs to: \
     every handshake is refused with 403";

/// A value that will not do.
pub struct Wrong {
    /// The flag, without its dashes.
    pub(crate) flag: &'static str,
    /// What is wrong and how to mend it.
    pub(crate) why: String,
}

impl Wrong {
    /// The one line, which names the flag, the variable or the file's line, whichever was used.
    fn line(&self, given: &ArgMatches, file: &File) -> String {
        let id = self.flag.replace('-', "_");
        let name = match (given.value_source(&id), file.place(self.flag)) {
            _ if self.flag == stress::URL => "URL".to_owned(),
            (Some(ValueSource::EnvVariable), _) => format!("WSLOOP_{}", id.to_uppercase()),
            (None, Some(place)) => format!("{place}: {}", self.flag),
            _ => format!("--{}", self.flag),
        };
        values::printable(&format!("{name}: {}", self.why))
    }
}

/// The configuration file's text.
fn text_of(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| {
        let path = values::quoted(path);
        format!("{path} cannot be read: {error}; give the path of a text file in TOML")
    })
}

/// Everything that was given, judged, and defaults for what was not.
fn check(flags: Flags, rules: Rules, descriptors: usize) -> Result<Config, Wrong> {
    let mut notes = Vec::new();
    let require_login = value("require-login", &flags.require_login, values::on_off)?;
    let require_login = require_login.unwrap_or(false);
    let open = flags.redis.is_none() && !require_login && !flags.has_sources();
    let demo = value("demo", &flags.demo, values::on_off)?.unwrap_or(open);
    if demo {
        notes.push(demo_note(&flags).to_owned());
    }
    let mut listen = flags.listen.clone().unwrap_or_default();
    if listen.is_empty() {
        listen.push("127.0.0.1:8080".to_owned());
    }
    for address in &listen {
        values::listen(address).map_err(|why| Wrong { flag: "listen", why })?;
    }
    let settings = settings(&flags, demo, descriptors, &mut notes)?;
    let settings = Settings { rules, require_login, ..settings };
    if require_login && !settings.sources.is_some() {
        notes.push(NOBODY_LOGS_IN.to_owned());
    }
    let mut config = Config {
        listen,
        resp: resp(&flags)?,
        log: value("log", &flags.log, values::level)?.unwrap_or(LevelFilter::INFO),
        settings,
        notes,
        demo,
    };
    config.redis_clients_are_answered_at(&[]);
    Ok(config)
}

fn settings(
    flags: &Flags,
    demo: bool,
    descriptors: usize,
    notes: &mut Vec<String>,
) -> Result<Settings, Wrong> {
    let message = size("max-message-size", &flags.max_message_size, MIB, 1..=256 * MIB)?;
    let url_prefix = value("url-prefix", &flags.url_prefix, values::url_prefix)?;
    let url_prefix = url_prefix.unwrap_or_else(|| "/ws/".to_owned());
    let heartbeat = flags.heartbeat.clone().unwrap_or_default().into_bytes();
    // Their paths are no one else's. What is in them waits until everything else is known.
    let pages = pages::pages(demo.then(Chat::default).as_ref(), &[]);
    let handshake_timeout_ms = time("handshake-timeout", &flags.handshake_timeout, 10_000, 1)?;
    let max_handshakes = count("max-handshakes", &flags.max_handshakes, 4096)?;
    Ok(Settings {
        prefix: value("prefix", &flags.prefix, values::prefix)?.unwrap_or_default(),
        allow: allow(&flags.allow, demo)?,
        rules: Rules::default(),
        require_login: false,
        sources: sources::sources(flags, max_handshakes, handshake_timeout_ms, notes)?,
        heartbeat: Some(heartbeat).filter(|text| !text.is_empty()),
        ping_interval_ms: time("ping-interval", &flags.ping_interval, 30_000, 0)?,
        pong_timeout_ms: time("pong-timeout", &flags.pong_timeout, 10_000, 1)?,
        handshake_timeout_ms,
        close_timeout_ms: time("close-timeout", &flags.close_timeout, 5_000, 1)?,
        shutdown_timeout_ms: time("shutdown-timeout", &flags.shutdown_timeout, 10_000, 0)?,
        max_head_size: size("max-head-size", &flags.max_head_size, 8 * KIB, 256..=MIB)?,
        max_fragments: count("max-fragments", &flags.max_fragments, 131_072)?,
        compression: value("compression", &flags.compression, values::compression)?
            .unwrap_or(Compression::Shared),
        compression_min: size("compression-min", &flags.compression_min, 256, 0..=usize::MAX)?,
        outbox_limit: room("outbox-limit", &flags.outbox_limit, 4 * MIB, 2, message, notes)?,
        overflows: value("overflow", &flags.overflow, |text| list(text, Overflows::parse))?
            .unwrap_or_default(),
        max_connections: max_connections(&flags.max_connections, descriptors)?,
        max_handshakes,
        subprotocols: value("subprotocols", &flags.subprotocols, values::subprotocols)?,
        allowed_origins: value("allowed-origins", &flags.allowed_origins, |text| {
            list(text, AllowedOrigins::parse)
        })?
        .unwrap_or(AllowedOrigins::Listed(Vec::new())),
        refuse: value("refuse", &flags.refuse, values::refuse)?.unwrap_or(Refuse::Status),
        metrics_path: value("metrics", &flags.metrics, |path| {
            values::own_path(path, "/metrics", &pages)
        })?,
        echo_path: value("echo", &flags.echo, |path| echo_path(path, &flags.metrics, &pages))?,
        broker: broker(flags, message, notes)?,
        max_message_size: message,
        url_prefix,
        pages,
    })
}

fn broker(flags: &Flags, message: usize, notes: &mut Vec<String>) -> Result<BrokerSettings, Wrong> {
    let store_limit = size("store-limit", &flags.store_limit, 64 * MIB, 0..=usize::MAX)?;
    // PUBLISH and SET both carry the message, and one message may go to several channels.
    let buffer = &flags.redis_buffer_limit;
    let buffer_limit = room("redis-buffer-limit", buffer, 64 * MIB, 4, message, notes)?;
    let expire = |text: &str| values::whole_seconds(text, LONGEST_EXPIRE_S);
    let timeout_ms = time("redis-timeout", &flags.redis_timeout, 5_000, 1)?;
    let redis = |url: &str| redis_url::parse(url, timeout_ms, buffer_limit);
    Ok(BrokerSettings {
        expire_s: value("expire", &flags.expire, expire)?.unwrap_or(3600),
        kind: match value("redis", &flags.redis, redis)? {
            Some(settings) => broker::Kind::Redis(settings),
            None => broker::Kind::Local { store_limit },
        },
    })
}

fn resp(flags: &Flags) -> Result<Option<Resp>, Wrong> {
    let given = value("resp", &flags.resp, values::resp)?;
    match (given, &flags.redis) {
        (Some(Some(_)), Some(_)) => {
            let why = "with --redis there is no embedded broker that could answer; leave one out";
            Err(Wrong { flag: "resp", why: why.to_owned() })
        }
        (Some(None), _) | (None, Some(_)) => Ok(None),
        (Some(Some(address)), None) => Ok(Some(Resp { address, given: true })),
        (None, None) => Ok(Some(Resp { address: RESP.to_owned(), given: false })),
    }
}

fn allow(given: &Option<String>, demo: bool) -> Result<Allow, Wrong> {
    match value("allow", given, |text| list(text, Allow::parse))? {
        Some(allow) => Ok(allow),
        None if demo => Ok(Allow::parse(DEMO_ALLOW).expect("a list of known options")),
        None => Ok(Allow::default()),
    }
}

/// A list that another layer reads, and may repeat in what it says about it: so a URL with a
/// password that was given to the wrong flag stops here.
fn list<T>(text: &str, read: fn(&str) -> Result<T, String>) -> Result<T, String> {
    if text.contains('@') {
        return Err(format!("{} has an @, which belongs in no list", values::quoted(text)));
    }
    read(text)
}

fn echo_path(path: &str, metrics: &Option<String>, pages: &[Page]) -> Result<String, String> {
    if metrics.as_deref() == Some(path) {
        return Err(format!("{} is the path of --metrics too", values::quoted(path)));
    }
    values::own_path(path, "/echo", pages)
}

fn demo_note(flags: &Flags) -> &'static str {
    match flags.allow {
        Some(_) => "the demo is on at /chat/; what it can do is what --allow grants",
        None => {
            "the demo is on at /chat/ and publish-broadcast is granted for it; \
             --allow decides what is granted, --demo=off ends it"
        }
    }
}

fn max_connections(given: &Option<String>, descriptors: usize) -> Result<usize, Wrong> {
    let flag = "max-connections";
    let most = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
    let asked = value(flag, given, |text| values::count(text, 1..=usize::MAX))?;
    let limit = format!(
        "the limit of {descriptors} open files leaves room for {most} conns \
         ({RESERVED_DESCRIPTORS} are reserved); raise it (ulimit -n, systemd's LimitNOFILE=)"
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

/// A limit that must hold several of the largest messages. The default grows with them; a limit
/// that was given is not changed behind the operator's back.
fn room(
    flag: &'static str,
    given: &Option<String>,
    default: usize,
    times: usize,
    message: usize,
    notes: &mut Vec<String>,
) -> Result<usize, Wrong> {
    let least = message.saturating_mul(times);
    let needs = format!("{times} times the message limit of {}", values::in_units(message));
    match value(flag, given, |text| values::size(text, 1..=usize::MAX))? {
        None if least > default => {
            notes.push(format!("--{flag} is {}, {needs}", values::in_units(least)));
            Ok(least)
        }
        None => Ok(default),
        Some(limit) if limit < least => {
            let (limit, least) = (values::in_units(limit), values::in_units(least));
            let mend = format!("give at least {least}, or lower --max-message-size");
            Err(Wrong { flag, why: format!("{limit} is less than {needs}; {mend}") })
        }
        Some(limit) => Ok(limit),
    }
}

/// Seconds that were given, in milliseconds, at least `least`.
fn time(
    flag: &'static str,
    given: &Option<String>,
    default_ms: u64,
    least: u64,
) -> Result<u64, Wrong> {
    let read = |text: &str| values::seconds(text, least..=LONGEST_MS);
    Ok(value(flag, given, read)?.unwrap_or(default_ms))
}

fn size(
    flag: &'static str,
    given: &Option<String>,
    default: usize,
    range: RangeInclusive<usize>,
) -> Result<usize, Wrong> {
    Ok(value(flag, given, |text| values::size(text, range))?.unwrap_or(default))
}

fn count(flag: &'static str, given: &Option<String>, default: usize) -> Result<usize, Wrong> {
    Ok(value(flag, given, |text| values::count(text, 1..=1 << 30))?.unwrap_or(default))
}

/// What was given, read; `None` when nothing was.
pub(crate) fn value<T>(
    flag: &'static str,
    given: &Option<String>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Wrong> {
    given.as_deref().map(read).transpose().map_err(|why| Wrong { flag, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::broker::{Kind, RedisSettings};
    use crate::link::Target;

    /// More than any default needs.
    const DESCRIPTORS: usize = 20_000;

    fn load(args: &[&str]) -> Result<Config, Stop> {
        load_with(args, DESCRIPTORS)
    }

    fn load_with(args: &[&str], descriptors: usize) -> Result<Config, Stop> {
        match Command::load([&["wsloop"], args].concat(), descriptors)? {
            Command::Serve(config) => Ok(*config),
            Command::Stress(_) | Command::Do(_) => panic!("{args:?} is no command to serve"),
        }
    }

    #[track_caller]
    fn loaded(args: &[&str]) -> Config {
        load(args).unwrap_or_else(|stop| panic!("{args:?}: {stop:?}"))
    }

    #[track_caller]
    fn wrong(args: &[&str]) -> String {
        match load(args) {
            Err(Stop::Wrong(line)) => line,
            Err(stop) => panic!("{args:?}: {stop:?}"),
            Ok(_) => panic!("{args:?} is taken"),
        }
    }

    /// All that a configuration says, as text. (No password is in it in these tests.)
    fn described(config: &Config) -> String {
        let Config { listen, resp, log, notes, settings, demo } = config;
        format!("{listen:?} {resp:?} {log:?} {notes:?} {settings:?} {demo}")
    }

    #[test]
    fn nothing_given_is_the_documented_default() {
        let Config { listen, log, settings, .. } = loaded(&[]);
        assert_eq!(listen, ["127.0.0.1:8080"]);
        assert_eq!(log, LevelFilter::INFO);
        assert_eq!(settings.url_prefix, "/ws/");
        assert_eq!(settings.prefix, "");
        assert_eq!(settings.heartbeat, None);
        assert_eq!(settings.ping_interval_ms, 30_000);
        assert_eq!(settings.pong_timeout_ms, 10_000);
        assert_eq!(settings.handshake_timeout_ms, 10_000);
        assert_eq!(settings.close_timeout_ms, 5_000);
        assert_eq!(settings.shutdown_timeout_ms, 10_000);
        assert_eq!(settings.max_head_size, 8192);
        assert_eq!(settings.max_message_size, 1 << 20);
        assert_eq!(settings.max_fragments, 131_072);
        assert_eq!(settings.outbox_limit, 4 << 20);
        assert_eq!(settings.max_connections, DESCRIPTORS - 64);
        assert_eq!(settings.max_handshakes, 4096);
        assert_eq!(settings.subprotocols, None);
        assert_eq!((settings.require_login, settings.rules), (false, Rules::default()));
        assert_eq!(settings.allowed_origins, AllowedOrigins::Listed(Vec::new()));
        assert_eq!(settings.refuse, Refuse::Status);
        assert_eq!(settings.metrics_path, None);
        assert_eq!(settings.echo_path, None);
        assert_eq!(settings.compression, Compression::Shared);
        assert_eq!(settings.compression_min, 256);
        let kind = Kind::Local { store_limit: 64 << 20 };
        assert_eq!(settings.broker, BrokerSettings { expire_s: 3600, kind });
    }

    /// Gives every flag the default that its help states: nothing may change by it.
    #[test]
    fn the_help_states_the_defaults() {
        let unsaid = described(&loaded(&[]));
        let in_words = ["config", "redis", "prefix", "heartbeat", "max_connections", "allow"];
        let also = ["resp", "allowed_origins", "subprotocols", "demo", "metrics", "echo"];
        for arg in command().get_arguments() {
            let id = arg.get_id().as_str();
            let help = arg.get_help().expect("every flag has a help").to_string();
            let (_, default) = help.split_once("[default: ").expect("a default in the help");
            let default = default.strip_suffix(']').expect("the default at the end");
            let sources = ["token_", "session_", "auth_"];
            let of_a_source = sources.iter().any(|source| id.starts_with(source));
            if in_words.contains(&id) || also.contains(&id) || of_a_source {
                continue;
            }
            let flag = format!("--{}={default}", arg.get_long().expect("a long flag"));
            assert_eq!(described(&loaded(&[&flag])), unsaid, "{flag}");
        }
    }

    #[test]
    fn every_flag_is_heard() {
        let settings = loaded(&[
            "serve",
            "--listen=[::1]:0,localhost:81",
            "--listen=0.0.0.0:82",
            "--url-prefix=/",
            "--prefix=site",
            "--expire=0",
            "--heartbeat",
            "--heartbeat--",
            "--ping-interval=0",
            "--pong-timeout=0.25",
            "--handshake-timeout=2",
            "--shutdown-timeout=0",
            "--close-timeout=4",
            "--max-message-size=2k",
            "--max-fragments=7",
            "--max-head-size=1KiB",
            "--outbox-limit=4096",
            "--overflow=ticker/*=latest,close",
            "--max-connections=9",
            "--max-handshakes=3",
            "--store-limit=0",
            "--allow=publish-user",
            "--require-login",
            "--allowed-origins=*",
            "--subprotocols=a, b",
            "--refuse=close",
            "--metrics=/metrics",
            "--echo=/echo",
            "--compression=dedicated",
            "--compression-min=100",
            "--log=debug",
        ]);
        assert_eq!(settings.listen, ["[::1]:0", "localhost:81", "0.0.0.0:82"]);
        assert_eq!(settings.log, LevelFilter::DEBUG);
        let settings = settings.settings;
        assert_eq!(settings.url_prefix, "/");
        assert_eq!(settings.prefix, "site");
        assert_eq!(settings.heartbeat.as_deref(), Some(&b"--heartbeat--"[..]));
        assert_eq!(settings.ping_interval_ms, 0);
        assert_eq!(settings.pong_timeout_ms, 250);
        assert_eq!(settings.handshake_timeout_ms, 2000);
        assert_eq!(settings.shutdown_timeout_ms, 0);
        assert_eq!(settings.close_timeout_ms, 4000);
        assert_eq!(settings.max_message_size, 2048);
        assert_eq!(settings.max_fragments, 7);
        assert_eq!(settings.max_head_size, 1024);
        assert_eq!(settings.outbox_limit, 4096);
        assert_eq!(settings.overflows.to_string(), "ticker/*=latest,close");
        assert_eq!(settings.max_connections, 9);
        assert_eq!(settings.max_handshakes, 3);
        assert_eq!(settings.allow, Allow::parse("publish-user").expect("an option"));
        assert!(settings.require_login);
        assert_eq!(settings.allowed_origins, AllowedOrigins::Any);
        assert_eq!(settings.subprotocols, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(settings.refuse, Refuse::Close);
        assert_eq!(settings.metrics_path.as_deref(), Some("/metrics"));
        assert_eq!(settings.echo_path.as_deref(), Some("/echo"));
        assert_eq!(settings.compression, Compression::Dedicated);
        assert_eq!(settings.compression_min, 100);
        let kind = Kind::Local { store_limit: 0 };
        assert_eq!(settings.broker, BrokerSettings { expire_s: 0, kind });
    }

    #[test]
    fn redis_is_the_broker_when_it_is_named() {
        let settings = loaded(&["--redis=redis://h/2", "--redis-buffer-limit=5M"]).settings;
        let redis = RedisSettings {
            target: Target::Tcp { host: "h".to_owned(), port: 6379 },
            user: None,
            password: None,
            db: 2,
            timeout_ms: 5_000,
            buffer_limit: 5 << 20,
        };
        assert_eq!(settings.broker.kind, Kind::Redis(redis));
    }

    #[test]
    fn redis_clients_are_answered_on_this_machine_and_without_redis_alone() {
        let resp = |address: &str, given| Some(Resp { address: address.to_owned(), given });
        let cases: [(&[&str], Option<Resp>); 7] = [
            (&[], resp("127.0.0.1:6380", false)),
            (&["--resp=127.0.0.1:6380"], resp("127.0.0.1:6380", true)),
            (&["--resp=[::1]:0"], resp("[::1]:0", true)),
            (&["--resp=localhost:7000"], resp("localhost:7000", true)),
            (&["--resp=off"], None),
            (&["--redis=redis://h"], None),
            (&["--redis=redis://h", "--resp=OFF"], None),
        ];
        for (args, expected) in cases {
            assert_eq!(loaded(args).resp, expected, "{args:?}");
        }
        for (args, words) in [
            (&["--resp=0.0.0.0:6380"][..], "is not loopback"),
            (&["--resp=example.com:6380"], "is not loopback"),
            (&["--resp=127.0.0.1"], "has no port; write HOST:PORT, such as 127.0.0.1:6380"),
            (&["--resp=on"], "has no port"),
            (&["--resp=127.0.0.1:0", "--redis=redis://h"], "leave one out"),
        ] {
            let line = wrong(args);
            assert!(line.starts_with("--resp: ") && line.contains(words), "{line}");
        }
    }

    #[test]
    fn the_demo_is_on_without_redis_and_grants_what_its_page_needs() {
        let default = Allow::default();
        let for_the_demo = Allow::parse(DEMO_ALLOW).expect("a list of options");
        let listed = Allow::parse("subscribe-user").expect("an option");
        assert_ne!(for_the_demo, default);
        let url = "--auth-url=http://127.0.0.1:8000/auth";
        let cases: [(&[&str], bool, Allow); 12] = [
            (&[], true, for_the_demo),
            // Who asks who a browser is does not want everybody to publish.
            (&[url], false, default),
            (&["--session-key=session:{}"], false, default),
            (&["--require-login"], false, default),
            (&[url, "--demo"], true, for_the_demo),
            (&["--demo"], true, for_the_demo),
            (&["--demo=off"], false, default),
            (&["--allow=subscribe-user"], true, listed),
            (&["--redis=redis://h"], false, default),
            (&["--redis=redis://h", "--demo"], true, for_the_demo),
            (&["--redis=redis://h", "--demo", "--allow=subscribe-user"], true, listed),
            (&["--redis=redis://h", "--allow=subscribe-user"], false, listed),
        ];
        for (args, demo, allow) in cases {
            let config = loaded(args);
            let served = config.settings.pages.iter().any(|page| page.path == "/chat/");
            assert_eq!((served, config.settings.allow), (demo, allow), "{args:?}");
            let told = config.notes.iter().any(|note| note.contains("publish-broadcast"));
            assert_eq!(told, allow == for_the_demo, "{args:?}");
        }
    }

    #[test]
    fn limits_that_hold_messages_grow_with_them_unless_given() {
        let outbox = |args: &[&str]| loaded(args).settings.outbox_limit;
        assert_eq!(outbox(&["--max-message-size=2MiB"]), 4 << 20);
        assert_eq!(outbox(&["--max-message-size=3MiB"]), 6 << 20);
        assert_eq!(outbox(&["--max-message-size=3MiB", "--outbox-limit=6MiB"]), 6 << 20);
        assert_eq!(outbox(&["--max-message-size=1k", "--outbox-limit=2k"]), 2048);
        assert_eq!(
            wrong(&["--max-message-size=3MiB", "--outbox-limit=4MiB"]),
            "--outbox-limit: 4MiB is less than 2 times the message limit of 3MiB; \
             give at least 6MiB, or lower --max-message-size"
        );
        let redis = loaded(&["--redis=redis://h", "--max-message-size=32MiB"]);
        assert!(matches!(
            redis.settings.broker.kind,
            Kind::Redis(RedisSettings { buffer_limit, .. }) if buffer_limit == 128 << 20
        ));
        assert_eq!(
            redis.notes,
            [
                "--outbox-limit is 64MiB, 2 times the message limit of 32MiB",
                "--redis-buffer-limit is 128MiB, 4 times the message limit of 32MiB",
            ]
        );
        assert!(wrong(&["--redis-buffer-limit=1MiB"]).contains("at least 4MiB"));
    }

    #[test]
    fn conns_are_as_many_as_descriptors_allow() {
        let conns = |args: &[&str], descriptors| {
            load_with(args, descriptors).map(|config| config.settings.max_connections)
        };
        assert_eq!(conns(&[], 1024), Ok(960));
        assert_eq!(conns(&["--max-connections=960"], 1024), Ok(960));
        let refusals: [(&[&str], usize); 3] =
            [(&["--max-connections=961"], 1024), (&[], 64), (&["--max-connections=1"], 0)];
        for (args, descriptors) in refusals {
            match conns(args, descriptors) {
                Err(Stop::Wrong(line)) => assert!(line.contains("ulimit -n"), "{line}"),
                other => panic!("{args:?} of {descriptors}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_password_is_in_no_error() {
        let cases: [&[&str]; 16] = [
            &["redis://:hush@h"],
            &["serve", "redis://u:hu'sh@h"],
            &["u:hush@h"],
            &["--rediss=redis://:hush@h"],
            &["--demo", "redis://:hush@h"],
            &["--listen=redis://:hush@h:6379"],
            &["--listen=u:hush@h:6379"],
            &["--allow=redis://:hush@h:6379"],
            &["--allowed-origins=u:hush@h:6379"],
            &["--expire=redis://u:hu\"sh@h"],
            &["--redis=u:hush@h"],
            &["--redis=http://u:hush@h"],
            &["--redis=rediss://u:hush@h"],
            &["--redis=redis://u:hush/@h"],
            &["--redis=redis://u:hush%zz@h"],
            &["--redis=redis://u:hush@h:port"],
        ];
        for args in cases {
            let line = wrong(args);
            assert!(!line.contains("hu"), "{args:?}: {line}");
            assert!(!line.contains('\n'), "{args:?}: {line}");
        }
    }

    #[test]
    fn text_that_would_steer_a_terminal_is_not_repeated() {
        for flag in ["--\u{1b}[2J\r\n", "--log=\u{1b}[2J\r\n", "--allow=\u{1b}[2J\r\n"] {
            let line = wrong(&[flag]);
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }
    }
}
