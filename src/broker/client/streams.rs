//! The histories of channels, in the commands of Redis for streams.
//!
//! A stream is there for each channel that a rule fits, and for nothing else. XADD puts a message
//! into it, which the PUBLISH that follows has live and does not record once more, and one script
//! does both. How many are kept is what the rule says, whatever the client does, and for how long
//! until the client says otherwise: what it has forgotten before its time is a gap, as by DEL.

use std::collections::VecDeque;

use super::commands::{self, Command, Wrong};
use super::keys::{self, Asked};
use super::{MAX_MANY, OVERHEAD, Step};
use crate::broker::history::script::SCRIPT;
use crate::broker::history::{Bound, FIELD, Histories, Offset, PREFIX, channel_of};
use crate::broker::local::Local;
use crate::proto::resp::reply::{self, Version};

/// Messages that a client has added and not published yet that are known to be the same.
const MOST_ADDED: usize = 128;

/// What a client has put into histories and not published yet.
#[derive(Debug, Default)]
pub(super) struct Added(VecDeque<Offset>);

impl Added {
    /// Takes the entry that is the message which is published now, if there is one.
    fn take(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        local: &mut Local,
        now_ms: u64,
    ) -> Option<Offset> {
        if self.0.is_empty() {
            return None;
        }
        let histories = local.histories(now_ms)?;
        let at = self.0.iter().position(|offset| histories.has(channel, *offset, payload))?;
        self.0.remove(at)
    }
}

/// Whether a command is about streams, or about the name of one where there are histories.
pub(super) fn is_asked(command: Command, args: &[&[u8]], local: &mut Local, now_ms: u64) -> bool {
    match command {
        Command::XAdd | Command::XLen | Command::XRange | Command::XRevRange => true,
        Command::FlushDb => local.histories(now_ms).is_some(),
        command => {
            let names = &args[1..1 + command.names(args.len())];
            let is_stream = |name: &&[u8]| name.starts_with(PREFIX.as_bytes());
            names.iter().any(is_stream) && local.histories(now_ms).is_some()
        }
    }
}

/// Does a command that [`is_asked`], and answers it.
pub(super) fn answer(
    asked: &Asked<'_>,
    added: &mut Added,
    local: &mut Local,
    out: &mut Vec<u8>,
    version: Version,
) -> Result<(), Wrong> {
    let (args, now_ms) = (asked.args, asked.now.mono_ms);
    let Some(histories) = local.histories(now_ms) else { return Err(Wrong::NoHistory) };
    match asked.command {
        Command::XAdd => {
            let offset = add(asked, histories)?;
            added.0.extend([offset]);
            if added.0.len() > MOST_ADDED {
                added.0.pop_front();
            }
            reply::bulk(out, offset.to_string().as_bytes());
        }
        Command::XLen => reply::integer(out, histories.len(stream(args[1])?) as i64),
        Command::XRange | Command::XRevRange => range(asked, histories, out)?,
        Command::FlushDb => {
            histories.clear();
            return keys::answer(asked, local.store(now_ms), out, version);
        }
        Command::Del => {
            let gone = args[1..].iter().filter(|name| match channel_of(name) {
                Some(channel) => local.histories(now_ms).is_some_and(|all| all.forget(channel)),
                None => local.store(now_ms).remove(name),
            });
            reply::integer(out, gone.count() as i64);
        }
        Command::Exists => {
            let there = args[1..].iter().filter(|name| match channel_of(name) {
                Some(channel) => {
                    local.histories(now_ms).is_some_and(|all| all.expires_ms(channel).is_some())
                }
                None => local.store(now_ms).get(name).is_some(),
            });
            reply::integer(out, there.count() as i64);
        }
        Command::Type => {
            let there = histories.expires_ms(stream(args[1])?).is_some();
            reply::status(out, if there { "stream" } else { "none" });
        }
        Command::Expire | Command::PExpire => {
            let done = expire(asked, histories)?;
            reply::integer(out, i64::from(done));
        }
        Command::Ttl | Command::PTtl => {
            let at_ms = histories.expires_ms(stream(args[1])?);
            reply::integer(out, keys::time_left(asked, at_ms));
        }
        _ => return Err(Wrong::Kind),
    }
    Ok(())
}

/// PUBLISH: of what the client has added, or of something new.
pub(super) fn publish(
    asked: &Asked<'_>,
    added: &mut Added,
    local: &mut Local,
) -> Result<Step, Wrong> {
    let (channel, payload) = (asked.args[1], asked.args[2]);
    keys::check_name(channel)?;
    keys::check_value(payload, asked.max_value)?;
    let recorded = added.take(channel, payload, local, asked.now.mono_ms);
    Ok(Step::Publish { channel: channel.into(), payload: payload.into(), recorded })
}

