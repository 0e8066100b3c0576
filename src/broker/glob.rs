//! L1: the patterns of KEYS, SCAN and PSUBSCRIBE.
//!
//! `*` stands for any bytes, `?` for one, `[abc]`, `[a-z]` and `[^a]` for one of or not of these,
//! and a backslash takes the next byte at its word. What is not closed goes on to the end, as in
//! Redis.

/// Whether the pattern stands for the text. After a mismatch only the last star is tried again, so
/// that the time is at most the product of the two lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // What follows the last star, and what that star has not yet been tried to swallow.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            again = Some((pattern, text));
            continue;
        }
        if let Some((rest, after)) = one(pattern, text) {
            (pattern, text) = (rest, after);
            continue;
        }
        if pattern.is_empty() && text.is_empty() {
            return true;
        }
        match again {
            Some((rest, [_, after @ ..])) => {
                again = Some((rest, after));
                (pattern, text) = (rest, after);
            }
            _ => return false,
        }
    }
}

/// Matches one byte with what stands for it at the front of the pattern, and returns both rests.
fn one<'p, 't>(pattern: &'p [u8], text: &'t [u8]) -> Option<(&'p [u8], &'t [u8])> {
    let (&byte, after) = text.split_first()?;
    let (fits, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', rest @ ..] => {
            let (fits, rest) = class(rest, byte);
            (!fits, rest)
        }
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [literal, rest @ ..] => (*literal == byte, rest),
    };
    fits.then_some((rest, after))
}

/// Whether the byte is in the class, and what follows the class.
fn class(mut rest: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut fits = false;
    loop {
        (fits, rest) = match rest {
            [] => return (fits, rest),
            [b']', rest @ ..] => return (fits, rest),
            [b'\\', escaped, rest @ ..] => (fits | (*escaped == byte), rest),
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (from.min(to), from.max(to));
                (fits | (*from..=*to).contains(&byte), rest)
            }
            [literal, rest @ ..] => (fits | (*literal == byte), rest),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, fitting, others) in [
            ("", &[""][..], &["a"][..]),
            ("a", &["a"], &["", "b", "aa", "A"]),
            ("*", &["", "a", "a/b:c"], &[]),
            ("broadcast:*", &["broadcast:", "broadcast:a:b"], &["shop:broadcast:a"]),
            ("*:foo", &[":foo", "a:foo", "a:foo:foo"], &["foo", ":foox"]),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["ab", "acb", "abcx"]),
            ("**a", &["a", "ba"], &["", "b"]),
            ("h?llo", &["hello", "h?llo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]),
            ("h[^e]llo", &["hallo"], &["hello", "hllo"]),
            ("[a-c]", &["a", "b", "c"], &["d", "-"]),
            ("[c-a]", &["a", "b", "c"], &["d"]),
            ("[\\]-]", &["]", "-"], &["\\"]),
            ("a[bc", &["ab", "ac"], &["a", "a[bc"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("a\\", &["a\\"], &["a"]),
            ("*[0-9]", &["a1", "1"], &["1a", ""]),
        ] {
            for text in fitting {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
            }
            for text in others {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_pattern_of_many_stars_comes_to_an_end() {
        let pattern = [&b"a*".repeat(500)[..], b"b"].concat();
        let text = b"a".repeat(8192);
        assert!(!matches(&pattern, &text));
        assert!(matches(&pattern, &[&text[..], b"b"].concat()));
    }
}
