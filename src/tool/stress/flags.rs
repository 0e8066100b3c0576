//! L4: the flags of `wsloop stress`, one table, and what concerns several of them at once.

use clap::ArgMatches;

use super::{LEAST_SIZE, Mode, Plan, Probe, Way};
use crate::broker::{RedisAddress, RedisSettings};
use crate::client::url::{NUMBER, Url, url};
use crate::config::redis_url;
use crate::config::table::Absent::{Nothing, Value, Words};
use crate::config::table::Takes::{Bare, Bytes, Count, Repeated, Seconds, Text};
use crate::config::table::{Flag, Given, Wrong, put};
use crate::config::values::{self, LONGEST_MS, MIB, MOST};
use crate::link::Target;

/// The argument that is no flag.
const URL: &str = "URL";

/// The values of the flags.
#[derive(Default)]
struct StressDraft {
    mode: Option<Mode>,
    clients: usize,
    messages: u32,
    size: usize,
    window: u32,
    rate: Option<f64>,
    redis: Option<RedisSettings>,
    channel: Option<String>,
    publish: Option<Url>,
    probe: Option<Url>,
    probe_channel: Option<String>,
    probe_interval_ms: u64,
    duration_ms: u64,
    pending: usize,
    timeout_ms: u64,
    pids: Vec<u32>,
    settle_ms: u64,
    json: bool,
}

/// No variable of the environment stands for any of them.
static FLAGS: &[Flag<StressDraft>] = &[
    Flag {
        name: "mode",
        variable: "",
        takes: Text("fanout|echo|idle|churn", |draft, text| put(&mut draft.mode, mode(text))),
        default: Value("fanout"),
        help: "What the clients do: all hear what one publishes; each has its own messages sent \
               back; nothing; or connect and close over and over",
    },
    Flag {
        name: "clients",
        variable: "",
        takes: Count(1..=MOST, |draft, count| draft.clients = count),
        default: Value("1000"),
        help: "How many clients",
    },
    Flag {
        name: "messages",
        variable: "",
        takes: Count(1..=MOST, |draft, count| draft.messages = count as u32),
        default: Value("100"),
        help: "Messages published in all (fanout), or sent by each client (echo)",
    },
    Flag {
        name: "size",
        variable: "",
        takes: Bytes(LEAST_SIZE..=16 * MIB, |draft, size| draft.size = size),
        default: Value("64"),
        help: "Bytes of a message, at least 32",
    },
    Flag {
        name: "window",
        variable: "",
        takes: Count(1..=MOST, |draft, count| draft.window = count as u32),
        default: Value("1"),
        help: "Messages in flight: sent, and not yet received by all",
    },
    Flag {
        name: "rate",
        variable: "",
        takes: Text("NUMBER", |draft, text| put(&mut draft.rate, rate(text))),
        default: Words("as fast as the window allows"),
        help: "Most messages a second (fanout)",
    },
    Flag {
        name: "redis",
        variable: "",
        takes: Text("URL", |draft, text| put(&mut draft.redis, redis(text))),
        default: Words("over a WebSocket"),
        help: "Publish with PUBLISH to this Redis: `redis://[user:password@]host[:port][/db]` or \
               `redis+unix:///path?db=N`",
    },
    Flag {
        name: "channel",
        variable: "",
        takes: Text("NAME", |draft, text| put(&mut draft.channel, values::any(text))),
        default: Words("`broadcast:NAME` for the path `/ws/NAME`"),
        help: "Channel of Redis to publish to",
    },
    Flag {
        name: "publish",
        variable: "",
        takes: Text("URL", |draft, text| put(&mut draft.publish, url(text))),
        default: Words("the URL with the query `publish-broadcast`"),
        help: "Publish over this WebSocket",
    },
    Flag {
        name: "probe",
        variable: "",
        takes: Text("URL", |draft, text| put(&mut draft.probe, url(text))),
        default: Words("off"),
        help: "Besides, send small messages at intervals to one client on this other URL, and \
               report their latency apart",
    },
    Flag {
        name: "probe-channel",
        variable: "",
        takes: Text("NAME", |draft, text| put(&mut draft.probe_channel, values::any(text))),
        default: Words("`broadcast:NAME` for the path `/ws/NAME`"),
        help: "Channel of Redis for the probe",
    },
    Flag {
        name: "probe-interval",
        variable: "",
        takes: Text("MS", |draft, text| {
            let ms = values::count(text, 1..=3_600_000);
            put(&mut draft.probe_interval_ms, ms.map(|ms| ms as u64))
        }),
        default: Value("50"),
        help: "Time from one message of the probe to the next, in milliseconds",
    },
    Flag {
        name: "duration",
        variable: "",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.duration_ms = ms),
        default: Value("10"),
        help: "How long to idle or churn",
    },
    Flag {
        name: "pending",
        variable: "",
        takes: Count(1..=MOST, |draft, count| draft.pending = count),
        default: Value("128"),
        help: "Most handshakes under way",
    },
    Flag {
        name: "timeout",
        variable: "",
        takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.timeout_ms = ms),
        default: Value("30"),
        help: "Give up when nothing arrives for this time",
    },
    Flag {
        name: "pid",
        variable: "",
        takes: Repeated("PID", |draft, text| {
            values::count(text, 1..=u32::MAX as usize).map(|pid| draft.pids.push(pid as u32))
        }),
        default: Nothing,
        help: "A process of the server, whose CPU time and memory are reported; repeatable",
    },
    Flag {
        name: "settle",
        variable: "",
        takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settle_ms = ms),
        default: Value("0.5"),
        help: "Quiet before memory is read and between phases",
    },
    Flag {
        name: "json",
        variable: "",
        takes: Bare(|draft| draft.json = true),
        default: Nothing,
        help: "Print one JSON object instead of the table",
    },
];

