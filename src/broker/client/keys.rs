//! What is stored, in the commands of Redis.

use std::sync::Arc;

use super::commands::{self, Command, Wrong};
use super::{MAX_MANY, MAX_NAME, MAX_PATTERN, MAX_WORK, PubSub};
use crate::broker::glob;
use crate::broker::store::{NEVER_MS, Store, Writer};
use crate::link::Now;
use crate::proto::resp::reply::{self, Version};

/// Names that SCAN looks at when it is not told how many.
const SCAN_COUNT: usize = 10;

/// A command, and what it needs to know.
pub(super) struct Asked<'a> {
    pub(super) command: Command,
    pub(super) args: &'a [&'a [u8]],
    pub(super) now: Now,
    pub(super) max_value: usize,
}

/// Does a command, and answers it.
pub(super) fn answer(
    asked: &Asked<'_>,
    store: &mut Store,
    out: &mut Vec<u8>,
    version: Version,
) -> Result<(), Wrong> {
    let args = asked.args;
    match asked.command {
        Command::Get => value(store, args[1], out, version),
        Command::MGet => {
            let values = args[1..].iter().filter_map(|name| store.get(name));
            if values.map(|value| value.len()).sum::<usize>() > MAX_MANY {
                return Err(Wrong::TooMuch);
            }
            reply::array(out, args.len() - 1);
            args[1..].iter().for_each(|name| value(store, name, out, version));
        }
        Command::Set | Command::SetEx | Command::PSetEx | Command::SetNx => {
            store_value(asked, store, out, version)?;
        }
        Command::Type => {
            reply::status(out, if store.get(args[1]).is_some() { "string" } else { "none" });
        }
        Command::DbSize => reply::integer(out, store.len() as i64),
        Command::FlushDb => {
            match args.get(1).map(|how| how.to_ascii_lowercase()).as_deref() {
                None | Some(b"sync" | b"async") => store.clear(),
                Some(_) => return Err(Wrong::Syntax),
            }
            reply::status(out, "OK");
        }
        Command::Del => count(out, &args[1..], |name| store.remove(name)),
        Command::Exists => count(out, &args[1..], |name| store.get(name).is_some()),
        Command::Expire | Command::PExpire => {
            let done = expire(asked, store)?;
            reply::integer(out, i64::from(done));
        }
        Command::Ttl | Command::PTtl => {
            reply::integer(out, time_left(asked, store.expires_ms(args[1])));
        }
        Command::Keys => {
            check_pattern(args[1])?;
            let fitting = fitting(store.names(), args[1])?;
            names(fitting.into_iter(), out);
        }
        _ => scan(args, store, out)?,
    }
    Ok(())
}

/// What TTL and PTTL answer about what expires then, if it is there.
pub(super) fn time_left(asked: &Asked<'_>, expires_ms: Option<u64>) -> i64 {
    let left = |at_ms: u64| match at_ms - asked.now.mono_ms {
        ms if asked.command == Command::PTtl => ms,
        ms => (ms + 500) / 1000,
    };
    match expires_ms {
        None => -2,
        Some(NEVER_MS) => -1,
        Some(at_ms) => i64::try_from(left(at_ms)).unwrap_or(i64::MAX),
    }
}

/// SET and its relatives.
fn store_value(
    asked: &Asked<'_>,
    store: &mut Store,
    out: &mut Vec<u8>,
    version: Version,
) -> Result<(), Wrong> {
    let args = asked.args;
    match asked.command {
        Command::Set => {
            let wishes = Wishes::read(&args[3..], asked.now)?;
            let before = store.get(args[1]).cloned();
            let done = set(asked, store, args[2], &wishes)?;
            match (wishes.gets, before) {
                (true, Some(before)) => reply::bulk(out, &before),
                (true, None) => reply::null(out, version),
                (false, _) if done => reply::status(out, "OK"),
                (false, _) => reply::null(out, version),
            }
        }
        Command::SetEx | Command::PSetEx => {
            let (unit_ms, name) = match asked.command {
                Command::SetEx => (1000, "setex"),
                _ => (1, "psetex"),
            };
            let expires_in_ms = Some(lifetime_ms(args[2], unit_ms, name)?);
            let wishes = Wishes { expires_in_ms, ..Wishes::default() };
            set(asked, store, args[3], &wishes)?;
            reply::status(out, "OK");
        }
        _ => {
            let wishes = Wishes { only_if: Some(false), ..Wishes::default() };
            let done = set(asked, store, args[2], &wishes)?;
            reply::integer(out, i64::from(done));
        }
    }
    Ok(())
}

