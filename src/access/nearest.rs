//! L1: the closest match for a misspelt word.

/// The candidate that the fewest changes of one character lead to, the first among equals.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| distance(word, candidate))
}

/// The same, if at most a third of its characters had to change: close enough to be suggested as
/// what was meant.
pub(crate) fn similar<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let found = nearest(word, candidates);
    found.filter(|found| distance(word, found) * 3 <= found.chars().count())
}

/// How many characters have to be inserted, removed, replaced, or swapped with their neighbour.
/// Words longer than any of ours count as altogether different, which bounds the work.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST + 1).collect();
    let b: Vec<char> = b.chars().take(LONGEST + 1).collect();
    if a.len().max(b.len()) > LONGEST {
        return usize::MAX / 3;
    }
    // Row i has the distances from the first i characters of `a` to every beginning of `b`.
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ac", 1),
            ("abc", "acb", 1),
            ("abcd", "badc", 2),
            ("check", "fetch", 4),
            ("é", "e", 1),
        ];
        for (a, b, expected) in cases {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn what_is_near_is_found_and_what_is_far_is_not_suggested() {
        let words = ["serve", "publish", "fetch", "ping-interval"];
        for (word, near, suggested) in [
            ("serv", "serve", true),
            ("pulbish", "publish", true),
            ("pin-interval", "ping-interval", true),
            ("check", "fetch", false),
            ("zzzz", "serve", false),
            (&"x".repeat(5000), "serve", false),
        ] {
            assert_eq!(nearest(word, words), Some(near), "{word}");
            assert_eq!(similar(word, words), Some(near).filter(|_| suggested), "{word}");
        }
        assert_eq!(nearest("serve", []), None);
    }
}
