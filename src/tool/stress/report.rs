//! L4: what came out of a run: for a person, and for a program.

use std::fmt::{self, Display, Write};

use super::Mode;
use super::histogram::Histogram;
use super::process::Cpu;

/// The quantiles that are reported, besides the longest.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// Processor time of the server and of this tool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// The server's processes.
    pub server: Cpu,
    /// This process.
    pub tool: Cpu,
}

impl Usage {
    /// What was used since.
    pub fn since(self, before: Usage) -> Usage {
        Usage { server: self.server.since(before.server), tool: self.tool.since(before.tool) }
    }
}

/// A close frame's code and reason; `None` is hanging up without one.
pub(super) type Close = Option<(u16, String)>;

/// Everything that was counted and timed.
#[derive(Debug)]
pub struct Report {
    /// What the crowd did.
    pub mode: Mode,
    /// Where.
    pub url: String,
    /// How many they were to be.
    pub clients: u32,
    /// Handshakes that were completed.
    pub handshakes: u64,
    /// Seconds that these took together.
    pub connecting_s: f64,
    /// How long each took.
    pub connect: Histogram,
    /// Messages, of all or for each, that there were to be.
    pub messages: u32,
    /// Bytes of a payload.
    pub size: usize,
    /// Messages in flight.
    pub window: u32,
    /// Messages received, each counted once for each client.
    pub received: u64,
    /// Messages that were sent, or to be sent, and were not received.
    pub lost: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Messages that nobody sent.
    pub corrupt: u64,
    /// Seconds of traffic, or of idling.
    pub traffic_s: f64,
    /// How long each receipt took.
    pub latency: Histogram,
    /// How long each message took to the last who received it.
    pub last: Histogram,
    /// What the quiet stream was like, if there was one.
    pub probe: Option<ProbeReport>,
    /// Used while connecting.
    pub connecting: Usage,
    /// Used by the traffic, or by idling.
    pub traffic: Usage,
    /// The server's private memory: before, connected, and after the traffic.
    pub memory: [Option<u64>; 3],
    /// The server's processes were known.
    pub watched: bool,
    /// How conns were closed unasked, and how many.
    pub closes: Vec<(Close, u64)>,
    /// Why the run ended before its time.
    pub failure: Option<String>,
}

/// The quiet stream.
#[derive(Debug)]
pub struct ProbeReport {
    /// Messages sent.
    pub messages: u32,
    /// Messages that were not received.
    pub lost: u64,
    /// How long each receipt took.
    pub latency: Histogram,
}

