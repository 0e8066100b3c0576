//! A room in which everybody hears what anybody says, who comes and who goes. The name is in the
//! URL: `ws://127.0.0.1:8080/?name=alice`. Usage: `chat [ADDRESS]`, `127.0.0.1:8080` without.

use std::collections::HashMap;

use wsloop::{ConnId, Message, SocketEvent, Sockets, SocketsError};

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    serve(Sockets::bind(&address)?)
}

/// Keeps the room.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    let mut names: HashMap<ConnId, String> = HashMap::new();
    loop {
        let notice = match sockets.recv()? {
            SocketEvent::Opened { conn, request } => {
                let name = request.query.strip_prefix("name=").unwrap_or("somebody").to_owned();
                let notice = format!("* {name} has come");
                names.insert(conn, name);
                notice
            }
            SocketEvent::Message { conn, message: Message::Text(text) } => {
                format!("{}: {text}", names[&conn])
            }
            SocketEvent::Message { conn, .. } => {
                sockets.close(conn, 1003, "only text is understood here")?;
                continue;
            }
            SocketEvent::Closed { conn, .. } => match names.remove(&conn) {
                Some(name) => format!("* {name} has gone"),
                None => continue,
            },
            _ => continue,
        };
        sockets.broadcast(names.keys().copied(), notice);
    }
}
