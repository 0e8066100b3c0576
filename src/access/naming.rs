//! L1: the names of a conn's channels, put together.
//!
//! What a name is made of, and why no two are the same, `channel` says.

use std::collections::BTreeSet;

use super::channel::Audience;
use super::identity::Identity;

/// Adds the channels of one audience.
pub(super) fn put_names(
    list: &mut Vec<String>,
    prefix: &str,
    audience: Audience,
    facility: &str,
    identity: &Identity,
) {
    let who: &mut dyn Iterator<Item = &str> = match audience {
        // It comes first, and mostly alone.
        Audience::Broadcast if list.is_empty() => {
            *list = vec![name(prefix, audience, "", facility)];
            return;
        }
        Audience::Broadcast => return list.push(name(prefix, audience, "", facility)),
        Audience::Group => &mut identity.groups.iter().map(String::as_str),
        Audience::User => &mut identity.user.as_deref().into_iter(),
        Audience::Session => &mut identity.session.as_deref().into_iter(),
    };
    let mut seen = BTreeSet::new();
    let who = who.filter(|who| !who.is_empty() && seen.insert(*who));
    list.extend(who.map(|who| name(prefix, audience, who, facility)));
}

/// The name of a channel, of nobody's audience when `who` is empty.
fn name(prefix: &str, audience: Audience, who: &str, facility: &str) -> String {
    let word = audience.word();
    let length = prefix.len() + word.len() + who.len() + facility.len() + 3;
    let mut name = String::with_capacity(length);
    if !prefix.is_empty() {
        name.push_str(prefix);
        name.push(':');
    }
    name.push_str(word);
    name.push(':');
    if !who.is_empty() {
        name.push_str(who);
        name.push(':');
    }
    name.push_str(facility);
    name
}
