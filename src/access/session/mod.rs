//! L1: the application's session, as its framework stores it in Redis: bytes in, names out.
//!
//! - The format is configured and never guessed, and what is in another is refused.
//! - No code is run for what is stored, and no type is made but texts, numbers, lists and maps.
//! - What is made of a session is bounded by [`MAX_STORED`], and reading it does not recurse but
//!   for JSON, where depth is bounded.
//! - The user and the groups come from the entries that are configured and from no others.

mod cookie;
mod django;
mod pickle;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::access::channel::Audience;
use crate::access::identity::{MAX_GROUPS, NameError, Named, Refused};

pub use cookie::session_key;

/// Longest stored session that is read, and the most that a compressed one is inflated to, in
/// bytes.
pub const MAX_STORED: usize = 1 << 20;

/// How a framework stores its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The signed text of `django.contrib.sessions`, as django-redis-sessions keeps it: JSON, in
    /// the form of Django 3.1 and later or in the one before, compressed or not.
    #[default]
    Django,
    /// A pickle, as Django's cache engine keeps it through Django's own `RedisCache` or through
    /// django-redis, with its zlib compressor or without.
    DjangoPickle,
    /// A JSON object.
    Json,
    /// The JSON object of express-session, as connect-redis keeps it; the cookie is signed.
    Express,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Django, Self::DjangoPickle, Self::Json, Self::Express];

    /// The format of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Its name in flags: `django`, `django-pickle`, `json` or `express`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Django => "django",
            Self::DjangoPickle => "django-pickle",
            Self::Json => "json",
            Self::Express => "express",
        }
    }

    /// Whether a secret makes a difference: the stored text or the cookie is signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Django | Self::Express)
    }
}

/// Which entries of a session hold the names. One that is not configured gives none.
///
/// An entry is first looked for by the whole of what is configured, which may hold dots and colons.
/// If there is none of that name, dots lead from map to map: `passport.user` is entry `user` of the
/// map that is entry `passport`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Where the user's name is: a text, or a whole number, which becomes its decimal text.
    pub user: Option<String>,
    /// Where the names of the groups are: a list of such.
    pub groups: Option<String>,
}

/// Why a cookie names no session, or a stored session cannot be read. Each is anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The cookie holds no session key: 8 to 128 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
    NotAKey,
    /// The cookie is not one that express-session signed.
    NotSigned,
    /// The MAC of the cookie, or of what is stored, is not by a secret.
    Signature,
    /// What is stored, or what it is inflated to, is longer than [`MAX_STORED`], or holds more
    /// values than anyone keeps in a session.
    TooLarge,
    /// What is stored is in neither form of Django's.
    NotDjango,
    /// What is compressed cannot be inflated.
    NotDeflated,
    /// What is stored is not JSON, or nested too deeply.
    NotJson,
    /// What is stored is no pickle of protocols 0 to 5, or one that ends early.
    NotPickle,
    /// What is stored is a value other than a map.
    NotAMap,
    /// There are more than [`MAX_GROUPS`].
    TooManyGroups,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAKey => "the cookie holds no session key",
            Self::NotSigned => "the cookie is not signed",
            Self::Signature => "the session's signature is wrong",
            Self::TooLarge => "the session is too large",
            Self::NotDjango => "the session is not in Django's signed form",
            Self::NotDeflated => "the session cannot be inflated",
            Self::NotJson => "the session is not JSON",
            Self::NotPickle => "the session is no pickle",
            Self::NotAMap => "the session is no map",
            Self::TooManyGroups => "the session's user is in more than 1000 groups",
        })
    }
}

/// The names in a session that is stored under `session_key`.
///
/// With secrets, the signature of what is signed must be by one of them; without any it is not
/// looked at. Of the other formats nothing is signed, and the secrets do not matter.
pub fn decode(
    format: Format,
    stored: &[u8],
    secrets: &[Vec<u8>],
    session_key: &str,
    entries: &Entries,
) -> Result<Named, SessionError> {
    if stored.len() > MAX_STORED {
        return Err(SessionError::TooLarge);
    }
    match format {
        Format::Django => from_json(&django::unsign(stored, secrets)?, session_key, entries),
        Format::Json | Format::Express => from_json(stored, session_key, entries),
        // No pickle begins with what zlib begins with, so that this is no guess.
        Format::DjangoPickle if stored.first() == Some(&django::ZLIB) => {
            from_pickle(&django::inflate(stored)?, session_key, entries)
        }
        Format::DjangoPickle => from_pickle(stored, session_key, entries),
    }
}

