//! L1: which proxies are believed, and so who the client of a request is.
//!
//! Its rules:
//! * nobody is believed who is not named: what an untrusted peer says of others is passed over;
//! * the client is the rightmost address that is no trusted proxy, for it may have invented whoever
//!   stands left of it;
//! * one kind of header is read, which the proxies write; the other comes from the client.

use std::net::IpAddr;

use crate::proto::http::{Head, Hop, Scheme, forwarded, x_forwarded};

/// The proxies that are believed, and how they say where requests come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Who is believed.
    pub trusted: TrustedProxies,
    /// By which headers they speak.
    pub headers: ForwardedHeaders,
    /// Each of their connections begins with the PROXY protocol.
    pub announce: bool,
}

/// Addresses, networks, and whether whoever comes by a Unix socket is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Cidr>,
    unix: bool,
}

/// Headers in which proxies say where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    X,
    /// `Forwarded`, of RFC 7239.
    Rfc7239,
}

/// Who is at the other end of a link, before its request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The client, or who is taken for it.
    Direct,
    /// A trusted proxy that says by the PROXY protocol where the connection comes from.
    Announcing,
    /// A trusted proxy that says in a request where that comes from.
    Forwarding,
}

/// How the bytes of a link come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// As they are.
    Plain,
    /// By TLS.
    Secure,
    /// As they are, to a port that takes them by TLS alone.
    Exposed,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'h> {
    /// Its address, as far as that is known.
    pub address: Option<IpAddr>,
    /// How it asked, if that is told.
    pub scheme: Told,
    /// The host that it asked for, where a proxy says so.
    pub host: Option<&'h str>,
}

/// How a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That is known, or known not to be told.
    Known(Option<Scheme>),
    /// By whoever wrote `X-Forwarded-Proto`: no proxy is named, and there may be one.
    Rumour,
}

/// A network, as its address and the number of bits that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cidr {
    address: u128,
    bits: u32,
}

impl Proxies {
    /// Who is at the other end of a link that was accepted from there.
    pub(crate) fn via(&self, peer: Option<IpAddr>) -> Via {
        match self.trusted.has(peer) {
            false => Via::Direct,
            true if self.announce => Via::Announcing,
            true => Via::Forwarding,
        }
    }

    /// Who is at the other end of a link of which a proxy has said where it comes from.
    pub(crate) fn via_announced(&self, source: IpAddr) -> Via {
        if self.trusted.has(Some(source)) { Via::Forwarding } else { Via::Direct }
    }

    /// Whose request it is that came that `way` and `via` that from `peer`.
    pub(crate) fn client<'h>(
        &self,
        head: &Head<'h>,
        (way, via): (Transport, Via),
        peer: Option<IpAddr>,
    ) -> Client<'h> {
        if via == Via::Direct {
            let scheme = match way {
                Transport::Secure => Told::Known(Some(Scheme::Https)),
                _ if self.trusted.is_empty() => Told::Rumour,
                _ => Told::Known(Some(Scheme::Http)),
            };
            return Client { address: peer, scheme, host: None };
        }
        let hops = match self.headers {
            ForwardedHeaders::X => x_forwarded(head),
            ForwardedHeaders::Rfc7239 => forwarded(head),
        };
        let mut client = Client { address: peer, scheme: Told::Known(None), host: None };
        for Hop { address, scheme, host } in hops.into_iter().rev() {
            (client.scheme, client.host) = (Told::Known(scheme), host);
            let Some(address) = address else { break };
            client.address = Some(address);
            if !self.trusted.has(Some(address)) {
                break;
            }
        }
        client
    }
}

impl Client<'_> {
    /// How it asked with this head, as far as that is told.
    pub(crate) fn scheme(&self, head: &Head) -> Option<Scheme> {
        match self.scheme {
            Told::Known(scheme) => scheme,
            Told::Rumour => head.header("X-Forwarded-Proto").and_then(Scheme::parse),
        }
    }
}

impl TrustedProxies {
    /// Reads a list such as `10.0.0.0/8, 2001:db8::1, unix`.
    pub fn parse(list: &str) -> Result<TrustedProxies, String> {
        let mut proxies = TrustedProxies::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry {
                "unix" => proxies.unix = true,
                _ => proxies.networks.push(Cidr::parse(entry)?),
            }
        }
        Ok(proxies)
    }

    /// Whether whoever comes from there is one; `None` is a Unix socket.
    pub(crate) fn has(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.unix,
            Some(address) => {
                let address = mapped(address);
                self.networks.iter().any(|network| network.has(address))
            }
        }
    }

    /// Whether nobody is one.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

