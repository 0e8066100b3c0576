//! What is inside of an item, for the few answers of which that matters.

/// The strings, numbers and other plain values of an item that was found whole, in their order and
/// whatever they are nested in. A null is empty.
pub(crate) fn scalars(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n")?;
            let (kind, text) = rest[..end].split_first()?;
            rest = &rest[end + 2..];
            match kind {
                b'*' | b'%' | b'~' | b'>' => {}
                b'$' | b'=' => {
                    let length = std::str::from_utf8(text).ok()?.parse::<i64>().ok()?;
                    let Ok(length) = usize::try_from(length) else { return Some(&[][..]) };
                    let (value, after) = rest.split_at_checked(length)?;
                    rest = after.get(2..)?;
                    return Some(value);
                }
                _ => return Some(text),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_come_in_their_order_whatever_they_are_nested_in() {
        let raw = b"%2\r\n$4\r\nmode\r\n+cluster\r\n$2\r\nid\r\n*3\r\n:7\r\n$-1\r\n$2\r\n\r\n\r\n";
        let values: Vec<&[u8]> = scalars(raw).collect();
        assert_eq!(values, [&b"mode"[..], b"cluster", b"id", b"7", b"", b"\r\n"]);
    }

    #[test]
    fn what_is_cut_off_anywhere_ends_it() {
        let raw = b"*2\r\n$4\r\nmode\r\n$3\r\nfoo\r\n";
        for length in 0..raw.len() {
            assert!(scalars(&raw[..length]).count() < 2, "{length}");
        }
        assert_eq!(scalars(b"$x\r\n$1\r\na\r\n").count(), 0);
    }
}
