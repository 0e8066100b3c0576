//! L1: which hosts a server answers to.
//!
//! A page whose name is pointed at another address after it was loaded (DNS rebinding) is of the
//! same origin as whatever answers there. Only the name in its requests gives it away.

use std::net::{IpAddr, Ipv6Addr};

/// The hosts of `--allowed-hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Every host.
    #[default]
    Any,
    /// These names and addresses, in small letters; one that begins with a dot stands for all below
    /// it.
    Listed(Vec<String>),
}

impl AllowedHosts {
    /// Reads a list with commas between: names, addresses (of IPv6 in brackets or without), and
    /// `*.example.com` for all names below; `*` is every host.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let hosts: Vec<String> = entries.map(entry).collect::<Result<_, _>>()?;
        match hosts.iter().any(|host| host == "*") {
            true => Ok(Self::Any),
            false => Ok(Self::Listed(hosts)),
        }
    }

    /// Whether that host is answered to; it comes as in a Host header, without a port.
    pub fn permits(&self, host: &str) -> bool {
        let Self::Listed(listed) = self else { return true };
        let host = comparable(host);
        let below = |listed: &String| listed.starts_with('.') && host.ends_with(listed.as_str());
        listed.iter().any(|listed| *listed == host || below(listed))
    }
}

/// Whether no name of a stranger can stand for that host: it is `localhost` or an address.
pub(crate) fn is_local(host: &str) -> bool {
    let host = comparable(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

fn entry(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (start, name) = match text.strip_prefix("*.") {
        Some(name) => (".", name),
        None => ("", text),
    };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let is_address = start.is_empty() && comparable(name).parse::<IpAddr>().is_ok();
    match is_address || is_name && !name.starts_with('.') && !comparable(name).is_empty() {
        true => Ok([start, &comparable(name)].concat()),
        false => Err(format!(
            "{text:?} is no host; write such as example.com, without scheme and port, or \
             *.example.com for all below it"
        )),
    }
}

/// A host without brackets, a last dot and capital letters.
fn comparable(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    // Of IPv4 addresses there is one spelling.
    bare.parse::<Ipv6Addr>().map_or(bare, |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_as_names_are() {
        let hosts = AllowedHosts::parse("Example.com, *.shop.example,::1,[2001:DB8::0:1]").unwrap();
        for host in ["example.com", "EXAMPLE.com.", "a.shop.example", "a.b.shop.example.", "[::1]"]
        {
            assert!(hosts.permits(host), "{host}");
        }
        assert!(hosts.permits("[2001:db8:0::1]"));
        for host in ["www.example.com", "shop.example", "evilshop.example", "example.com.evil", ""]
        {
            assert!(!hosts.permits(host), "{host}");
        }
        for any in ["*", "a,*"] {
            assert!(AllowedHosts::parse(any).unwrap().permits("evil.example"));
        }
        assert!(!AllowedHosts::parse("").unwrap().permits("example.com"));
        for wrong in ["https://a", "a:80", "*.", "*", ".", ".a", "a b", "*.127.0.0.1:1", "é"] {
            assert_eq!(AllowedHosts::parse(wrong).is_err(), wrong != "*", "{wrong}");
        }
    }

    #[test]
    fn nobody_else_can_have_localhost_or_an_address() {
        for host in ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]", "192.0.2.1", "[fe80::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.evil", "127.0.0.1.evil", "a.localhost", "evil", "127.1", "", "[]"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