/// EVAL and EVALSHA of the one script that there is.
pub(super) fn evaluate(asked: &Asked<'_>, local: &mut Local) -> Result<Step, Wrong> {
    match asked.command {
        Command::Eval if !is_script(asked.args[1]) => return Err(Wrong::Script),
        Command::EvalSha if !is_hash(asked.args[1]) => return Err(Wrong::NoScript),
        _ => {}
    }
    let [_, _, b"1", name, channel, payload, messages, ms] = asked.args else {
        return Err(Wrong::ScriptWords);
    };
    if stream(name)? != *channel || keys::integer(messages)? < 1 || keys::integer(ms)? < 1 {
        return Err(Wrong::ScriptWords);
    }
    let histories = local.histories(asked.now.mono_ms).ok_or(Wrong::NoHistory)?;
    let recorded = Some(record(asked, histories, channel, payload)?);
    Ok(Step::Publish { channel: (*channel).into(), payload: (*payload).into(), recorded })
}

/// SCRIPT: says the hash of the one that there is.
pub(super) fn script(args: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Wrong> {
    match (args[1].to_ascii_lowercase().as_slice(), &args[2..]) {
        (b"load", [text]) if is_script(text) => reply::bulk(out, hash(text).as_bytes()),
        (b"load", [_]) => return Err(Wrong::Script),
        (b"exists", hashes) => {
            reply::array(out, hashes.len());
            hashes.iter().for_each(|hash| reply::integer(out, i64::from(is_hash(hash))));
        }
        _ => return Err(Wrong::UnknownPart("SCRIPT", commands::printable(args[1]))),
    }
    Ok(())
}

/// Whether it is the script, however its file ends.
fn is_script(text: &[u8]) -> bool {
    text.trim_ascii() == SCRIPT.as_bytes().trim_ascii()
}

fn is_hash(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    [SCRIPT, SCRIPT.trim_end()].iter().any(|script| hash(script.as_bytes()).as_bytes() == text)
}

fn hash(script: &[u8]) -> String {
    sha1_smol::Sha1::from(script).digest().to_string()
}

/// The channel of a stream.
fn stream(name: &[u8]) -> Result<&[u8], Wrong> {
    channel_of(name).ok_or(Wrong::NoStream)
}

/// XADD: records a message.
fn add(asked: &Asked<'_>, histories: &mut Histories) -> Result<Offset, Wrong> {
    let channel = stream(asked.args[1])?;
    let mut rest = &asked.args[2..];
    if let [option, more @ ..] = rest
        && option.eq_ignore_ascii_case(b"maxlen")
    {
        let number = match more {
            [sign, number, after @ ..] if matches!(*sign, b"=" | b"~") => {
                rest = after;
                number
            }
            [number, after @ ..] => {
                rest = after;
                number
            }
            [] => return Err(Wrong::Syntax),
        };
        if keys::integer(number)? < 0 {
            return Err(Wrong::Syntax);
        }
    }
    let [b"*", field, payload] = rest else { return Err(Wrong::Entry) };
    if *field != FIELD || payload.is_empty() {
        return Err(Wrong::Entry);
    }
    record(asked, histories, channel, payload)
}

fn record(
    asked: &Asked<'_>,
    histories: &mut Histories,
    channel: &[u8],
    payload: &[u8],
) -> Result<Offset, Wrong> {
    keys::check_name(channel)?;
    keys::check_value(payload, asked.max_value)?;
    histories.record(channel, payload.into(), asked.now).ok_or(Wrong::NoRule)
}

/// XRANGE and XREVRANGE: the entries between two places.
fn range(asked: &Asked<'_>, histories: &Histories, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let args = asked.args;
    let is_reverse = asked.command == Command::XRevRange;
    let (first, last) = if is_reverse { (args[3], args[2]) } else { (args[2], args[3]) };
    let end = |text, bound| Offset::parse_end(text, bound).ok_or(Wrong::Place);
    let (first, last) = (end(first, Bound::First)?, end(last, Bound::Last)?);
    let count = match &args[4..] {
        [] => usize::MAX,
        [word, number] if word.eq_ignore_ascii_case(b"count") => {
            usize::try_from(keys::integer(number)?).unwrap_or_default()
        }
        _ => return Err(Wrong::Syntax),
    };
    let entries = histories.range(stream(args[1])?, first, last);
    let entries: Vec<_> = match is_reverse {
        true => entries.rev().take(count).collect(),
        false => entries.take(count).collect(),
    };
    let bytes = entries.iter().map(|entry| entry.payload.len() + OVERHEAD).sum::<usize>();
    if bytes > MAX_MANY {
        return Err(Wrong::TooMuch);
    }
    reply::array(out, entries.len());
    for entry in entries {
        reply::array(out, 2);
        reply::bulk(out, entry.offset.to_string().as_bytes());
        reply::array(out, 2);
        reply::bulk(out, FIELD);
        reply::bulk(out, &entry.payload);
    }
    Ok(())
}

/// EXPIRE and PEXPIRE without conditions.
fn expire(asked: &Asked<'_>, histories: &mut Histories) -> Result<bool, Wrong> {
    let channel = stream(asked.args[1])?;
    let at_ms = keys::expires_ms(asked)?;
    if asked.args.len() > 3 {
        return Err(Wrong::Syntax);
    }
    if !histories.is_for(channel) || histories.expires_ms(channel).is_none() {
        return Ok(false);
    }
    match at_ms > asked.now.mono_ms {
        true => histories.set_expiry_ms(channel, at_ms.min(u64::MAX - 1)),
        false => drop(histories.forget(channel)),
    }
    Ok(true)
}