/// PUBSUB: what is asked.
pub(super) fn pubsub(args: &[&[u8]]) -> Result<PubSub, Wrong> {
    match (args[1].to_ascii_lowercase().as_slice(), &args[2..]) {
        (b"channels", []) => Ok(PubSub::Channels(None)),
        (b"channels", [pattern]) => {
            check_pattern(pattern)?;
            Ok(PubSub::Channels(Some(pattern.to_vec())))
        }
        (b"numsub", names) => {
            Ok(PubSub::Receivers(names.iter().map(|name| name.to_vec()).collect()))
        }
        (b"numpat", []) => Ok(PubSub::Patterns),
        (b"channels" | b"numpat", _) => Err(Wrong::Arguments("pubsub")),
        _ => Err(Wrong::UnknownPart("PUBSUB", commands::printable(args[1]))),
    }
}

/// Those of the names that fit a pattern; none when to find them out is too much work.
pub(crate) fn matching(names: impl Iterator<Item = Vec<u8>>, pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut work = MAX_WORK;
    names.filter(|name| glob::matches_within(pattern, name, &mut work) == Some(true)).collect()
}

/// Whether a name has a length that it may have.
pub(super) fn check_name(name: &[u8]) -> Result<(), Wrong> {
    if name.len() <= MAX_NAME { Ok(()) } else { Err(Wrong::Long) }
}

/// Whether a message has a length that it may have.
pub(super) fn check_value(value: &[u8], most: usize) -> Result<(), Wrong> {
    if value.len() <= most { Ok(()) } else { Err(Wrong::Large) }
}

fn check_pattern(pattern: &[u8]) -> Result<(), Wrong> {
    if pattern.len() <= MAX_PATTERN { Ok(()) } else { Err(Wrong::Long) }
}

fn value(store: &Store, name: &[u8], out: &mut Vec<u8>, version: Version) {
    match store.get(name) {
        Some(value) => reply::bulk(out, value),
        None => reply::null(out, version),
    }
}

fn count(out: &mut Vec<u8>, names: &[&[u8]], mut counts: impl FnMut(&[u8]) -> bool) {
    let counted = names.iter().filter(|name| counts(name)).count();
    reply::integer(out, counted as i64);
}

fn names<'n>(names: impl Iterator<Item = &'n Arc<[u8]>>, out: &mut Vec<u8>) {
    let names: Vec<&Arc<[u8]>> = names.collect();
    reply::array(out, names.len());
    names.into_iter().for_each(|name| reply::bulk(out, name));
}

/// The options of SET.
#[derive(Debug, Default)]
struct Wishes {
    expires_in_ms: Option<u64>,
    keeps_expiry: bool,
    /// What was there before is the answer.
    gets: bool,
    /// Only if something is there, or only if nothing is.
    only_if: Option<bool>,
}

impl Wishes {
    fn read(options: &[&[u8]], now: Now) -> Result<Wishes, Wrong> {
        let mut wishes = Wishes::default();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let timed = wishes.expires_in_ms.is_some() || wishes.keeps_expiry;
            match option.to_ascii_lowercase().as_slice() {
                b"nx" if wishes.only_if != Some(true) => wishes.only_if = Some(false),
                b"xx" if wishes.only_if != Some(false) => wishes.only_if = Some(true),
                b"keepttl" if !timed => wishes.keeps_expiry = true,
                b"get" => wishes.gets = true,
                unit @ (b"exat" | b"pxat") if !timed => {
                    let time = options.next().ok_or(Wrong::Syntax)?;
                    let unit_ms = if unit == b"exat" { 1000 } else { 1 };
                    let at_ms = lifetime_ms(time, unit_ms, "set")?;
                    // What is past is deleted as soon as it is looked for.
                    wishes.expires_in_ms = Some(at_ms.saturating_sub(now.unix_ms));
                }
                unit @ (b"ex" | b"px") if !timed => {
                    let time = options.next().ok_or(Wrong::Syntax)?;
                    let unit_ms = if unit == b"ex" { 1000 } else { 1 };
                    wishes.expires_in_ms = Some(lifetime_ms(time, unit_ms, "set")?);
                }
                _ => return Err(Wrong::Syntax),
            }
        }
        Ok(wishes)
    }
}

