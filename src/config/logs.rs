//! L4: the form of the lines of the log: for people, or for programs that collect them.
//!
//! A line is an event: when, how severe, what is said, and fields, if the event has any.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// `name=value`, with quotes where a value needs them.
    Logfmt,
    /// A JSON object.
    Json,
}

impl LogFormat {
    pub(super) fn parse(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "logfmt" => Ok(LogFormat::Logfmt),
            "json" => Ok(LogFormat::Json),
            _ => {
                let quoted = super::values::quoted(text);
                Err(format!("{quoted} is no format of a log; write text, logfmt or json"))
            }
        }
    }
}

/// The form, and which worker it is that writes, where there are several.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogForm {
    /// The form.
    pub format: LogFormat,
    /// The number of the worker.
    pub worker: Option<usize>,
}

impl FormatTime for LogForm {
    /// What a line for people begins with.
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        match self.worker {
            None => Ok(()),
            Some(number) => write!(writer, " worker {number}"),
        }
    }
}

impl<S, N> FormatEvent<S, N> for LogForm
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let mut line = Line { json: self.format == LogFormat::Json, text: String::new() };
        line.put("time", &time, false);
        line.put("level", &level, false);
        let worker = self.worker.map(|number| number.to_string());
        worker.iter().for_each(|number| line.put("worker", number, true));
        event.record(&mut line);
        match line.json {
            true => writeln!(writer, "{{{}}}", line.text),
            false => writeln!(writer, "{}", line.text),
        }
    }
}

/// A line that is being written.
struct Line {
    json: bool,
    text: String,
}

impl Line {
    /// A field; `bare` is a number or a truth value.
    fn put(&mut self, name: &str, value: &str, bare: bool) {
        let name = if name == "message" { "msg" } else { name };
        // Nobody can begin another line with what they say of themselves.
        let quoted = || serde_json::Value::from(value).to_string();
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'=';
        let is_word = !value.is_empty() && value.bytes().all(is_plain);
        let separator = match (self.text.is_empty(), self.json) {
            (true, _) => "",
            (false, true) => ",",
            (false, false) => " ",
        };
        let value = if bare || !self.json && is_word { value.to_owned() } else { quoted() };
        let done = match self.json {
            true => write!(self.text, "{separator}\"{name}\":{value}"),
            false => write!(self.text, "{separator}{name}={value}"),
        };
        done.expect("a String takes all");
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), &format!("{value:?}"), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value, false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), &value.to_string(), true);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), &value.to_string(), true);
    }
}
