//! L4: what processes have used, as /proc says.
//!
//! The sum of processor time is the scheduler's, to the nanosecond, of all threads that live. Those
//! that have ended are in the kernel's own sum only, which it publishes in ticks of 10 ms, as it
//! does its estimate of how the time splits into user and system.

use std::fs;
use std::io;

use super::StressError;

/// The kernel's USER_HZ, which is 100 on every Linux that Rust runs on.
const TICK_S: f64 = 0.01;

/// Processor time used so far, by all threads of some processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// All of it, in seconds.
    pub total_s: f64,
    /// In user space, in ticks.
    user_ticks: u64,
    /// In user space and in the kernel, in ticks.
    ticks: u64,
    /// Pages that the kernel had to map meanwhile.
    pub faults: u64,
}

impl Cpu {
    /// What these processes have used.
    pub fn of(pids: &[u32]) -> Result<Cpu, StressError> {
        let mut cpu = Cpu::default();
        for pid in pids {
            cpu.add(*pid).map_err(|error| StressError::Process { pid: *pid, error })?;
        }
        Ok(cpu)
    }

    /// What was used since.
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu {
            total_s: (self.total_s - before.total_s).max(0.0),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            ticks: self.ticks.saturating_sub(before.ticks),
            faults: self.faults.saturating_sub(before.faults),
        }
    }

    /// Its part in user space, in seconds; `None` when no tick has passed to tell by.
    pub fn user_s(self) -> Option<f64> {
        (self.ticks > 0).then(|| self.total_s * self.user_ticks as f64 / self.ticks as f64)
    }

    fn add(&mut self, pid: u32) -> io::Result<()> {
        let mut living_s = 0.0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may have ended since it was listed.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let ns: f64 = text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0);
            living_s += ns / 1e9;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may contain anything.
        let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
        let mut fields = fields.split_whitespace().skip(7).map(|field| field.parse().unwrap_or(0));
        self.faults += fields.next().unwrap_or(0);
        let user = fields.nth(3).unwrap_or(0);
        let ticks = user + fields.next().unwrap_or(0);
        self.user_ticks += user;
        self.ticks += ticks;
        // Neither is more than was used. The second is less by two ticks at most.
        self.total_s += living_s.max(ticks as f64 * TICK_S);
        Ok(())
    }
}

/// Bytes of memory that these processes share with nobody.
pub(super) fn private_bytes(pids: &[u32]) -> Result<u64, StressError> {
    let mut sum = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .map_err(|error| StressError::Process { pid: *pid, error })?;
        for line in text.lines().filter(|line| line.starts_with("Private_")) {
            let mut fields = line.split_whitespace();
            let counted = ["Private_Clean:", "Private_Dirty:"].map(Some).contains(&fields.next());
            let kib: u64 = fields.next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
            sum += if counted { kib * 1024 } else { 0 };
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses up so many ticks.
    fn work(ticks: u64) -> Cpu {
        let own = [std::process::id()];
        let before = Cpu::of(&own).unwrap();
        loop {
            let used = Cpu::of(&own).unwrap().since(before);
            if used.ticks >= ticks {
                return used;
            }
        }
    }

    #[test]
    fn a_process_has_memory_and_its_time_grows() {
        let used = work(10);
        assert!(used.total_s > 0.07, "{used:?}");
        assert!(used.user_s().is_some_and(|user_s| user_s <= used.total_s), "{used:?}");
        let own = [std::process::id()];
        assert!(private_bytes(&own).unwrap() > 100_000);
        let before = Cpu::of(&own).unwrap();
        std::hint::black_box(vec![1u8; 1 << 24]);
        assert!(Cpu::of(&own).unwrap().since(before).faults > 0, "16 MiB without a page");
        assert_eq!(Cpu::default().user_s(), None);
    }

    #[test]
    fn the_time_of_a_thread_that_has_ended_counts() {
        let own = [std::process::id()];
        let before = Cpu::of(&own).unwrap();
        std::thread::spawn(|| work(10)).join().unwrap();
        let used = Cpu::of(&own).unwrap().since(before);
        assert!(used.total_s > 0.07, "{used:?}");
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = Cpu::of(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.contains(&u32::MAX.to_string()), "{error}");
        assert!(private_bytes(&[u32::MAX]).is_err());
    }
}
