//! L4: the flags of the commands for scripts, in tables, and what concerns several of them at once.
//!
//! Where Redis is, the prefix and the expiry have the same names and variables as the server's, so
//! that an environment made for the server does for these as well.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::parser::ValueSource;
use clap::{Arg, ArgGroup, ArgMatches};

use super::{Listen, Task, To};
use crate::access::channel::Audience;
use crate::broker::{HistoryRule, RedisSettings, Sharding};
use crate::client::publisher::{Expire, Publisher};
use crate::client::url;
use crate::config::redis::{self, RedisTlsDraft, SentinelsDraft};
use crate::config::redis_url;
use crate::config::table::Absent::{Nothing, Value, Words};
use crate::config::table::Takes::{Bare, Repeated, Text, WholeSeconds};
use crate::config::table::{Flag, Given, Wrong, put};
use crate::config::values::{self, LONGEST_EXPIRE_S, is_token_byte};
use crate::proto::ws::frame::may_be_sent;

/// The values of the flags of all these commands.
#[derive(Default)]
struct TaskDraft {
    redis: Vec<RedisSettings>,
    redis_tls: RedisTlsDraft,
    sentinels: SentinelsDraft,
    sharded: Option<Sharding>,
    prefix: String,
    json: bool,
    broadcast: bool,
    users: Vec<String>,
    groups: Vec<String>,
    sessions: Vec<String>,
    expire_s: u64,
    histories: Vec<String>,
    code: u16,
    reason: String,
    headers: Vec<(String, String)>,
    token: Option<String>,
    protocols: Vec<String>,
    once: bool,
}

type Rows = &'static [Flag<TaskDraft>];

/// Of the commands that talk to Redis.
static REDIS: Rows = &[
    Flag {
        name: "redis",
        variable: "WSLOOP_REDIS",
        takes: Repeated("URL", |draft, text| {
            redis_url::each(text).try_for_each(|url| redis::add(&mut draft.redis, url))
        }),
        default: Value("redis://127.0.0.1:6380"),
        help: "Redis that the server relays from: `redis://[user:password@]host[:port][/db]`, \
               `rediss://` by TLS, `redis+unix:///path?db=N`, or, where sentinels say which it is, \
               `redis+sentinel://host,host/NAME[/db]`, or `redis+cluster://host,host` with some \
               nodes of a cluster; several in the server's order; the default is the embedded \
               broker's",
    },
    Flag {
        name: "redis-sharded",
        variable: "WSLOOP_REDIS_SHARDED",
        takes: Text("off|both|on", |draft, text| {
            put(&mut draft.sharded, redis::form(text).map(Some))
        }),
        default: Words("off"),
        help: "How the server hears the channels of a `redis+cluster://`: unless that is `off`, \
               messages are published by SPUBLISH",
    },
    Flag {
        name: "redis-sentinel-user",
        variable: "WSLOOP_REDIS_SENTINEL_USER",
        takes: Text("NAME", |draft, text| {
            put(&mut draft.sentinels.user, Ok(Some(text.to_owned())))
        }),
        default: Words("their default user"),
        help: redis::SENTINEL_USER_HELP,
    },
    Flag {
        name: "redis-sentinel-password",
        variable: "WSLOOP_REDIS_SENTINEL_PASSWORD",
        takes: Text("FILE", |draft, text| {
            put(&mut draft.sentinels.password, redis::password(text).map(Some))
        }),
        default: Words("none"),
        help: redis::SENTINEL_PASSWORD_HELP,
    },
    Flag {
        name: "redis-ca",
        variable: "WSLOOP_REDIS_CA",
        takes: Text("FILE", |draft, text| put(&mut draft.redis_tls.ca, redis::file(text))),
        default: Words("the authorities of this system"),
        help: redis::CA_HELP,
    },
    Flag {
        name: "redis-cert",
        variable: "WSLOOP_REDIS_CERT",
        takes: Text("FILE", |draft, text| put(&mut draft.redis_tls.cert, redis::file(text))),
        default: Words("none"),
        help: redis::CERT_HELP,
    },
    Flag {
        name: "redis-key",
        variable: "WSLOOP_REDIS_KEY",
        takes: Text("FILE", |draft, text| put(&mut draft.redis_tls.key, redis::file(text))),
        default: Words("none"),
        help: redis::KEY_HELP,
    },
    Flag {
        name: "redis-server-name",
        variable: "WSLOOP_REDIS_SERVER_NAME",
        takes: Text("NAME", |draft, text| put(&mut draft.redis_tls.name, Ok(text.to_owned()))),
        default: Words("the host of the URL"),
        help: redis::NAME_HELP,
    },
    Flag {
        name: "prefix",
        variable: "WSLOOP_PREFIX",
        takes: Text("TEXT", |draft, text| put(&mut draft.prefix, values::prefix(text))),
        default: Words("empty"),
        help: "What Redis names begin with, as the server was told",
    },
    Flag {
        name: "json",
        variable: "",
        takes: Bare(|draft| draft.json = true),
        default: Nothing,
        help: "Print the outcome as one line of JSON",
    },
];

