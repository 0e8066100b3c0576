//! An index page, and a WebSocket at `/foobar` that sends back what it is sent.
//! Usage: `echo_page [ADDRESS]`, `127.0.0.1:8080` without.

use wsloop::{Endpoint, Page, Settings, SocketEvent, Sockets, SocketsError};

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    println!("see http://{address}/");
    serve(bind(address)?)
}

/// The page and its script, and one endpoint.
pub fn bind(address: String) -> Result<Sockets, SocketsError> {
    let pages = vec![
        Page::html("/", include_str!("page/page.html")),
        Page::script("/page.js", include_str!("page/page.js")),
    ];
    let settings = Settings { pages, ..Settings::without_relay() };
    let endpoint = Endpoint { path: "/foobar".to_owned(), ..Endpoint::default() };
    Sockets::serve(&[address], settings, endpoint)
}

/// Sends back what is received. Nothing is received that was not sent: an empty message is one.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    loop {
        if let SocketEvent::Message { conn, message } = sockets.recv()? {
            sockets.send_message(conn, &message);
        }
    }
}
