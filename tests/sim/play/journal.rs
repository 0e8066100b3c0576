//! What has happened in a game, for somebody who has to find out why.

use super::super::super::world::{Arrival, Call, Told};

/// Says what happens as it happens, if anybody wants to know.
pub struct Journal {
    pub trace: bool,
}

impl Journal {
    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{}", line());
        }
    }

    /// Says what the server was told, unless nothing has come of it.
    pub fn note(&self, call: &Call) {
        if !call.is_idle() {
            self.say(|| format!("    {}", readable(call)));
        }
    }
}

fn readable(call: &Call) -> String {
    let words = |words: &Vec<Vec<u8>>| {
        words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    };
    let told = match &call.told {
        Told::Redis(arrivals) => {
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
