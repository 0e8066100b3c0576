//! L0: the PROXY protocol, versions 1 and 2: what a proxy says first of a connection.
//!
//! It knows the format of HAProxy's proxy-protocol.txt and not whom to believe. Its rules:
//! - nothing is guessed: whoever is to say it and says something else is refused;
//! - the outcome does not depend on how the bytes were cut.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest line of version 1, its line end included.
const LONGEST_LINE: usize = 107;
/// What version 1 begins with.
const LINE: &[u8] = b"PROXY ";
/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;
/// Most bytes of addresses and of what else version 2 may say.
const MOST: usize = 4096;

/// Why bytes are no announcement of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// They are something else.
    Absent,
    /// They begin like one, and are not of its form.
    Malformed,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => {
                "This proxy must say where a connection comes from by the PROXY protocol first \
                 (HAProxy: send-proxy-v2, nginx: proxy_protocol on); see --proxy-protocol."
            }
            Self::Malformed => "What the proxy says of the connection is no PROXY protocol.",
        })
    }
}

impl std::error::Error for ProxyError {}

/// Reads what a proxy says at the start of `buf`: where the connection comes from, if it says so,
/// and the length of that in bytes; `None` while more is needed.
pub fn parse_proxy(buf: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
    let begins = |with: &[u8]| buf.iter().zip(with).all(|(a, b)| a == b);
    match (begins(LINE), begins(SIGNATURE)) {
        (true, _) => line(buf),
        (_, true) => binary(buf),
        _ => Err(ProxyError::Absent),
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, CR, LF.
fn line(buf: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
    let window = &buf[..buf.len().min(LONGEST_LINE)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        let more = buf.len() < LONGEST_LINE;
        return if more { Ok(None) } else { Err(ProxyError::Malformed) };
    };
    let text = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let source = text.and_then(source_of_line).ok_or(ProxyError::Malformed)?;
    Ok(Some((source, end + 1)))
}

/// Where a line says that the connection comes from; nowhere in particular is an answer too.
fn source_of_line(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, target) = (words.next()?.parse().ok()?, words.next()?.parse::<IpAddr>().ok()?);
    let is_port = |port: &str| port.len() <= 5 && port.parse::<u16>().is_ok();
    let ports = is_port(words.next()?) && is_port(words.next()?) && words.next().is_none();
    let fits = match family {
        "TCP4" => matches!((source, target), (IpAddr::V4(_), IpAddr::V4(_))),
        "TCP6" => matches!((source, target), (IpAddr::V6(_), IpAddr::V6(_))),
        _ => false,
    };
    (ports && fits).then_some(Some(source))
}

/// Version 2: the signature, version and command, family, length, addresses and more.
fn binary(buf: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
    let is_local = match buf.get(SIGNATURE.len()) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(ProxyError::Malformed),
    };
    let Some(fixed) = buf.get(..FIXED) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let addresses = match fixed[13] {
        0x11 => 12,
        0x21 => 36,
        // Of what is neither TCP over IPv4 nor over IPv6 there is no address to take.
        _ => 0,
    };
    if length > MOST || (!is_local && length < addresses) {
        return Err(ProxyError::Malformed);
    }
    let Some(body) = buf.get(FIXED..FIXED + length) else { return Ok(None) };
    let source = match (is_local, addresses) {
        (false, 12) => body.first_chunk::<4>().map(|four| Ipv4Addr::from(*four).into()),
        (false, 36) => body.first_chunk::<16>().map(|all| Ipv6Addr::from(*all).into()),
        _ => None,
    };
    Ok(Some((source, FIXED + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome, which is the same however the bytes are cut.
    fn replay(bytes: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, ProxyError> {
        let whole = parse_proxy(bytes);
        let mut decided = false;
        for end in 0..=bytes.len() {
            let outcome = parse_proxy(&bytes[..end]);
            decided |= outcome != Ok(None);
            if decided {
                assert_eq!(outcome, whole, "cut at {end} of {:?}", bytes.escape_ascii());
            }
        }
        whole
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a length").to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn lines_of_version_one() {
        let found = |address: &str| Some(address.parse::<IpAddr>().expect("an address"));
        for (text, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443", found("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535", found("2001:db8::1")),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None),
        ] {
            let bytes = format!("{text}\r\nGET /");
            assert_eq!(replay(bytes.as_bytes()), Ok(Some((expected, text.len() + 2))), "{text}");
        }
        for text in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(replay(text.as_bytes()), Err(ProxyError::Malformed), "{text}");
        }
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(replay(&endless), Err(ProxyError::Malformed));
        assert_eq!(replay(&endless[..106]), Ok(None));
    }

    #[test]
    fn headers_of_version_two() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0, 80, 1, 187];
        let six = [[0x20; 16].as_slice(), &[1; 16], &[0, 1, 0, 2]].concat();
        let more = [four.as_slice(), &[0x04, 0, 1, 9]].concat();
        let at = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        for (bytes, expected) in [
            (v2(0x21, 0x11, &four), at),
            (v2(0x21, 0x11, &more), at),
            (v2(0x21, 0x21, &six), Some(IpAddr::V6(Ipv6Addr::from([0x20; 16])))),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x12, &four), None),
        ] {
            let length = bytes.len();
            let stream = [bytes, b"GET".to_vec()].concat();
            assert_eq!(replay(&stream), Ok(Some((expected, length))));
        }
        let whole = v2(0x21, 0x11, &four);
        assert_eq!(replay(&whole[..whole.len() - 1]), Ok(None));
        for wrong in [v2(0x21, 0x11, &four[..11]), v2(0x11, 0x11, &four), v2(0x22, 0x11, &four)] {
            assert_eq!(replay(&wrong), Err(ProxyError::Malformed));
        }
        assert_eq!(replay(&v2(0x21, 0x11, &[0; MOST + 1])), Err(ProxyError::Malformed));
    }

    #[test]
    fn anything_else_is_none() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\r\n\r\nGET", b"\x16\x03\x01", b"PROXYTCP4"] {
            assert_eq!(replay(bytes), Err(ProxyError::Absent));
        }
        assert_eq!(replay(b""), Ok(None));
        assert_eq!(replay(b"\r\n"), Ok(None));
    }
}