/// Of the commands that name a facility.
static TO: Rows = &[
    Flag {
        name: "broadcast",
        variable: "",
        takes: Bare(|draft| draft.broadcast = true),
        default: Nothing,
        help: "Everybody who subscribed to the facility",
    },
    Flag {
        name: "user",
        variable: "",
        takes: Repeated("NAME", |draft, name| add(&mut draft.users, name)),
        default: Nothing,
        help: "A user; repeatable",
    },
    Flag {
        name: "group",
        variable: "",
        takes: Repeated("NAME", |draft, name| add(&mut draft.groups, name)),
        default: Nothing,
        help: "The members of a group; repeatable",
    },
    Flag {
        name: "session",
        variable: "",
        takes: Repeated("KEY", |draft, key| add(&mut draft.sessions, key)),
        default: Nothing,
        help: "A session; repeatable",
    },
];

static PUBLISH: Rows = &[
    Flag {
        name: "expire",
        variable: "WSLOOP_EXPIRE",
        takes: WholeSeconds(LONGEST_EXPIRE_S, |draft, s| draft.expire_s = s),
        default: Value("3600"),
        help: "How long the message stays stored for those who come later, in whole seconds; 0 \
               stores nothing",
    },
    Flag {
        name: "history",
        variable: "WSLOOP_HISTORY",
        takes: Repeated("LIST", |draft, text| {
            HistoryRule::parse_list(text).map_err(|why| values::printable(&why))?;
            draft.histories.push(text.to_owned());
            Ok(())
        }),
        default: Words("none"),
        help: "Channels that keep their last messages, as the server was told: facilities, most \
               messages and most seconds, as in `chat/*=100/300`",
    },
];

static DISCONNECT: Rows = &[
    Flag {
        name: "user",
        variable: "",
        takes: Text("NAME", |draft, name| add(&mut draft.users, name)),
        default: Nothing,
        help: "The conns of this user",
    },
    Flag {
        name: "session",
        variable: "",
        takes: Text("KEY", |draft, key| add(&mut draft.sessions, key)),
        default: Nothing,
        help: "The conns of this session",
    },
    Flag {
        name: "group",
        variable: "",
        takes: Text("NAME", |draft, name| add(&mut draft.groups, name)),
        default: Nothing,
        help: "The conns of the members of this group",
    },
    Flag {
        name: "code",
        variable: "",
        takes: Text("CODE", |draft, text| put(&mut draft.code, code(text))),
        default: Value("4403"),
        help: "Close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999",
    },
    Flag {
        name: "reason",
        variable: "",
        takes: Text("TEXT", |draft, text| put(&mut draft.reason, values::any(text))),
        default: Words("empty"),
        help: "Reason beside the code, at most 123 bytes",
    },
];

