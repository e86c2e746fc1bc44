//! Reading a guest's kernel log.

/// What the kernel writes at the beginning of a report about itself. A warning that a user's
/// program deserves has none of them.
const TROUBLE: &[&str] = &[
    "------------[ cut here ]------------",
    "Kernel panic - not syncing",
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "Internal error: ",
    "watchdog: BUG: ",
    "rcu: INFO: ",
    "INFO: task ",
];

/// Flags of /proc/sys/kernel/tainted: died, warned, locked up.
const TAINTED: u64 = 1 << 7 | 1 << 9 | 1 << 14;

const EXCERPT: usize = 45;

/// The first report of the kernel about itself, with what follows it.
pub fn trouble(log: &str) -> Option<String> {
    let lines: Vec<&str> = log
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    let first = lines.iter().position(|line| {
        let message = message(line);
        TROUBLE.iter().any(|mark| message.starts_with(mark))
    })?;
    let end = lines.len().min(first + EXCERPT);
    Some(lines[first..end].join("\n"))
}

/// Whether the machine executed code that the kernel had already replaced: a breakpoint that it
/// sets while it patches an instruction, and that nobody owns any more. The kernel makes sure that no
/// processor does, but an emulated one did, once in some twenty runs that attach to what is busy: 6.12
/// died of it (a static call in kmem_cache_free), 5.10 stayed at a function's first instruction.
pub fn is_stale_code(trouble: &str) -> bool {
    const MARKS: [&str; 2] = ["Oops: int3: ", "int3: 0000 "];
    let has = |mark: &str| {
        trouble
            .lines()
            .map(message)
            .any(|line| line.starts_with(mark))
    };
    let is_at_entry = || {
        let mut places = trouble.lines().filter(|line| line.contains("RIP: 0010:"));
        places.any(|place| place.contains("+0x0/"))
    };
    MARKS.into_iter().any(has) || (has("watchdog: BUG: soft lockup") && is_at_entry())
}

/// Whether a processor has done nothing else for so long that it never will: the kernel says so again and
/// again, so that the machine is not silent.
pub fn is_stuck(log: &str) -> bool {
    const FOR_EVER: u64 = 120;
    let reports = log.lines().map(message);
    let mut seconds = reports.filter_map(|line| {
        let (_, time) = line
            .strip_prefix("watchdog: BUG: soft lockup")?
            .split_once("stuck for ")?;
        time.split_once('s')?.0.parse::<u64>().ok()
    });
    seconds.any(|seconds| seconds >= FOR_EVER)
}

/// Whether the kernel remembers a report about itself that its log may not show.
pub fn is_tainted(flags: u64) -> bool {
    flags & TAINTED != 0
}

/// A line without its time: `[    1.234567] text`, and without the processor `[    T1]` or `[C1]`.
fn message(line: &str) -> &str {
    let mut message = line.trim_start();
    while let Some((_, rest)) = message
        .strip_prefix('[')
        .and_then(|text| text.split_once(']'))
    {
        message = rest.trim_start();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_report_is_shown_with_what_follows() {
        let log = "[    0.1] fine\r\n[    1.2] ------------[ cut here ]------------\r\n\
            [    1.3] WARNING: CPU: 0 PID: 1 at x\r\n";
        let excerpt = trouble(log).unwrap();
        assert_eq!(excerpt.lines().count(), 2);
        assert!(excerpt.ends_with("WARNING: CPU: 0 PID: 1 at x"));
        assert!(trouble("[    2.0][   T12] BUG: kernel NULL pointer dereference").is_some());
        assert!(trouble("[  9.9] Kernel panic - not syncing: x").is_some());
    }

    #[test]
    fn a_breakpoint_that_nobody_owns_is_told_from_other_trouble() {
        assert!(is_stale_code(
            "[   31.066464] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\n[   31.1] CPU: 0"
        ));
        assert!(is_stale_code(
            "[    1.0] int3: 0000 [#1] SMP\n[    1.1] Kernel panic - not syncing: x"
        ));
        assert!(!is_stale_code("[    1.0] Oops: Oops: 0002 [#1] SMP\n"));
        let stuck = "[  153.1] rcu: INFO: rcu_sched detected stalls\n\
            [  192.6] watchdog: BUG: soft lockup - CPU#0 stuck for 134s! [slabtop:193]\n";
        assert!(is_stale_code(&format!(
            "{stuck}[  192.7] RIP: 0010:__x64_sys_getpgid+0x0/0x20"
        )));
        assert!(!is_stale_code(&format!(
            "{stuck}[  192.7] RIP: 0010:vfs_read+0x41/0x90"
        )));
    }

    #[test]
    fn who_is_stuck_for_ever_is_told_from_who_is_slow() {
        let report = |seconds: u32| {
            format!("[  504.3] watchdog: BUG: soft lockup - CPU#0 stuck for {seconds}s! [x:1]\r\n")
        };
        assert!(!is_stuck(&report(22)));
        assert!(is_stuck(&format!(
            "[  1.0] x\n{}{}",
            report(48),
            report(156)
        )));
        assert!(!is_stuck("[  1.0] x is stuck for 200s\n"));
    }

    #[test]
    fn what_programs_do_is_no_trouble() {
        let log = "[    1.0] exact[12]: segfault at 0 ip 0\n\
            [    2.0] x invoked oom-killer: gfp_mask=0\n[    2.0] Call Trace:\n\
            [    3.0] Spectre V2 : WARNING: Unprivileged eBPF is enabled\n";
        assert_eq!(trouble(log), None);
    }

    #[test]
    fn only_some_taints_are_trouble() {
        assert!(is_tainted(1 << 9));
        // An unsigned module.
        assert!(!is_tainted(1 << 13));
    }
}
