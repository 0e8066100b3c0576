//! L1: figures that are no single number: how long things take, and how they end.
//!
//! It knows buckets and labels, not what is measured.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The upper ends of the buckets, in microseconds.
const ENDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// The last is for what is longer than every end.
    counts: [u64; ENDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// It took so long.
    pub(crate) fn note(&mut self, us: u64) {
        let at = ENDS_US.iter().position(|end| us <= *end).unwrap_or(ENDS_US.len());
        self.counts[at] += 1;
        self.sum_us += us;
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (end_us, count) in ENDS_US.iter().zip(self.counts) {
            sum += count;
            let end = seconds(*end_us);
            line(text, &format!("{name}_bucket{{{labels}{comma}le=\"{end}\"}}"), &sum);
        }
        sum += self.counts[ENDS_US.len()];
        line(text, &format!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}}"), &sum);
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        line(text, &format!("{name}_sum{labels}"), &seconds(self.sum_us));
        line(text, &format!("{name}_count{labels}"), &sum);
    }
}

/// Who is asked about a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskKind {
    /// Redis, for a session.
    Session,
    /// The application.
    Application,
}

/// What has come of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskOutcome {
    /// It is known who it is.
    Known,
    /// Nobody that is known.
    Unknown,
    /// The application says no.
    Refused,
    /// No answer of use.
    Failed,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Turns of the loop, its sleep not counted.
    pub turns: Histogram,
    /// From when messages have arrived until they are written to all whose sockets take them.
    pub fanouts: Histogram,
    asks: [Histogram; 2],
    outcomes: [[u64; 4]; 2],
    /// Refused handshakes, by their status.
    pub refusals: BTreeMap<u16, u64>,
    /// Closes by who has begun them, the server or the browser, and their code.
    closes: [BTreeMap<u16, u64>; 2],
}

/// Codes that are counted by themselves, of those that a browser may choose: there is no end to
/// them.
const CODES: [u16; 14] =
    [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];

impl Figures {
    /// A question was answered after so long.
    pub(crate) fn asked(&mut self, kind: AskKind, outcome: AskOutcome, ms: u64) {
        self.asks[kind as usize].note(ms * 1000);
        self.outcomes[kind as usize][outcome as usize] += 1;
    }

    /// The server closes a conn with that code.
    pub(crate) fn closed(&mut self, code: u16) {
        *self.closes[0].entry(code).or_default() += 1;
    }

    /// A browser has closed with that code, or none, or without a word (1006).
    pub(crate) fn left(&mut self, code: Option<u16>) {
        let code = Some(code.unwrap_or(1005)).filter(|code| CODES.contains(code));
        *self.closes[1].entry(code.unwrap_or(0)).or_default() += 1;
    }

    /// The text that Prometheus reads.
    pub(crate) fn write(&self, text: &mut String) {
        let lengths = [
            ("turn_seconds", "Turns of the loop, its sleep not counted.", &self.turns),
            (
                "fanout_seconds",
                "From the arrival of messages until they are written to who reads.",
                &self.fanouts,
            ),
        ];
        for (name, help, histogram) in lengths {
            about(text, name, "histogram", help);
            histogram.write(text, &format!("wsloop_{name}"), "");
        }
        let kinds = ["session", "application"];
        about(text, "ask_seconds", "histogram", "Questions about who asks, until their answer.");
        for (kind, histogram) in kinds.iter().zip(&self.asks) {
            histogram.write(text, "wsloop_ask_seconds", &format!("ask=\"{kind}\""));
        }
        about(text, "asks_total", "counter", "Questions about who asks, by what came of them.");
        let outcomes = ["known", "unknown", "refused", "failed"];
        for (kind, counts) in kinds.iter().zip(self.outcomes) {
            for (outcome, count) in outcomes.iter().zip(counts) {
                let labels = format!("{{ask=\"{kind}\",outcome=\"{outcome}\"}}");
                line(text, &format!("wsloop_asks_total{labels}"), &count);
            }
        }
        about(text, "refusals_total", "counter", "Refused requests, by their status.");
        for (status, count) in &self.refusals {
            line(text, &format!("wsloop_refusals_total{{status=\"{status}\"}}"), count);
        }
        about(text, "closes_total", "counter", "Closes of open conns, by who began and the code.");
        for (by, closes) in ["server", "browser"].iter().zip(&self.closes) {
            for (code, count) in closes {
                let code = if *code == 0 { "other".to_owned() } else { code.to_string() };
                let labels = format!("{{by=\"{by}\",code=\"{code}\"}}");
                line(text, &format!("wsloop_closes_total{labels}"), count);
            }
        }
    }
}

/// What goes before the values of a metric.
pub(crate) fn about(text: &mut String, name: &str, kind: &str, help: &str) {
    let name = match name.starts_with("process_") {
        true => name.to_owned(),
        false => format!("wsloop_{name}"),
    };
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
}

/// A value.
pub(crate) fn line(text: &mut String, name: &str, value: &dyn std::fmt::Display) {
    writeln!(text, "{name} {value}").expect("a String takes all");
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_no_longer_than_their_end() {
        let mut histogram = Histogram::default();
        [0, 100, 101, 5_000_000, 5_000_001].into_iter().for_each(|us| histogram.note(us));
        let mut text = String::new();
        histogram.write(&mut text, "x", "a=\"b\"");
        for expected in [
            "x_bucket{a=\"b\",le=\"0.0001\"} 2\n",
            "x_bucket{a=\"b\",le=\"0.00025\"} 3\n",
            "x_bucket{a=\"b\",le=\"5\"} 4\n",
            "x_bucket{a=\"b\",le=\"+Inf\"} 5\n",
            "x_sum{a=\"b\"} 10.000202\n",
            "x_count{a=\"b\"} 5\n",
        ] {
            assert!(text.contains(expected), "{expected}{text}");
        }
    }

    #[test]
    fn browsers_cannot_make_the_labels_grow() {
        let mut figures = Figures::default();
        (3000..5000).for_each(|code| figures.left(Some(code)));
        figures.left(None);
        let mut text = String::new();
        figures.write(&mut text);
        assert!(text.contains("wsloop_closes_total{by=\"browser\",code=\"other\"} 2000\n"));
        assert_eq!(text.matches("wsloop_closes_total{").count(), 2, "{text}");
    }
}
