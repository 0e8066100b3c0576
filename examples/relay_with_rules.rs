//! The relay with rules of its own: a table says who may hear which room, and who may speak there.
//! Who comes and goes is said to those who are there. The name is in the URL, as in
//! `ws://127.0.0.1:8080/ws/lobby?name=alice`; in earnest a source says who it is, in `request.user`.
//! Usage: `relay_with_rules [ADDRESS]`, `127.0.0.1:8080` without.

use std::collections::HashMap;

use wsloop::{Channels, ConnId, Endpoint, Settings, SocketEvent, Sockets, SocketsError};

/// Who may hear which room, and whether it may speak there.
const TABLE: [(&str, &str, bool); 4] = [
    ("alice", "lobby", true),
    ("alice", "news", true),
    ("bob", "lobby", true),
    ("bob", "news", false),
];

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    serve(bind(address)?)
}

/// The relay, and an endpoint that has no path of its own but decides about the relay's conns.
pub fn bind(address: String) -> Result<Sockets, SocketsError> {
    let endpoint = Endpoint { path: String::new(), joins: true, ..Endpoint::default() };
    Sockets::serve(&[address], Settings::base(), endpoint)
}

/// Decides, and says who comes and goes.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    let mut here: HashMap<ConnId, (String, String)> = HashMap::new();
    loop {
        match sockets.recv()? {
            SocketEvent::Joining { conn, request, wanted } => {
                let name = request.query.strip_prefix("name=").unwrap_or_default().to_owned();
                let is_its = |row: &&(&str, &str, bool)| row.0 == name && row.1 == wanted.facility;
                let Some((_, room, speaks)) = TABLE.iter().find(is_its) else {
                    sockets.refuse(conn, 403, "This room is not for you.")?;
                    continue;
                };
                let (said, notices) = (format!("room:{room}"), format!("notices:{room}"));
                let channels = Channels {
                    // The last that was said is stored, and what comes and goes is not of use later.
                    hears: vec![said.clone()],
                    hears_live: vec![notices.clone()],
                    publishes: if *speaks { vec![said] } else { Vec::new() },
                };
                sockets.grant(conn, channels)?;
                sockets.publish(&notices, format!("* {name} has come"))?;
                here.insert(conn, (name, notices));
            }
            SocketEvent::Released { conn, .. } => {
                if let Some((name, notices)) = here.remove(&conn) {
                    sockets.publish(&notices, format!("* {name} has gone"))?;
                }
            }
            _ => {}
        }
    }
}