impl Report {
    /// What went wrong, in one line; `None` if nothing did.
    pub fn complaint(&self) -> Option<String> {
        let mut parts: Vec<String> = self.failure.iter().cloned().collect();
        for (close, count) in &self.closes {
            parts.push(match close {
                Some((code, reason)) if reason.is_empty() => {
                    format!("{count} closed by the server with {code}")
                }
                Some((code, reason)) => {
                    format!("{count} closed by the server with {code} {}", reason.escape_debug())
                }
                None => format!("{count} hung up on by the server"),
            });
        }
        let probe_lost = self.probe.as_ref().map_or(0, |probe| probe.lost);
        for (count, name) in [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.corrupt, "corrupt"),
            (probe_lost, "of the probe lost"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {name}"));
            }
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// One JSON object, in a line.
    pub fn json(&self) -> String {
        let mut json = Object::default();
        json.text("mode", self.mode.name());
        json.text("url", &self.url);
        json.number("clients", self.clients);
        json.number("connected", self.handshakes);
        let mut connect = Object::default();
        connect.float("seconds", Some(self.connecting_s));
        connect.float("per_s", per(self.handshakes as f64, self.connecting_s));
        connect.value("ms", quantiles(&self.connect));
        json.value("connect", connect.end());
        let exchanges = matches!(self.mode, Mode::Fanout | Mode::Echo);
        let or_null = |text: String| if exchanges { text } else { "null".to_owned() };
        json.value("messages", or_null(self.messages.to_string()));
        json.value("size", or_null(self.size.to_string()));
        json.value("window", or_null(self.window.to_string()));
        json.number("deliveries", self.received);
        json.number("lost", self.lost);
        json.number("duplicated", self.duplicated);
        json.number("reordered", self.reordered);
        json.number("corrupt", self.corrupt);
        json.float("seconds", Some(self.traffic_s));
        json.float("deliveries_per_s", per(self.received as f64, self.traffic_s));
        json.value("latency_ms", or_null(quantiles(&self.latency)));
        let last = quantiles(&self.last);
        json.value("last_ms", if self.mode == Mode::Fanout { last } else { "null".to_owned() });
        let probe = self.probe.as_ref().map(|probe| {
            let mut json = Object::default();
            json.number("messages", probe.messages);
            json.number("lost", probe.lost);
            json.value("latency_ms", quantiles(&probe.latency));
            json.end()
        });
        json.value("probe", probe.unwrap_or_else(|| "null".to_owned()));
        let server = self.watched.then(|| self.server_json());
        json.value("server", server.unwrap_or_else(|| "null".to_owned()));
        let mut tool = Object::default();
        tool.float("handshake_cpu_us", self.per_handshake(Some(self.connecting.tool.total_s)));
        tool.float("delivery_cpu_us", self.per_delivery(Some(self.traffic.tool.total_s)));
        json.value("tool", tool.end());
        let closes: Vec<String> = self.closes.iter().map(close_json).collect();
        json.value("closes", format!("[{}]", closes.join(",")));
        match &self.failure {
            Some(failure) => json.text("failure", failure),
            None => json.value("failure", "null"),
        }
        json.end()
    }

    fn server_json(&self) -> String {
        let (connecting, traffic) = (self.connecting.server, self.traffic.server);
        let mut json = Object::default();
        json.float("handshake_cpu_us", self.per_handshake(Some(connecting.total_s)));
        json.float("handshake_user_us", self.per_handshake(connecting.user_s()));
        json.float("delivery_cpu_us", self.per_delivery(Some(traffic.total_s)));
        json.float("delivery_user_us", self.per_delivery(traffic.user_s()));
        json.float("delivery_faults", per(traffic.faults as f64, self.received as f64));
        json.float("idle_cpu_percent", self.idle_percent());
        json.float("cpu_s", Some(connecting.total_s + traffic.total_s));
        let mut memory = Object::default();
        for (name, bytes) in ["before", "connected", "after"].iter().zip(self.memory) {
            memory.value(name, bytes.map_or("null".to_owned(), |bytes| bytes.to_string()));
        }
        json.value("private_bytes", memory.end());
        json.float("bytes_per_conn", self.bytes_per_conn(1));
        json.float("bytes_per_conn_after", self.bytes_per_conn(2));
        json.end()
    }

    /// A table of what there is to say.
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        rows.push(("mode", format!("{} on {}", self.mode.name(), self.url)));
        let rate = per(self.handshakes as f64, self.connecting_s).unwrap_or(0.0);
        let took = format!("in {:.2} s, {rate:.0} a second", self.connecting_s);
        match self.mode {
            Mode::Churn => rows.push(("handshakes", format!("{} {took}", self.handshakes))),
            _ => {
                rows.push(("connected", format!("{} of {} {took}", self.handshakes, self.clients)))
            }
        }
        rows.push(("handshake", latencies(&self.connect)));
        if matches!(self.mode, Mode::Fanout | Mode::Echo) {
            let each = if self.mode == Mode::Echo { " for each client" } else { "" };
            let (messages, size, window) = (self.messages, self.size, self.window);
            rows.push(("messages", format!("{messages}{each}, {size} bytes, {window} in flight")));
            let rate = per(self.received as f64, self.traffic_s).unwrap_or(0.0);
            rows.push((
                "deliveries",
                format!("{} in {:.2} s, {rate:.0} a second", self.received, self.traffic_s),
            ));
            rows.push(("latency", latencies(&self.latency)));
        }
        if self.mode == Mode::Fanout {
            rows.push(("until the last", latencies(&self.last)));
        }
        if let Some(probe) = &self.probe {
            rows.push(("probe", format!("{} messages", probe.messages)));
            rows.push(("probe latency", latencies(&probe.latency)));
        }
        if self.watched {
            self.server_rows(&mut rows);
        }
        rows.push(("verdict", self.complaint().unwrap_or_else(|| "nothing lost".to_owned())));
        let mut out = String::new();
        for (name, value) in rows {
            let _ = writeln!(out, "{name:<15} {value}");
        }
        out
    }

