//! L1: the patterns of KEYS, SCAN and PSUBSCRIBE.
//!
//! `*` stands for any bytes, `?` for one, `[abc]`, `[a-z]` and `[^a]` for one of or not of these,
//! and a backslash takes the next byte at its word. What is not closed goes on to the end, as in
//! Redis.

/// Whether the pattern stands for the text; `None` when to find that out is more work than is left,
/// which is counted down. After a mismatch only the last star is tried again, so that the work is
/// at most the product of the two lengths, and mostly far less.
pub(super) fn matches_within(pattern: &[u8], text: &[u8], work: &mut usize) -> Option<bool> {
    let (mut pattern, mut text) = (pattern, text);
    // What follows the last star, and what that star has not yet been tried to swallow.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        *work = work.checked_sub(1)?;
        if let [b'*', rest @ ..] = pattern {
            if rest.is_empty() {
                return Some(true);
            }
            pattern = rest;
            again = Some((pattern, text));
            continue;
        }
        // A class is looked at as a whole, whether it fits or not.
        if pattern.first() == Some(&b'[') {
            *work = work.checked_sub(pattern.iter().take_while(|byte| **byte != b']').count())?;
        }
        if let Some((rest, after)) = one(pattern, text) {
            (pattern, text) = (rest, after);
            continue;
        }
        if pattern.is_empty() && text.is_empty() {
            return Some(true);
        }
        match again {
            Some((rest, [_, after @ ..])) => {
                again = Some((rest, after));
                (pattern, text) = (rest, after);
            }
            _ => return Some(false),
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

    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        matches_within(pattern, text, &mut usize::MAX.clone()).expect("there is no end of it")
    }

    #[test]
    fn work_has_an_end() {
        let (pattern, text) = ([&b"*"[..], &b"a".repeat(500), b"b"].concat(), b"a".repeat(4096));
        let mut work = 100_000;
        assert_eq!(matches_within(&pattern, &text, &mut work), None);
        let class = [&b"*["[..], &b"a".repeat(900), b"]b"].concat();
        let mut work = 100_000;
        assert_eq!(matches_within(&class, &text, &mut work), None);
        let mut work = 100;
        assert_eq!(matches_within(b"shop:*", &text, &mut work), Some(false));
        assert_eq!(matches_within(b"a*", &text, &mut work), Some(true));
        assert!(work > 90, "{work}");
    }

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
