//! L4: what the machine has that the server is to use a part of.

use std::fs;

/// Where the system says how much memory there is.
const MEMORY: &str = "/proc/meminfo";
/// Where it says which control group this process is in, one line for each kind.
const GROUPS: &str = "/proc/self/cgroup";
/// Where the groups are: of the one kind there is now, and of the one for memory before that.
const UNIFIED: &str = "/sys/fs/cgroup";
const OF_MEMORY: &str = "/sys/fs/cgroup/memory";

/// Half of the memory that this process may use; 0 where the system does not say.
pub(super) fn half_of_memory() -> usize {
    memory(|path| fs::read_to_string(path).ok()).unwrap_or(0) / 2
}

/// The memory of the machine, or that of the control group where that is less, as files say it.
fn memory(read: impl Fn(&str) -> Option<String>) -> Option<usize> {
    let machine = read(MEMORY).and_then(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: usize = total.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kib.checked_mul(1024)
    });
    let groups = read(GROUPS).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let (root, file, path) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "", path] => (UNIFIED, "memory.max", path),
            [_, kinds, path] if kinds.split(',').any(|kind| kind == "memory") => {
                (OF_MEMORY, "memory.limit_in_bytes", path)
            }
            _ => return Vec::new(),
        };
        // What bounds a group bounds those in it. Of a container the path is often that outside,
        // which is not here, and its root is the group.
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let files = ends.map(|end| format!("{root}{}/{file}", path[..end].trim_end_matches('/')));
        // A word, not a number, says that there is no limit.
        files.filter_map(|file| read(&file)?.trim().parse().ok()).collect()
    });
    machine.into_iter().chain(limits).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// What the files hold, and what comes of it.
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<usize>);

    #[test]
    fn the_memory_is_that_of_the_machine_or_of_a_smaller_group() {
        let meminfo = (MEMORY, "MemTotal:        2097152 kB\nMemFree:   1024 kB\n");
        let cases: [Case<'_>; 9] = [
            (&[], None),
            (&[(MEMORY, "MemFree: 1 kB\n")], None),
            (&[meminfo], Some(2048 * MIB)),
            (
                &[meminfo, (GROUPS, "0::/\n"), ("/sys/fs/cgroup/memory.max", "max\n")],
                Some(2048 * MIB),
            ),
            (&[meminfo, (GROUPS, "0::/\n"), ("/sys/fs/cgroup/memory.max", "1048576\n")], Some(MIB)),
            (
                &[
                    meminfo,
                    (GROUPS, "0::/a.slice/b.service\n"),
                    ("/sys/fs/cgroup/a.slice/memory.max", "3145728\n"),
                    ("/sys/fs/cgroup/a.slice/b.service/memory.max", "4194304\n"),
                ],
                Some(3 * MIB),
            ),
            (
                &[
                    meminfo,
                    (GROUPS, "12:cpu:/x\n4:memory:/docker/1\n0::/\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n"),
                ],
                Some(2 * MIB),
            ),
            (
                &[
                    meminfo,
                    (GROUPS, "4:memory:/\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                Some(2048 * MIB),
            ),
            (&[(GROUPS, "nonsense\n0:\n"), ("/sys/fs/cgroup/memory.max", "1\n")], None),
        ];
        for (files, expected) in cases {
            let read = |path: &str| {
                let file = files.iter().find(|(name, _)| *name == path);
                file.map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(memory(read), expected, "{files:?}");
        }
    }

    #[test]
    fn this_machine_says_how_much_memory_it_has() {
        assert!(half_of_memory() > MIB);
    }
}