impl Cidr {
    fn parse(text: &str) -> Result<Cidr, String> {
        let form = "write addresses, networks such as 10.0.0.0/8, or unix, with commas between";
        let no = |why: &str| format!("{text:?} {why}; {form}");
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| no("is no address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let has_bits = text.contains('/');
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits: u32 = match has_bits {
            false => most,
            true => bits
                .parse()
                .ok()
                .filter(|bits| digits && *bits <= most)
                .ok_or_else(|| no(&format!("has no number of bits up to {most}")))?,
        };
        let cidr = Cidr { address: mapped(address), bits: bits + 128 - most };
        match cidr.address & !cidr.mask() {
            0 => Ok(cidr),
            _ => Err(no("has bits behind its network's")),
        }
    }

    fn has(&self, address: u128) -> bool {
        address & self.mask() == self.address
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - self.bits).unwrap_or(0)
    }
}

/// An address of either family as one of IPv6.
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::parse_head;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn proxies_are_addresses_networks_and_sockets() {
        let trusted = |list: &str| TrustedProxies::parse(list).expect("a list");
        let list = trusted("127.0.0.1, 10.0.0.0/8 ,2001:db8::/32,::1,");
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.255.0.1", true),
            ("::ffff:10.1.1.1", true),
            ("11.0.0.1", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(list.has(Some(ip(address))), expected, "{address}");
        }
        assert!(!list.has(None) && trusted("unix").has(None) && trusted("").is_empty());
        assert!(trusted("0.0.0.0/0").has(Some(ip("192.0.2.1"))));
        assert!(!trusted("0.0.0.0/0").has(Some(ip("2001:db8::1"))));
        assert!(trusted("::/0").has(Some(ip("192.0.2.1"))), "of which IPv4 is a part");
        for (list, words) in [
            ("localhost", "is no address"),
            ("10.0.0.0/33", "up to 32"),
            ("10.0.0.0/+8", "up to 32"),
            ("10.0.0.0/", "up to 32"),
            ("::/129", "up to 128"),
            ("10.0.0.1/8", "behind its network's"),
            ("unix:/run/nginx.sock", "is no address"),
        ] {
            let line = TrustedProxies::parse(list).expect_err(list);
            assert!(line.contains(words), "{line}");
        }
    }

    fn client(proxies: &Proxies, peer: &str, lines: &str) -> (String, Option<Scheme>, String) {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let (head, _) = parse_head(head.as_bytes(), 8192).expect("a head").expect("all of it");
        let peer = Some(ip(peer));
        let client = proxies.client(&head, (Transport::Plain, proxies.via(peer)), peer);
        let address = client.address.expect("an address").to_string();
        (address, client.scheme(&head), client.host.unwrap_or("-").to_owned())
    }

    #[test]
    fn the_client_is_the_rightmost_that_is_no_trusted_proxy() {
        let trusted = TrustedProxies::parse("10.0.0.0/8").expect("a list");
        let proxies = Proxies { trusted, ..Proxies::default() };
        for (peer, list, expected) in [
            ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            // All are proxies: the first of them asks by itself.
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            // What is no address ends the way.
            ("10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
            ("192.0.2.9", "6.6.6.6", "192.0.2.9"),
        ] {
            let lines = format!("X-Forwarded-For: {list}\r\nForwarded: for=7.7.7.7\r\n");
            assert_eq!(client(&proxies, peer, &lines).0, expected, "{peer} {list}");
            let pairs = list.split(", ").map(|one| format!("for={one}")).collect::<Vec<_>>();
            let pairs = pairs.join(", ");
            let lines = format!("Forwarded: {pairs}\r\nX-Forwarded-For: 7.7.7.7\r\n");
            let proxies = Proxies { headers: ForwardedHeaders::Rfc7239, ..proxies.clone() };
            assert_eq!(client(&proxies, peer, &lines).0, expected, "{peer} {pairs}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_of_the_client() {
        let trusted = TrustedProxies::parse("10.0.0.0/8").expect("a list");
        let proxies = Proxies { trusted, ..Proxies::default() };
        let lines = "X-Forwarded-For: 192.0.2.1, 10.0.0.2\r\nX-Forwarded-Proto: https, http\r\n\
                     X-Forwarded-Host: site, inner\r\n";
        let (https, http) = (Some(Scheme::Https), Some(Scheme::Http));
        let found = client(&proxies, "10.0.0.1", lines);
        assert_eq!(found, ("192.0.2.1".to_owned(), https, "site".to_owned()));
        let found = client(&proxies, "192.0.2.9", lines);
        assert_eq!(found, ("192.0.2.9".to_owned(), http, "-".to_owned()));
        let found = client(&Proxies::default(), "192.0.2.9", "X-Forwarded-Proto: https\r\n");
        assert_eq!(found, ("192.0.2.9".to_owned(), https, "-".to_owned()));
    }
}
