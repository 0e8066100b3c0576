//! L2: which requests go to which upstream, and how.

use super::request::decoded;
use crate::link::{Target, authority};

/// Where requests go that are not for this server itself. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// Everybody that requests go to.
    pub upstreams: Vec<Upstream>,
    /// Beginnings of paths, and whose they are, by the number of the upstream.
    pub routes: Vec<(String, usize)>,
    /// The path on which the application is asked who a browser belongs to: nobody else's.
    pub hidden: Option<String>,
    /// The longest time in which nothing of an exchange moves.
    pub timeout_ms: u64,
    /// The longest time in which nothing passes on a WebSocket that is handed on.
    pub tunnel_timeout_ms: u64,
    /// How long a request waits for an upstream that cannot be reached, which is tried again.
    pub patience_ms: u64,
    /// Most links to each upstream, at least 1.
    pub connections: usize,
    /// Most of them that are kept while there is nothing to be asked.
    pub idle: usize,
    /// Most requests that wait for a link to one upstream.
    pub waiting: usize,
    /// How long a browser's link is kept that asks for nothing more.
    pub keep_alive_ms: u64,
}

/// One that requests go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What to dial.
    pub target: Target,
    /// What it speaks.
    pub speaks: Speaks,
    /// The host of requests that name none.
    pub host: String,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http,
    /// uWSGI's own protocol.
    Uwsgi,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the upstream of that number.
    To(usize),
    /// To nobody, as if there were nothing.
    Hidden,
}

impl Default for Front {
    fn default() -> Front {
        Front {
            upstreams: Vec::new(),
            routes: Vec::new(),
            hidden: None,
            timeout_ms: 60_000,
            tunnel_timeout_ms: 600_000,
            patience_ms: 1_000,
            connections: 256,
            idle: 32,
            waiting: 1024,
            keep_alive_ms: 75_000,
        }
    }
}

impl Front {
    /// Where a request of that path goes, still percent-encoded: by the longest beginning.
    pub(crate) fn way(&self, path: &str) -> Option<Way> {
        if self.routes.is_empty() {
            return None;
        }
        let path = decoded(path);
        if self.hidden.as_ref().is_some_and(|hidden| is_there(&path, hidden)) {
            return Some(Way::Hidden);
        }
        let fitting = self.routes.iter().filter(|(start, _)| path.starts_with(start.as_bytes()));
        fitting.max_by_key(|(start, _)| start.len()).map(|(_, to)| Way::To(*to))
    }
}

/// Whether a path may be taken for that one by some application: they differ in whether slashes,
/// dots, capitals and suffixes matter.
fn is_there(path: &[u8], hidden: &str) -> bool {
    let hidden = segments(&decoded(hidden));
    let path = segments(path);
    let Some((last, before)) = hidden.split_last() else { return path.is_empty() };
    let Some((there, rest)) = path.get(..hidden.len()).and_then(<[_]>::split_last) else {
        return false;
    };
    let suffix = there.strip_prefix(last.as_slice());
    rest == before && suffix.is_some_and(|s| s.is_empty() || matches!(s[0], b'.' | b';' | b' '))
}

/// The segments of a path in small letters, without empty ones and those of dots.
fn segments(path: &[u8]) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment.to_ascii_lowercase()),
        }
    }
    segments
}

const FORM: &str = "write http://host:port, unix:/path/of/socket, or uwsgi://host:port \
                    (uwsgi:///path/of/socket)";

