//! L3: what the system says of this process. It is asked when an operator comes: files of /proc are
//! no files of a disk.

use std::fs;

use crate::server::ProcessFigures;

/// Ticks of the processor's time in a second, as every Linux tells it.
const TICKS_A_SECOND: f64 = 100.0;

/// What is known now; where /proc is not, nothing is. `began_s` is when the process began.
pub(super) fn figures(began_s: f64) -> ProcessFigures {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before it may have blanks.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |at| fields.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
    let ticks = field(11).unwrap_or(0) + field(12).unwrap_or(0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name| number_behind(&status, name);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    ProcessFigures {
        cpu_s: ticks as f64 / TICKS_A_SECOND,
        resident_bytes: of("VmRSS:") * 1024,
        // Since Linux 6.2; counting them would take as long as there are many.
        open_fds: fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len()),
        max_fds: number_behind(&limits, "Max open files"),
        began_s,
    }
}

/// The number that stands behind a word at the beginning of a line.
fn number_behind(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
