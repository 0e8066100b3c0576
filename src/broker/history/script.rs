//! L1: the script that records a message in a channel's history and publishes it, as one.
//!
//! It is what publishers use who do not write XADD, PEXPIRE and PUBLISH into a MULTI. wsloop cannot
//! do that: before Redis 7.2, the push of what it hears itself would land inside EXEC's array. The
//! message is published even if it cannot be recorded; then the answer is an error that begins with
//! [`UNKEPT`], and not how many heard it.

use super::{HistorySize, stream_of};
use crate::proto::resp;

/// Its text.
pub(crate) const SCRIPT: &str = include_str!("publish.lua");
/// The same where it is published to those who hear the shard.
const SHARDED_SCRIPT: &str = include_str!("publish_sharded.lua");
/// What an error begins with after which the message is published all the same.
pub(crate) const UNKEPT: &str = "UNKEPT ";
/// Words of the command before the channel.
pub(crate) const WORDS_BEFORE_CHANNEL: usize = 4;

/// Appends the command that records and publishes a message.
///
/// It has the text each time, and not its hash, which a server may have forgotten: then the message
/// would have to be sent again, and come late and behind others.
pub(crate) fn publish(
    out: &mut Vec<u8>,
    channel: &str,
    payload: &[u8],
    size: HistorySize,
    is_sharded: bool,
) {
    let script = if is_sharded { SHARDED_SCRIPT } else { SCRIPT };
    let (stream, messages, ms) = (stream_of(channel), size.messages.to_string(), size.ms());
    resp::command(
        out,
        &[
            b"EVAL",
            script.as_bytes(),
            b"1",
            stream.as_bytes(),
            channel.as_bytes(),
            payload,
            messages.as_bytes(),
            ms.to_string().as_bytes(),
        ],
    );
}
