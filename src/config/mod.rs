//! L4: what the operator asks for: the flags of the server, read, judged, and made a [`Config`].
//!
//! Defaults <- file <- environment <- flags. [`flags::FLAGS`] is the one table of flags; the
//! command line, the help, the keys of the file and the documentation come from it. What stands in
//! no single row is in [`draft`] and [`sources`].
//!
//! No line that is printed repeats a password: values are quoted by `values::quoted`, and a Redis
//! URL never is.

mod check;
mod draft;
mod endpoints;
mod file;
mod flags;
mod front;
mod keeping;
mod logs;
mod machine;
mod pages;
pub(crate) mod redis;
pub(crate) mod redis_url;
mod reload;
mod running;
mod sources;
pub(crate) mod table;
mod tls;
pub(crate) mod values;
mod workers;

use std::env;
use std::net::SocketAddr;

use clap::ArgMatches;
use tracing::level_filters::LevelFilter;

use crate::browser::settings::Settings;
use crate::net::TlsUses;

pub use check::Check;
pub(crate) use check::check;
use draft::ServerDraft;
use file::File;
use flags::FLAGS;
pub use logs::{LogForm, LogFormat};
use pages::Chat;
pub use reload::Changes;
use table::{Flag, Given, Wrong};

/// How to serve, checked.
pub struct Config {
    /// Where to listen: `HOST:PORT` each, with an IPv6 address in brackets, behind `https://` by
    /// TLS; port 0 is any free one.
    pub listen: Vec<String>,
    /// What TLS is spoken with, where it is.
    pub tls: TlsUses,
    /// Where the embedded broker answers Redis clients, if it does.
    pub resp: Option<Resp>,
    /// Where those who run the server are answered: `HOST:PORT` or `unix:PATH`.
    pub admin: Option<String>,
    /// How many processes serve.
    pub workers: usize,
    /// The least severe level that is logged.
    pub log: LevelFilter,
    /// The form of its lines.
    pub log_format: LogFormat,
    /// Lines for the log about what is probably a mistake. These and the notes are to be logged
    /// once the server listens, because a failure to do so is one line and no more.
    pub warnings: Vec<String>,
    /// Lines for the log that explain choices made here.
    pub notes: Vec<String>,
    /// What the core is told.
    pub settings: Settings,
    /// The demo is on.
    demo: bool,
    /// What was given.
    given: Given,
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
    /// `HOST:PORT`, of this machine, or `unix:PATH`.
    pub address: String,
    /// It was asked for, so that it is a failure when it is taken.
    pub given: bool,
}

/// The command line of the server, with this name.
pub(crate) fn command(name: &'static str) -> clap::Command {
    let args = FLAGS.iter().map(Flag::arg);
    clap::Command::new(name).args(args).allow_negative_numbers(true)
}

/// The table of flags as Markdown, for the documentation.
pub(crate) fn markdown() -> String {
    table::markdown(FLAGS)
}

/// What the server was given: the flags and the environment, then the file. `descriptors` is how
/// many descriptors it may have open. An error is the one line that says what is wrong.
pub(crate) fn serve(matches: &ArgMatches, descriptors: usize) -> Result<Config, String> {
    let (given, file, faults) = gather(matches);
    if let Some(line) = faults.into_iter().next() {
        return Err(line);
    }
    let mut draft = ServerDraft::new();
    let done = given.apply(FLAGS, &mut draft);
    let config = done.and_then(|()| draft.finish(&given, &file, descriptors));
    let mut config = config.map_err(|wrong| given.line(&wrong))?;
    config.warnings.extend(unknown_variables());
    config.given = given;
    Ok(config)
}

/// What was given, the file among it, and what is wrong with the file.
fn gather(matches: &ArgMatches) -> (Given, File, Vec<String>) {
    let mut given = Given::of(FLAGS, matches);
    let text = given.text("config").map(|path| (path.to_owned(), text_of(path)));
    let (file, faults) = match text {
        Some((path, Ok(text))) => File::parse(&path, &text),
        Some((_, Err(why))) => (File::default(), vec![given.line(&Wrong { flag: "config", why })]),
        None => (File::default(), Vec::new()),
    };
    file.give(&mut given);
    (given, file, faults)
}

