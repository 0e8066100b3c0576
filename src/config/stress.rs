//! L4: what `wsloop stress` is asked for: raw, and then checked.

use clap::Args;

use crate::tool::stress::{LEAST_SIZE, Mode, Plan, Probe, Url, Way};

use super::values::{self, MIB};
use super::{LONGEST_MS, RESERVED_DESCRIPTORS, Wrong, count, redis_url, size, time, value};

/// The name of the argument that is no flag.
pub const URL: &str = "url";

/// What was given, as text.
#[derive(Args)]
pub struct Flags {
    /// Where the clients connect: ws://HOST:PORT/path?query; with a path /ws/NAME and no query,
    /// fanout subscribes to the broadcasts of NAME
    #[arg(value_name = "URL")]
    pub url: Option<String>,

    /// What they do: all hear what one publishes; each has its own messages sent back; nothing; or
    /// connect and close over and over [default: fanout]
    #[arg(long, value_name = "fanout|echo|idle|churn")]
    pub mode: Option<String>,

    /// How many clients [default: 1000]
    #[arg(long, value_name = "COUNT")]
    pub clients: Option<String>,

    /// Messages published in all (fanout), or sent by each client (echo) [default: 100]
    #[arg(long, value_name = "COUNT")]
    pub messages: Option<String>,

    /// Bytes of a message, at least 32 [default: 64]
    #[arg(long, value_name = "BYTES")]
    pub size: Option<String>,

    /// Messages in flight: sent, and not yet received by all [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub window: Option<String>,

    /// Most messages a second (fanout) [default: as fast as the window allows]
    #[arg(long, value_name = "NUMBER")]
    pub rate: Option<String>,

    /// Publish with PUBLISH to this Redis: redis://[user:password@]host[:port][/db] or
    /// redis+unix:///path?db=N [default: over a WebSocket]
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,

    /// Channel of Redis to publish to [default: broadcast:NAME for the path /ws/NAME]
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,

    /// Publish over this WebSocket [default: the URL with the query publish-broadcast]
    #[arg(long, value_name = "URL")]
    pub publish: Option<String>,

    /// Besides, send small messages at intervals to one client on this other URL, and report their
    /// latency apart [default: off]
    #[arg(long, value_name = "URL")]
    pub probe: Option<String>,

    /// Channel of Redis for the probe [default: broadcast:NAME for the path /ws/NAME]
    #[arg(long, value_name = "NAME")]
    pub probe_channel: Option<String>,

    /// Time from one message of the probe to the next, in milliseconds [default: 50]
    #[arg(long, value_name = "MS")]
    pub probe_interval: Option<String>,

    /// How long to idle or churn [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<String>,

    /// Most handshakes under way [default: 128]
    #[arg(long, value_name = "COUNT")]
    pub pending: Option<String>,

    /// Give up when nothing arrives for so long [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<String>,

    /// A process of the server, whose CPU time and memory are reported; repeatable
    #[arg(long, value_name = "PID")]
    pub pid: Option<Vec<String>>,

