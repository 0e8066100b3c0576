//! L1: patterns of facilities.
//!
//! `*` stands for any characters, none and slashes included, and everything else for itself.

/// Whether the pattern stands for the text. What is between two stars is looked for from the left
/// and never again, so that the time grows with the length of the two and not faster.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let (inner, last) = others.rsplit_once('*').unwrap_or(("", others));
    for part in inner.split('*') {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, fitting, others) in [
            ("", &[""][..], &["a", "*"][..]),
            ("chat", &["chat"], &["", "cha", "chats", "Chat", "chat/", "xchat"]),
            ("*", &["", "a", "a/b/c", "*", "caf\u{e9}\n\0"], &[]),
            ("**", &["", "a"], &[]),
            ("chat/*", &["chat/", "chat/a", "chat/a/b", "chat/*"], &["chat", "xchat/a", "Chat/a"]),
            ("*/log", &["/log", "a/log", "a/b/log", "/log/log"], &["log", "a/log/", "a/logs"]),
            ("a*a", &["aa", "aba", "aaa"], &["a", "ab", "ba", "", "aab"]),
            ("ab*ba", &["abba", "ab-ba"], &["aba", "ab", "abb"]),
            ("a*b*c", &["abc", "a-b-c", "abcbc", "abbc", "a*b*c"], &["acb", "ac", "abcb", "bc"]),
            ("*ab*ab*", &["abab", "xabxabx"], &["ab", "aab", "aba"]),
            ("a.c[x]?", &["a.c[x]?"], &["abcx", "a.cx", "a.c[x]"]),
            ("\u{e9}*\u{e9}", &["\u{e9}\u{e9}", "\u{e9}x\u{e9}"], &["\u{e9}", "e"]),
            ("room-*:*", &["room-:", "room-1:2"], &["room-1"]),
        ] {
            for text in fitting {
                assert!(matches(pattern, text), "{pattern:?} is to fit {text:?}");
            }
            for text in others {
                assert!(!matches(pattern, text), "{pattern:?} is not to fit {text:?}");
            }
        }
    }

    /// Holds the matching against one that is obvious and slow.
    #[test]
    fn patterns_mean_what_the_obvious_matcher_says() {
        fn obvious(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), None) => obvious(rest, text),
                (Some((b'*', rest)), Some((_, after))) => {
                    obvious(rest, text) || obvious(pattern, after)
                }
                (Some((a, rest)), Some((b, after))) => a == b && obvious(rest, after),
                _ => false,
            }
        }
        let words = |letters: &[u8], longest: u32| -> Vec<String> {
            let letters = letters.to_vec();
            (0..=longest)
                .flat_map(|length| {
                    let (base, letters) = (letters.len(), letters.clone());
                    (0..base.pow(length)).map(move |number| {
                        let letter = |place| letters[number / base.pow(place) % base] as char;
                        (0..length).map(letter).collect()
                    })
                })
                .collect()
        };
        let texts = words(b"ab", 6);
        for pattern in words(b"ab*", 5) {
            for text in &texts {
                let expected = obvious(pattern.as_bytes(), text.as_bytes());
                assert_eq!(matches(&pattern, text), expected, "{pattern:?} {text:?}");
            }
        }
    }

    /// A matcher that tries again would still be at it when the sun goes out.
    #[test]
    fn a_pattern_of_many_stars_comes_to_an_end() {
        let pattern = format!("{}b", "a*".repeat(2_000));
        let text = "a".repeat(4_096);
        for _ in 0..100 {
            assert!(!matches(&pattern, &text));
            assert!(matches(&pattern, &format!("{text}b")));
        }
    }
}
