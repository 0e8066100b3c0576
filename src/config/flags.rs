//! L4: every flag of the server: name, variable, range, setter, default and help.
//!
//! A flag whose value goes straight into the settings is a row here, a field in `Settings`, and
//! what uses the field. What concerns several flags at once is in `draft.rs` and `sources.rs`.

use crate::access::ask::auth_url;
use crate::access::channel::Allow;
use crate::access::hosts::AllowedHosts;
use crate::access::proxies::TrustedProxies;
use crate::fanout::overflow::Overflows;
use crate::proto::ws::upgrade::AllowedOrigins;

use super::draft::ServerDraft;
use super::table::Absent::{Value, Words};
use super::table::Takes::{AnyText, Bytes, Count, Entries, List, Repeated, Seconds, Switch, Text};
use super::table::{Flag, put};
use super::values::{self, LARGEST_UNSENT, LONGEST_MS, MIB, MOST, any};
use super::{endpoints, front, keeping, redis, running, sources, tls, workers};

/// Reads a text and puts what it means into that field of the draft.
macro_rules! set {
    ($($field:ident).+, $read:path $(, $example:literal)?) => {
        |draft, text| put(&mut draft.$($field).+, $read(text $(, $example)?))
    };
}

/// The flags in the order of the help.
pub(super) static FLAGS: &[Flag<ServerDraft>] = &[
    Flag {
        name: "config",
        variable: "WSLOOP_CONFIG",
        // The file is read before the draft is begun.
        takes: Text("FILE", |_, _| Ok(())),
        default: Words("none"),
        help: "TOML file with these flags as keys, and `[[allow]]` rules; the environment and \
               flags win over it",
    },
    Flag {
        name: "listen",
        variable: "WSLOOP_LISTEN",
        takes: Entries("HOST:PORT|https://HOST:PORT|unix:PATH|systemd[:NAME]", |draft, text| {
            values::listen(text).map(|()| draft.listen.push(text.to_owned()))
        }),
        default: Value("127.0.0.1:8080"),
        help: "Address to listen on, by TLS behind `https://`, or the path of a socket, \
               `unix:@name` for one that is no file; `systemd` for the sockets of a .socket unit; \
               repeatable, or separated by commas; port 0 is any free one, and is printed",
    },
    tls::CERT,
    tls::KEY,
    Flag {
        name: "socket-mode",
        variable: "WSLOOP_SOCKET_MODE",
        takes: Text("MODE", set!(settings.socket_mode, values::socket_mode)),
        default: Value("660"),
        help: "Who may open the sockets that have paths, as the mode of their files in octal",
    },
    workers::FLAG,
    endpoints::FLAG,
    endpoints::LOST,
    front::UPSTREAM,
    front::TIMEOUT,
    front::TUNNEL_TIMEOUT,
    front::PATIENCE,
    front::CONNECTIONS,
    front::IDLE,
    front::WAITING,
    front::KEEP_ALIVE,
    redis::URL,
    redis::REPLICA,
    redis::SHARDED,
    redis::SENTINEL_USER,
    redis::SENTINEL_PASSWORD,
    redis::CA,
    redis::CERT,
    redis::KEY,
    redis::NAME,
    Flag {
        name: "resp",
        variable: "WSLOOP_RESP",
        takes: Text("HOST:PORT|unix:PATH|off", set!(resp, values::resp)),
        default: Words("`127.0.0.1:6380`, unless it is taken"),
        help: "Address at which the embedded broker answers Redis clients, of this machine only, \
               or the path of a socket that only this user may open",
    },
    Flag {
        name: "resp-password",
        variable: "WSLOOP_RESP_PASSWORD",
        takes: Text("FILE", set!(settings.resp_password, sources::password)),
        default: Words("none: whoever reaches it may publish"),
        help: "File with the password that Redis clients of the embedded broker have to say",
    },
    Flag {
        name: "url-prefix",
        variable: "WSLOOP_URL_PREFIX",
        takes: Text("PATH", set!(settings.url_prefix, values::url_prefix)),
        default: Value("/ws/"),
        help: "What WebSocket paths begin with; the rest of a path is the facility",
    },
    Flag {
        name: "prefix",
        variable: "WSLOOP_PREFIX",
        takes: Text("TEXT", |draft, text| put(&mut draft.settings.prefix, values::prefix(text))),
        default: Words("empty"),
        help: "What Redis names begin with; a colon follows it",
    },
    keeping::EXPIRE,
    keeping::HISTORY,
    Flag {
        name: "heartbeat",
        variable: "WSLOOP_HEARTBEAT",
        takes: AnyText("TEXT", |draft, text| put(&mut draft.heartbeat, any(text))),
        default: Words("off"),
        help: "Text that both sides send to show that they are alive, as in ws4redis; empty is off",
    },
    Flag {
        name: "ping-interval",
        variable: "WSLOOP_PING_INTERVAL",
        takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.ping_interval_ms = ms),
        default: Value("30"),
        help: "A browser that sent nothing for this time gets a ping; 0 is off, and then who has \
               vanished is noticed by TCP within some five minutes",
    },
    Flag {
        name: "pong-timeout",
        variable: "WSLOOP_PONG_TIMEOUT",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.settings.pong_timeout_ms = ms),
        default: Value("10"),
        help: "A browser that does not answer a ping within this time is closed",
    },
    Flag {
        name: "handshake-timeout",
        variable: "WSLOOP_HANDSHAKE_TIMEOUT",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.settings.handshake_timeout_ms = ms),
        default: Value("10"),
        help: "Longest time from accepting a connection to the answer to its request",
    },
    Flag {
        name: "close-timeout",
        variable: "WSLOOP_CLOSE_TIMEOUT",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.settings.close_timeout_ms = ms),
        default: Value("5"),
        help: "How long a closing browser may take to answer and to hang up",
    },
    running::SHUTDOWN_TIMEOUT,
    running::DRAIN,
    running::DRAIN_DELAY,
    Flag {
        name: "max-message-size",
        variable: "WSLOOP_MAX_MESSAGE_SIZE",
        takes: Bytes(1..=256 * MIB, |draft, size| draft.settings.max_message_size = size),
        default: Value("1MiB"),
        help: "Largest message, in both directions",
    },
    Flag {
        name: "max-fragments",
        variable: "WSLOOP_MAX_FRAGMENTS",
        takes: Count(1..=MOST, |draft, count| draft.settings.max_fragments = count),
        default: Value("131072"),
        help: "Most fragments of one message",
    },
    Flag {
        name: "compression",
        variable: "WSLOOP_COMPRESSION",
        takes: Text("off|shared|dedicated", set!(settings.compression, values::compression)),
        default: Value("shared"),
        help: "permessage-deflate: `shared` compresses each message once for all who get it; \
               `dedicated` compresses it for each browser, in terms of what it heard before",
    },
    Flag {
        name: "compression-min",
        variable: "WSLOOP_COMPRESSION_MIN",
        takes: Bytes(0..=usize::MAX, |draft, size| draft.settings.compression_min = size),
        default: Value("256"),
        help: "Smallest message to browsers that is compressed",
    },
    Flag {
        name: "compression-window",
        variable: "WSLOOP_COMPRESSION_WINDOW",
        takes: Bytes(256..=32 << 10, |draft, size| draft.settings.compression_window = size),
        default: Value("1KiB"),
        help: "Bytes of earlier messages that `--compression dedicated` keeps for each browser",
    },
    Flag {
        name: "compression-for",
        variable: "WSLOOP_COMPRESSION_FOR",
        takes: Text("all|browsers", set!(settings.compression_for, values::compression_for)),
        default: Value("all"),
        help: "Who is given permessage-deflate: `all` who offer it, or only `browsers`, for other \
               clients are often wrong about it",
    },
    Flag {
        name: "max-head-size",
        variable: "WSLOOP_MAX_HEAD_SIZE",
        takes: Bytes(256..=MIB, |draft, size| draft.settings.max_head_size = size),
        default: Value("8KiB"),
        help: "Largest request head",
    },
    Flag {
        name: "outbox-limit",
        variable: "WSLOOP_OUTBOX_LIMIT",
        takes: Bytes(1..=usize::MAX, |draft, size| draft.settings.outbox_limit = size),
        default: Value("4MiB"),
        help: "Most bytes that may wait for a browser whose socket takes no more; at least twice \
               the message limit, which raises the default",
    },
    Flag {
        name: "overflow",
        variable: "WSLOOP_OVERFLOW",
        takes: List("LIST", set!(settings.overflows, Overflows::parse)),
        default: Value("close"),
        help: "What is done past that limit: `close`, or `latest`, which skips to the newest \
               message of each channel; also by facility, as in `ticker/*=latest,close`",
    },
    Flag {
        name: "unsent-limit",
        variable: "WSLOOP_UNSENT_LIMIT",
        takes: Bytes(0..=LARGEST_UNSENT, |draft, size| draft.settings.unsent_limit = size),
        default: Value("512KiB"),
        help: "Bytes that wait for a browser in the kernel, beyond what is on its way, before the \
               rest waits here and counts as such (TCP_NOTSENT_LOWAT); 0 is as many as the kernel \
               likes, some MiB",
    },
    Flag {
        name: "memory-limit",
        variable: "WSLOOP_MEMORY_LIMIT",
        takes: Bytes(0..=usize::MAX, |draft, size| draft.memory_limit = Some(size)),
        default: Words("half of what the machine or the control group has, shared by the workers"),
        help: "Most memory for what waits for all browsers together and for what they have sent in \
               part; past it, whoever has most of it is closed; 0 is any amount",
    },
    Flag {
        name: "max-connections",
        variable: "WSLOOP_MAX_CONNECTIONS",
        takes: Count(1..=usize::MAX, |draft, count| draft.max_connections = Some(count)),
        default: Words("the descriptor limit less what else can be open"),
        help: "Most connections; more get 503",
    },
    Flag {
        name: "max-handshakes",
        variable: "WSLOOP_MAX_HANDSHAKES",
        takes: Count(1..=MOST, |draft, count| draft.max_handshakes = Some(count)),
        default: Words("4096, or half of --max-connections"),
        help: "Most connections without an answer to their request; for one more, the oldest \
               without a request is closed of the address that has most of those",
    },
    Flag {
        name: "max-per-address",
        variable: "WSLOOP_MAX_PER_ADDRESS",
        takes: Count(0..=usize::MAX, |draft, count| draft.settings.max_per_address = count),
        default: Value("0"),
        help: "Most connections of one IPv4 address or IPv6 /64; more get 429; 0 is any number; \
               behind a proxy it needs `--trusted-proxies`, which are not counted themselves",
    },
    running::HANDSHAKE_RATE,
    running::MESSAGE_RATE,
    running::MAX_SUBSCRIPTIONS,
    running::MAX_COMMANDS,
    running::MAX_NAMES_SIZE,
    Flag {
        name: "trusted-proxies",
        variable: "WSLOOP_TRUSTED_PROXIES",
        takes: List("LIST", set!(settings.proxies.trusted, TrustedProxies::parse)),
        default: Words("none"),
        help: "Proxies that are believed when they say where a request comes from: addresses, \
               networks such as `10.0.0.0/8`, and `unix`, with commas between",
    },
    Flag {
        name: "forwarded-headers",
        variable: "WSLOOP_FORWARDED_HEADERS",
        takes: Text(
            "x-forwarded|forwarded",
            set!(settings.proxies.headers, values::forwarded_headers),
        ),
        default: Value("x-forwarded"),
        help: "How they say it; the other kind is passed over, for a browser may have sent it",
    },
    Flag {
        name: "proxy-protocol",
        variable: "WSLOOP_PROXY_PROTOCOL",
        takes: Switch(|draft, on| draft.settings.proxies.announce = on),
        default: Value("off"),
        help: "Every connection of a trusted proxy begins with the PROXY protocol, version 1 or 2",
    },
    keeping::STORE_LIMIT,
    keeping::HISTORY_LIMIT,
    Flag {
        name: "redis-timeout",
        variable: "WSLOOP_REDIS_TIMEOUT",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.redis_timeout_ms = ms),
        default: Value("5"),
        help: "How long Redis may take to be reached, and to answer, before it counts as lost; an \
               idle link is pinged as often",
    },
    Flag {
        name: "redis-buffer-limit",
        variable: "WSLOOP_REDIS_BUFFER_LIMIT",
        takes: Bytes(1..=usize::MAX, |draft, size| draft.redis_buffer_limit = size),
        default: Value("64MiB"),
        help: "Most bytes of commands that may wait for Redis; past it publishes are refused; at \
               least four times the message limit, which raises the default",
    },
    Flag {
        name: "redis-window-size",
        variable: "WSLOOP_REDIS_WINDOW_SIZE",
        takes: Bytes(1..=256 * MIB, |draft, size| draft.redis_window = size),
        default: Value("4MiB"),
        help: "Bytes of stored messages and sessions that Redis is expected to owe at one time; at \
               worst it is four times as many, and a larger stored message is not fetched; keep \
               that below half of Redis's client-output-buffer-limit for pubsub, 32 MB by default",
    },
    Flag {
        name: "allow",
        variable: "WSLOOP_ALLOW",
        takes: List("LIST", |draft, text| put(&mut draft.allow, Allow::parse(text))),
        default: Words("every `subscribe-` option, no `publish-` option"),
        help: "Which query options are granted, separated by commas, or the word `all`; \
               `[[allow]]` rules of the configuration file come first",
    },
    sources::REQUIRE_LOGIN,
    Flag {
        name: "token-key-file",
        variable: "WSLOOP_TOKEN_KEY_FILE",
        takes: Repeated("FILE", |draft, text| {
            sources::read_all(text).map(|files| draft.sources.token_keys.extend(files))
        }),
        default: Words("off"),
        help: "Signed tokens (JWT) say who a browser belongs to: file with the key that they are \
               signed with, as PEM public keys, JWK, JWKS, or a secret of one line; repeatable, or \
               separated by commas",
    },
    Flag {
        name: "token-algorithm",
        variable: "WSLOOP_TOKEN_ALGORITHM",
        takes: Entries("HS256|RS256|ES256|EdDSA", |draft, text| {
            sources::algorithm(text).map(|one| draft.sources.token_algorithms.push(one))
        }),
        default: Words("what the keys are"),
        help: "What the keys are for, and nothing else; `HS256` takes a secret of any bytes; \
               repeatable, or separated by commas",
    },
    Flag {
        name: "token-audience",
        variable: "WSLOOP_TOKEN_AUDIENCE",
        takes: Text("TEXT", |draft, text| put(&mut draft.sources.token_audience, any(text))),
        default: Words("tokens with an audience are refused"),
        help: "Audience that a token must name (its claim `aud`)",
    },
    Flag {
        name: "token-leeway",
        variable: "WSLOOP_TOKEN_LEEWAY",
        takes: Seconds(0..=300_000, |draft, ms| draft.sources.token_leeway_ms = ms),
        default: Value("0"),
        help: "How long before `nbf` and after `exp` a token is still good, for clocks that differ",
    },
    Flag {
        name: "session-key",
        variable: "WSLOOP_SESSION_KEY",
        takes: Text("TEMPLATE", set!(sources.session_key, sources::template)),
        default: Words("off"),
        help: "The application's sessions in Redis say who a browser belongs to: the name of one, \
               with `{}` for its own key, such as `session:{}`",
    },
    Flag {
        name: "max-session-size",
        variable: "WSLOOP_MAX_SESSION_SIZE",
        takes: Bytes(1..=16 * MIB, |draft, size| draft.settings.max_session_size = size),
        default: Value("1MiB"),
        help: "Largest session that is read; who has a larger one is answered 503",
    },
    Flag {
        name: "session-cookie",
        variable: "WSLOOP_SESSION_COOKIE",
        takes: Text("NAME", |draft, text| put(&mut draft.sources.cookie, sources::cookie(text))),
        default: Words("`sessionid`; `connect.sid` for `express`"),
        help: "Cookie with the session's own key",
    },
    Flag {
        name: "session-format",
        variable: "WSLOOP_SESSION_FORMAT",
        takes: Text("django|django-pickle|json|express", set!(sources.format, sources::format)),
        default: Value("django"),
        help: "How sessions are written",
    },
    Flag {
        name: "session-secret-file",
        variable: "WSLOOP_SESSION_SECRET_FILE",
        takes: Repeated("FILE", |draft, text| {
            sources::session_secrets(text).map(|all| draft.sources.secrets.extend(all))
        }),
        default: Words("no signature is checked"),
        help: "File with the secret that sessions or their cookies are signed with; repeatable, or \
               separated by commas: one of them will do",
    },
    Flag {
        name: "session-user",
        variable: "WSLOOP_SESSION_USER",
        takes: Text("ENTRY", |draft, text| put(&mut draft.sources.user_entry, any(text))),
        default: Value("wsloop:username"),
        help: "Entry of a session with the user's name",
    },
    Flag {
        name: "session-groups",
        variable: "WSLOOP_SESSION_GROUPS",
        takes: Text("ENTRY", |draft, text| put(&mut draft.sources.groups_entry, any(text))),
        default: Value("ws4redis:memberof"),
        help: "Entry of a session with the list of the user's groups",
    },
    Flag {
        name: "auth-url",
        variable: "WSLOOP_AUTH_URL",
        takes: Text("URL", |draft, text| put(&mut draft.sources.auth_url, auth_url(text))),
        default: Words("off"),
        help: "The application says who a browser belongs to: it is asked about each handshake, \
               at `http://…` or `unix:/path:/url`",
    },
    Flag {
        name: "auth-timeout",
        variable: "WSLOOP_AUTH_TIMEOUT",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.sources.auth_timeout_ms = ms),
        default: Value("3"),
        help: "How long the application may take to answer",
    },
    Flag {
        name: "auth-connections",
        variable: "WSLOOP_AUTH_CONNECTIONS",
        takes: Count(1..=MOST, |draft, count| draft.sources.auth_connections = count),
        default: Value("8"),
        help: "Most connections to the application",
    },
    Flag {
        name: "auth-keep-alive",
        variable: "WSLOOP_AUTH_KEEP_ALIVE",
        takes: Switch(|draft, on| draft.sources.auth_keep_alive = on),
        default: Value("off"),
        help: "Ask one question after another on a connection: only where nothing between here and \
               the application ever answers one twice",
    },
    Flag {
        name: "allowed-hosts",
        variable: "WSLOOP_ALLOWED_HOSTS",
        takes: List("LIST", |draft, text| put(&mut draft.allowed_hosts, AllowedHosts::parse(text))),
        default: Words("all; of the demo on loopback, `localhost` and IP addresses"),
        help: "Hosts that requests may be for, separated by commas, as `example.com` or \
               `*.example.com`; others get 421; `*` is all",
    },
    Flag {
        name: "allowed-origins",
        variable: "WSLOOP_ALLOWED_ORIGINS",
        takes: List("LIST", set!(settings.allowed_origins, AllowedOrigins::parse)),
        default: Words("none"),
        help: "Origins that may connect besides the host's own, separated by commas, as \
               `https://example.com` or, of apps whose pages are files, `file://`; `*` is all",
    },
    Flag {
        name: "subprotocols",
        variable: "WSLOOP_SUBPROTOCOLS",
        takes: List("LIST", set!(settings.subprotocols, values::subprotocols)),
        default: Words("the first one offered"),
        help: "Sub-protocols spoken here, separated by commas",
    },
    Flag {
        name: "refuse",
        variable: "WSLOOP_REFUSE",
        takes: Text("status|close", set!(settings.refuse, values::refuse)),
        default: Value("status"),
        help: "How a handshake is refused: with its HTTP `status`, which browsers hide from the \
               page, or accepted and closed with 4000 + the status",
    },
    Flag {
        name: "demo",
        variable: "WSLOOP_DEMO",
        takes: Switch(|draft, on| draft.demo = Some(on)),
        default: Words("on without `--redis`"),
        help: "Serve the chat at `/chat/` and grant what it needs, unless `--allow` is given; off, \
               too, where something says who a browser belongs to, and with `--require-login`",
    },
    front::METRICS,
    running::HEALTH,
    running::ADMIN,
    running::ADMIN_TOKEN_FILE,
    front::ECHO,
    Flag {
        name: "log",
        variable: "WSLOOP_LOG",
        takes: Text("LEVEL", |draft, text| put(&mut draft.log, values::level(text))),
        default: Value("info"),
        help: "Least severe level that is logged: `error`, `warn`, `info`, `debug` or `trace`",
    },
    running::LOG_FORMAT,
    running::ACCESS_LOG,
];
