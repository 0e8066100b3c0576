//! Each message goes to one of those who are connected, one after the other, whoever has sent it.
//! Usage: `work_queue [ADDRESS]`, `127.0.0.1:8080` without.

use std::collections::VecDeque;

use wsloop::{ConnId, Message, SocketEvent, Sockets, SocketsError};

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    serve(Sockets::bind(&address)?)
}

/// Hands out the work.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    let mut workers: VecDeque<ConnId> = VecDeque::new();
    loop {
        match sockets.recv()? {
            SocketEvent::Opened { conn, .. } => workers.push_front(conn),
            SocketEvent::Closed { conn, .. } => workers.retain(|worker| *worker != conn),
            SocketEvent::Message { message, .. } => hand_out(&sockets, &mut workers, &message),
            _ => {}
        }
    }
}

/// Gives a message to the one whose turn it is; who has closed by then has none.
fn hand_out(sockets: &Sockets, workers: &mut VecDeque<ConnId>, message: &Message) {
    for _ in 0..workers.len() {
        workers.rotate_left(1);
        if sockets.send_message(workers[0], message) != wsloop::Sent::Closed {
            return;
        }
    }
}
