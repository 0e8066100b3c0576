//! L4: what the commands for scripts are asked for: raw, and then checked.
//!
//! Where Redis is, the prefix and the expiry come from the same flags and variables as the
//! server's, so that an environment made for the server does for these as well.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{ArgGroup, ArgMatches, Args, FromArgMatches};

use super::{Listen, Task, To};
use crate::access::channel::Audience;
use crate::client::publisher::{Error, Expire, Publisher};
use crate::config::{LONGEST_EXPIRE_S, Wrong, guard_environment, stress, value, values};
use crate::proto::ws::frame::may_be_sent;

/// The names of the commands.
pub const NAMES: [&str; 4] = ["publish", "fetch", "listen", "disconnect"];

/// Where the embedded broker listens for clients of Redis, unless it is told otherwise.
const EMBEDDED: &str = "redis://127.0.0.1:6380";
/// What the conns of somebody who was disconnected are closed with.
const DISCONNECTED: u16 = 4403;
const STATUSES: &str = "Exit status: 0 done, 1 failed, 2 wrong use.";

#[derive(Args)]
struct RedisFlags {
    /// Redis that the server relays from: redis://[user:password@]host[:port][/db] or
    /// redis+unix:///path?db=N [default: redis://127.0.0.1:6380, the embedded broker's]
    #[arg(long, env = "WSLOOP_REDIS", value_name = "URL")]
    redis: Option<String>,

    /// What Redis names begin with, as the server was told [default: empty]
    #[arg(long, env = "WSLOOP_PREFIX", value_name = "TEXT")]
    prefix: Option<String>,

    /// Print the outcome as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ToFlags {
    /// Everybody who subscribed to the facility
    #[arg(long)]
    broadcast: bool,

    /// A user; repeatable
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,

    /// The members of a group; repeatable
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,

    /// A session; repeatable
    #[arg(long, value_name = "KEY")]
    session: Vec<String>,

    /// The facility: what follows /ws/ in the WebSocket's path
    #[arg(value_name = "FACILITY")]
    facility: String,
}

#[derive(Args)]
struct PublishFlags {
    #[command(flatten)]
    redis: RedisFlags,

    #[command(flatten)]
    to: ToFlags,

    /// How long the message stays stored for those who come later, in whole seconds; 0 stores
    /// nothing [default: 3600]
    #[arg(long, env = "WSLOOP_EXPIRE", value_name = "SECONDS")]
    expire: Option<String>,

    /// The message; - is standard input, its bytes as they are
    #[arg(value_name = "MESSAGE|-")]
    message: OsString,
}

#[derive(Args)]
struct FetchFlags {
    #[command(flatten)]
    redis: RedisFlags,

    #[command(flatten)]
    to: ToFlags,
}

#[derive(Args)]
struct DisconnectFlags {
    #[command(flatten)]
    redis: RedisFlags,

    /// The conns of this user
    #[arg(long, value_name = "NAME", group = "who")]
    user: Option<String>,

    /// The conns of this session
    #[arg(long, value_name = "KEY", group = "who")]
    session: Option<String>,

    /// The conns of the members of this group
    #[arg(long, value_name = "NAME", group = "who")]
    group: Option<String>,

    /// Close code: 1000, or 3000 to 4999 [default: 4403]
    #[arg(long, value_name = "CODE")]
    code: Option<String>,

    /// Reason beside the code, at most 123 bytes [default: empty]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
struct ListenFlags {
    /// Where to connect: ws://HOST[:PORT]/ws/FACILITY?subscribe-broadcast
    #[arg(value_name = "URL")]
    url: String,

    /// Line to add to the request, as in 'Cookie: sessionid=…'; repeatable
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// Signed token, sent as 'Authorization: Bearer …'
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// Sub-protocols to offer, separated by commas [default: none]
    #[arg(long, value_name = "LIST")]
    subprotocol: Option<String>,

    /// End when the connection ends, or cannot be made
    #[arg(long)]
    once: bool,

