//! Counts the seconds for everybody who listens, and hears nothing. Pings keep connections alive,
//! and find out who has gone, without a line here.
//! Usage: `ticker [ADDRESS]`, `127.0.0.1:8080` without.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use wsloop::{SocketEvent, Sockets, SocketsError};

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    serve(Sockets::bind(&address)?, Duration::from_secs(1))
}

/// Sends the number of the tick, `every` so often.
pub fn serve(mut sockets: Sockets, every: Duration) -> Result<(), SocketsError> {
    let mut conns = HashSet::new();
    let (mut tick, mut at) = (0, Instant::now() + every);
    loop {
        match sockets.recv_timeout(at.saturating_duration_since(Instant::now()))? {
            Some(SocketEvent::Opened { conn, .. }) => drop(conns.insert(conn)),
            Some(SocketEvent::Closed { conn, .. }) => drop(conns.remove(&conn)),
            Some(_) => {}
            None => {
                tick += 1;
                sockets.broadcast(conns.iter().copied(), tick.to_string());
                at += every;
            }
        }
    }
}
