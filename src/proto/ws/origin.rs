//! L0: origins and hosts as browsers send them, and the list of those that may connect.
//!
//! Rule: both are parsed, never searched: a name either equals another whole or does not.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// What pages that are files say as their origin in Cordova and other web views.
const FILES: &str = "file://";

/// Which origins may connect besides the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every origin (`*`).
    Any,
    /// These, normalised.
    Listed(Vec<String>),
}

impl AllowedOrigins {
    /// Reads a comma-separated list of origins such as `https://example.com:8443`; `*` is every
    /// origin, `null` that of sandboxed frames and local files, and `file://` that of applications
    /// whose pages are files.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut listed = Vec::new();
        let mut any = false;
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match Origin::parse(entry) {
                _ if entry == "*" => any = true,
                _ if entry.eq_ignore_ascii_case("null") => listed.push("null".to_owned()),
                _ if entry.eq_ignore_ascii_case(FILES) => listed.push(FILES.to_owned()),
                Some(origin) => listed.push(origin.to_string()),
                None => return Err(mend(entry)),
            }
        }
        Ok(if any { Self::Any } else { Self::Listed(listed) })
    }

    /// Whether a page of `origin` may connect to `host`, both as the browser sent them.
    ///
    /// It may when host and port are the same, a missing port being the default one of the
    /// origin's scheme, or when the origin is listed. The schemes of page and socket are not
    /// compared, because a proxy may have ended the TLS. What is not exactly an origin, or has no
    /// host that could be compared (`null`, extensions), must be listed.
    pub fn permits(&self, origin: &str, host: &str) -> bool {
        let Self::Listed(listed) = self else { return true };
        let is_listed = |origin: &str| listed.iter().any(|known| known == origin);
        match Origin::parse(origin) {
            Some(parsed) => parsed.is_own_of(host) || is_listed(&parsed.to_string()),
            None => is_listed(origin),
        }
    }
}

/// An origin with a host (RFC 6454 section 6.2). `Display` is its normal form: lower case, no
/// default port. Some clients say the socket's scheme, which stands for the page's: `ws://host` is
/// `http://host`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin<'a> {
    scheme: String,
    authority: Authority<'a>,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        // A Host may end with a colon and no port; no browser writes an origin like that.
        if !is_scheme || rest.ends_with(':') {
            return None;
        }
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" => "http".to_owned(),
            "wss" => "https".to_owned(),
            scheme => scheme.to_owned(),
        };
        Some(Self { scheme, authority: Authority::parse(rest)? })
    }

    /// The port that its scheme means when none is written.
    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        }
    }

    /// Whether a page of this origin came from `host`, a Host header. Schemes that are not the
    /// web's have other name spaces than DNS, so that their hosts are nobody's.
    fn is_own_of(&self, host: &str) -> bool {
        let (Some(default), Some(host)) = (self.default_port(), Authority::parse(host)) else {
            return false;
        };
        self.authority.host == host.host
            && self.authority.port.unwrap_or(default) == host.port.unwrap_or(default)
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority.host)?;
        match self.authority.port {
            port if port == self.default_port() => Ok(()),
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

const ILLEGAL: u8 = 1;
const UPPER: u8 = 2;

/// What a byte is in the name of a host: illegal, an upper-case letter, or neither.
const KINDS: [u8; 256] = {
    let (mut kinds, mut at) = ([ILLEGAL; 256], 0);
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_uppercase() {
            kinds[at] = UPPER;
        } else if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            kinds[at] = 0;
        }
        at += 1;
    }
    kinds
};