    /// Print each message as a line of JSON: time (Unix, in seconds), kind (text or binary), data
    #[arg(long)]
    json: bool,
}

/// The commands as clap is to see them.
pub fn commands() -> [clap::Command; 4] {
    let command = |name| clap::Command::new(name).after_help(STATUSES);
    let publish = PublishFlags::augment_args(command("publish"))
        .about("Publishes a message and stores it for those who come later")
        .allow_negative_numbers(true)
        .after_help(format!("{STATUSES} That nobody hears it is no failure."));
    let fetch = FetchFlags::augment_args(command("fetch"))
        .about("Prints the stored message: a session's, else a user's, a group's, everybody's")
        .after_help("Exit status: 0 printed, 1 failed or nothing stored, 2 wrong use.");
    let listen = ListenFlags::augment_args(command("listen"))
        .about("Prints what a WebSocket brings, a line each (binary in base64), and reconnects")
        .after_help(
            "Exit status: 0 when its reader ended, or with --once after a close with 1000 or \
             1001; 1 failed, or the server refuses; 2 wrong use.",
        );
    let disconnect = DisconnectFlags::augment_args(command("disconnect"))
        .about("Closes the conns of a user, a session or a group in every process")
        .group(ArgGroup::new("who").required(true))
        .after_help(format!("{STATUSES} That no process hears it is no failure."));
    [publish, fetch, listen, disconnect].map(|command| command.mut_args(guard_environment))
}

/// The task of the command `name`, one of [`NAMES`].
pub fn task(name: &str, given: &ArgMatches) -> Result<Result<Task, Wrong>, clap::Error> {
    Ok(match name {
        "publish" => publish(PublishFlags::from_arg_matches(given)?),
        "fetch" => fetch(FetchFlags::from_arg_matches(given)?),
        "disconnect" => disconnect(DisconnectFlags::from_arg_matches(given)?),
        _ => listen(ListenFlags::from_arg_matches(given)?),
    })
}

fn publish(flags: PublishFlags) -> Result<Task, Wrong> {
    let expire =
        value("expire", &flags.expire, |text| values::whole_seconds(text, LONGEST_EXPIRE_S))?;
    let message = flags.message.into_vec();
    Ok(Task::Publish {
        json: flags.redis.json,
        publisher: publisher(flags.redis)?,
        to: to(flags.to),
        message: Some(message).filter(|message| message != b"-"),
        expire: expire.map_or(Expire::Default, Expire::Seconds),
    })
}

fn fetch(flags: FetchFlags) -> Result<Task, Wrong> {
    let json = flags.redis.json;
    Ok(Task::Fetch { publisher: publisher(flags.redis)?, to: to(flags.to), json })
}

fn disconnect(flags: DisconnectFlags) -> Result<Task, Wrong> {
    let code = value("code", &flags.code, |text| {
        let code = text.parse().ok().filter(|code| may_be_sent(*code));
        code.ok_or_else(|| format!("{} is no close code such as 4403", values::quoted(text)))
    })?;
    let names = [
        (Audience::User, flags.user),
        (Audience::Session, flags.session),
        (Audience::Group, flags.group),
    ];
    let named = names.into_iter().find_map(|(audience, name)| Some((audience, name?)));
    let (audience, name) = named.expect("clap requires one of them");
    Ok(Task::Disconnect {
        json: flags.redis.json,
        publisher: publisher(flags.redis)?,
        audience,
        name,
        code: code.unwrap_or(DISCONNECTED),
        reason: flags.reason.unwrap_or_default(),
    })
}

fn listen(flags: ListenFlags) -> Result<Task, Wrong> {
    let url = stress::url(&flags.url).map_err(|why| Wrong { flag: stress::URL, why })?;
    let mut headers = Vec::new();
    for header in &flags.header {
        headers.push(self::header(header).map_err(|why| Wrong { flag: "header", why })?);
    }
    if let Some(token) = flags.token {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = "the token is empty or has a character that no token has".to_owned();
            return Err(Wrong { flag: "token", why });
        }
        headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
    }
    let protocols = value("subprotocol", &flags.subprotocol, values::subprotocols)?;
    let protocols = protocols.unwrap_or_default();
    Ok(Task::Listen(Listen { url, headers, protocols, once: flags.once, json: flags.json }))
}

fn publisher(flags: RedisFlags) -> Result<Publisher, Wrong> {
    let url = flags.redis.as_deref().unwrap_or(EMBEDDED);
    let publisher = Publisher::new(url).map_err(|error| match error {
        Error::Url(why) => Wrong { flag: "redis", why },
        error => Wrong { flag: "redis", why: error.to_string() },
    })?;
    let prefix = value("prefix", &flags.prefix, values::prefix)?;
    Ok(publisher.prefix(prefix.unwrap_or_default()).timeout(super::TIMEOUT))
}

fn to(flags: ToFlags) -> To {
    To {
        facility: flags.facility,
        broadcast: flags.broadcast,
        users: flags.user,
        groups: flags.group,
        sessions: flags.session,
    }
}

/// `Name: value`. What it says is not repeated, for it may be a secret.
fn header(text: &str) -> Result<(String, String), String> {
    let form = "write 'Name: value'";
    let (name, value) = text.split_once(':').ok_or_else(|| format!("no colon; {form}"))?;
    let value = value.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("the name is empty or has a character that no name has; {form}"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the value has a line break or another control character; {form}"));
    }
    let lower = name.to_ascii_lowercase();
    if ["host", "upgrade", "connection"].contains(&&*lower) || lower.starts_with("sec-websocket-") {
        return Err(format!("{name} belongs to the handshake, which has it already"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn headers_are_lines_that_the_handshake_has_room_for() {
        let good = [("A: b", ("A", "b")), ("cookie:a=b; c=d:e", ("cookie", "a=b; c=d:e"))];
        for (text, (name, value)) in good {
            assert_eq!(header(text), Ok((name.to_owned(), value.to_owned())));
        }
        for (text, words) in [
            ("hush", "no colon"),
            (": hush", "the name"),
            ("A B: hush", "the name"),
            ("A: hush\r\nB: c", "line break"),
            ("host: hush", "belongs to the handshake"),
            ("Sec-WebSocket-Protocol: hush", "belongs to the handshake"),
        ] {
            let why = header(text).expect_err(text);
            assert!(why.contains(words) && !why.contains("hush"), "{text}: {why}");
        }
    }
}
