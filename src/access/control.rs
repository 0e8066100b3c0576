//! L1: what the application says to the servers themselves, on the channel `wsloop:control`.
//!
//! This file parses it; `server/brokering` acts on it. A message is a JSON object. There is one kind: `{"disconnect": {"user": "john"}}`, where `user`
//! may be `group` or `session`, and beside `disconnect` there may be `code`, the close code (4403),
//! and `reason`, a text for the browser.

use serde_json::{Map, Value};

use crate::access::channel::Audience;
use crate::access::identity::Identity;
use crate::proto::ws::frame;

/// The channel, behind the prefix.
pub(crate) const CHANNEL: &str = "wsloop:control";
/// The close code, when none is given.
const FORBIDDEN: u16 = 4403;
const REASON: &str = "the application has closed this connection";

/// Whose conns are to be closed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disconnect {
    /// As [`Identity::owners`] names it.
    pub owner: String,
    /// The close code.
    pub code: u16,
    /// The close reason.
    pub reason: String,
}

/// Why a message is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlError {
    /// It is no JSON object.
    NotAnObject,
    /// It has no `disconnect`, or that is not an object of one member.
    NoDisconnect,
    /// That member is not user, group or session, or not a text.
    NoOwner,
    /// Its code may not be sent in a close frame.
    Code,
    /// Its reason is not a text.
    Reason,
}

/// The channel's name behind a prefix, which may be empty.
pub(crate) fn channel(prefix: &str) -> String {
    let colon = if prefix.is_empty() { "" } else { ":" };
    format!("{prefix}{colon}{CHANNEL}")
}

/// Reads a message.
pub(crate) fn parse(message: &[u8]) -> Result<Disconnect, ControlError> {
    let Ok(Value::Object(object)) = serde_json::from_slice(message) else {
        return Err(ControlError::NotAnObject);
    };
    let owner = owner(&object)?;
    let code = match object.get("code") {
        None | Some(Value::Null) => FORBIDDEN,
        Some(code) => {
            let code = code.as_u64().and_then(|code| u16::try_from(code).ok());
            code.filter(|code| frame::may_be_sent(*code)).ok_or(ControlError::Code)?
        }
    };
    let reason = match object.get("reason") {
        None | Some(Value::Null) => REASON,
        Some(reason) => reason.as_str().ok_or(ControlError::Reason)?,
    };
    Ok(Disconnect { owner, code, reason: reason.to_owned() })
}

fn owner(object: &Map<String, Value>) -> Result<String, ControlError> {
    let whose = object.get("disconnect").and_then(Value::as_object);
    let whose = whose.filter(|whose| whose.len() == 1).ok_or(ControlError::NoDisconnect)?;
    let (word, name) = whose.iter().next().ok_or(ControlError::NoDisconnect)?;
    let name = match name {
        Value::String(name) if !name.is_empty() => name.clone(),
        // Applications have users of that name: their ids.
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return Err(ControlError::NoOwner),
    };
    let audiences = [Audience::User, Audience::Group, Audience::Session];
    let audience = audiences.into_iter().find(|audience| audience.word() == word);
    Ok(Identity::owner(audience.ok_or(ControlError::NoOwner)?, &name))
}

impl std::fmt::Display for ControlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ControlError::NotAnObject => "it is no JSON object",
            ControlError::NoDisconnect => "\"disconnect\" must be an object with one member",
            ControlError::NoOwner => "\"disconnect\" must name a user, a group or a session",
            ControlError::Code => "\"code\" must be a close code, as 4403",
            ControlError::Reason => "\"reason\" must be a text",
        })
    }
}

impl std::error::Error for ControlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_publishers_take() {
        let rules = include_str!("../../clients/python/tests/rules.json");
        let rules: Value = serde_json::from_str(rules).expect("JSON");
        for (path, is_taken) in [("/codes/taken", true), ("/codes/refused", false)] {
            for code in rules.pointer(path).and_then(Value::as_array).expect("a list") {
                let message = format!(r#"{{"disconnect": {{"user": "john"}}, "code": {code}}}"#);
                assert_eq!(parse(message.as_bytes()).is_ok(), is_taken, "{message}");
            }
        }
    }

    #[test]
    fn messages() {
        let closes = |owner: &str, code, reason: &str| {
            Ok(Disconnect { owner: owner.to_owned(), code, reason: reason.to_owned() })
        };
        for (message, expected) in [
            (r#"{"disconnect": {"user": "john"}}"#, closes("user:john", 4403, REASON)),
            (
                r#"{"disconnect":{"group":"a:b"},"code":1008,"reason":"out","more":1}"#,
                closes("group:a:b", 1008, "out"),
            ),
            (
                r#"{"disconnect":{"session":"k"},"code":null,"reason":null}"#,
                closes("session:k", 4403, REASON),
            ),
            ("", Err(ControlError::NotAnObject)),
            ("[]", Err(ControlError::NotAnObject)),
            ("{}", Err(ControlError::NoDisconnect)),
            (r#"{"disconnect":"john"}"#, Err(ControlError::NoDisconnect)),
            (r#"{"disconnect":{}}"#, Err(ControlError::NoDisconnect)),
            (r#"{"disconnect":{"user":"a","group":"b"}}"#, Err(ControlError::NoDisconnect)),
            (r#"{"disconnect":{"user":""}}"#, Err(ControlError::NoOwner)),
            (r#"{"disconnect":{"user":7}}"#, closes("user:7", 4403, REASON)),
            (r#"{"disconnect":{"user":7.5}}"#, Err(ControlError::NoOwner)),
            (r#"{"disconnect":{"broadcast":"x"}}"#, Err(ControlError::NoOwner)),
            (r#"{"disconnect":{"user":"a"},"code":1005}"#, Err(ControlError::Code)),
            (r#"{"disconnect":{"user":"a"},"code":"4403"}"#, Err(ControlError::Code)),
            (r#"{"disconnect":{"user":"a"},"code":70000}"#, Err(ControlError::Code)),
            (r#"{"disconnect":{"user":"a"},"reason":1}"#, Err(ControlError::Reason)),
        ] {
            assert_eq!(parse(message.as_bytes()), expected, "{message}");
        }
        assert_eq!(
            (channel(""), channel("a")),
            (CHANNEL.to_owned(), "a:wsloop:control".to_owned())
        );
    }
}