static LISTEN: Rows = &[
    Flag {
        name: "header",
        variable: "",
        takes: Repeated("NAME: VALUE", |draft, text| {
            header(text).map(|header| draft.headers.push(header))
        }),
        default: Nothing,
        help: "Line to add to the request, as in 'Cookie: sessionid=…'; repeatable",
    },
    Flag {
        name: "token",
        variable: "WSLOOP_TOKEN",
        takes: Text("TOKEN", |draft, text| put(&mut draft.token, token(text))),
        default: Nothing,
        help: "Signed token, sent as 'Authorization: Bearer …'; every user of this machine can see \
               it in the list of processes, unless it is in the variable",
    },
    Flag {
        name: "token-file",
        variable: "",
        takes: Text("FILE", |draft, path| put(&mut draft.token, token_in(path))),
        default: Nothing,
        help: "File with the token",
    },
    Flag {
        name: "subprotocol",
        variable: "",
        takes: Text("LIST", |draft, text| put(&mut draft.protocols, values::subprotocols(text))),
        default: Words("none"),
        help: "Sub-protocols to offer, separated by commas",
    },
    Flag {
        name: "once",
        variable: "",
        takes: Bare(|draft| draft.once = true),
        default: Nothing,
        help: "End when the connection ends, or cannot be made",
    },
    Flag {
        name: "json",
        variable: "",
        takes: Bare(|draft| draft.json = true),
        default: Nothing,
        help: "Print each message as a line of JSON: time (Unix, in seconds), kind (text or \
               binary), data",
    },
];

/// Every command and its tables.
const COMMANDS: [(&str, &[Rows]); 4] = [
    ("publish", &[REDIS, TO, PUBLISH]),
    ("fetch", &[REDIS, TO]),
    ("listen", &[LISTEN]),
    ("disconnect", &[REDIS, DISCONNECT]),
];

/// The flags of the command of that name.
fn flags(name: &str) -> impl Iterator<Item = &'static Flag<TaskDraft>> + Clone {
    let tables = COMMANDS.iter().find(|(of, _)| *of == name).map(|(_, tables)| *tables);
    tables.expect("it is a command of these").iter().copied().flatten()
}

/// The commands as clap is to see them.
pub(crate) fn commands() -> [clap::Command; 4] {
    let facility = Arg::new("FACILITY").value_name("FACILITY").required(true);
    let facility = facility.help("The facility: what follows /ws/ in the WebSocket's path");
    let message = Arg::new("MESSAGE").value_name("MESSAGE|-").required(true);
    let message = message
        .value_parser(clap::value_parser!(OsString))
        .help("The message; - is standard input, its bytes as they are");
    let url = Arg::new("URL").value_name("URL").required(true);
    let url = url.help("Where to connect: ws://HOST[:PORT]/ws/FACILITY?subscribe-broadcast");
    COMMANDS.map(|(name, _)| {
        let command = clap::Command::new(name).args(flags(name).map(Flag::arg));
        let (about, statuses) = match name {
            "publish" => (
                "Publishes a message and stores it for those who come later",
                "Exit status: 0 done, 1 failed, 2 wrong use. That nobody hears it is no failure.",
            ),
            "fetch" => (
                "Prints the stored message: a session's, else a user's, a group's, everybody's",
                "A text is printed with a line end behind it, anything else as it is.\n\n\
                 Exit status: 0 printed, 1 failed or nothing stored, 2 wrong use.",
            ),
            "listen" => (
                "Prints what a WebSocket brings, a line each (binary in base64), and reconnects",
                "Exit status: 0 when its reader ended, or with --once after a close with 1000 or \
                 1001; 1 failed, or the server refuses; 2 wrong use.",
            ),
            _ => (
                "Closes the conns of a user, a session or a group in every process",
                "Exit status: 0 done, 1 failed, 2 wrong use, 3 no process heard it.",
            ),
        };
        let command = command.about(about).after_help(statuses);
        match name {
            "publish" => command.allow_negative_numbers(true).args([&facility, &message]),
            "fetch" => command.arg(&facility),
            "listen" => command.arg(&url),
            _ => command
                .group(ArgGroup::new("who").args(["user", "session", "group"]).required(true)),
        }
    })
}

/// The task of the command `name`, one of [`commands`]. An error is the one line that says what is
/// wrong.
pub(crate) fn task(name: &str, matches: &ArgMatches) -> Result<Task, String> {
    let given = Given::of(flags(name), matches);
    let mut draft = TaskDraft::default();
    let done = given.apply(flags(name), &mut draft);
    let task = done.and_then(|()| match name {
        "publish" => draft.publish(matches),
        "fetch" => draft.fetch(matches),
        "disconnect" => draft.disconnect(),
        _ => draft.listen(matches),
    });
    task.map_err(|wrong| given.line(&wrong))
}

