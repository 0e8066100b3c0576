//! L0: server-sent events, as browsers read them with EventSource (HTML, section 9.2).
//!
//! It knows the text of a stream; not who reads it, nor what HTTP says before. Its rules:
//! * an event ends with an empty line and has none in it, so that a run of events can be cut
//!   again;
//! * what a message says arrives as it was: each line is a line of data. A CR would end a line,
//!   so a text that has one goes as base64, and so does what is not text;
//! * nothing begins like a WebSocket frame, whose first byte is no ASCII.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What keeps a stream in use: a comment, which no page sees.
pub const COMMENT: &[u8] = b":\n\n";

/// What tells a page that something may be missing of all that it hears.
pub const GAP: &[u8] = b"event: gap\ndata: *\n\n";

/// What tells a page that something may be missing of one channel.
pub fn gap(channel: &str) -> Vec<u8> {
    format!("event: gap\ndata: {channel}\n\n").into_bytes()
}

/// What tells a page that a channel begins: it has data, as Firefox forgets an id without.
pub fn subscribed(channel: &str) -> Vec<u8> {
    format!("event: subscribed\ndata: {channel}\n\n").into_bytes()
}

/// One message as an event: text as it is, under no name, where that can be.
pub fn event(payload: &[u8], is_text: bool) -> Vec<u8> {
    let has_cr = || payload.contains(&b'\r');
    match is_text {
        true if !has_cr() => lines(payload),
        true => in_base64("text", payload),
        false => in_base64("binary", payload),
    }
}

/// The last event of a stream that the server ends: why, by the code that a WebSocket would be
/// closed with. With `retry_ms` the browser waits so long before it comes back.
pub fn close(code: u16, reason: &str, retry_ms: Option<u32>) -> Vec<u8> {
    let retry = retry_ms.map_or(String::new(), |ms| format!("retry: {ms}\n"));
    let reason: String =
        reason.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    format!("{retry}event: close\ndata: {code} {reason}\n\n").into_bytes()
}

/// The events of a run, each with the empty line that ends it. What has no such end is the last.
pub fn events(mut run: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = run.windows(2).position(|two| two == b"\n\n").map_or(run.len(), |at| at + 2);
        let (event, rest) = run.split_at(end);
        run = rest;
        (!event.is_empty()).then_some(event)
    })
}

fn lines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in text.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
    out
}

fn in_base64(name: &str, payload: &[u8]) -> Vec<u8> {
    format!("event: {name}\ndata: {}\n\n", STANDARD.encode(payload)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser makes of a stream: name and data of each event (HTML, section 9.2.6).
    fn read(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
        let text = String::from_utf8(stream.to_vec()).expect("a stream is UTF-8");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), Vec::new());
        for line in text.replace("\r\n", "\n").split(['\r', '\n']) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    if !data.is_empty() {
                        data.pop();
                        events.push((std::mem::take(&mut name), std::mem::take(&mut data)));
                    }
                    name.clear();
                }
                "event" => name = value.to_owned(),
                "data" => data.extend(value.bytes().chain([b'\n'])),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn what_is_sent_arrives_as_it_was() {
        for (payload, is_text, name) in [
            (&b"hi"[..], true, ""),
            (b"", true, ""),
            (b" leading", true, ""),
            (b"one\ntwo", true, ""),
            (b"\n", true, ""),
            (b"one\n\n\ntwo\n", true, ""),
            (b"data: x\n\nevent: gap", true, ""),
            (b"cr\rlf\r\n", true, "text"),
            (b"\r", true, "text"),
            (b"\xff\x00", false, "binary"),
            (b"hi", false, "binary"),
        ] {
            let sent = event(payload, is_text);
            let [(known, data)] = &read(&sent)[..] else { panic!("{payload:?}: {sent:?}") };
            let data = match name {
                "" => data.clone(),
                _ => STANDARD.decode(data).expect("base64"),
            };
            assert_eq!((&known[..], &data[..]), (name, payload));
            assert_eq!(events(&sent).count(), 1, "{payload:?}");
        }
    }

    #[test]
    fn a_run_is_cut_where_its_events_end() {
        let all = [event(b"a\n\nb", true), COMMENT.to_vec(), GAP.to_vec(), event(b"\n", true)];
        let run = all.concat();
        assert_eq!(events(&run).collect::<Vec<_>>(), all.iter().collect::<Vec<_>>());
        assert_eq!(events(b"data: unfinished").count(), 1);
        assert_eq!(events(b"").count(), 0);
        assert!(all.iter().all(|event| event[0].is_ascii()));
    }

    #[test]
    fn an_end_says_why_and_when_to_come_back() {
        let sent = close(1012, "one\ntwo", Some(1500));
        assert_eq!(sent, b"retry: 1500\nevent: close\ndata: 1012 one two\n\n");
        assert_eq!(close(4401, "late", None), b"event: close\ndata: 4401 late\n\n");
    }
}