/// The kinds of all bytes of a text together.
fn kinds(text: &str) -> u8 {
    text.bytes().fold(0, |kinds, byte| kinds | KINDS[usize::from(byte)])
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// In lower case; an IPv6 address in its one normal form, with brackets. A trailing dot stays:
    /// to browsers too that is another host.
    host: Cow<'a, str>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Takes `host[:port]` with a DNS name (underscores are in use), an IPv4 address or a bracketed
    /// IPv6 address; nothing else, so neither user names, blanks, paths, nor percent escapes.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let kinds = kinds(text);
        if kinds == 0 && !text.is_empty() {
            return Some(Self { host: Cow::Borrowed(text), port: None });
        }
        let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
            let (address, rest) = inner.split_once(']')?;
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?).into(), rest)
        } else {
            let (name, rest) =
                text.split_at(text.bytes().position(|byte| byte == b':').unwrap_or(text.len()));
            let kinds = if rest.is_empty() { kinds } else { self::kinds(name) };
            if name.is_empty() || kinds & ILLEGAL != 0 {
                return None;
            }
            let mut name = Cow::Borrowed(name);
            if kinds & UPPER != 0 {
                name.to_mut().make_ascii_lowercase();
            }
            (name, rest)
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self { host, port })
    }
}

/// Whether the origin is that host behind the web's schemes, letter for letter, as it mostly is. A
/// host may end with a colon, which no origin does.
pub(super) fn is_origin_of(host: &str, origin: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority == Some(host) && !host.ends_with(':')
}

/// Text of a peer's, made fit for a log line or a response: quoted, escaped, and cut at a length
/// that shows every real origin whole.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Quoted<'_> {
    const MAX_CHARS: usize = 100;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        write!(f, "\"")?;
        for char in chars.by_ref().take(Self::MAX_CHARS) {
            write!(f, "{}", char.escape_default())?;
        }
        write!(f, "{}\"", if chars.next().is_some() { "..." } else { "" })
    }
}

