//! L4: flags about how the process runs: how it ends, and how it is seen.

use super::draft::ServerDraft;
use super::sources;
use super::table::Absent::{Value, Words};
use super::table::Takes::{Seconds, Text};
use super::table::{Flag, Wrong, put};
use super::values::{self, LONGEST_MS};
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
