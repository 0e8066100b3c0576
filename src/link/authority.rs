//! L1: where a socket is, as flags and URLs write it: `host`, `host:port`, `[IPv6]:port`, or the
//! path of a Unix socket.
//!
//! Every flag and URL that names a socket is read here, so that all of them take the same and
//! refuse the same. Errors are clauses that repeat nothing of the text, which may hold a password;
//! the caller says what form it wants.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::link::Target;

/// Longest path of a Unix socket, in bytes: the kernel's sun_path takes 108, the NUL included.
pub(crate) const LONGEST_SOCKET: usize = 107;

/// Takes `host`, `host:port`, `[IPv6]` or `[IPv6]:port` apart; the host comes without brackets.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the bracket is not closed")?;
            host.parse::<Ipv6Addr>().map_err(|_| "what is in brackets is no IPv6 address")?;
            (host, port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if port.matches(':').count() > 1 {
                return Err("an IPv6 address goes into brackets");
            }
            name_or_ipv4(host)?;
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return Err("a colon must follow the bracket"),
        Some(digits) => Some(
            // `parse` alone would take a plus sign.
            Some(digits)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .ok_or("the port is no number up to 65535")?,
        ),
    };
    Ok((host, port))
}

/// What to dial for `host` or `host:port`.
pub(crate) fn tcp(text: &str, default_port: u16) -> Result<Target, &'static str> {
    match host_and_port(text)? {
        (_, Some(0)) => Err("the port is 0"),
        (host, port) => {
            Ok(Target::Tcp { host: host.to_owned(), port: port.unwrap_or(default_port) })
        }
    }
}

/// What to dial for the path of a Unix socket.
pub(crate) fn unix(path: Vec<u8>) -> Result<Target, &'static str> {
    if !path.starts_with(b"/") {
        return Err("the path of the socket must begin with a slash");
    }
    if path.len() < 2 || path.contains(&0) {
        return Err("the path of the socket names none");
    }
    if path.len() > LONGEST_SOCKET {
        return Err("the path of the socket is longer than the 107 bytes that systems take; \
                    use a shorter one");
    }
    Ok(Target::Unix(PathBuf::from(OsString::from_vec(path))))
}

fn name_or_ipv4(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is missing");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return Err("the host has characters that no name has");
    }
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err("the host is no IPv4 address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let cases = [
            ("h", Ok(("h", None))),
            ("my_host-1.example:65535", Ok(("my_host-1.example", Some(65535)))),
            ("127.0.0.1:0", Ok(("127.0.0.1", Some(0)))),
            ("[::1]", Ok(("::1", None))),
            ("[::1]:80", Ok(("::1", Some(80)))),
            ("", Err("the host is missing")),
            (":80", Err("the host is missing")),
            ("h:", Err("the port is no number up to 65535")),
            ("h:+1", Err("the port is no number up to 65535")),
            ("h:65536", Err("the port is no number up to 65535")),
            ("h:80/", Err("the port is no number up to 65535")),
            ("::1", Err("an IPv6 address goes into brackets")),
            ("h:1:2", Err("an IPv6 address goes into brackets")),
            ("[::1", Err("the bracket is not closed")),
            ("[::1]80", Err("a colon must follow the bracket")),
            ("[h]:80", Err("what is in brackets is no IPv6 address")),
            ("300.0.0.1", Err("the host is no IPv4 address")),
            ("u@h", Err("the host has characters that no name has")),
            ("a b", Err("the host has characters that no name has")),
            ("é", Err("the host has characters that no name has")),
        ];
        for (text, expected) in cases {
            assert_eq!(host_and_port(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_dialed_has_a_port() {
        let tcp_of = |host: &str, port| Ok(Target::Tcp { host: host.to_owned(), port });
        assert_eq!(tcp("h", 6379), tcp_of("h", 6379));
        assert_eq!(tcp("[::1]:1", 6379), tcp_of("::1", 1));
        assert_eq!(tcp("h:0", 6379), Err("the port is 0"));
        assert_eq!(tcp("", 6379), Err("the host is missing"));
    }

    #[test]
    fn sockets_have_paths_that_the_kernel_takes() {
        let unix_of = |path: &str| unix(path.as_bytes().to_vec());
        assert_eq!(unix_of("/run/r.sock"), Ok(Target::Unix(PathBuf::from("/run/r.sock"))));
        for (path, words) in [
            ("", "begin with a slash"),
            ("run/r.sock", "begin with a slash"),
            ("/", "names none"),
            ("/a\0", "names none"),
            (&format!("/{}", "x".repeat(LONGEST_SOCKET)), "107 bytes"),
        ] {
            assert!(unix_of(path).expect_err(path).contains(words), "{path}");
        }
        let longest = format!("/{}", "x".repeat(LONGEST_SOCKET - 1));
        assert!(unix_of(&longest).is_ok());
        assert!(std::os::unix::net::SocketAddr::from_pathname(&longest).is_ok());
        assert!(std::os::unix::net::SocketAddr::from_pathname(longest + "x").is_err());
    }
}