/// The command line of `wsloop stress`.
pub(crate) fn command() -> clap::Command {
    let url = clap::Arg::new(URL).value_name(URL).help(
        "Where the clients connect: ws://HOST:PORT/path?query; with a path /ws/NAME and no query, \
         fanout subscribes to the broadcasts of NAME. {n} in it is the number of each client, from \
         0 on: so each can have a channel of its own, to which fanout publishes in turn",
    );
    clap::Command::new("stress")
        .about("Puts load on a WebSocket server, checks every message, and says what it took")
        .arg(url)
        .args(FLAGS.iter().map(Flag::arg))
}

/// What was asked for, checked; an error is the one line that says what is wrong. `descriptors` is
/// how many descriptors the tool may have open.
pub(crate) fn plan(matches: &ArgMatches, descriptors: usize) -> Result<Plan, String> {
    let given = Given::of(FLAGS, matches);
    let mut draft = StressDraft::default();
    let done = given.apply(FLAGS, &mut draft);
    let target = matches.get_one::<String>(URL);
    let plan = done.and_then(|()| draft.finish(&given, target, descriptors));
    plan.map_err(|wrong| given.line(&wrong))
}

impl StressDraft {
    fn finish(
        self,
        given: &Given,
        target: Option<&String>,
        descriptors: usize,
    ) -> Result<Plan, Wrong> {
        let mode = self.mode.expect("it has a default");
        fits(given, mode)?;
        let wrong = |why| Wrong { flag: URL, why };
        let target = target.ok_or_else(|| "is missing; write ws://HOST:PORT/ws/NAME".to_owned());
        let mut target = target.and_then(|text| url(text)).map_err(wrong)?;
        if mode == Mode::Fanout && target.is_of_each() && self.redis.is_none() {
            let why = "is missing, by which messages get to the clients of a URL with {n}; add it";
            return Err(Wrong { flag: "redis", why: why.to_owned() });
        }
        let publish = match self.publish {
            Some(url) => Way::WebSocket(url),
            None => way(&self.redis, &target, "channel", self.channel)?,
        };
        let probe = match self.probe {
            Some(url) => Some(Probe {
                publish: way(&self.redis, &url, "probe-channel", self.probe_channel)?,
                url: subscribing(url),
                interval_ms: self.probe_interval_ms,
            }),
            None => None,
        };
        if mode == Mode::Fanout {
            target = subscribing(target);
        }
        Ok(Plan {
            mode,
            url: target,
            clients: clients(self.clients, descriptors)?,
            messages: self.messages,
            size: self.size,
            window: self.window,
            rate: self.rate,
            publish,
            probe,
            duration_ms: self.duration_ms,
            pending: self.pending,
            timeout_ms: self.timeout_ms,
            pids: self.pids,
            settle_ms: self.settle_ms,
            json: self.json,
        })
    }
}

