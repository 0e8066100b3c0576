//! L1: which facilities skip to the latest message when an outbox is full, and which close the conn
//! (`--overflow`): the policy and its parser.
//!
//! `Conn::overflowed` in `browser/life` acts on it, and `Outbox::keep_latest` in `link/outbox`
//! drops what is skipped.

use std::fmt;

use crate::access::pattern;

/// What is done about a conn that lets more wait than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is closed: whoever stays has had every message.
    #[default]
    Close,
    /// It skips to the latest message of each of its channels: for what is worth nothing once there
    /// is newer.
    Latest,
}

/// Patterns of facilities and what is done there: the first that fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overflows(Vec<(String, Overflow)>);

impl Overflows {
    /// Reads a comma-separated list of `PATTERN=close` and `PATTERN=latest`; a word without a
    /// pattern is for every facility. What nothing in it fits is closed.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entry = |entry: &str| {
            let (pattern, word) = entry.rsplit_once('=').unwrap_or(("*", entry));
            let overflow = match word.trim() {
                word if word.eq_ignore_ascii_case("close") => Overflow::Close,
                word if word.eq_ignore_ascii_case("latest") => Overflow::Latest,
                word => {
                    return Err(format!(
                        "{word:?} is neither close nor latest; write one of them, or facilities \
                         and one of them, as in ticker/*=latest,close"
                    ));
                }
            };
            Ok((pattern.trim().to_owned(), overflow))
        };
        let entries = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        let mut all = entries.map(entry).collect::<Result<Vec<_>, _>>()?;
        // Which is so without saying it.
        all.pop_if(|(pattern, overflow)| pattern == "*" && *overflow == Overflow::Close);
        Ok(Overflows(all))
    }

    /// What is done for conns of a facility.
    pub fn of(&self, facility: &str) -> Overflow {
        let fits = |(pattern, _): &&(String, Overflow)| pattern::matches(pattern, facility);
        self.0.iter().find(fits).map_or(Overflow::Close, |(_, overflow)| *overflow)
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Overflow::Close => "close",
            Overflow::Latest => "latest",
        })
    }
}

impl fmt::Display for Overflows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pattern, overflow) in &self.0 {
            write!(f, "{pattern}={overflow},")?;
        }
        f.write_str("close")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_decides() {
        for (list, facility, expected) in [
            ("", "x", Overflow::Close),
            ("latest", "x", Overflow::Latest),
            ("close", "x", Overflow::Close),
            (" Latest ,", "", Overflow::Latest),
            ("ticker/*=latest", "ticker/eur", Overflow::Latest),
            ("ticker/*=latest", "chat", Overflow::Close),
            ("ticker/log=close,ticker/*=latest,close", "ticker/log", Overflow::Close),
            ("chat=close, latest", "ticker", Overflow::Latest),
            ("a=b=latest", "a=b", Overflow::Latest),
        ] {
            let overflows = Overflows::parse(list).expect(list);
            assert_eq!(overflows.of(facility), expected, "{list} {facility}");
            let again = Overflows::parse(&overflows.to_string()).expect("what was printed");
            assert_eq!(again.of(facility), expected, "{overflows}");
        }
        for list in ["newest", "ticker", "ticker=", "x=drop,latest"] {
            let error = Overflows::parse(list).expect_err(list);
            assert!(error.contains("ticker/*=latest"), "{error}");
        }
    }
}
