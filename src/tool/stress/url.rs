//! L4: the URL of a WebSocket.

use std::net::{SocketAddr, ToSocketAddrs};

use percent_encoding::percent_decode_str;

use super::Error;

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

    /// The facility, when the path is `/ws/` and a name.
    pub fn facility(&self) -> Option<String> {
        let name = self.path.strip_prefix("/ws/").filter(|name| !name.is_empty())?;
        percent_decode_str(name).decode_utf8().ok().map(|name| name.into_owned())
    }

    /// Its first address.
    pub fn resolve(&self) -> Result<SocketAddr, Error> {
        let failed = |error| Error::Unreachable { what: self.authority.clone(), error };
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)?;
        addresses.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.target())
    }
}
