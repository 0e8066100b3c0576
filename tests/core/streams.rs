//! The core without sockets: plain HTTP where WebSockets are. Streams hear, and POST publishes.

mod hearing;
mod histories;
mod origins;
mod posting;
mod several;
mod together;
mod topics;

use crate::world::*;

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const CHANNEL: &str = "broadcast:foo";
const HOST: &str = "Host: example.com";
const EVENTS: &str = "Accept: text/event-stream";

/// A request for a stream.
fn asks(target: &str, more: &[&str]) -> Vec<u8> {
    request("GET", target, &[&[HOST, EVENTS], more].concat())
}

/// A stream that is open.
fn stream(world: &mut World, target: &str) -> BrowserId {
    let id = world.ask(&asks(target, &[]));
    assert_eq!(world.status(id), Some(200), "{target}: {:?}", world.browsers[id].response);
    id
}

/// A request that publishes.
fn post(target: &str, body: &[u8], more: &[&str]) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    let mut bytes = request("POST", target, &[&[HOST, &length], more].concat());
    bytes.extend_from_slice(body);
    bytes
}
