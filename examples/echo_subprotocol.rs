//! An echo that speaks the sub-protocol `echo`, and lets in who offers that.
//! Usage: `echo_subprotocol [ADDRESS]`, `127.0.0.1:8080` without.

use wsloop::{Endpoint, Settings, SocketEvent, Sockets, SocketsError};

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    serve(bind(address)?)
}

/// One endpoint whose handshakes are decided here.
pub fn bind(address: String) -> Result<Sockets, SocketsError> {
    let endpoint = Endpoint { decides: true, ..Endpoint::default() };
    Sockets::serve(&[address], Settings::without_relay(), endpoint)
}

/// Decides, and sends back what is received.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    loop {
        match sockets.recv()? {
            SocketEvent::Asked { conn, request } => {
                match request.protocols.iter().any(|offered| offered == "echo") {
                    true => sockets.accept(conn, Some("echo"), &[])?,
                    false => sockets.refuse(conn, 400, "Offer the sub-protocol echo.")?,
                }
            }
            SocketEvent::Message { conn, message } => {
                sockets.send_message(conn, &message);
            }
            _ => {}
        }
    }
}