    fn server_rows(&self, rows: &mut Vec<(&str, String)>) {
        let (connecting, traffic) = (self.connecting.server, self.traffic.server);
        let cpu = |all: Option<f64>, user: Option<f64>, what: &str| {
            let user = user.map_or(String::new(), |us| format!(", {us:.2} µs of it in user space"));
            all.map(|us| format!("{us:.2} µs per {what}{user}"))
        };
        let user = self.per_handshake(connecting.user_s());
        let handshake = self.per_handshake(Some(connecting.total_s));
        rows.extend(cpu(handshake, user, "handshake").map(|text| ("server CPU", text)));
        let user = self.per_delivery(traffic.user_s());
        let delivery = self.per_delivery(Some(traffic.total_s));
        rows.extend(cpu(delivery, user, "delivery").map(|text| ("server CPU", text)));
        if let Some(percent) = self.idle_percent() {
            rows.push(("server CPU", format!("{percent:.2} % of a core")));
        }
        for (at, when) in [(1, "connected"), (2, "afterwards")] {
            if let (Some(bytes), Some(each)) = (self.memory[at], self.bytes_per_conn(at)) {
                let mib = bytes as f64 / (1 << 20) as f64;
                let text = format!("{each:.0} bytes per conn {when}, {mib:.2} MiB in all");
                rows.push(("server memory", text));
            }
        }
        if let Some(us) = self.per_delivery(Some(self.traffic.tool.total_s)) {
            rows.push(("this tool's CPU", format!("{us:.2} µs per delivery")));
        }
    }

    fn per_handshake(&self, seconds: Option<f64>) -> Option<f64> {
        per(seconds? * 1e6, self.handshakes as f64)
    }

    fn per_delivery(&self, seconds: Option<f64>) -> Option<f64> {
        per(seconds? * 1e6, self.received as f64)
    }

    fn idle_percent(&self) -> Option<f64> {
        let idle = self.mode == Mode::Idle;
        per(self.traffic.server.total_s * 100.0, self.traffic_s).filter(|_| idle)
    }

    /// What a conn added to the memory before, at one of the later readings.
    fn bytes_per_conn(&self, at: usize) -> Option<f64> {
        let [Some(before), Some(_), _] = self.memory else { return None };
        per(self.memory[at]? as f64 - before as f64, self.handshakes as f64)
    }
}

/// A quotient, if there is one.
fn per(sum: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| sum / count)
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn quantiles(histogram: &Histogram) -> String {
    let mut json = Object::default();
    for (name, share) in QUANTILES {
        json.float(name, Some(ms(histogram.quantile(share))));
    }
    json.float("max", Some(ms(histogram.max())));
    json.end()
}

fn latencies(histogram: &Histogram) -> String {
    let mut text = String::new();
    for (name, share) in QUANTILES {
        let name = name.replace("p999", "p99.9");
        let _ = write!(text, "{name} {:.3} ms, ", ms(histogram.quantile(share)));
    }
    let _ = write!(text, "longest {:.3} ms", ms(histogram.max()));
    text
}

fn close_json((close, count): &(Close, u64)) -> String {
    let mut json = Object::default();
    match close {
        Some((code, reason)) => {
            json.number("code", code);
            json.text("reason", reason);
        }
        None => json.value("code", "null"),
    }
    json.number("count", count);
    json.end()
}

/// A JSON object that is being written.
#[derive(Default)]
struct Object(String);

impl Object {
    /// A field whose value is JSON already.
    fn value(&mut self, name: &str, json: impl Display) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}\"{name}\":{json}");
    }

    fn number(&mut self, name: &str, number: impl Display) {
        self.value(name, number);
    }

    fn float(&mut self, name: &str, number: Option<f64>) {
        match number {
            Some(number) => self.value(name, format_args!("{number:.4}")),
            None => self.value(name, "null"),
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.value(name, Quoted(text));
    }

    fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// A JSON string.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let text = Quoted("a\"b\\c\n\u{7f}é").to_string();
        assert_eq!(text, "\"a\\\"b\\\\c\\u000a\\u007fé\"");
        let mut json = Object::default();
        json.text("a", "b");
        json.float("c", None);
        json.float("d", per(1.0, 8.0));
        assert_eq!(json.end(), "{\"a\":\"b\",\"c\":null,\"d\":0.1250}");
    }
}