/// Stores a value; false when a condition kept it from that.
fn set(asked: &Asked<'_>, store: &mut Store, value: &[u8], wishes: &Wishes) -> Result<bool, Wrong> {
    let name = asked.args[1];
    check_name(name)?;
    check_value(value, asked.max_value)?;
    if wishes.only_if.is_some_and(|there| store.get(name).is_some() != there) {
        return Ok(false);
    }
    let expires_ms = match wishes.expires_in_ms {
        Some(ms) => asked.now.mono_ms.saturating_add(ms),
        None if wishes.keeps_expiry => store.expires_ms(name).unwrap_or(NEVER_MS),
        None => NEVER_MS,
    };
    let stored = store.set(name.into(), value.into(), expires_ms, Writer::Application);
    if stored { Ok(true) } else { Err(Wrong::Full) }
}

/// EXPIRE and PEXPIRE; what is to expire at once or before is deleted.
fn expire(asked: &Asked<'_>, store: &mut Store) -> Result<bool, Wrong> {
    let at_ms = expires_ms(asked)?;
    let Some(before_ms) = store.expires_ms(asked.args[1]) else { return Ok(false) };
    let (mut never, mut ever, mut later, mut sooner) = (false, false, false, false);
    for option in &asked.args[3..] {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => never = true,
            b"xx" => ever = true,
            b"gt" => later = true,
            b"lt" => sooner = true,
            _ => return Err(Wrong::Syntax),
        }
    }
    if never && (ever || later || sooner) || later && sooner {
        return Err(Wrong::Syntax);
    }
    let has_one = before_ms != NEVER_MS;
    if never && has_one
        || ever && !has_one
        || later && at_ms <= before_ms
        || sooner && at_ms >= before_ms
    {
        return Ok(false);
    }
    Ok(match at_ms > asked.now.mono_ms {
        true => store.set_expiry(asked.args[1], at_ms),
        false => store.remove(asked.args[1]),
    })
}

/// When something is to expire by EXPIRE or PEXPIRE; 0 is at once.
pub(super) fn expires_ms(asked: &Asked<'_>) -> Result<u64, Wrong> {
    let (unit_ms, command) = match asked.command {
        Command::Expire => (1000, "expire"),
        _ => (1, "pexpire"),
    };
    let ms = integer(asked.args[2])?.checked_mul(unit_ms).ok_or(Wrong::ExpireTime(command))?;
    Ok(u64::try_from(ms).map_or(0, |ms| asked.now.mono_ms.saturating_add(ms)))
}

/// Those of the names that fit a pattern, unless to find them out is too much work.
fn fitting<'n>(
    names: impl Iterator<Item = &'n Arc<[u8]>>,
    pattern: &[u8],
) -> Result<Vec<&'n Arc<[u8]>>, Wrong> {
    let mut work = MAX_WORK;
    let mut fitting = Vec::new();
    for name in names {
        if glob::matches_within(pattern, name, &mut work).ok_or(Wrong::TooMuch)? {
            fitting.push(name);
        }
    }
    Ok(fitting)
}

/// SCAN: the names from a cursor on that fit, and the next cursor.
fn scan(args: &[&[u8]], store: &Store, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let cursor = std::str::from_utf8(args[1]).ok().and_then(|text| text.parse().ok());
    let cursor: u64 = cursor.ok_or(Wrong::Cursor)?;
    let (mut pattern, mut count, mut strings) = (&b"*"[..], SCAN_COUNT, true);
    for option in args[2..].chunks(2) {
        match option {
            [name, text] if name.eq_ignore_ascii_case(b"match") => pattern = text,
            [name, kind] if name.eq_ignore_ascii_case(b"type") => {
                strings = kind.eq_ignore_ascii_case(b"string");
            }
            [name, number] if name.eq_ignore_ascii_case(b"count") => {
                let number = usize::try_from(integer(number)?).ok().filter(|number| *number > 0);
                count = number.ok_or(Wrong::Syntax)?;
            }
            _ => return Err(Wrong::Syntax),
        }
    }
    check_pattern(pattern)?;
    let (cursor, found) = store.scan(cursor, count);
    let found = fitting(found.iter().filter(|_| strings), pattern)?;
    reply::array(out, 2);
    reply::bulk(out, cursor.to_string().as_bytes());
    names(found.into_iter(), out);
    Ok(())
}

/// A time to live, in milliseconds, of a number of units.
fn lifetime_ms(text: &[u8], unit_ms: i64, command: &'static str) -> Result<u64, Wrong> {
    let ms = integer(text)?.checked_mul(unit_ms).and_then(|ms| u64::try_from(ms).ok());
    ms.filter(|ms| *ms > 0).ok_or(Wrong::ExpireTime(command))
}

pub(super) fn integer(text: &[u8]) -> Result<i64, Wrong> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok()).ok_or(Wrong::NotInteger)
}
