//! L1: what the application's answer means.
//!
//! It knows the headers and the statuses; not how the answer came. Its rules: a header is taken as
//! its bytes are, which must be UTF-8, and decoded no further, so that no name stands for another;
//! one that cannot be taken makes the whole answer worth nothing, and never a grant of the rest.

use std::fmt;

use crate::access::identity::{Identity, MAX_GROUPS};
use crate::proto::http::answer::{Answer, AnswerError};

const USER: &str = "X-Wsloop-User";
const GROUPS: &str = "X-Wsloop-Groups";
const SESSION: &str = "X-Wsloop-Session";
const ALLOW: &str = "X-Wsloop-Allow";
/// The headers of an answer that mean something.
pub(super) const WANTED: &[&str] = &[USER, GROUPS, SESSION, ALLOW];
/// Longest name, in bytes.
const MAX_NAME: usize = 255;

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
    /// A name in it is over 255 bytes.
    TooLong,
    /// A name in it has a colon, which separates the parts of a channel's name.
    Colon,
    /// A name in it has a control character.
    Control,
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
            Self::NotUtf8 => {
                "is not UTF-8; in Python, write name.encode().decode('latin-1') into it"
            }
            Self::EncodedWord => {
                "is an encoded word (=?…?=), as Django makes of what is not Latin-1; write \
                 name.encode().decode('latin-1') into it"
            }
            Self::TooMany => "has more than 1,000 names",
            Self::TooLong => "has a name of more than 255 bytes",
            Self::Colon => "has a name with a colon",
            Self::Control => "has a name with a control character",
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
    let one_name = |header| {
        let text = single(answer, header)?;
        text.map(|text| name(text).map(str::to_owned))
            .transpose()
            .map_err(|wrong| Failure::Header { name: header, wrong })
    };
    let (user, session) = (one_name(USER)?, one_name(SESSION)?);
    let mut groups = Vec::new();
    for text in texts(answer, GROUPS) {
        for group in text?.split(',').map(|group| group.trim_matches([' ', '\t'])) {
            if !group.is_empty() {
                let group = name(group).map_err(|wrong| Failure::Header { name: GROUPS, wrong })?;
                groups.push(group.to_owned());
            }
        }
    }
    if groups.len() > MAX_GROUPS {
        return Err(Failure::Header { name: GROUPS, wrong: Wrong::TooMany });
    }
    let allow: Vec<&str> = texts(answer, ALLOW).collect::<Result<_, _>>()?;
    let allow = Some(allow.join(",")).filter(|_| answer.values(ALLOW).next().is_some());
    Ok(Granted { identity: Identity { session, user, groups }, allow })
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

/// The name, if it can be part of a channel's.
fn name(text: &str) -> Result<&str, Wrong> {
    match text {
        _ if text.contains(char::is_control) => Err(Wrong::Control),
        _ if text.contains(':') => Err(Wrong::Colon),
        _ if text.len() > MAX_NAME => Err(Wrong::TooLong),
        _ => Ok(text),
    }
}

/// A body as one line: where it was cut within a character, that character is left out.
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.trim_end_matches(char::REPLACEMENT_CHARACTER).trim();
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    line.chars().map(blank).filter(|c| !c.is_control()).collect()
}