/// What to write instead of an entry of the list that is no origin.
fn mend(entry: &str) -> String {
    let (scheme, rest) = entry.split_once("://").unwrap_or(("https", entry));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    let hint = match Origin::parse(&format!("{scheme}://{authority}")) {
        Some(origin) => format!("write {origin}"),
        None if entry.contains('*') => {
            "write each origin out, or * alone to allow every one".to_owned()
        }
        None if entry.contains(char::is_whitespace) => "put commas between origins".to_owned(),
        None => "write the page's scheme and host, such as https://example.com".to_owned(),
    };
    format!("{} is not an origin, which is https://host[:port]; {hint}", Quoted(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_origins_are_permitted() {
        for (origin, host) in [
            ("http://a.b", "a.b"),
            ("https://a.b", "a.b"),
            ("HTTPS://A.b", "a.B"),
            ("http://a.b:80", "a.b"),
            ("http://a.b", "a.b:80"),
            ("https://a.b", "a.b:443"),
            ("https://a.b:443", "a.b"),
            ("http://a.b", "a.b:"),
            ("http://a.b:8080", "a.b:8080"),
            ("https://a.b:80", "a.b:80"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:8080", "[0:0::1]:8080"),
            ("http://[FE80::1]", "[fe80::1]"),
            // The socket's scheme stands for the page's.
            ("ws://a.b", "a.b"),
            ("ws://a.b:8080", "a.b:8080"),
            ("WSS://a.b", "a.b:443"),
        ] {
            assert!(AllowedOrigins::Listed(vec![]).permits(origin, host), "{origin:?} {host:?}");
        }
    }

    #[test]
    fn other_origins_are_refused() {
        for (origin, host) in [
            // Another port, with and without defaults.
            ("http://a.b:8080", "a.b"),
            ("http://a.b", "a.b:8080"),
            ("https://a.b", "a.b:80"),
            ("http://a.b", "a.b:443"),
            ("http://a.b:443", "a.b"),
            ("https://a.b:80", "a.b"),
            // Another host, near or far.
            ("http://b", "a.b"),
            ("http://a.b", "b"),
            ("http://a.b.c", "a.b"),
            ("http://xa.b", "a.b"),
            ("http://a.b.", "a.b"),
            ("http://localhost", "127.0.0.1"),
            ("http://[::1]", "[::2]"),
            // Not exactly an origin.
            ("", "a.b"),
            ("null", "null"),
            ("a.b", "a.b"),
            ("//a.b", "a.b"),
            ("://a.b", "a.b"),
            ("1http://a.b", "a.b"),
            ("http:a.b", "a.b"),
            ("http://", ""),
            ("http://:80", ":80"),
            ("http://a.b/", "a.b"),
            ("http://a.b?", "a.b"),
            ("http://a.b#", "a.b"),
            ("http://a.b:", "a.b"),
            ("http://a.b:0x50", "a.b"),
            ("http://a.b:+80", "a.b"),
            ("http://a.b:65616", "a.b"),
            ("http://a.b:80:80", "a.b"),
            ("http://x@a.b", "a.b"),
            ("http://a.b@x", "a.b"),
            ("http://x\\@a.b", "a.b"),
            (" http://a.b", "a.b"),
            ("http://a.b ", "a.b"),
            ("http://a.b http://a.b", "a.b"),
            ("http://a.b,http://x", "a.b"),
            ("http://a%2eb", "a.b"),
            ("http://a\u{3002}b", "a.b"),
            ("http://[::1", "[::1"),
            ("http://[::1]x", "[::1]x"),
            ("http://::1", "::1"),
            ("http://[fe80::1%25eth0]", "[fe80::1%25eth0]"),
            ("ws://a.b:8080", "a.b"),
            ("wss://a.b", "a.b:80"),
            ("file://", "a.b"),
            // Not the web's name space.
            ("chrome-extension://a", "a"),
            ("http://a.b", "a.b/"),
            ("http://a.b", "x, a.b"),
            ("http://a.b", ""),
        ] {
            assert!(!AllowedOrigins::Listed(vec![]).permits(origin, host), "{origin:?} {host:?}");
            assert!(AllowedOrigins::Any.permits(origin, host));
        }
    }

    #[test]
    fn listed_origins_are_permitted() {
        for (list, origin, expected) in [
            ("https://a.b", "https://a.b", true),
            ("https://a.b", "https://a.b:443", true),
            ("https://A.B:443", "https://a.b", true),
            ("https://x, https://a.b:8443 ,", "https://a.b:8443", true),
            ("http://[0::1]:80", "http://[::1]", true),
            ("chrome-extension://abc", "chrome-extension://abc", true),
            ("null", "null", true),
            ("NULL", "null", true),
            ("file://", "file://", true),
            ("FILE://, https://a.b", "file://", true),
            ("null", "file://", false),
            ("file://", "null", false),
            ("http://a.b:81", "ws://a.b:81", true),
            ("ws://a.b:81", "http://a.b:81", true),
            ("wss://a.b", "https://a.b", true),
            ("wss://a.b", "ws://a.b", false),
            ("*", "null", true),
            ("https://x, *", "https://a.b", true),
            ("", "https://a.b", false),
            ("https://a.b", "http://a.b", false),
            ("https://a.b", "https://a.b:8443", false),
            ("https://a.b", "https://x.a.b", false),
            ("https://a.b", "https://a.b.", false),
            ("https://a.b", "https://a.b/", false),
            ("https://a.b", "null", false),
            ("null", "", false),
            ("null", "NULL", false),
        ] {
            let allowed = AllowedOrigins::parse(list).unwrap();
            assert_eq!(allowed.permits(origin, "h"), expected, "{list:?} {origin:?}");
        }
        assert_eq!(
            AllowedOrigins::parse("HTTPS://A.b:443,http://a.b:443"),
            Ok(AllowedOrigins::Listed(vec!["https://a.b".into(), "http://a.b:443".into()]))
        );
    }

    #[test]
    fn wrong_lists_are_mended() {
        for (list, hint) in [
            ("example.com", "write https://example.com"),
            ("https://a, example.com:8080", "write https://example.com:8080"),
            ("https://example.com/", "write https://example.com"),
            ("http://example.com:81/chat?x#y", "write http://example.com:81"),
            ("http://example.com:", "write http://example.com"),
            ("file:///index.html", "such as https://example.com"),
            ("wss://example.com/", "write https://example.com"),
            ("ws://example.com:81/ws/", "write http://example.com:81"),
            ("https://*.example.com", "or * alone"),
            ("https://a https://b", "commas"),
            ("https://me@example.com", "such as https://example.com"),
            ("https://", "such as https://example.com"),
        ] {
            let error = AllowedOrigins::parse(list).unwrap_err();
            assert!(error.ends_with(hint) || error.contains(&format!("{hint} ")), "{error}");
        }
    }
}
