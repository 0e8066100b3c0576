//! Every message comes back. Usage: `echo [ADDRESS]`, `127.0.0.1:8080` without.

use wsloop::{SocketEvent, Sockets, SocketsError};

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    serve(Sockets::bind(&address)?)
}

/// Sends back what is received, as the kind of message that it is.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    loop {
        if let SocketEvent::Message { conn, message } = sockets.recv()? {
            sockets.send_message(conn, &message);
        }
    }
}
