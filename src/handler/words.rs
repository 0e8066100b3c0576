//! L2: what frames say of conns, and what orders they are.

use crate::browser::endpoint::{ConnId, ConnRequest, Message, Order, SocketEvent};
use crate::link::LinkId;
use crate::proto::handler::{HandlerKind, HandlerSaid, append};
use crate::proto::ws::frame::{self, Opcode};

/// The name of a conn on the link.
pub(super) fn name(ConnId(link): ConnId) -> u64 {
    u64::from(link.generation) << 32 | u64::from(link.index)
}

/// The conn of that name, should there be one.
pub(super) fn conn(name: u64) -> ConnId {
    ConnId(LinkId { index: name as u32, generation: (name >> 32) as u32 })
}

/// The name of the conn that something has happened to; nothing for what an endpoint here never
/// takes, which is plain requests and conns of the relay.
pub(super) fn conn_of(event: &SocketEvent) -> Option<u64> {
    match event {
        SocketEvent::Asked { conn, .. }
        | SocketEvent::Opened { conn, .. }
        | SocketEvent::Message { conn, .. }
        | SocketEvent::Closed { conn, .. } => Some(name(*conn)),
        SocketEvent::Joining { .. }
        | SocketEvent::Released { .. }
        | SocketEvent::Request { .. } => None,
    }
}

/// The name of the conn that has closed, if one has.
pub(super) fn closed(event: &SocketEvent) -> Option<u64> {
    conn_of(event).filter(|_| matches!(event, SocketEvent::Closed { .. }))
}

/// What an application wants of a conn or of the broker. Credit is no order, but the link's.
pub(super) fn order(said: HandlerSaid<'_>) -> Option<Order> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Some(match said {
        HandlerSaid::Text(name, text) => {
            let frame = frame::encode(Opcode::Text, text.as_bytes());
            Order::Send { conn: conn(name), frame }
        }
        HandlerSaid::Binary(name, bytes) => {
            Order::Send { conn: conn(name), frame: frame::encode(Opcode::Binary, bytes) }
        }
        HandlerSaid::BroadcastText(names, text) => {
            let frame = frame::encode(Opcode::Text, text.as_bytes());
            Order::Broadcast { conns: names.into_iter().map(conn).collect(), frame }
        }
        HandlerSaid::BroadcastBinary(names, bytes) => {
            let frame = frame::encode(Opcode::Binary, bytes);
            Order::Broadcast { conns: names.into_iter().map(conn).collect(), frame }
        }
        HandlerSaid::Close(name, code, reason) => {
            Order::Close { conn: conn(name), code, reason: reason.to_owned() }
        }
        HandlerSaid::Accept(name, protocol, headers) => Order::Accept {
            conn: conn(name),
            protocol: protocol.map(str::to_owned),
            headers: headers.into_iter().map(owned).collect(),
        },
        HandlerSaid::Refuse(name, status, text) => {
            Order::Refuse { conn: conn(name), status, text: text.to_owned() }
        }
        HandlerSaid::Subscribe(name, channel) => {
            Order::Subscribe { conn: conn(name), channel: channel.to_owned() }
        }
        HandlerSaid::Unsubscribe(name, channel) => {
            Order::Unsubscribe { conn: conn(name), channel: channel.to_owned() }
        }
        HandlerSaid::Publish(channel, message) => {
            Order::Publish { channel: channel.to_owned(), payload: message.to_vec() }
        }
        HandlerSaid::Pause(name) => Order::Pause { conn: conn(name), pauses: true },
        HandlerSaid::Resume(name) => Order::Pause { conn: conn(name), pauses: false },
        HandlerSaid::Credit(_) => return None,
    })
}

/// Puts the frame of an event of that conn behind `into`.
pub(super) fn append_event(name: u64, event: SocketEvent, into: &mut Vec<u8>) {
    match event {
        SocketEvent::Asked { request, .. } => {
            append(HandlerKind::Asked, name, &[&self::request(&request)], into);
        }
        SocketEvent::Opened { request, .. } => {
            append(HandlerKind::Opened, name, &[&self::request(&request)], into);
        }
        SocketEvent::Message { message: Message::Text(text), .. } => {
            append(HandlerKind::Text, name, &[text.as_bytes()], into);
        }
        SocketEvent::Message { message: Message::Binary(bytes), .. } => {
            append(HandlerKind::Binary, name, &[&bytes], into);
        }
        SocketEvent::Closed { code, reason, .. } => {
            let parts = [&code.to_be_bytes()[..], reason.as_bytes()];
            append(HandlerKind::Close, name, &parts, into);
        }
        SocketEvent::Joining { .. }
        | SocketEvent::Released { .. }
        | SocketEvent::Request { .. } => {}
    }
}

/// What a conn asks for, as lines: what wsloop knows of it by names with a colon before them, and
/// the headers behind these. No value has a line end: it could not have come in a head, and would
/// say something in wsloop's name.
pub(super) fn request(request: &ConnRequest) -> Vec<u8> {
    let ConnRequest { address, path, query, headers, protocols, user, groups, session } = request;
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &[u8]| {
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend(value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        lines.push(b'\n');
    };
    line(":path", path.as_bytes());
    line(":query", query.as_bytes());
    if let Some(address) = address {
        line(":address", address.to_string().as_bytes());
    }
    for (name, value) in [(":user", user), (":session", session)] {
        value.iter().for_each(|value| line(name, value.as_bytes()));
    }
    groups.iter().for_each(|group| line(":group", group.as_bytes()));
    protocols.iter().for_each(|protocol| line(":protocol", protocol.as_bytes()));
    headers.iter().for_each(|(name, value)| line(name, value));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_lines() {
        let asked = ConnRequest {
            address: Some([192, 0, 2, 7].into()),
            path: "/chat/%20".to_owned(),
            query: String::new(),
            headers: vec![
                ("Host".to_owned(), b"h\n:user: 1".to_vec()),
                ("X".to_owned(), vec![0xff]),
            ],
            protocols: vec!["a".to_owned(), "b".to_owned()],
            user: Some("john".to_owned()),
            groups: vec!["staff".to_owned()],
            session: None,
        };
        let lines =
            b":path: /chat/%20\n:query: \n:address: 192.0.2.7\n:user: john\n:group: staff\n\
                      :protocol: a\n:protocol: b\nHost: h :user: 1\nX: \xff\n";
        assert_eq!(request(&asked).escape_ascii().to_string(), lines.escape_ascii().to_string());
    }

    #[test]
    fn a_conn_is_found_by_its_name() {
        for link in [(0, 1), (7, u32::MAX), (u32::MAX, 9)] {
            let of = ConnId(LinkId { index: link.0, generation: link.1 });
            assert_eq!(conn(name(of)), of);
        }
    }
}
