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
