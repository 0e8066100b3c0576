//! What a browser makes of a stream of server-sent events: the same that it would hear of a
//! WebSocket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::browser::Heard;

/// Takes the events that are whole from the front of `unread`, and notes their last id (HTML,
/// section 9.2.6).
pub fn take_events(unread: &mut Vec<u8>, last_id: &mut String) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
        let event: Vec<u8> = unread.drain(..end + 2).collect();
        let text = String::from_utf8(event).expect("a stream is UTF-8");
        assert!(!text.contains('\r'), "a CR ends a line: {text:?}");
        let event = text.strip_suffix("\n\n").expect("it was looked for");
        heard.extend(one(event, last_id));
    }
    heard
}

fn one(event: &str, last_id: &mut String) -> Option<Heard> {
    let (mut name, mut data, mut id) = ("", Vec::new(), None);
    for line in event.split('\n') {
        let (field, value) = line.split_once(':').expect("every line has a field");
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Heard::Ping(Vec::new())),
            "event" => name = value,
            "data" => data.push(value),
            "id" => id = Some(value.to_owned()),
            "retry" => assert!(value.parse::<u64>().is_ok(), "{value}"),
            other => panic!("no field of ours: {other:?}"),
        }
    }
    // Firefox forgets an id without data.
    if data.is_empty() {
        return None;
    }
    last_id.clone_from(&id.unwrap_or_else(|| last_id.clone()));
    if name == "subscribed" {
        return None;
    }
    let data = data.join("\n");
    let bytes = || STANDARD.decode(&data).expect("base64");
    Some(match name {
        "" => Heard::Text(data),
        "text" => Heard::Text(String::from_utf8(bytes()).expect("text")),
        "binary" => Heard::Binary(bytes()),
        // As a WebSocket hears it.
        "gap" if data == "*" => Heard::Text(String::new()),
        "gap" => Heard::Text(format!("gap {data}")),
        "close" => {
            let (code, why) = data.split_once(' ').expect("a code and a reason");
            Heard::Close(Some(code.parse().expect("a code")), why.to_owned())
        }
        other => panic!("no event of ours: {other:?}"),
    })
}