/// The configuration file's text.
fn text_of(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| {
        let path = values::quoted(path);
        format!("{path} cannot be read: {error}; give the path of a text file in TOML")
    })
}

/// Warnings about variables that look like flags and are none: typing errors, most likely.
fn unknown_variables() -> impl Iterator<Item = String> {
    let unknown = env::vars_os().filter(|(name, text)| {
        let name = name.to_string_lossy();
        // The token is for `wsloop listen`, in an environment that both may have.
        let is_known = name == "WSLOOP_TOKEN" || FLAGS.iter().any(|flag| flag.variable == name);
        name.starts_with("WSLOOP_") && !is_known && !text.is_empty()
    });
    unknown.map(|(name, _)| format!("{} is no setting; wsloop --help lists them", name.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::access::channel::Allow;
    use crate::access::permissions::Rules;
    use crate::access::proxies::{ForwardedHeaders, Proxies, TrustedProxies};
    use crate::broker::{self, BrokerKind, RedisAddress, RedisSettings};
    use crate::browser::settings::Refuse;
    use crate::link::Target;
    use crate::proto::ws::deflate::Compression;
    use crate::proto::ws::upgrade::AllowedOrigins;
    use draft::DEMO_ALLOW;
    use table::{Absent, Takes};

    /// More than any default needs.
    const DESCRIPTORS: usize = 20_000;

    fn load(args: &[&str]) -> Result<Config, String> {
        load_with(args, DESCRIPTORS)
    }

    fn load_with(args: &[&str], descriptors: usize) -> Result<Config, String> {
        let matches = command("wsloop").try_get_matches_from([&["wsloop"], args].concat());
        serve(&matches.unwrap_or_else(|error| panic!("{args:?}: {error}")), descriptors)
    }

    #[track_caller]
    fn loaded(args: &[&str]) -> Config {
        load(args).unwrap_or_else(|line| panic!("{args:?}: {line}"))
    }

    #[track_caller]
    fn wrong(args: &[&str]) -> String {
        load(args).err().unwrap_or_else(|| panic!("{args:?} is taken"))
    }

    /// All that a configuration says, as text. (No password is in it in these tests.)
    fn described(config: &Config) -> String {
        let Config {
            listen, resp, admin, log, log_format, warnings, notes, settings, demo, ..
        } = config;
        format!(
            "{listen:?} {resp:?} {admin:?} {log:?} {log_format:?} {warnings:?} {notes:?} \
             {settings:?} {demo}"
        )
    }

    #[test]
    fn names_variables_and_helps_have_their_form() {
        for flag in FLAGS {
            let Flag { name, variable, help, .. } = flag;
            let expected = format!("WSLOOP_{}", name.replace('-', "_").to_uppercase());
            assert_eq!(*variable, expected, "{name}");
            assert_eq!(FLAGS.iter().filter(|other| other.name == *name).count(), 1, "{name}");
            assert!(!help.ends_with('.') && help.matches('`').count() % 2 == 0, "{name}: {help}");
            assert!(flag.default != Absent::Nothing, "{name} says nothing of its default");
        }
    }

    /// What nothing is given for is what tests and tools start from.
    #[test]
    fn the_base_of_settings_has_the_defaults_of_the_table() {
        let Config { settings, .. } = loaded(&["--demo=off"]);
        let scripts = settings.pages;
        assert_eq!(scripts.len(), 2, "{scripts:?}");
        assert!(settings.memory_limit > 0);
        let Settings { max_connections, memory_limit, .. } = settings;
        let base = Settings { max_connections, memory_limit, ..Settings::base() };
        let settings = Settings { pages: Vec::new(), ..settings };
        assert_eq!(format!("{settings:#?}"), format!("{base:#?}"));
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
        // 24 of its own, 2 for a listener, 32 to be told, 138 for Redis clients.
        assert_eq!(settings.max_connections, DESCRIPTORS - 196);
        assert_eq!(settings.max_handshakes, 4096);
        assert_eq!(settings.subprotocols, None);
        assert_eq!((settings.require_login, settings.rules), (false, Rules::default()));
        assert_eq!(settings.allowed_origins, AllowedOrigins::Listed(Vec::new()));
        assert_eq!(settings.refuse, Refuse::Status);
        assert_eq!(settings.metrics_path, None);
        assert_eq!(settings.echo_path, None);
        assert_eq!(settings.compression, Compression::Shared);
        assert_eq!(settings.compression_min, 256);
        let kind = BrokerKind::Local { store_limit: 64 << 20 };
        assert_eq!(settings.broker, broker::BrokerSettings { expire_s: 3600, kind });
    }

    /// Gives every flag its default: nothing may change by it.
    #[test]
    fn the_table_states_the_defaults() {
        let unsaid = described(&loaded(&[]));
        let mut stated = 0;
        for flag in FLAGS {
            let (Absent::Value(default), false) = (flag.default, of_a_source(flag.name)) else {
                continue;
            };
            let flag = format!("--{}={default}", flag.name);
            assert_eq!(described(&loaded(&[&flag])), unsaid, "{flag}");
            stated += 1;
        }
        assert!(stated > 20, "{stated}");
    }

    fn of_a_source(flag: &str) -> bool {
        ["token-", "session-", "auth-"].iter().any(|source| flag.starts_with(source))
    }

    /// A value of every range's end, and one past it.
    #[test]
    fn ranges_end_where_the_table_says() {
        for flag in FLAGS.iter().filter(|flag| !of_a_source(flag.name)) {
            let texts = match &flag.takes {
                Takes::Bytes(range, _) | Takes::Count(range, _) => {
                    [range.start().checked_sub(1), range.end().checked_add(1)]
                        .map(|end| end.map(|end| end.to_string()))
                }
                Takes::Seconds(range, _) => {
                    let past = (*range.end() / 1000 + 1).to_string();
                    [range.start().checked_sub(1).map(|_| "0".to_owned()), Some(past)]
                }
                Takes::WholeSeconds(most, _) => [None, Some((most + 1).to_string())],
                _ => continue,
            };
            for text in texts.into_iter().flatten() {
                let line = wrong(&[&format!("--{}={text}", flag.name)]);
                assert!(line.contains("is out of range; give "), "{line}");
            }
        }
    }

    #[test]
    fn every_flag_is_heard() {
        let settings = loaded(&[
            "--listen=[::1]:0,localhost:81",
            "--listen=0.0.0.0:82,unix:/run/wsloop.sock",
            "--listen=unix:@wsloop",
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
            "--unsent-limit=0",
            "--socket-mode=0600",
            "--trusted-proxies=10.0.0.0/8,unix",
            "--forwarded-headers=forwarded",
            "--proxy-protocol",
            "--memory-limit=1GiB",
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
        assert_eq!(
            settings.listen,
            ["[::1]:0", "localhost:81", "0.0.0.0:82"]
                .into_iter()
                .chain(["unix:/run/wsloop.sock", "unix:@wsloop"])
                .collect::<Vec<_>>()
        );
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
        assert_eq!((settings.unsent_limit, settings.memory_limit), (0, 1 << 30));
        assert_eq!(settings.socket_mode, 0o600);
        let trusted = TrustedProxies::parse("10.0.0.0/8,unix").expect("a list");
        let headers = ForwardedHeaders::Rfc7239;
        assert_eq!(settings.proxies, Proxies { trusted, headers, announce: true });
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
        let kind = BrokerKind::Local { store_limit: 0 };
        assert_eq!(settings.broker, broker::BrokerSettings { expire_s: 0, kind });
    }

    #[test]
    fn redis_is_the_broker_when_it_is_named() {
        let settings = loaded(&["--redis=redis://h/2", "--redis-buffer-limit=5M"]).settings;
        let redis = RedisSettings {
            address: RedisAddress::Fixed(Target::Tcp { host: "h".to_owned(), port: 6379 }),
            user: None,
            password: None,
            db: 2,
            timeout_ms: 5_000,
            buffer_limit: 5 << 20,
            window: 4 << 20,
        };
        assert_eq!(settings.broker.kind, BrokerKind::Redis(vec![redis]));
    }

    #[test]
    fn several_redis_keep_their_order_and_are_given_once_each() {
        let targets = |args: &[&str]| match loaded(args).settings.broker.kind {
            BrokerKind::Redis(all) => {
                all.iter().map(|redis| redis.address.to_string()).collect::<Vec<_>>().join(" ")
            }
            BrokerKind::Local { .. } => String::new(),
        };
        let several = targets(&["--redis=redis://b", "--redis=redis://a:1", "--redis=unix:///s"]);
        assert_eq!(several, "b:6379 a:1 /s");
        assert_eq!(targets(&["--redis=redis://b redis://a:1,unix:///s"]), several);
        for (args, words) in [
            (
                &["--redis=redis://a", "--redis=redis://u:hush@a/1"][..],
                "URL 2: a:6379 is URL 1 too",
            ),
            (&["--redis=redis://a", "--redis=hush"], "URL 2: the URL has no scheme"),
            (&["--redis=redis://a redis://b", "--redis="], "URL 3: the URL is empty"),
        ] {
            let line = wrong(args);
            assert!(line.contains(words) && !line.contains("hush"), "{line}");
        }
        let many =
            |count| (0..count).map(|n| format!("redis://h{n}")).collect::<Vec<_>>().join(" ");
        assert!(!targets(&[&format!("--redis={}", many(64))]).is_empty());
        assert!(wrong(&[&format!("--redis={}", many(65))]).contains("more than 64"));
    }

    #[test]
    fn histories_are_those_of_the_flag_and_then_of_the_file_below_the_prefix() {
        let path = std::env::temp_dir().join(format!("wsloop-history-{}", std::process::id()));
        let text = "prefix = 'site'\n[[history]]\nfacility = '*'\nmessages = 5\nseconds = 6\n";
        std::fs::write(&path, text).expect("a file can be written");
        let file = format!("--config={}", path.display());
        let history =
            loaded(&[&file, "--history=a=1/2, b=3/4", "--history=c=5/6"]).settings.history;
        std::fs::remove_file(path).expect("a file can be removed");
        for (facility, messages) in [("a", 1), ("b", 3), ("c", 5), ("d", 5)] {
            let size = history.of(&format!("site:broadcast:{facility}")).expect("a rule");
            assert_eq!(size.messages, messages, "{facility}");
        }
        assert_eq!(history.of("broadcast:a"), None);
        for prefix in ["wsloop:history", "wsloop:history:x"] {
            let why = wrong(&[&format!("--prefix={prefix}")]);
            assert!(why.contains("begins with what names of histories begin with"), "{why}");
        }
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
            &redis.settings.broker.kind,
            BrokerKind::Redis(all) if all[0].buffer_limit == 128 << 20
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
        assert_eq!(conns(&[], 1024), Ok(828));
        assert_eq!(conns(&["--max-connections=828"], 1024), Ok(828));
        // What cannot be open needs no room.
        assert_eq!(conns(&["--resp=off"], 1024), Ok(966));
        assert_eq!(conns(&["--redis=redis://h"], 1024), Ok(964));
        let asking = ["--redis=redis://h", "--auth-url=http://h/", "--auth-connections=10"];
        assert_eq!(conns(&asking, 1024), Ok(944));
        assert_eq!(conns(&["--listen=a:1,b:2,c:3", "--resp=off"], 1024), Ok(962));
        // Where there are few, Redis clients leave some to browsers.
        assert_eq!(conns(&[], 256), Ok(156));
        let refusals: [(&[&str], usize); 3] =
            [(&["--max-connections=829"], 1024), (&[], 64), (&["--max-connections=1"], 0)];
        for (args, descriptors) in refusals {
            match conns(args, descriptors) {
                Err(line) => assert!(line.contains("ulimit -n"), "{line}"),
                other => panic!("{args:?} of {descriptors}: {other:?}"),
            }
        }
    }

    #[test]
    fn who_is_nobody_without_a_source_is_warned_about() {
        let path = std::env::temp_dir().join(format!("wsloop-rules-{}.toml", std::process::id()));
        let rules = "[[allow]]\nwho = 'anyone'\n[[allow]]\nwho = 'group:a\u{1b}'\n\n[[allow]]\n\
                     who = 'logged-in'\n";
        std::fs::write(&path, rules.replace('\u{1b}', "b")).expect("a file");
        let path = path.to_str().expect("UTF-8");
        let config = ["--config", path];
        let warnings = loaded(&config).warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let start = format!("{path}:3: [[allow]] who = \"group:ab\" fits nobody, ");
        assert!(warnings[0].starts_with(&start), "{warnings:?}");
        assert!(warnings[1].starts_with(&format!("{path}:6: [[allow]] who = \"logged-in\"")));
        let source = "--auth-url=http://127.0.0.1/";
        assert!(loaded(&[&config[..], &[source]].concat()).warnings.is_empty());
        std::fs::remove_file(path).expect("the file");

        let login = loaded(&["--require-login"]).warnings;
        assert!(login.len() == 1 && login[0].contains("every handshake is refused"), "{login:?}");
        assert!(login[0].ends_with("give --token-key-file, --session-key or --auth-url"));
        assert!(loaded(&["--require-login", source]).warnings.is_empty());
    }

    #[test]
    fn a_prefix_that_histories_cannot_have_is_warned_about() {
        let warnings = loaded(&["--prefix=a{b", "--history=*=1/2"]).warnings;
        assert_eq!(warnings, ["no channel has a history, as --prefix \"a{b\" has a brace in it"]);
        assert!(loaded(&["--prefix=a{b"]).warnings.is_empty());
        assert!(loaded(&["--prefix=ab", "--history=*=1/2"]).warnings.is_empty());
    }

    #[test]
    fn a_database_without_a_prefix_is_warned_about() {
        for (args, warned) in [
            (&["--redis=redis://h/2"][..], true),
            (&["--redis=redis://h/2", "--prefix=shop"], false),
            (&["--redis=redis://h/0"], false),
            (&["--redis=redis+unix:///s?db=1"], true),
            (&[], false),
        ] {
            let warnings = loaded(args).warnings;
            let said = warnings.iter().any(|line| line.contains("one set of channels"));
            assert_eq!((said, warnings.len()), (warned, usize::from(warned)), "{args:?}");
        }
    }

    #[test]
    fn paths_of_ones_own_are_nobody_elses() {
        for (args, words) in [
            (&["--metrics=/chat/"][..], "--metrics: \"/chat/\" is already a page of the server"),
            (&["--echo=/wsloop.js"], "--echo: \"/wsloop.js\" is already a page of the server"),
            (&["--echo=/a", "--metrics=/a"], "--echo: \"/a\" is the path of --metrics too"),
        ] {
            let line = wrong(args);
            assert!(line.starts_with(words) && line.contains("write another path"), "{line}");
        }
        assert!(load(&["--metrics=/chat/", "--demo=off"]).is_ok());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let path = format!("{}/src", env!("CARGO_MANIFEST_DIR"));
        for path in ["/nowhere/wsloop.toml", &path, ""] {
            let line = wrong(&["--config", path]);
            assert!(line.starts_with("--config: ") && line.contains("cannot be read"), "{line}");
        }
    }
}
