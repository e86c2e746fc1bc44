//! Facts about a process, from /proc.

use std::fs;

/// What memory of a process is resident, in bytes (`/proc/PID/status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it: VmRSS.
    pub total: u64,
    /// Anonymous memory: RssAnon.
    pub anonymous: u64,
    /// Pages of files: RssFile.
    pub file: u64,
    /// Shared memory: RssShmem.
    pub shared: u64,
}

/// The resident memory of a thread's process, or `None` once its memory is gone.
pub fn resident(tid: u32) -> Option<Resident> {
    parse_resident(&fs::read_to_string(format!("/proc/{tid}/status")).ok()?)
}

fn parse_resident(status: &str) -> Option<Resident> {
    let kilobytes = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name))?;
        let number = line
            .strip_prefix(name)?
            .trim_start_matches(':')
            .split_whitespace()
            .next()?;
        Some(number.parse::<u64>().ok()? * 1024)
    };
    Some(Resident {
        total: kilobytes("VmRSS")?,
        anonymous: kilobytes("RssAnon").unwrap_or(0),
        file: kilobytes("RssFile").unwrap_or(0),
        shared: kilobytes("RssShmem").unwrap_or(0),
    })
}

/// The CPU time that all threads of a process have used so far, in nanoseconds, to a clock tick.
pub fn cpu_time_ns(pid: u32) -> Option<u64> {
    parse_cpu_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_cpu_time(stat: &str) -> Option<u64> {
    // The name is in parentheses and may hold anything, parentheses too: count from the last one.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: sysconf only reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Some(ticks * (1_000_000_000 / per_second))
}

/// The release of the running kernel, as `uname -r` prints it.
pub fn kernel_release() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(text.trim_end().to_owned())
}

/// The name of a process (comm), as the kernel has it; not yet fit for a terminal.
pub fn comm(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 1024 kB\nRssFile:\t 1024 kB\n";
        let resident = parse_resident(status).unwrap();
        assert_eq!(resident.total, 2 << 20);
        assert_eq!(resident.anonymous, 1 << 20);
        assert_eq!(resident.shared, 0);
        assert_eq!(parse_resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 1 0 5";
        assert_eq!(parse_cpu_time(stat), Some(2_000_000_000));
        assert!(cpu_time_ns(std::process::id()).is_some());
    }

    #[test]
    fn own_name_is_known() {
        assert!(comm(std::process::id()).is_some());
    }
}
