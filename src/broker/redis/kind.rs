//! L1: what kind of server has answered: what HELLO, ROLE and CLUSTER NODES say of it.

use crate::proto::resp::scalars;

/// The slots that the keys of a cluster are divided into.
const SLOTS: u32 = 16_384;

/// What a server says of itself in its answer to HELLO. What it leaves out is not so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// It watches over others and has no messages.
    pub sentinel: bool,
    /// It is a node of a cluster.
    pub cluster: bool,
    /// Its role, if it says what it is.
    pub role: Option<Role>,
}

/// Whether others may write to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// They may.
    Master,
    /// It repeats what its master has.
    Replica,
}

/// What the answer to HELLO says.
pub(super) fn of_hello(answer: &[u8]) -> Kind {
    let value = |wanted: &[u8]| {
        let mut values = scalars(answer);
        values.find(|value| value.eq_ignore_ascii_case(wanted))?;
        values.next()
    };
    Kind {
        sentinel: value(b"mode") == Some(b"sentinel"),
        cluster: value(b"mode") == Some(b"cluster"),
        role: value(b"role").and_then(role),
    }
}

/// Whether the one that gave this answer to HELLO watches over others.
pub(in crate::broker) fn is_sentinel(answer: &[u8]) -> bool {
    of_hello(answer).sentinel
}

/// What the answer to ROLE says.
pub(super) fn of_role(answer: &[u8]) -> Option<Role> {
    scalars(answer).next().and_then(role)
}

/// Whether the node that gave this answer to CLUSTER NODES has all slots.
pub(super) fn has_all_slots(answer: &[u8]) -> bool {
    let own = |line: &&[u8]| {
        let flags = line.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
        flags.split(|byte| *byte == b',').any(|flag| flag == b"myself")
    };
    let Some(line) = answer.split(|byte| *byte == b'\n').find(own) else { return false };
    let Ok(line) = std::str::from_utf8(line) else { return false };
    // A slot that is on its way to or from the node is in brackets.
    let ranges = line.split_ascii_whitespace().skip(8).filter(|range| !range.starts_with('['));
    let slots = ranges.filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        last.checked_sub(first).map(|more| more + 1)
    });
    slots.fold(0, u32::saturating_add) == SLOTS
}

/// Some say `active-replica` of a server that others may write to.
fn role(name: &[u8]) -> Option<Role> {
    match name {
        b"master" => Some(Role::Master),
        b"slave" | b"replica" => Some(Role::Replica),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_says_the_mode_and_the_role_as_far_as_a_server_knows_them() {
        let hello = |fields: &[&str]| {
            let mut answer = format!("%{}\r\n", fields.len() / 2);
            for field in fields {
                answer += &format!("${}\r\n{field}\r\n", field.len());
            }
            of_hello(answer.as_bytes())
        };
        let known = |sentinel, cluster, role| Kind { sentinel, cluster, role };
        for (fields, kind) in [
            (&["mode", "standalone", "role", "master"][..], (false, false, Some(Role::Master))),
            (&["server", "redis", "mode", "sentinel"], (true, false, None)),
            (&["mode", "cluster", "role", "replica"], (false, true, Some(Role::Replica))),
            (&["role", "active-replica"], (false, false, None)),
            (&[], (false, false, None)),
        ] {
            assert_eq!(hello(fields), known(kind.0, kind.1, kind.2), "{fields:?}");
        }
        assert_eq!(of_role(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"), Some(Role::Master));
        assert_eq!(of_role(b"*1\r\n$5\r\nslave\r\n"), Some(Role::Replica));
        assert_eq!(of_role(b"*1\r\n$8\r\nsentinel\r\n"), None);
    }

    #[test]
    fn a_node_has_all_slots_or_not() {
        let node = |flags: &str, slots: &str| {
            format!("0a1b 10.0.0.1:6379@16379,host {flags} - 0 0 1 connected {slots}\n")
        };
        let other = node("master", "0-16383");
        for (own, all) in [
            (node("myself,master", "0-16383"), true),
            (node("myself,master", "0-5460 5461-16382 16383"), true),
            (node("myself,master", "0-16383 [93-<-0c1d]"), true),
            (node("myself,master", "0-16382"), false),
            (node("myself,master", ""), false),
            (node("myself,slave", ""), false),
            (node("master", "0-16383"), false),
        ] {
            assert_eq!(has_all_slots(format!("{other}{own}").as_bytes()), all, "{own}");
        }
        assert!(!has_all_slots(b"") && !has_all_slots(b"a b myself c d e f g \xff"));
    }
}
