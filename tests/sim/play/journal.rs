//! What has happened in a game, for somebody who has to find out why.

use super::super::super::world::{Arrival, Call};

/// What has happened.
pub struct Journal {
    pub name: String,
    /// It is said as it happens.
    pub trace: bool,
    said: Vec<String>,
}

impl Journal {
    pub fn new(name: &str, trace: bool) -> Journal {
        Journal { name: name.to_string(), trace, said: Vec::new() }
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        if self.trace {
            println!("{line}");
        }
        self.said.push(line);
    }

    /// Notes what the server was told, unless nothing has come of it.
    pub fn note(&mut self, call: &Call) {
        if self.trace && !call.is_idle() {
            println!("    {}", readable(call));
        }
    }
}

fn readable(call: &Call) -> String {
    let words = |words: &Vec<Vec<u8>>| {
        words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    };
    let told = match &call.told {
        super::super::super::world::Told::Redis(arrivals) => {
            let arrivals = arrivals.iter().map(|arrival| match arrival {
                Arrival::Subscribed(name) => format!("subscribed {}", name.escape_ascii()),
                Arrival::Message { channel, payload, publish } => {
                    let (channel, payload) = (channel.escape_ascii(), payload.escape_ascii());
                    format!("message {channel} {payload} {publish:?}")
                }
                Arrival::Answer { value: Some(value), .. } => {
                    format!("answer {}", value.escape_ascii())
                }
                Arrival::Refused(command) => format!("refused {}", words(command)),
                other => format!("{other:?}"),
            });
            format!("Redis {:?}", arrivals.collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    };
    let commands: Vec<String> = call.commands.iter().map(words).collect();
    let closing: Vec<String> =
        call.closing.iter().map(|(id, last)| format!("{id} {}", last.escape_ascii())).collect();
    let (at_ms, opened) = (call.now_ms, &call.opened);
    format!("{at_ms} {told}: opens {opened:?}, closes {closing:?}, asks {commands:?}")
}

impl Drop for Journal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("\n{}: the last of {} steps:", self.name, self.said.len());
            for line in self.said.iter().rev().take(40).rev() {
                println!("  {line}");
            }
        }
    }
}
