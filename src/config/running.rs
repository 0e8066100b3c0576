//! L4: flags about how the process runs: how it ends, and how it is seen.

use super::draft::ServerDraft;
use super::table::Absent::Value;
use super::table::Flag;
use super::table::Takes::Seconds;
use super::values::LONGEST_MS;

pub(super) const SHUTDOWN_TIMEOUT: Flag<ServerDraft> = Flag {
    name: "shutdown-timeout",
    variable: "WSLOOP_SHUTDOWN_TIMEOUT",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.shutdown_timeout_ms = ms),
    default: Value("10"),
    help: "How long a shutdown waits for browsers to close",
};
pub(super) const DRAIN: Flag<ServerDraft> = Flag {
    name: "drain",
    variable: "WSLOOP_DRAIN",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.drain_ms = ms),
    default: Value("0"),
    help: "A shutdown closes browsers one after the other over this time, with 1012, so that they \
           do not all come back at once; 0 is all at once, with 1001",
};
pub(super) const DRAIN_DELAY: Flag<ServerDraft> = Flag {
    name: "drain-delay",
    variable: "WSLOOP_DRAIN_DELAY",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.drain_delay_ms = ms),
    default: Value("0"),
    help: "How long a process that is asked to end serves on before it begins to, for a balancer \
           that learns late",
};
