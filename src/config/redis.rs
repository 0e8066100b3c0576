//! L4: the flags that say which Redis, and how it is reached.

use super::draft::ServerDraft;
use super::redis_url;
use super::table::Absent::Words;
use super::table::Takes::Text;
use super::table::{Flag, put};

/// Where it is.
pub(super) const URL: Flag<ServerDraft> = Flag {
    name: "redis",
    variable: "WSLOOP_REDIS",
    takes: Text("URL", |draft, text| put(&mut draft.redis, redis_url::parse(text))),
    default: Words("none, an embedded broker"),
    help: "Redis to relay from and to: `redis://[user:password@]host[:port][/db]` (or \
           `valkey://`) or `redis+unix:///path?db=N`",
};
