//! L1: the facility that a path names, and the path that names a facility.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The facility that a raw (percent-encoded) path names, or `None` when the path is not below
/// `url_prefix`.
///
/// The path is percent-decoded first. Bytes that are then not UTF-8 are written as upper-case
/// percent escapes again. What follows the prefix is the facility, as it stands: case, slashes,
/// colons, blanks and control characters included. With the prefix `/ws/`:
///
/// | path | facility |
/// |---|---|
/// | `/ws/foobar` | `foobar` |
/// | `/ws/a/b/c/` | `a/b/c/` (which is not `a/b/c`) |
/// | `/ws/caf%C3%A9%20x` | `café x` |
/// | `/ws/%ff%fe` | `%FF%FE` |
/// | `/ws/` | the empty string |
/// | `/ws/ws/ws/foo` | `ws/ws/foo` |
/// | `/other/foo`, `/x/ws/foo`, `/ws` | none |
///
/// ws4redis removes the prefix wherever in the path it stands; here the path must begin with it.
pub fn facility<'p>(path: &'p str, url_prefix: &str) -> Option<Cow<'p, str>> {
    if url_prefix.is_empty() {
        return None;
    }
    if !path.contains('%') {
        return path.strip_prefix(url_prefix).map(Cow::Borrowed);
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    let mut decoded = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().copied().map(percent_encoding::percent_encode_byte));
    }
    decoded.strip_prefix(url_prefix).map(|facility| Cow::Owned(facility.to_owned()))
}

/// The path that names a facility: the other way round than [`facility`].
pub(crate) fn path_of(facility: &str, url_prefix: &str) -> String {
    format!("{url_prefix}{}", utf8_percent_encode(facility, OUTSIDE_PATHS))
}

/// What is escaped in a path besides what is no ASCII.
const OUTSIDE_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');
