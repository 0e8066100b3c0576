//! L1: what the application's answer means.
//!
//! It knows the headers and the statuses; not how the answer came. Its rules:
//! - a plain header is taken as its bytes are, which must be UTF-8, and decoded no further, so that
//!   no name stands for another;
//! - its `-Encoded` form is percent-encoded UTF-8, and a list in it is split before it is decoded;
//! - a header that cannot be read, or that comes in both forms, makes the whole answer worth
//!   nothing, and never a grant of the rest;
//! - a name that can be read and not be part of a channel's name is left out, as of other sources.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use crate::access::identity::{Identity, MAX_GROUPS, Named, Refused};
use crate::proto::http::answer::{Answer, AnswerError};

const USER: &str = "X-Wsloop-User";
const GROUPS: &str = "X-Wsloop-Groups";
const SESSION: &str = "X-Wsloop-Session";
const USER_ENCODED: &str = "X-Wsloop-User-Encoded";
const GROUPS_ENCODED: &str = "X-Wsloop-Groups-Encoded";
const SESSION_ENCODED: &str = "X-Wsloop-Session-Encoded";
const ALLOW: &str = "X-Wsloop-Allow";
/// The headers of an answer that mean something.
pub(super) const WANTED: &[&str] =
    &[USER, GROUPS, SESSION, USER_ENCODED, GROUPS_ENCODED, SESSION_ENCODED, ALLOW];

/// What has become of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The application knows who it is.
    Granted(Granted),
    /// The application will not have it.
    Refused {
        /// 401 or 403.
        status: u16,
        /// The first KiB of the answer's text, on one line, without control characters.
        text: String,
    },
    /// The application could not be asked, or its answer is of no use: no grant, and no refusal
    /// that is the browser's fault.
    Unavailable {
        /// Why, for the log: it is about the application, not for the browser.
        reason: Failure,
    },
}

/// Who somebody is, and what they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Each part empty unless the application named it.
    pub identity: Identity,
    /// Names that it gave and that the identity cannot have.
    pub refused: Vec<Refused>,
    /// What alone is allowed, in the words of `--allow`; `None` narrows nothing, empty text allows
    /// nothing.
    pub allow: Option<String>,
}

/// Why there is no answer of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No link to the application could be made.
    Unreachable(String),
    /// No link was free in time.
    Busy,
    /// It did not answer in time.
    Late,
    /// It answered before the question was sent.
    Early,
    /// It hung up without a byte of an answer.
    HungUp(String),
    /// Its answer is not HTTP as it should be.
    Answer(AnswerError),
    /// Its answer has a status that means neither yes nor no.
    Status(u16),
    /// One of its headers cannot be taken.
    Header {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        wrong: Wrong,
    },
}

/// What is wrong with a header of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There are two of it.
    Repeated,
    /// It is not UTF-8.
    NotUtf8,
    /// It is an encoded word of RFC 2047, which stands for a name that it does not spell.
    EncodedWord,
    /// There are more than [`MAX_GROUPS`] names in it.
    TooMany,
    /// It came in its other form, too.
    Both,
    /// It is to be percent-encoded, and is not: a percent sign without two digits, a plus sign,
    /// which may mean a blank, a blank, or a byte that is not ASCII.
    NotEncoded,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "it cannot be reached: {why}"),
            Self::Busy => f.write_str("no connection to it became free in time"),
            Self::Late => f.write_str("it did not answer in time"),
            Self::Early => f.write_str("it answered before the question was sent"),
            Self::HungUp(why) => write!(f, "it hung up without an answer: {why}"),
            Self::Answer(error) => error.fmt(f),
            Self::Status(status) => {
                let mend = match status {
                    300..400 => {
                        "; a redirect, as to a login page, says neither yes nor no: answer 401 or \
                         403 instead"
                    }
                    400 => "; Django says so to a host that is not in ALLOWED_HOSTS",
                    404 => "; is the path in the URL right?",
                    _ => "",
                };
                write!(f, "it answered {status}{mend}")
            }
            Self::Header { name, wrong } => write!(f, "its header {name} {wrong}"),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "came more than once",
            Self::NotUtf8 => "is not UTF-8; write it percent-encoded, into its -Encoded form",
            Self::EncodedWord => {
                "is an encoded word (=?…?=), as Django makes of what is not Latin-1; write it \
                 percent-encoded, into its -Encoded form"
            }
            Self::TooMany => "has more than 1,000 names",
            Self::Both => "came in its plain and in its encoded form; write one of them",
            Self::NotEncoded => {
                "is not percent-encoded: encodeURIComponent, quote(name, safe=''), rawurlencode \
                 and ERB::Util.url_encode do that"
            }
        })
    }
}