/// Refuses flags that another mode, or another flag, leaves without effect.
fn fits(given: &Given, mode: Mode) -> Result<(), Wrong> {
    use Mode::{Churn, Echo, Fanout, Idle};
    let fanout = [Fanout].as_slice();
    let of_modes = [
        ("messages", [Fanout, Echo].as_slice()),
        ("size", &[Fanout, Echo]),
        ("window", &[Fanout, Echo]),
        ("rate", fanout),
        ("redis", fanout),
        ("channel", fanout),
        ("publish", fanout),
        ("probe", fanout),
        ("probe-channel", fanout),
        ("probe-interval", fanout),
        ("duration", &[Idle, Churn]),
    ];
    for (flag, modes) in of_modes {
        if given.has(flag) && !modes.contains(&mode) {
            let modes: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
            let why = format!("is for --mode {} only; leave it out", modes.join(" or "));
            return Err(Wrong { flag, why });
        }
    }
    let needs = [
        ("channel", "redis"),
        ("probe-channel", "redis"),
        ("probe-channel", "probe"),
        ("probe-interval", "probe"),
    ];
    for (flag, other) in needs {
        if given.has(flag) && !given.has(other) {
            let why = format!("needs --{other}; add it, or leave this out");
            return Err(Wrong { flag, why });
        }
    }
    if given.has("publish") && given.has("redis") {
        let why = "cannot be used with --redis; leave one of them out".to_owned();
        return Err(Wrong { flag: "publish", why });
    }
    Ok(())
}

/// A Redis that is not asked by TLS.
fn redis(url: &str) -> Result<RedisSettings, String> {
    match redis_url::parse(url)? {
        RedisSettings { address: RedisAddress::Fixed(Target::Tls { .. }), .. } => {
            Err("is asked by TLS, which this command does not speak; give redis://".to_owned())
        }
        RedisSettings { address: RedisAddress::Watched(_), .. } => {
            Err("names sentinels, which this command does not ask; give redis://".to_owned())
        }
        redis => Ok(redis),
    }
}

/// How messages for what is subscribed to at this URL are published.
fn way(
    redis: &Option<RedisSettings>,
    url: &Url,
    flag: &'static str,
    channel: Option<String>,
) -> Result<Way, Wrong> {
    let Some(redis) = redis else { return Ok(Way::WebSocket(url.with_query("publish-broadcast"))) };
    let channel = match (channel, url.facility()) {
        (Some(channel), _) => channel,
        (None, Some(name)) => format!("broadcast:{name}"),
        (None, None) => {
            let why = "is missing, and the URL's path is not /ws/NAME; name the channel".to_owned();
            return Err(Wrong { flag, why });
        }
    };
    if url.is_of_each() != channel.contains(NUMBER) {
        let why = "and the URL must have {n} both or neither".to_owned();
        return Err(Wrong { flag, why });
    }
    let redis = RedisSettings { timeout_ms: LONGEST_MS, buffer_limit: 64 * MIB, ..redis.clone() };
    Ok(Way::Redis { redis, channel })
}

/// What a bare URL stands for where messages are heard.
fn subscribing(url: Url) -> Url {
    match (&url.query, url.facility()) {
        (None, Some(_)) => url.with_query("subscribe-broadcast"),
        _ => url,
    }
}

/// Descriptors that are no client's.
const RESERVED_DESCRIPTORS: usize = 64;

fn clients(clients: usize, descriptors: usize) -> Result<u32, Wrong> {
    let most = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
    if clients > most {
        let why = format!(
            "{clients} is too many: the limit of {descriptors} open files leaves room for {most} \
             ({RESERVED_DESCRIPTORS} are reserved); raise it (ulimit -n) or ask for fewer"
        );
        return Err(Wrong { flag: "clients", why });
    }
    Ok(clients as u32)
}

fn mode(text: &str) -> Result<Mode, String> {
    let modes = [Mode::Fanout, Mode::Echo, Mode::Idle, Mode::Churn];
    modes.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
        format!("{} is no mode; write fanout, echo, idle or churn", values::quoted(text))
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let rate = text.parse::<f64>().ok().filter(|rate| plain && *rate > 0.0 && *rate <= 1e7);
    rate.ok_or_else(|| {
        format!("{} is no number of messages a second; write one such as 10", values::quoted(text))
    })
}