/// Reads where an upstream is.
pub(crate) fn upstream(text: &str) -> Result<Upstream, String> {
    let wrong = |why: &str| format!("{why}; {FORM}");
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.is_empty() {
        return Err(wrong("it is empty, or has other than visible ASCII in it"));
    }
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "unix" {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        return at_socket(path, Speaks::Http).map_err(wrong);
    }
    let (speaks, port) = match scheme.as_str() {
        "http" => (Speaks::Http, Some(80)),
        "uwsgi" => (Speaks::Uwsgi, None),
        "https" => {
            return Err("TLS to the application is not spoken; use http:// to the application \
                        itself, on this machine or a private network"
                .to_owned());
        }
        _ => return Err(wrong("its scheme is none of http, unix and uwsgi")),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(wrong(&format!("there is no // after {scheme}:")));
    };
    if speaks == Speaks::Uwsgi && rest.starts_with('/') {
        return at_socket(rest, Speaks::Uwsgi).map_err(wrong);
    }
    let authority = match (speaks, rest.strip_suffix('/')) {
        (Speaks::Http, Some(authority)) => authority,
        _ => rest,
    };
    if authority.contains('@') {
        return Err(wrong("it has a user in it, and the browser's own Authorization is passed on"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("it has a path, and the browser's own path is passed on"));
    }
    let (host, given) = authority::host_and_port(authority).map_err(wrong)?;
    let port = given.or(port).filter(|port| *port > 0).ok_or_else(|| wrong("it has no port"))?;
    let target = Target::Tcp { host: host.to_owned(), port };
    Ok(Upstream { target, speaks, host: authority.to_owned() })
}

fn at_socket(path: &str, speaks: Speaks) -> Result<Upstream, &'static str> {
    let target = authority::unix(path.as_bytes().to_vec())?;
    Ok(Upstream { target, speaks, host: "localhost".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read_or_refused() {
        let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port };
        let unix = |path: &str| Target::Unix(path.into());
        for (text, target, speaks, host) in [
            ("http://app:8000", tcp("app", 8000), Speaks::Http, "app:8000"),
            ("http://app/", tcp("app", 80), Speaks::Http, "app"),
            ("HTTP://[::1]:81", tcp("::1", 81), Speaks::Http, "[::1]:81"),
            ("unix:/run/a.sock", unix("/run/a.sock"), Speaks::Http, "localhost"),
            ("unix:///run/a.sock", unix("/run/a.sock"), Speaks::Http, "localhost"),
            ("uwsgi://h:3031", tcp("h", 3031), Speaks::Uwsgi, "h:3031"),
            ("uwsgi:///run/u.sock", unix("/run/u.sock"), Speaks::Uwsgi, "localhost"),
        ] {
            let host = host.to_owned();
            assert_eq!(upstream(text), Ok(Upstream { target, speaks, host }), "{text}");
        }
        for (text, words) in [
            ("", "it is empty"),
            ("app:8000", "its scheme is none of"),
            ("https://app", "TLS to the application is not spoken"),
            ("http:app", "there is no // after http:"),
            ("http://app/x", "it has a path"),
            ("http://u:p@app", "it has a user"),
            ("http://app:0", "it has no port"),
            ("uwsgi://app", "it has no port"),
            ("unix:run/a.sock", "must begin with a slash"),
        ] {
            let why = upstream(text).expect_err(text);
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn the_longest_beginning_has_the_request() {
        let routes = [("/", 0), ("/api/", 1), ("/api/v2/", 2), ("/é", 3)];
        let routes = routes.map(|(start, to)| (start.to_owned(), to)).to_vec();
        let hidden = Some("/ws/auth/".to_owned());
        let front = Front { routes, hidden, ..Front::default() };
        for (path, way) in [
            ("/", Way::To(0)),
            ("/api", Way::To(0)),
            ("/api/", Way::To(1)),
            ("/%61pi/x", Way::To(1)),
            ("/api/v2/x", Way::To(2)),
            ("/%C3%A9", Way::To(3)),
            ("/ws/auth/", Way::Hidden),
            ("/ws/auth", Way::Hidden),
            ("/ws/authors", Way::To(0)),
            ("/%77s/%61uth", Way::Hidden),
            ("//ws//auth//", Way::Hidden),
            ("/x/../ws/./auth", Way::Hidden),
            ("/WS/Auth.json", Way::Hidden),
            ("/ws/auth;x=1", Way::Hidden),
            ("/ws/auth/more", Way::Hidden),
            ("/ws", Way::To(0)),
        ] {
            assert_eq!(front.way(path), Some(way), "{path}");
        }
        assert_eq!(Front::default().way("/"), None);
        let root = Front { hidden: Some("/".to_owned()), ..front };
        assert_eq!(root.way("//"), Some(Way::Hidden));
        assert_eq!(root.way("/a"), Some(Way::To(0)));
    }
}
