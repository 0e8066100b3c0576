//! L4: the URL of a WebSocket.

use std::borrow::Cow;
use std::net::{SocketAddr, ToSocketAddrs};

use percent_encoding::percent_decode_str;

use crate::config::values;
use crate::link::authority::host_and_port;

/// `ws://host[:port]/path[?query]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host and port as they were given, for the request.
    pub authority: String,
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query, still percent-encoded; `None` when there is no question mark.
    pub query: Option<String>,
}

impl Url {
    /// The same URL with another query.
    pub fn with_query(&self, query: &str) -> Url {
        Url { query: Some(query.to_owned()), ..self.clone() }
    }

    /// What the request asks for.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Whether it leads each of many elsewhere.
    pub fn is_of_each(&self) -> bool {
        self.target().contains(NUMBER)
    }

    /// The facility, when the path is `/ws/` and a name.
    pub fn facility(&self) -> Option<String> {
        let name = self.path.strip_prefix("/ws/").filter(|name| !name.is_empty())?;
        percent_decode_str(name).decode_utf8().ok().map(|name| name.into_owned())
    }

    /// Its first address.
    pub fn resolve(&self) -> std::io::Result<SocketAddr> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        addresses.next().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.target())
    }
}

/// What stands for the number of one of many.
pub(crate) const NUMBER: &str = "{n}";

/// A text for the one of that number.
pub(crate) fn of_one(text: &str, number: u32) -> Cow<'_, str> {
    match text.contains(NUMBER) {
        true => Cow::Owned(text.replace(NUMBER, &number.to_string())),
        false => Cow::Borrowed(text),
    }
}

/// Reads `ws://HOST[:PORT][/path][?query]`.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let form = "write ws://HOST:PORT/path?query";
    let wrong = |why: &str| format!("{} {why}; {form}", values::quoted(text));
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("has no scheme"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => {}
        "wss" | "https" => return Err(wrong("asks for TLS, which is not spoken here")),
        _ => return Err(wrong("has another scheme than ws")),
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['#', '@']) {
        let why = "has a character that must be percent-encoded, or a fragment or a user";
        return Err(wrong(why));
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority).map_err(|why| wrong(&format!(": {why}")))?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (rest, None),
    };
    Ok(Url {
        authority: authority.to_owned(),
        host: host.to_owned(),
        port: port.unwrap_or(80),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
        query,
    })
}
