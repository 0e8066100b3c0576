//! How an `id:` says where a channel stands, in fewer bytes than a message does: each event of a
//! stream says so of all its channels.
//!
//! It knows words, not what they name. Its rules:
//! * an audience is its first letter;
//! * the number that a position begins with has 62 digits, and `-0` behind it is left out;
//! * a position that is not like that is as it is, behind a quote; and so is all that is said of a
//!   channel of another audience, without one. So every position can be said, and read again.

use std::borrow::Cow;

use super::MAX_POSITION;

/// Audiences, as messages say them and as they are said here.
const AUDIENCES: [[&str; 2]; 4] =
    [["broadcast", "b"], ["user", "u"], ["session", "s"], ["group", "g"]];
/// Which of these is which.
const LONG: usize = 0;
const SHORT: usize = 1;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of the largest number.
const MOST_DIGITS: usize = 11;
/// What is in front of a position that is as it is.
const AS_IT_IS: char = '\'';
/// What is in front of the number of one without an entry.
const TIME: char = '@';
/// What most positions end with, and what is left out.
const FIRST: &str = "-0";

/// The two words of a channel as they are said here.
pub(super) fn pair(pair: &str) -> Cow<'_, str> {
    match renamed(pair, LONG) {
        Some((short, rest)) => Cow::Owned([short, rest].concat()),
        None => Cow::Borrowed(pair),
    }
}

/// Appends what is said of a channel, and returns the bytes of its two words.
pub(super) fn put(pair: &str, position: &str, out: &mut String) -> usize {
    let start = out.len();
    let short = renamed(pair, LONG);
    let words = short.unwrap_or(("", pair));
    out.extend([words.0, words.1]);
    let bytes = out.len() - start;
    out.push(' ');
    match short {
        Some(_) => put_position(position, out),
        None => out.push_str(position),
    }
    bytes
}

/// Reads a channel and a position, said here or as a message says them.
pub(super) fn read<'a>(
    channel: Cow<'a, str>,
    position: &'a str,
) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
    let (channel, position) = match renamed(&channel, SHORT) {
        Some((long, rest)) => {
            (Cow::Owned([long, rest].concat()), Cow::Owned(read_position(position)?))
        }
        None => (channel, Cow::Borrowed(position)),
    };
    is_position(&position).then_some((channel, position))
}

/// The position of what is said here of a channel of these two words, as they are said here.
pub(super) fn position(pair: &str, said: &str) -> Option<String> {
    match renamed(pair, SHORT) {
        Some(_) => read_position(said),
        None => Some(said.to_owned()),
    }
}

/// The audience of a channel in the other form, and what is behind it.
fn renamed(channel: &str, from: usize) -> Option<(&'static str, &str)> {
    AUDIENCES.iter().find_map(|names| {
        let rest = channel.strip_prefix(names[from])?;
        let is_whole = rest.is_empty() || rest.starts_with([' ', ':']);
        is_whole.then_some((names[1 - from], rest))
    })
}

fn put_position(position: &str, out: &mut String) {
    let (time, number) = match position.strip_prefix(TIME) {
        Some(number) => (true, number),
        None => (false, position),
    };
    let end = number.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(number.len());
    let (digits, rest) = number.split_at(end);
    let is_plain = !digits.starts_with('0') || digits == "0";
    match digits.parse::<u64>() {
        Ok(number) if is_plain && rest.starts_with(if time { '.' } else { '-' }) => {
            out.extend(time.then_some(TIME));
            put_number(number, out);
            out.push_str(if rest == FIRST { "" } else { rest });
        }
        _ => {
            out.push(AS_IT_IS);
            out.push_str(position);
        }
    }
}

fn read_position(said: &str) -> Option<String> {
    if let Some(position) = said.strip_prefix(AS_IT_IS) {
        return Some(position.to_owned());
    }
    let (time, said) = match said.strip_prefix(TIME) {
        Some(said) => ("@", said),
        None => ("", said),
    };
    let end = said.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(said.len());
    let (digits, rest) = said.split_at(end);
    let rest = if rest.is_empty() && time.is_empty() { FIRST } else { rest };
    Some(format!("{time}{}{rest}", read_number(digits)?))
}

fn put_number(mut number: u64, out: &mut String) {
    let mut digits = [0; MOST_DIGITS];
    let mut at = digits.len();
    while at == digits.len() || number > 0 {
        at -= 1;
        digits[at] = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn read_number(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_u64, |number, digit| {
        let digit = DIGITS.iter().position(|known| *known == digit)?;
        number.checked_mul(62)?.checked_add(digit as u64)
    })
}

/// What a position may be, whatever it means: it is given back in the line that it came from.
fn is_position(word: &str) -> bool {
    (1..=MAX_POSITION).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pair: &str, position: &str) -> String {
        let mut out = String::new();
        assert_eq!(put(pair, position, &mut out), super::pair(pair).len());
        out
    }

    #[test]
    fn what_is_said_in_short_is_read_as_it_was() {
        for (words, position, short) in [
            ("broadcast a", "1732791234567-0", "b a UVPzQkp"),
            ("user a:b", "1732791234567-12", "u a:b UVPzQkp-12"),
            ("session a", "@1732791234567.5c1f", "s a @UVPzQkp.5c1f"),
            ("group:the%20staff a", "61-0", "g:the%20staff a z"),
            ("user a", "62-0", "u a 10"),
            ("user a", "0-1", "u a 0-1"),
            ("user a", "18446744073709551615-0", "u a LygHa16AHYF"),
            ("user a", "18446744073709551616-0", "u a '18446744073709551616-0"),
            ("user a", "007-0", "u a '007-0"),
            ("user a", "7", "u a '7"),
            ("user a", "7-", "u a 7-"),
            ("user a", "7-00", "u a 7-00"),
            ("user a", "7.0", "u a '7.0"),
            ("user a", "@7-0", "u a '@7-0"),
            ("user a", "@7", "u a '@7"),
            ("user a", "-", "u a '-"),
            ("user a", "'7-0", "u a ''7-0"),
            ("users a", "7-0", "users a 7-0"),
            ("x a", "@7.0", "x a @7.0"),
        ] {
            assert_eq!(said(words, position), short);
            let (channel, facility) = words.split_once(' ').expect("two words");
            let (brief, rest) = short.split_once(' ').expect("three words");
            let last = rest.rsplit(' ').next().expect("a position");
            let read = |channel: &'static str, position| {
                read(channel.into(), position).map(|(a, b)| (a.into_owned(), b.into_owned()))
            };
            let both = Some((channel.to_owned(), position.to_owned()));
            assert_eq!((read(brief, last), read(channel, position)), (both.clone(), both));
            assert_eq!(
                super::position(&format!("{brief} {facility}"), last),
                Some(position.into())
            );
        }
    }

    #[test]
    fn what_is_no_position_is_none() {
        let most = format!("'{}", "1".repeat(MAX_POSITION));
        assert!(read("u".into(), &most).is_some());
        for position in
            ["", "-0", "@", "@.5", "_", "LygHa16AHYG", "zzzzzzzzzzzz", "'", "é", "'é", "7-\n"]
        {
            assert_eq!(read("u".into(), position), None, "{position:?}");
        }
        let more = format!("{most}1");
        assert_eq!(read("u".into(), &more), None);
        assert_eq!(read("user".into(), &more), None);
    }
}
