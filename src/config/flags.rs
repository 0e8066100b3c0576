//! The raw layer: the flags and variables as clap reads them, and what clap says in one line.
//!
//! Nothing here judges a value or knows a default, except in the words of the help.

use std::env;
use std::ffi::OsString;

use clap::Args;
use clap::builder::Resettable;

use super::{Stop, values};

/// What was given, as text.
#[derive(Args)]
pub struct Flags {
    /// TOML file that has any of these flags as keys, and [[allow]] rules; environment and flags
    /// win over it [default: none]
    #[arg(long, env = "WSLOOP_CONFIG", value_name = "FILE")]
    pub config: Option<String>,

    /// Address to listen on, port 0 for any free one; repeatable, or separated by commas
    /// [default: 127.0.0.1:8080]
    #[arg(long, env = "WSLOOP_LISTEN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub listen: Option<Vec<String>>,

    /// Redis to relay from and to: redis://[user:password@]host[:port][/db] or
    /// redis+unix:///path?db=N [default: none, an embedded broker]
    #[arg(long, env = "WSLOOP_REDIS", value_name = "URL")]
    pub redis: Option<String>,

    /// Address at which the embedded broker answers Redis clients, of this machine only, or off
    /// [default: 127.0.0.1:6380, unless it is taken]
    #[arg(long, env = "WSLOOP_RESP", value_name = "HOST:PORT|off")]
    pub resp: Option<String>,

    /// What WebSocket paths begin with; the rest of a path is the facility [default: /ws/]
    #[arg(long, env = "WSLOOP_URL_PREFIX", value_name = "PATH")]
    pub url_prefix: Option<String>,

    /// What Redis names begin with; a colon is put after it [default: empty]
    #[arg(long, env = "WSLOOP_PREFIX", value_name = "TEXT")]
    pub prefix: Option<String>,

    /// How long a message stays stored for conns that come later, in whole seconds; 0 stores
    /// nothing [default: 3600]
    #[arg(long, env = "WSLOOP_EXPIRE", value_name = "SECONDS")]
    pub expire: Option<String>,

    /// Text that both sides send to show that they are alive; empty is off [default: off]
    #[arg(long, env = "WSLOOP_HEARTBEAT", value_name = "TEXT", allow_hyphen_values = true)]
    pub heartbeat: Option<String>,

    /// A ping is sent when nothing arrived for so long; 0 is off [default: 30]
    #[arg(long, env = "WSLOOP_PING_INTERVAL", value_name = "SECONDS")]
    pub ping_interval: Option<String>,

    /// A conn that does not answer a ping for so long is closed [default: 10]
    #[arg(long, env = "WSLOOP_PONG_TIMEOUT", value_name = "SECONDS")]
    pub pong_timeout: Option<String>,

    /// Longest time from accepting a conn to the answer to its request [default: 10]
    #[arg(long, env = "WSLOOP_HANDSHAKE_TIMEOUT", value_name = "SECONDS")]
    pub handshake_timeout: Option<String>,

    /// Longest time that closing conns are waited for at a shutdown [default: 10]
    #[arg(long, env = "WSLOOP_SHUTDOWN_TIMEOUT", value_name = "SECONDS")]
    pub shutdown_timeout: Option<String>,

    /// How long a closing conn may take to answer and to hang up [default: 5]
    #[arg(long, env = "WSLOOP_CLOSE_TIMEOUT", value_name = "SECONDS")]
    pub close_timeout: Option<String>,

    /// Largest message in either direction [default: 1MiB]
    #[arg(long, env = "WSLOOP_MAX_MESSAGE_SIZE", value_name = "BYTES")]
    pub max_message_size: Option<String>,

    /// Most fragments of one message [default: 131072]
    #[arg(long, env = "WSLOOP_MAX_FRAGMENTS", value_name = "COUNT")]
    pub max_fragments: Option<String>,

    /// Compress messages (permessage-deflate): each once for all who get it, or dedicated, smaller
    /// but for every conn by itself [default: shared]
    #[arg(long, env = "WSLOOP_COMPRESSION", value_name = "off|shared|dedicated")]
    pub compression: Option<String>,

    /// Smallest message to browsers that is compressed [default: 256]
    #[arg(long, env = "WSLOOP_COMPRESSION_MIN", value_name = "BYTES")]
    pub compression_min: Option<String>,

    /// Largest request head [default: 8KiB]
    #[arg(long, env = "WSLOOP_MAX_HEAD_SIZE", value_name = "BYTES")]
    pub max_head_size: Option<String>,

