//! Facts about a process, from /proc.

use std::str::SplitWhitespace;
use std::{fs, io};

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

/// While it is there, no ordinary thread takes this one's processor.
///
/// A system call that reads a map keeps the programs of classic tracepoints from running on its
/// processor. Where the kernel can be preempted in the middle of it (7.2), others would run there
/// meanwhile, and all that they do would be missed.
#[derive(Debug)]
pub struct Undisturbed {
    before: Option<(i32, libc::sched_param)>,
}

impl Undisturbed {
    /// Does nothing where it is not permitted (CAP_SYS_NICE).
    pub fn begin() -> Self {
        let mut before = libc::sched_param { sched_priority: 0 };
        let first = libc::sched_param { sched_priority: 1 };
        // SAFETY: only reads and sets how this thread is scheduled, by our own variables.
        let policy = unsafe {
            let policy = libc::sched_getscheduler(0);
            let is_known = policy >= 0 && libc::sched_getparam(0, &raw mut before) == 0;
            let flags = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
            (is_known && libc::sched_setscheduler(0, flags, &raw const first) == 0)
                .then_some(policy)
        };
        Self {
            before: policy.map(|policy| (policy, before)),
        }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if let Some((policy, param)) = self.before {
            // SAFETY: as above.
            unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
        }
    }
}

/// Gives memory that was freed, and that the allocator keeps, back to the system.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The CPU time that all threads of a process have used so far, in nanoseconds, to a clock tick.
pub fn cpu_time_ns(pid: u32) -> Option<u64> {
    parse_cpu_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_cpu_time(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = fields_behind_name(stat)?.collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: sysconf only reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Some(ticks * (1_000_000_000 / per_second))
}

/// The fields of `/proc/PID/stat` from the third, the state, on. The name before them is in parentheses
/// and may hold anything, parentheses too: they are counted from the last one.
pub(crate) fn fields_behind_name(stat: &str) -> Option<SplitWhitespace<'_>> {
    Some(stat[stat.rfind(')')? + 1..].split_whitespace())
}

/// Lets this process have as many files open as the system allows.
pub fn allow_many_files() {
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most = most.and_then(|text| text.trim().parse().ok());
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a plain system call that fills our own structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    let tries = [most.unwrap_or(limit.rlim_max), limit.rlim_max];
    for most in tries {
        let wanted = libc::rlimit {
            rlim_cur: most,
            rlim_max: most.max(limit.rlim_max),
        };
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
            return;
        }
    }
}

/// Which process made this one, or has adopted it.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    fields_behind_name(&stat)?.nth(1)?.parse().ok()
}

/// The PID of the process that a thread is of (`/proc/TID/status`).
pub fn of_thread(tid: u32) -> io::Result<Option<u32>> {
    let status = fs::read(format!("/proc/{tid}/status"))?;
    let status = String::from_utf8_lossy(&status);
    let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    Ok(leader.and_then(|line| line.trim().parse().ok()))
}

/// When a process, or a thread, began: tells it from a later one of its number (the 22nd field of
/// `/proc/PID/stat`, clock ticks since boot). `None`: it has ended, though nobody may have waited for
/// it yet.
pub fn start_time(tid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{tid}/stat")).ok()?;
    let (state, started) = parse_start(&String::from_utf8_lossy(&stat))?;
    (!matches!(state, 'Z' | 'X')).then_some(started)
}

/// The same also of one that has ended, as long as nobody has waited for it.
pub fn start_time_of_any(tid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{tid}/stat")).ok()?;
    parse_start(&String::from_utf8_lossy(&stat)).map(|(_, started)| started)
}

fn parse_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = fields_behind_name(stat)?;
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Whether the running kernel can be preempted in the middle of a system call, or can be set up so.
pub fn kernel_may_be_preempted() -> bool {
    let version = fs::read_to_string("/proc/sys/kernel/version").unwrap_or_default();
    version.contains("PREEMPT") || version.is_empty()
}

/// The machine's memory, in bytes; 0 if it cannot be told.
pub fn memory_total() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut lines = text.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
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
    fn the_start_is_found_behind_any_name() {
        let stat = "7 (a) b) Z 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 1 0 5123 0";
        assert_eq!(parse_start(stat), Some(('Z', 5123)));
        assert!(start_time(std::process::id()).is_some());
    }

    #[test]
    fn it_is_scheduled_as_before_when_it_was_undisturbed() {
        // SAFETY: only asks.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let undisturbed = Undisturbed::begin();
        assert!(undisturbed.before.is_none() || policy() & libc::SCHED_FIFO != 0);
        drop(undisturbed);
        assert_eq!(policy(), before);
    }

    #[test]
    fn own_name_is_known() {
        assert!(comm(std::process::id()).is_some());
    }
}
