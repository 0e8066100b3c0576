//! What is inside of an item with its nesting, for the few answers of which that matters.
//!
//! It reads an item that was found whole, and trusts nothing in it: what is cut off, is nested
//! deeper than [`DEPTH`] or is no item at all is nothing. It takes room for what is there, whatever
//! lengths are declared.

/// How deep an item may be nested.
const DEPTH: usize = 8;

/// An item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tree<'a> {
    /// A string, a number or another plain value. A null is empty.
    Text(&'a [u8]),
    /// An array, a set, or a map with its keys and values in turn.
    List(Vec<Tree<'a>>),
}

impl<'a> Tree<'a> {
    /// The item that the bytes begin with.
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Tree<'a>> {
        read(&mut bytes, DEPTH)
    }

    /// What it is, as long as that is plain.
    pub(crate) fn text(&self) -> Option<&'a [u8]> {
        match self {
            Tree::Text(text) => Some(text),
            Tree::List(_) => None,
        }
    }

    /// The same as a number.
    pub(crate) fn number<N: std::str::FromStr>(&self) -> Option<N> {
        std::str::from_utf8(self.text()?).ok()?.parse().ok()
    }

    /// What is in it; nothing if it is plain.
    pub(crate) fn list(&self) -> &[Tree<'a>] {
        match self {
            Tree::Text(_) => &[],
            Tree::List(items) => items,
        }
    }

    /// The value of a key, in a map or in an array of keys and values in turn.
    pub(crate) fn value(&self, key: &str) -> Option<&Tree<'a>> {
        let mut pairs = self.list().chunks_exact(2);
        let pair = pairs.find(|pair| pair[0].text() == Some(key.as_bytes()))?;
        Some(&pair[1])
    }
}

fn read<'a>(bytes: &mut &'a [u8], depth: usize) -> Option<Tree<'a>> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (kind, line) = bytes[..end].split_first()?;
    *bytes = &bytes[end + 2..];
    let number = || std::str::from_utf8(line).ok()?.parse::<i64>().ok();
    let items = match kind {
        b'$' | b'=' => {
            let Ok(length) = usize::try_from(number()?) else { return Some(Tree::Text(b"")) };
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest.get(2..)?;
            return Some(Tree::Text(value));
        }
        b'*' | b'~' | b'>' => number()?,
        b'%' => number()?.checked_mul(2)?,
        _ => return Some(Tree::Text(line)),
    };
    let depth = depth.checked_sub(1)?;
    let mut list = Vec::new();
    for _ in 0..items {
        list.push(read(bytes, depth)?);
    }
    Some(Tree::List(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_is_found_where_it_is() {
        let raw = b"*1\r\n%2\r\n+slots\r\n*2\r\n:0\r\n:7\r\n$2\r\nid\r\n$-1\r\n";
        let tree = Tree::parse(raw).expect("it is whole");
        let map = &tree.list()[0];
        let slots = map.value("slots").expect("it has some").list();
        assert_eq!([slots[0].number(), slots[1].number::<u16>()], [Some(0), Some(7)]);
        assert_eq!(map.value("id"), Some(&Tree::Text(b"")));
        assert_eq!(map.value("slot"), None);
    }

    #[test]
    fn what_is_cut_off_or_nested_too_deep_is_nothing() {
        let raw = b"*2\r\n$4\r\nmode\r\n%1\r\n:1\r\n$3\r\nfoo\r\n";
        assert!(Tree::parse(raw).is_some());
        for length in 0..raw.len() {
            assert_eq!(Tree::parse(&raw[..length]), None, "{length}");
        }
        assert!(Tree::parse(&[&b"*1\r\n".repeat(7)[..], b":1\r\n"].concat()).is_some());
        assert_eq!(Tree::parse(&[&b"*1\r\n".repeat(9)[..], b":1\r\n"].concat()), None);
        assert_eq!(Tree::parse(b"*9223372036854775807\r\n:1\r\n"), None);
        assert_eq!(Tree::parse(b"%9223372036854775807\r\n:1\r\n"), None);
    }
}