    /// Most bytes that may wait for a conn whose socket takes no more; at least twice the message
    /// limit, which raises the default [default: 4MiB]
    #[arg(long, env = "WSLOOP_OUTBOX_LIMIT", value_name = "BYTES")]
    pub outbox_limit: Option<String>,

    /// What is done then: close, or latest, which skips to the newest message of each channel; also
    /// by facility, as in 'ticker/*=latest,close' [default: close]
    #[arg(long, env = "WSLOOP_OVERFLOW", value_name = "LIST")]
    pub overflow: Option<String>,

    /// Most conns; more are answered 503 [default: the descriptor limit less 64]
    #[arg(long, env = "WSLOOP_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<String>,

    /// Most conns whose handshake is under way [default: 4096]
    #[arg(long, env = "WSLOOP_MAX_HANDSHAKES", value_name = "COUNT")]
    pub max_handshakes: Option<String>,

    /// Most bytes of stored messages and their names in the embedded broker [default: 64MiB]
    #[arg(long, env = "WSLOOP_STORE_LIMIT", value_name = "BYTES")]
    pub store_limit: Option<String>,

    /// How long Redis may take to be reached, and to answer, before it counts as lost; an idle link
    /// is pinged as often [default: 5]
    #[arg(long, env = "WSLOOP_REDIS_TIMEOUT", value_name = "SECONDS")]
    pub redis_timeout: Option<String>,

    /// Most bytes of commands that may wait for Redis; past it publishes are refused; at least
    /// four times the message limit, which raises the default [default: 64MiB]
    #[arg(long, env = "WSLOOP_REDIS_BUFFER_LIMIT", value_name = "BYTES")]
    pub redis_buffer_limit: Option<String>,

    /// Which query options are granted, separated by commas, or the word all; [[allow]] rules of
    /// the configuration file come first
    /// [default: every subscribe- option, no publish- option]
    #[arg(long, env = "WSLOOP_ALLOW", value_name = "LIST")]
    pub allow: Option<String>,

    /// Refuse who is not logged in with 403 [default: off]
    #[arg(
        long,
        env = "WSLOOP_REQUIRE_LOGIN",
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on"
    )]
    pub require_login: Option<String>,

    /// Signed tokens (JWT) say who a browser belongs to: file with the key they are signed with, a
    /// PEM public key or a secret [default: off]
    #[arg(long, env = "WSLOOP_TOKEN_KEY_FILE", value_name = "FILE")]
    pub token_key_file: Option<String>,

    /// Whom a token must be for (its claim aud) [default: tokens with an audience are refused]
    #[arg(long, env = "WSLOOP_TOKEN_AUDIENCE", value_name = "TEXT")]
    pub token_audience: Option<String>,

    /// The application's sessions in Redis say who a browser belongs to: the name of one, with {}
    /// for its own key, such as session:{} [default: off]
    #[arg(long, env = "WSLOOP_SESSION_KEY", value_name = "TEMPLATE")]
    pub session_key: Option<String>,

    /// The cookie that has the session's own key [default: sessionid; connect.sid for express]
    #[arg(long, env = "WSLOOP_SESSION_COOKIE", value_name = "NAME")]
    pub session_cookie: Option<String>,

    /// How sessions are written [default: django]
    #[arg(long, env = "WSLOOP_SESSION_FORMAT", value_name = "django|django-pickle|json|express")]
    pub session_format: Option<String>,

    /// File with what sessions or their cookies are signed with [default: no signature is checked]
    #[arg(long, env = "WSLOOP_SESSION_SECRET_FILE", value_name = "FILE")]
    pub session_secret_file: Option<String>,

    /// Entry of a session with the user's name [default: wsloop:username]
    #[arg(long, env = "WSLOOP_SESSION_USER", value_name = "ENTRY")]
    pub session_user: Option<String>,

    /// Entry of a session with the list of the user's groups [default: ws4redis:memberof]
    #[arg(long, env = "WSLOOP_SESSION_GROUPS", value_name = "ENTRY")]
    pub session_groups: Option<String>,

    /// The application says who a browser belongs to: asked about each handshake, http://… or
    /// unix:… [default: off]
    #[arg(long, env = "WSLOOP_AUTH_URL", value_name = "URL")]
    pub auth_url: Option<String>,

    /// How long the application may take to answer [default: 3]
    #[arg(long, env = "WSLOOP_AUTH_TIMEOUT", value_name = "SECONDS")]
    pub auth_timeout: Option<String>,

    /// Most connections to the application [default: 8]
    #[arg(long, env = "WSLOOP_AUTH_CONNECTIONS", value_name = "COUNT")]
    pub auth_connections: Option<String>,

    /// Origins that may connect besides the host's own, separated by commas; * is all
    /// [default: none]
    #[arg(long, env = "WSLOOP_ALLOWED_ORIGINS", value_name = "LIST")]
    pub allowed_origins: Option<String>,

    /// Sub-protocols spoken here, separated by commas [default: the first one offered]
    #[arg(long, env = "WSLOOP_SUBPROTOCOLS", value_name = "LIST")]
    pub subprotocols: Option<String>,

    /// How a handshake is refused: with its HTTP status, which browsers hide from the page, or
    /// accepted and closed with 4000 + the status [default: status]
    #[arg(long, env = "WSLOOP_REFUSE", value_name = "status|close")]
    pub refuse: Option<String>,

    /// Serve the chat at /chat/ and grant what it needs, unless --allow is given; off, too, where
    /// something says who a browser belongs to, and with --require-login [default: on without
    /// --redis]
    #[arg(
        long,
        env = "WSLOOP_DEMO",
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on"
    )]
    pub demo: Option<String>,

    /// Path that answers with the counters in Prometheus's text format [default: off]
    #[arg(long, env = "WSLOOP_METRICS", value_name = "PATH")]
    pub metrics: Option<String>,

    /// Path of WebSockets whose messages come back, to test a client with [default: off]
    #[arg(long, env = "WSLOOP_ECHO", value_name = "PATH")]
    pub echo: Option<String>,

    /// Least severe level to log: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "WSLOOP_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
}