    /// Quiet before memory is read and between phases [default: 0.5]
    #[arg(long, value_name = "SECONDS")]
    pub settle: Option<String>,

    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Everything that was given, judged, and defaults for what was not.
pub fn check(flags: &Flags, descriptors: usize) -> Result<Plan, Wrong> {
    let mode = value("mode", &flags.mode, mode)?.unwrap_or(Mode::Fanout);
    fits(flags, mode)?;
    let Some(mut target) = value(URL, &flags.url, url)? else {
        return Err(Wrong { flag: URL, why: "is missing; write ws://HOST:PORT/ws/NAME".into() });
    };
    let publish = match value("publish", &flags.publish, url)? {
        Some(url) => Way::WebSocket(url),
        None => way(flags, &target, "channel", &flags.channel)?,
    };
    let probe = match value("probe", &flags.probe, url)? {
        Some(url) => Some(Probe {
            publish: way(flags, &url, "probe-channel", &flags.probe_channel)?,
            url: subscribing(url),
            interval_ms: value("probe-interval", &flags.probe_interval, |text| {
                values::count(text, 1..=3_600_000)
            })?
            .unwrap_or(50) as u64,
        }),
        None => None,
    };
    if mode == Mode::Fanout {
        target = subscribing(target);
    }
    Ok(Plan {
        mode,
        url: target,
        clients: clients(flags, descriptors)?,
        messages: count("messages", &flags.messages, 100)? as u32,
        size: size("size", &flags.size, 64, LEAST_SIZE..=16 * MIB)?,
        window: count("window", &flags.window, 1)? as u32,
        rate: value("rate", &flags.rate, rate)?,
        publish,
        probe,
        duration_ms: time("duration", &flags.duration, 10_000, 1)?,
        pending: count("pending", &flags.pending, 128)?,
        timeout_ms: time("timeout", &flags.timeout, 30_000, 1)?,
        pids: flags.pid.iter().flatten().map(|text| pid(text)).collect::<Result<_, _>>()?,
        settle_ms: time("settle", &flags.settle, 500, 0)?,
        json: flags.json,
    })
}

/// Refuses flags that another mode, or another flag, leaves without effect.
fn fits(flags: &Flags, mode: Mode) -> Result<(), Wrong> {
    use Mode::{Churn, Echo, Fanout, Idle};
    let fanout = [Fanout].as_slice();
    let given = [
        ("messages", flags.messages.is_some(), [Fanout, Echo].as_slice()),
        ("size", flags.size.is_some(), &[Fanout, Echo]),
        ("window", flags.window.is_some(), &[Fanout, Echo]),
        ("rate", flags.rate.is_some(), fanout),
        ("redis", flags.redis.is_some(), fanout),
        ("channel", flags.channel.is_some(), fanout),
        ("publish", flags.publish.is_some(), fanout),
        ("probe", flags.probe.is_some(), fanout),
        ("probe-channel", flags.probe_channel.is_some(), fanout),
        ("probe-interval", flags.probe_interval.is_some(), fanout),
        ("duration", flags.duration.is_some(), &[Idle, Churn]),
    ];
    for (flag, given, modes) in given {
        if given && !modes.contains(&mode) {
            let modes: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
            let why = format!("is for --mode {} only; leave it out", modes.join(" or "));
            return Err(Wrong { flag, why });
        }
    }
    let needs = [
        ("channel", &flags.channel, "redis", &flags.redis),
        ("probe-channel", &flags.probe_channel, "redis", &flags.redis),
        ("probe-channel", &flags.probe_channel, "probe", &flags.probe),
        ("probe-interval", &flags.probe_interval, "probe", &flags.probe),
    ];
    for (flag, given, other, needed) in needs {
        if given.is_some() && needed.is_none() {
            let why = format!("needs --{other}; add it, or leave this out");
            return Err(Wrong { flag, why });
        }
    }
    if flags.publish.is_some() && flags.redis.is_some() {
        let why = "cannot be used with --redis; leave one of them out".to_owned();
        return Err(Wrong { flag: "publish", why });
    }
    Ok(())
}

/// How messages for what is subscribed to at this URL are published.
fn way(
    flags: &Flags,
    url: &Url,
    flag: &'static str,
    channel: &Option<String>,
) -> Result<Way, Wrong> {
    let redis = value("redis", &flags.redis, |text| redis_url::parse(text, LONGEST_MS, 64 * MIB))?;
    let Some(redis) = redis else { return Ok(Way::WebSocket(url.with_query("publish-broadcast"))) };
    let channel = match (channel, url.facility()) {
        (Some(channel), _) => channel.clone(),
        (None, Some(name)) => format!("broadcast:{name}"),
        (None, None) => {
            let why = "is missing, and the URL's path is not /ws/NAME; name the channel".to_owned();
            return Err(Wrong { flag, why });
        }
    };
    Ok(Way::Redis { redis, channel })
}

/// What a bare URL stands for where messages are heard.
fn subscribing(url: Url) -> Url {
    match (&url.query, url.facility()) {
        (None, Some(_)) => url.with_query("subscribe-broadcast"),
        _ => url,
    }
}

fn clients(flags: &Flags, descriptors: usize) -> Result<u32, Wrong> {
    let clients = count("clients", &flags.clients, 1000)?;
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

fn pid(text: &str) -> Result<u32, Wrong> {
    let pid = values::count(text, 1..=u32::MAX as usize);
    pid.map(|pid| pid as u32).map_err(|why| Wrong { flag: "pid", why })
}

/// `ws://HOST[:PORT][/path][?query]`
pub fn url(text: &str) -> Result<Url, String> {
    let form = "write ws://HOST:PORT/path?query";
    let wrong = |why: &str| format!("{} {why}; {form}", values::quoted(text));
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("has no scheme"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => {}
        "wss" | "https" => return Err(wrong("asks for TLS, which is not spoken here")),
        _ => return Err(wrong("has another scheme than ws")),
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['#', '@']) {
        let why = "has a character that must be percent-encoded, or a fragment or a user";
        return Err(wrong(why));
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) =
        values::host_and_port(authority).map_err(|why| wrong(&format!(": {why}")))?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (rest, None),
    };
    Ok(Url {
        authority: authority.to_owned(),
        host: host.to_owned(),
        port: port.unwrap_or(80),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
        query,
    })
}
