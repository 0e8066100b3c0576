//! An index page, which says how many are connected, and a WebSocket at `/foobar` that sends back
//! what it is sent. Usage: `echo_page [ADDRESS]`, `127.0.0.1:8080` without.

use std::collections::HashSet;

use wsloop::{ConnId, Endpoint, Page, PlainRequest, PlainRequests, RequestId, Settings};
use wsloop::{SocketEvent, Sockets, SocketsError};

const PAGE: &str = include_str!("page/page.html");

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    println!("see http://{address}/");
    serve(bind(address)?)
}

/// The script of the page, which is always the same, and one endpoint for everything else.
pub fn bind(address: String) -> Result<Sockets, SocketsError> {
    let pages = vec![Page::script("/page.js", include_str!("page/page.js"))];
    let settings = Settings { pages, ..Settings::without_relay() };
    let requests = Some(PlainRequests::default());
    Sockets::serve(
        &[address],
        settings,
        Endpoint { decides: true, requests, ..Endpoint::default() },
    )
}

/// Sends back what is received. Nothing is received that was not sent: an empty message is one.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    let mut here: HashSet<ConnId> = HashSet::new();
    loop {
        match sockets.recv()? {
            SocketEvent::Request { id, request } => answer(&sockets, id, &request, here.len())?,
            SocketEvent::Asked { conn, request } if request.path == "/foobar" => {
                sockets.accept(conn, None, &[])?;
                here.insert(conn);
            }
            SocketEvent::Asked { conn, .. } => sockets.refuse(conn, 404, "Ask for /foobar.")?,
            SocketEvent::Message { conn, message } => drop(sockets.send_message(conn, &message)),
            SocketEvent::Closed { conn, .. } => drop(here.remove(&conn)),
            _ => {}
        }
    }
}

/// Answers a plain request.
fn answer(
    sockets: &Sockets,
    id: RequestId,
    request: &PlainRequest,
    here: usize,
) -> Result<(), SocketsError> {
    if request.path != "/" {
        return sockets.respond(id, 404, &[], "There is nothing here.\n");
    }
    let page = PAGE.replace("</h1>", &format!("</h1>\n<p>{here} connected so far."));
    sockets.respond(id, 200, &[("Content-Type", "text/html; charset=utf-8")], page)
}