/// Whether one of the secrets has signed; anybody may have when there are none.
fn is_signed(secrets: &[Vec<u8>], by: impl Fn(&[u8]) -> bool) -> Result<(), SessionError> {
    match secrets.is_empty() || secrets.iter().any(|secret| by(secret)) {
        true => Ok(()),
        false => Err(SessionError::Signature),
    }
}

/// What an entry is, as far as names go.
enum View<'a, T> {
    /// The application's word for nothing.
    Null,
    Text(&'a str),
    Integer(i128),
    List(Vec<T>),
    /// Anything that is no name and no list of names.
    Other,
}

/// A decoded value of either kind, JSON or pickle.
trait Tree<'a>: Copy {
    /// The value of that key, if this is a map that has it.
    fn entry(self, key: &str) -> Option<Self>;

    /// What this is.
    fn view(self) -> View<'a, Self>;
}

impl<'a> Tree<'a> for &'a Value {
    fn entry(self, key: &str) -> Option<Self> {
        self.as_object()?.get(key)
    }

    fn view(self) -> View<'a, Self> {
        match self {
            Value::Null => View::Null,
            Value::String(text) => View::Text(text),
            Value::Array(items) => View::List(items.iter().collect()),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => View::Integer(integer.into()),
                (None, Some(integer)) => View::Integer(integer.into()),
                (None, None) => View::Other,
            },
            Value::Bool(_) | Value::Object(_) => View::Other,
        }
    }
}

fn from_json(json: &[u8], session_key: &str, entries: &Entries) -> Result<Named, SessionError> {
    let value: Value = serde_json::from_slice(json).map_err(|_| SessionError::NotJson)?;
    if !value.is_object() {
        return Err(SessionError::NotAMap);
    }
    named(&value, session_key, entries)
}

fn from_pickle(bytes: &[u8], session_key: &str, entries: &Entries) -> Result<Named, SessionError> {
    let pickle = pickle::Pickle::read(bytes)?;
    let root = pickle.root();
    if !root.is_map() {
        return Err(SessionError::NotAMap);
    }
    named(root, session_key, entries)
}

/// The names in the entries that are configured. What can be no name, where one is to be, is
/// refused like a name that may not be.
fn named<'a, T: Tree<'a>>(
    root: T,
    session_key: &str,
    entries: &Entries,
) -> Result<Named, SessionError> {
    let mut unreadable = Vec::new();
    let mut refuse = |audience| {
        unreadable.push(Refused { audience, name: String::new(), why: NameError::NotText });
    };
    let entry = |path: &Option<String>| {
        path.as_deref().and_then(|path| find(root, path)).map_or(View::Null, T::view)
    };
    let user = match entry(&entries.user) {
        View::Null => None,
        view => {
            let user = name(view);
            if user.is_none() {
                refuse(Audience::User);
            }
            user
        }
    };
    let mut groups = Vec::new();
    match entry(&entries.groups) {
        View::Null => {}
        View::List(items) if items.len() > MAX_GROUPS => return Err(SessionError::TooManyGroups),
        View::List(items) => {
            for item in items {
                match name(item.view()) {
                    Some(group) => groups.push(group),
                    None => refuse(Audience::Group),
                }
            }
        }
        View::Text(_) | View::Integer(_) | View::Other => refuse(Audience::Group),
    }
    let groups = groups.iter().map(|group| &**group);
    let mut named = Named::new(Some(session_key), user.as_deref(), groups);
    named.refused.append(&mut unreadable);
    Ok(named)
}

/// What can be a name, as a text. It is not copied: many references may lead to one long text.
fn name<'a, T>(view: View<'a, T>) -> Option<Cow<'a, str>> {
    match view {
        View::Text(text) => Some(text.into()),
        View::Integer(integer) => Some(integer.to_string().into()),
        View::Null | View::List(_) | View::Other => None,
    }
}

/// The entry of that name, or where its dots lead.
fn find<'a, T: Tree<'a>>(root: T, path: &str) -> Option<T> {
    root.entry(path).or_else(|| path.split('.').try_fold(root, |value, key| value.entry(key)))
}