impl TaskDraft {
    fn publish(mut self, matches: &ArgMatches) -> Result<Task, Wrong> {
        let message = matches.get_one::<OsString>("MESSAGE").expect("clap requires it").clone();
        Ok(Task::Publish {
            json: self.json,
            publisher: self.publisher()?,
            message: Some(message.into_vec()).filter(|message| message != b"-"),
            expire: Expire::Seconds(self.expire_s),
            to: self.to(matches),
        })
    }

    fn fetch(mut self, matches: &ArgMatches) -> Result<Task, Wrong> {
        let (json, publisher) = (self.json, self.publisher()?);
        Ok(Task::Fetch { json, publisher, to: self.to(matches) })
    }

    fn disconnect(mut self) -> Result<Task, Wrong> {
        let publisher = self.publisher()?;
        let names = [
            (Audience::User, self.users.pop()),
            (Audience::Session, self.sessions.pop()),
            (Audience::Group, self.groups.pop()),
        ];
        let named = names.into_iter().find_map(|(audience, name)| Some((audience, name?)));
        let (audience, name) = named.expect("clap requires one of them");
        let TaskDraft { code, reason, json, .. } = self;
        Ok(Task::Disconnect { publisher, audience, name, code, reason, json })
    }

    fn listen(self, matches: &ArgMatches) -> Result<Task, Wrong> {
        let url = matches.get_one::<String>("URL").expect("clap requires it");
        let url = url::url(url).map_err(|why| Wrong { flag: "URL", why })?;
        // A file is chosen over the variable, and nobody means it beside the flag.
        let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        if is_flag("token") && is_flag("token-file") {
            let why = "--token is given as well; leave one of them out".to_owned();
            return Err(Wrong { flag: "token-file", why });
        }
        let TaskDraft { mut headers, token, protocols, once, json, .. } = self;
        headers.extend(token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}"))));
        Ok(Task::Listen(Listen { url, headers, protocols, once, json }))
    }

    fn publisher(&mut self) -> Result<Publisher, Wrong> {
        let (tls, sentinels) =
            (std::mem::take(&mut self.redis_tls), std::mem::take(&mut self.sentinels));
        let tls = tls.finish_for(sentinels, self.sharded, &mut self.redis)?;
        let publisher = Publisher::through(std::mem::take(&mut self.redis));
        let publisher = publisher.prefix(std::mem::take(&mut self.prefix));
        let publisher =
            publisher.history(&self.histories.join(",")).expect("they were read before");
        Ok(publisher.asking(tls).timeout(super::TIMEOUT))
    }

    fn to(self, matches: &ArgMatches) -> To {
        To {
            facility: matches.get_one::<String>("FACILITY").expect("clap requires it").clone(),
            broadcast: self.broadcast,
            users: self.users,
            groups: self.groups,
            sessions: self.sessions,
        }
    }
}

fn add(names: &mut Vec<String>, name: &str) -> Result<(), String> {
    names.push(name.to_owned());
    Ok(())
}

fn code(text: &str) -> Result<u16, String> {
    let code = text.parse().ok().filter(|code| may_be_sent(*code));
    code.ok_or_else(|| format!("{} is no close code such as 4403", values::quoted(text)))
}

/// A token that a header can carry. It is not repeated, for it is a secret.
fn token(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("the token is empty or has a character that no token has".to_owned()),
    }
}

/// The token in a file, whose line end is none of it.
fn token_in(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let path = values::quoted(path);
        format!("{path} cannot be read: {error}; give the path of a file with a token")
    })?;
    token(text.trim_end_matches(['\r', '\n']))
}

/// `Name: value`. What it says is not repeated, for it may be a secret.
fn header(text: &str) -> Result<(String, String), String> {
    let form = "write 'Name: value'";
    let (name, value) = text.split_once(':').ok_or_else(|| format!("no colon; {form}"))?;
    let value = value.trim();
    if name.is_empty() || !name.bytes().all(is_token_byte) {
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