/// What the answer means.
pub(super) fn verdict(answer: &Answer) -> Verdict {
    match answer.status {
        200..300 => match granted(answer) {
            Ok(granted) => Verdict::Granted(granted),
            Err(reason) => Verdict::Unavailable { reason },
        },
        status @ (401 | 403) => Verdict::Refused { status, text: plain(&answer.body) },
        status => Verdict::Unavailable { reason: Failure::Status(status) },
    }
}

fn granted(answer: &Answer) -> Result<Granted, Failure> {
    let (user, session) =
        (name(answer, USER, USER_ENCODED)?, name(answer, SESSION, SESSION_ENCODED)?);
    let groups = groups(answer)?;
    let groups = groups.iter().map(|group| &**group);
    let Named { identity, refused } = Named::new(session.as_deref(), user.as_deref(), groups);
    let allow: Vec<&str> = texts(answer, ALLOW).collect::<Result<_, _>>()?;
    let allow = Some(allow.join(",")).filter(|_| answer.values(ALLOW).next().is_some());
    Ok(Granted { identity, refused, allow })
}

/// The name in that header, or in its encoded form.
fn name<'a>(
    answer: &'a Answer,
    plain: &'static str,
    encoded: &'static str,
) -> Result<Option<Cow<'a, str>>, Failure> {
    not_both(answer, plain, encoded)?;
    let name = single(answer, encoded)?.map(|text| decoded(encoded, text)).transpose()?;
    Ok(name.or(single(answer, plain)?.map(Cow::Borrowed)))
}

/// The names in the list of groups, or in its encoded form.
fn groups(answer: &Answer) -> Result<Vec<Cow<'_, str>>, Failure> {
    not_both(answer, GROUPS, GROUPS_ENCODED)?;
    let mut groups = Vec::new();
    for header in [GROUPS, GROUPS_ENCODED] {
        for text in texts(answer, header) {
            let parts = text?.split(',').map(|part| part.trim_matches([' ', '\t']));
            for part in parts.filter(|part| !part.is_empty()) {
                groups.push(match header == GROUPS {
                    true => Cow::Borrowed(part),
                    false => decoded(header, part)?,
                });
            }
        }
        if groups.len() > MAX_GROUPS {
            return Err(Failure::Header { name: header, wrong: Wrong::TooMany });
        }
    }
    Ok(groups)
}

fn not_both(answer: &Answer, plain: &'static str, encoded: &str) -> Result<(), Failure> {
    let came = |header| answer.values(header).next().is_some();
    match came(plain) && came(encoded) {
        true => Err(Failure::Header { name: plain, wrong: Wrong::Both }),
        false => Ok(()),
    }
}

/// What a percent-encoded name stands for.
fn decoded<'a>(header: &'static str, text: &'a str) -> Result<Cow<'a, str>, Failure> {
    let wrong = |wrong| Failure::Header { name: header, wrong };
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    for (at, byte) in text.bytes().enumerate() {
        let behind = &text.as_bytes()[at + 1..];
        let is_whole = byte != b'%' || is_digit(behind.first()) && is_digit(behind.get(1));
        if !byte.is_ascii_graphic() || byte == b'+' || !is_whole {
            return Err(wrong(Wrong::NotEncoded));
        }
    }
    percent_decode_str(text).decode_utf8().map_err(|_| wrong(Wrong::NotUtf8))
}

/// The header's text, if it has any: frameworks write the empty name of nobody as it is.
fn single<'a>(answer: &'a Answer, header: &'static str) -> Result<Option<&'a str>, Failure> {
    let mut texts = texts(answer, header);
    let text = texts.next().transpose()?;
    match texts.next() {
        None => Ok(text.filter(|text| !text.is_empty())),
        Some(_) => Err(Failure::Header { name: header, wrong: Wrong::Repeated }),
    }
}

fn texts<'a>(
    answer: &'a Answer,
    header: &'static str,
) -> impl Iterator<Item = Result<&'a str, Failure>> {
    answer.values(header).map(move |value| {
        let text = std::str::from_utf8(value.trim_ascii());
        let wrong = match text {
            Err(_) => Wrong::NotUtf8,
            Ok(text) if text.starts_with("=?") && text.ends_with("?=") => Wrong::EncodedWord,
            Ok(text) => return Ok(text),
        };
        Err(Failure::Header { name: header, wrong })
    })
}

/// A body as one line: where it was cut within a character, that character is left out.
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.trim_end_matches(char::REPLACEMENT_CHARACTER).trim();
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    line.chars().map(blank).filter(|c| !c.is_control()).collect()
}
