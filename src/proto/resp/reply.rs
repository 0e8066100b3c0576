//! Replies for Redis clients: what a server writes, in either version of the protocol.
//!
//! It knows how values are framed, not what they answer. Each function appends one value, or the
//! head of one whose elements follow.

use super::push_header;

/// The version of the protocol that a client has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2, which everybody begins with.
    #[default]
    Two,
    /// RESP3, which has maps, pushes and one null.
    Three,
}

/// `+`: a word such as `OK`.
pub fn status(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// `-`: an error, of which the first word is its code. It may repeat what a peer has sent: what
/// would end the line is left out.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

/// `:`
pub fn integer(out: &mut Vec<u8>, value: i64) {
    line(out, b':', &value.to_string());
}

/// `$`: any bytes.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 16);
    push_header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Nothing, where a string could be.
pub fn null(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(match version {
        Version::Two => b"$-1\r\n",
        Version::Three => b"_\r\n",
    });
}

/// Nothing, where an array could be.
pub fn null_array(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(match version {
        Version::Two => b"*-1\r\n",
        Version::Three => b"_\r\n",
    });
}

/// The head of an array of so many elements.
pub fn array(out: &mut Vec<u8>, elements: usize) {
    push_header(out, b'*', elements);
}

/// The head of a map of so many keys, each before its value; RESP2 has an array instead.
pub fn map(out: &mut Vec<u8>, keys: usize, version: Version) {
    match version {
        Version::Two => push_header(out, b'*', 2 * keys),
        Version::Three => push_header(out, b'%', keys),
    }
}

/// The head of what was not asked for, of so many elements; RESP2 has an array instead.
pub fn push(out: &mut Vec<u8>, elements: usize, version: Version) {
    match version {
        Version::Two => push_header(out, b'*', elements),
        Version::Three => push_header(out, b'>', elements),
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_in_each_version() {
        type Write = fn(&mut Vec<u8>, Version);
        let cases: [(Write, &str, &str); 9] = [
            (|out, _| status(out, "OK"), "+OK\r\n", "+OK\r\n"),
            (|out, _| error(out, "ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (|out, _| integer(out, -2), ":-2\r\n", ":-2\r\n"),
            (|out, _| bulk(out, b"a\r\n"), "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n"),
            (null, "$-1\r\n", "_\r\n"),
            (null_array, "*-1\r\n", "_\r\n"),
            (|out, _| array(out, 12), "*12\r\n", "*12\r\n"),
            (|out, version| map(out, 2, version), "*4\r\n", "%2\r\n"),
            (|out, version| push(out, 3, version), "*3\r\n", ">3\r\n"),
        ];
        for (write, two, three) in cases {
            for (version, expected) in [(Version::Two, two), (Version::Three, three)] {
                let mut out = Vec::new();
                write(&mut out, version);
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
