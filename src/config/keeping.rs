//! L4: what is kept for browsers that come later: the last message of each channel, and the history
//! of some.

use super::draft::ServerDraft;
use super::file::File;
use super::table::Absent::{Value, Words};
use super::table::Takes::{Bytes, Entries};
use super::table::{Flag, Takes};
use super::values::{self, LONGEST_EXPIRE_S};
use crate::broker::HistoryRule;
use crate::browser::settings::Settings;

pub(super) const EXPIRE: Flag<ServerDraft> = Flag {
    name: "expire",
    variable: "WSLOOP_EXPIRE",
    takes: Takes::WholeSeconds(LONGEST_EXPIRE_S, |draft, s| draft.settings.broker.expire_s = s),
    default: Value("3600"),
    help: "How long a message stays stored for browsers that come later, in whole seconds; 0 \
           stores nothing",
};
pub(super) const STORE_LIMIT: Flag<ServerDraft> = Flag {
    name: "store-limit",
    variable: "WSLOOP_STORE_LIMIT",
    takes: Bytes(0..=usize::MAX, |draft, size| draft.store_limit = size),
    default: Value("64MiB"),
    help: "Most bytes of stored messages and their names, in the embedded broker",
};
pub(super) const HISTORY: Flag<ServerDraft> = Flag {
    name: "history",
    variable: "WSLOOP_HISTORY",
    takes: Entries("LIST", |draft, text| {
        if text.trim().is_empty() {
            return Ok(());
        }
        let rule = HistoryRule::parse(text).map_err(|why| values::printable(&why))?;
        draft.settings.history.rules.push(rule);
        Ok(())
    }),
    default: Words("none"),
    help: "Channels that keep their last messages: facilities, most messages and most seconds, as \
           in `chat/*=100/300`; the first that fits decides; repeatable, or separated by commas",
};
pub(super) const HISTORY_LIMIT: Flag<ServerDraft> = Flag {
    name: "history-limit",
    variable: "WSLOOP_HISTORY_LIMIT",
    takes: Bytes(0..=usize::MAX, |draft, size| draft.settings.history_limit = size),
    default: Value("64MiB"),
    help: "Most bytes of all histories, in the embedded broker",
};

/// Adds the rules of the file, for the channels of this server's prefix. What is returned is a
/// warning: no channel of that prefix can have a history.
pub(super) fn finish(settings: &mut Settings, file: &File) -> Option<String> {
    settings.history.prefix.clone_from(&settings.prefix);
    settings.history.rules.extend(file.histories.iter().map(|(rule, _)| rule.clone()));
    let is_in_vain = !settings.history.is_empty() && settings.prefix.contains(['{', '}']);
    is_in_vain.then(|| {
        let prefix = values::quoted(&settings.prefix);
        format!("no channel has a history, as --prefix {prefix} has a brace in it")
    })
}
