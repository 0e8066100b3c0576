//! L4: flags about how the process runs: how it ends, and how it is seen.

use super::draft::ServerDraft;
use super::logs::LogFormat;
use super::sources;
use super::table::Absent::{Value, Words};
use super::table::Takes::{Bytes, Count, Seconds, Switch, Text};
use super::table::{Flag, Wrong, put};
use super::values::{self, LONGEST_MS, MOST};
use crate::web::admin::Admin;

pub(super) const SHUTDOWN_TIMEOUT: Flag<ServerDraft> = Flag {
    name: "shutdown-timeout",
    variable: "WSLOOP_SHUTDOWN_TIMEOUT",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.shutdown_timeout_ms = ms),
    default: Value("10"),
    help: "How long a shutdown waits for browsers to close",
};
pub(super) const DRAIN: Flag<ServerDraft> = Flag {
    name: "drain",
    variable: "WSLOOP_DRAIN",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.drain_ms = ms),
    default: Value("0"),
    help: "A shutdown closes browsers one after the other over this time, with 1012, so that they \
           do not all come back at once; 0 is all at once, with 1001",
};
pub(super) const DRAIN_DELAY: Flag<ServerDraft> = Flag {
    name: "drain-delay",
    variable: "WSLOOP_DRAIN_DELAY",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.drain_delay_ms = ms),
    default: Value("0"),
    help: "How long a process that is asked to end serves on before it begins to, for a balancer \
           that learns late",
};
pub(super) const ADMIN: Flag<ServerDraft> = Flag {
    name: "admin",
    variable: "WSLOOP_ADMIN",
    takes: Text("HOST:PORT|unix:PATH", |draft, text| {
        values::admin(text).map(|()| draft.admin = Some(text.to_owned()))
    }),
    default: Words("off"),
    help: "Address at which those who run the server are told how it goes: `/metrics`, `/conns`, \
           `/healthz`, `/readyz` and a page; of this machine only, or with --admin-token-file",
};
pub(super) const ADMIN_TOKEN_FILE: Flag<ServerDraft> = Flag {
    name: "admin-token-file",
    variable: "WSLOOP_ADMIN_TOKEN_FILE",
    takes: Text("FILE", |draft, text| {
        put(&mut draft.admin_token, sources::password(text).map(Some))
    }),
    default: Words("none"),
    help: "File with what has to be said there, as `Authorization: Bearer` or as a password",
};
pub(super) const HEALTH: Flag<ServerDraft> = Flag {
    name: "health",
    variable: "WSLOOP_HEALTH",
    takes: Text("PATH", |draft, text| {
        put(&mut draft.settings.health_path, values::own_path(text, "/health").map(Some))
    }),
    default: Words("off"),
    help: "Path that tells a balancer whether browsers may be sent here: 200, or 503 and why not",
};
pub(super) const LOG_FORMAT: Flag<ServerDraft> = Flag {
    name: "log-format",
    variable: "WSLOOP_LOG_FORMAT",
    takes: Text("text|logfmt|json", |draft, text| {
        put(&mut draft.log_format, LogFormat::parse(text))
    }),
    default: Value("text"),
    help: "The form of the log's lines: for people, `name=value`, or a JSON object each",
};
pub(super) const ACCESS_LOG: Flag<ServerDraft> = Flag {
    name: "access-log",
    variable: "WSLOOP_ACCESS_LOG",
    takes: Switch(|draft, on| draft.settings.access_log = on),
    default: Value("off"),
    help: "The log has a line for each connection at its end, at the level `info`; without the \
           query, for there are tokens in it",
};
pub(super) const MESSAGE_RATE: Flag<ServerDraft> = Flag {
    name: "message-rate",
    variable: "WSLOOP_MESSAGE_RATE",
    takes: Count(0..=MOST, |draft, count| draft.settings.message_rate = count),
    default: Value("0"),
    help: "Most messages of one browser in a second, and so many at one time; more close it with \
           1008; 0 is any number",
};
pub(super) const HANDSHAKE_RATE: Flag<ServerDraft> = Flag {
    name: "handshake-rate",
    variable: "WSLOOP_HANDSHAKE_RATE",
    takes: Count(0..=MOST, |draft, count| draft.settings.handshake_rate = count),
    default: Value("0"),
    help: "Most connections that come from one IPv4 address or IPv6 /64 in a second, and so many \
           at one time; more get 429; 0 is any number; behind a proxy it needs `--trusted-proxies`",
};
pub(super) const MAX_SUBSCRIPTIONS: Flag<ServerDraft> = Flag {
    name: "max-subscriptions",
    variable: "WSLOOP_MAX_SUBSCRIPTIONS",
    takes: Count(1..=MOST, |draft, count| draft.settings.max_subscriptions = count),
    default: Value("1000"),
    help: "Most facilities that one WebSocket of `wsloop.1` hears, each audience by itself",
};
pub(super) const MAX_COMMANDS: Flag<ServerDraft> = Flag {
    name: "max-commands",
    variable: "WSLOOP_MAX_COMMANDS",
    takes: Count(1..=MOST, |draft, count| draft.settings.max_commands = count),
    default: Value("64"),
    help: "Most commands of such a WebSocket that are not answered yet",
};
pub(super) const MAX_NAMES_SIZE: Flag<ServerDraft> = Flag {
    name: "max-names-size",
    variable: "WSLOOP_MAX_NAMES_SIZE",
    takes: Bytes(1..=16 << 20, |draft, size| draft.settings.max_names_size = size),
    default: Value("128KiB"),
    help: "Most bytes of the names of all channels that such a WebSocket hears",
};

/// The operators' address, with what has to be said there.
pub(super) fn admin(
    address: Option<&String>,
    token: Option<Vec<u8>>,
) -> Result<Option<Admin>, Wrong> {
    match address {
        None if token.is_some() => {
            let why = "is for the address of --admin, and there is none; give both".to_owned();
            Err(Wrong { flag: "admin-token-file", why })
        }
        None => Ok(None),
        Some(at)
            if token.is_none() && !at.starts_with(values::UNIX) && !values::is_loopback(at) =>
        {
            let why = format!(
                "{} is not of this machine alone; write 127.0.0.1:9090 or unix:PATH, or give \
                 --admin-token-file",
                values::quoted(at)
            );
            Err(Wrong { flag: "admin", why })
        }
        Some(_) => Ok(Some(Admin { token })),
    }
}