impl Flags {
    /// Whether something is given that says who a browser belongs to.
    pub fn has_sources(&self) -> bool {
        [&self.token_key_file, &self.session_key, &self.auth_url].into_iter().any(Option::is_some)
    }
}

/// The flags alone: neither the environment nor a command.
pub fn flags_only() -> clap::Command {
    Flags::augment_args(clap::Command::new("wsloop")).mut_args(|arg| arg.env(Resettable::Reset))
}

/// The command line as clap is to see it: the flags of `serve` with and without its name, and
/// those of the other commands.
pub fn command() -> clap::Command {
    let serve = Flags::augment_args(clap::Command::new("serve"))
        .about("Serves browsers; what is done when no command is given")
        .allow_negative_numbers(true)
        .mut_args(guard_environment);
    let stress = super::stress::Flags::augment_args(clap::Command::new("stress"))
        .about("Puts load on a WebSocket server, checks every message, and says what it took");
    Flags::augment_args(clap::Command::new("wsloop"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .allow_negative_numbers(true)
        .mut_args(guard_environment)
        .subcommand(serve)
        .subcommand(stress)
        .subcommands(crate::tool::cli::commands())
}

/// Keeps values of the environment, which may hold a password, out of the help, and makes an empty
/// variable an unset one.
pub fn guard_environment(arg: clap::Arg) -> clap::Arg {
    let value = arg.get_env().and_then(env::var_os);
    let arg = arg.hide_env_values(true);
    if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
}

/// Notes about variables that look like settings and are none: typing errors, most likely.
pub fn unknown_variables() -> impl Iterator<Item = String> {
    let known: Vec<OsString> =
        command().get_arguments().filter_map(|arg| arg.get_env().map(OsString::from)).collect();
    let given = env::vars_os().map(|(name, _)| name);
    let unknown = given.filter(move |name| {
        let name_text = name.to_string_lossy();
        name_text.starts_with("WSLOOP_")
            && !known.contains(name)
            && env::var_os(name).is_some_and(|v| !v.is_empty())
    });
    unknown.map(|name| format!("{} is no setting; wsloop --help lists them", name.display()))
}

fn is_command(word: &str) -> bool {
    ["serve", "stress"].contains(&word) || crate::tool::cli::NAMES.contains(&word)
}

/// Makes clap's several lines one.
pub fn clap_stop(error: clap::Error) -> Stop {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Stop::Print(text);
    }
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = parts.join("; ").replace(":; ", ": ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    // Whatever stands alone looks like a command to clap; most often it is the rest of a list.
    let stray = ["unrecognized subcommand", "the subcommand"].iter().any(|s| line.starts_with(s));
    let word = line
        .split('\'')
        .nth(1)
        .filter(|word| stray && !is_command(word) && !line.contains("similar"));
    let line = match word {
        Some(word) => &format!("unexpected argument '{word}'; lists are separated by commas"),
        None => line,
    };
    let line = values::printable(&values::without_password(line));
    Stop::Wrong(format!("{line} (wsloop --help lists the flags)"))
}
