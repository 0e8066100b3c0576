//! L1: patterns of facilities.
//!
//! `*` stands for any characters, none and slashes included, and everything else for itself.

/// Whether the pattern stands for the text. What is between two stars is looked for from the left
/// and never again, so that the time grows with the length of the two and not faster.
pub fn matches(pattern: &str, text: &str) -> bool {
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
    fn a_star_is_anything_and_the_rest_itself() {
        for (pattern, fits, others) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "a/b"], &[]),
            ("chat/*", &["chat/", "chat/a/b"], &["chat", "xchat/a"]),
            ("a*a", &["aa", "aba"], &["a", "ab"]),
            ("a*b*c", &["abc", "a-b-c"], &["acb", "ac"]),
        ] {
            assert!(fits.iter().all(|text| matches(pattern, text)), "{pattern}");
            assert!(!others.iter().any(|text| matches(pattern, text)), "{pattern}");
        }
    }
}
