//! L0: what proxies say of a request that they pass on: X-Forwarded-For, -Proto and -Host, or
//! Forwarded (RFC 7239).
//!
//! It knows their form and not whom to believe. Its rule: what is not of the form says nothing.

use std::net::{IpAddr, Ipv6Addr};

use super::head::Head;

/// The scheme of a request's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// What one proxy says of whom it had the request from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop<'h> {
    /// The address, if it is one.
    pub address: Option<IpAddr>,
    /// How it was asked.
    pub scheme: Option<Scheme>,
    /// The host that it was asked for, not checked for being one.
    pub host: Option<&'h str>,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Reads one, or that of a WebSocket.
    pub fn parse(text: &[u8]) -> Option<Scheme> {
        let is = |one: &str| text.eq_ignore_ascii_case(one.as_bytes());
        match () {
            () if is("http") || is("ws") => Some(Scheme::Http),
            () if is("https") || is("wss") => Some(Scheme::Https),
            () => None,
        }
    }
}

/// The hops of `X-Forwarded-…`, from the client on. Of schemes and hosts there may be fewer than of
/// addresses, for many a proxy replaces them where it adds the address: the last are of the last.
pub fn x_forwarded<'h>(head: &Head<'h>) -> Vec<Hop<'h>> {
    let schemes: Vec<_> = head.list("X-Forwarded-Proto").collect();
    let hosts: Vec<_> = head.list("X-Forwarded-Host").collect();
    let addresses: Vec<_> = head.list("X-Forwarded-For").collect();
    let length = addresses.len().max(usize::from(!schemes.is_empty() || !hosts.is_empty()));
    // The number `left` from the right, or the leftmost.
    let of = |list: &[&'h [u8]], left: usize| {
        let at = list.len().saturating_sub(left);
        list.get(at).copied()
    };
    let hop = |at: usize| Hop {
        address: addresses.get(at).and_then(|text| node(text)),
        scheme: of(&schemes, length - at).and_then(Scheme::parse),
        host: of(&hosts, length - at).and_then(|host| std::str::from_utf8(host).ok()),
    };
    (0..length).map(hop).collect()
}

/// The hops of `Forwarded`, from the client on.
pub fn forwarded<'h>(head: &Head<'h>) -> Vec<Hop<'h>> {
    head.values("Forwarded").flat_map(|line| split(line, b',')).map(element).collect()
}

/// One element: pairs such as `for="[2001:db8::1]:4711"` with semicolons between.
fn element(text: &[u8]) -> Hop<'_> {
    let mut hop = Hop::default();
    for pair in split(text, b';') {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (&pair[..at], unquoted(&pair[at + 1..]));
        let is = |one: &str| name.eq_ignore_ascii_case(one.as_bytes());
        if is("for") {
            hop.address = node(value);
        } else if is("proto") {
            hop.scheme = Scheme::parse(value);
        } else if is("host") {
            hop.host = std::str::from_utf8(value).ok();
        }
    }
    hop
}

/// The parts between separators that do not stand in quotes, without the blanks around them; empty
/// ones are left out.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == separator && !quoted,
        }
        false
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// A value without its quotes. Neither an address nor a host has escapes: with one it is neither.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let address = address.parse::<Ipv6Addr>().ok().filter(|_| good)?;
        return Some(IpAddr::V6(address).to_canonical());
    }
    let address = match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => Some(address).filter(|_| is_port(port))?,
        _ => text,
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::super::head::parse_head;
    use super::*;

    fn hops(lines: &str, read: for<'h> fn(&Head<'h>) -> Vec<Hop<'h>>) -> Vec<String> {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let (head, _) = parse_head(head.as_bytes(), 8192).expect("a head").expect("all of it");
        let say = |hop: &Hop<'_>| {
            let address = hop.address.map_or("-".to_owned(), |address| address.to_string());
            let scheme = hop.scheme.map_or("-", Scheme::as_str);
            format!("{address} {scheme} {}", hop.host.unwrap_or("-"))
        };
        read(&head).iter().map(say).collect()
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("unknown", None),
            ("_hidden", None),
            ("192.0.2.1:_port", None),
            ("192.0.2", None),
            ("[2001:db8::1", None),
            ("[192.0.2.1]", None),
            ("\u{e9}", None),
            ("", None),
        ] {
            let expected = expected.map(|address| address.parse().expect("an address"));
            assert_eq!(node(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_forwarded_by_lists_of_the_three_headers() {
        let read = |lines: &str| hops(lines, x_forwarded);
        assert_eq!(read("Host: h\r\n"), [""; 0]);
        assert_eq!(read("X-Forwarded-Proto: https\r\n"), ["- https -"]);
        assert_eq!(
            read("X-Forwarded-For: 192.0.2.1, unknown\r\nx-forwarded-for: 192.0.2.3\r\n"),
            ["192.0.2.1 - -", "- - -", "192.0.2.3 - -"]
        );
        // Who replaces it speaks of the whole way; who adds to it, of each hop.
        let two = "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-Host: h\r\n";
        let proto = |value: &str| format!("{two}X-Forwarded-Proto: {value}\r\n");
        assert_eq!(read(&proto("https")), ["192.0.2.1 https h", "192.0.2.2 https h"]);
        assert_eq!(read(&proto("wss,HTTP")), ["192.0.2.1 https h", "192.0.2.2 http h"]);
        assert_eq!(read(&proto("a,https,http")), ["192.0.2.1 https h", "192.0.2.2 http h"]);
    }

    #[test]
    fn what_is_forwarded_by_rfc_7239() {
        let read = |value: &str| hops(&format!("Forwarded: {value}\r\n"), forwarded);
        for (value, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60 http -"][..]),
            ("For=\"[2001:db8:cafe::17]:4711\"", &["2001:db8:cafe::17 - -"]),
            (
                "for=192.0.2.43, for=198.51.100.17;host=\"h:8\"",
                &["192.0.2.43 - -", "198.51.100.17 - h:8"],
            ),
            ("for=unknown;host=\"a,for=6.6.6.6\"", &["- - a,for=6.6.6.6"]),
            ("for=\"6.6.6.6\\\", for=7.7.7.7\"", &["- - -"]),
            ("secret;for", &["- - -"]),
            (",", &[]),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
        let two = hops("Forwarded: for=192.0.2.1\r\nForwarded: proto=https\r\n", forwarded);
        assert_eq!(two, ["192.0.2.1 - -", "- https -"]);
    }
}
