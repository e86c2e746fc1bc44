//! What a guest's init says about itself.

use crate::process::Pieces;

/// The lines on the fourth serial port, so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub ready: bool,
    /// As `uname -r` prints it.
    pub release: String,
    /// The ways of preemption, the present one in parentheses; empty where it cannot be chosen.
    pub preempt: String,
    /// The flags of /proc/sys/kernel/tainted at the end.
    pub tainted: Option<u64>,
    /// The command's exit status, as a shell gives it.
    pub status: Option<u8>,
    pieces: Pieces,
}

impl Report {
    pub fn take(&mut self, bytes: &[u8]) {
        for line in self.pieces.take(bytes) {
            self.line(line.trim());
        }
    }

    fn line(&mut self, line: &str) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ready", "") => self.ready = true,
            ("release", release) => release.clone_into(&mut self.release),
            ("preempt", ways) => ways.clone_into(&mut self.preempt),
            ("tainted", flags) => self.tainted = flags.parse().ok(),
            ("exit", status) => self.status = status.parse().ok(),
            // The firmware's noise.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_come_in_pieces() {
        let mut report = Report::default();
        report.take(b"\0noise\nrea");
        assert!(!report.ready);
        report.take(b"dy\r\nrelease 6.1.0-x\npreempt none (full)\ntainted 512\nexit 3");
        assert!(report.ready);
        assert_eq!(report.release, "6.1.0-x");
        assert_eq!(report.preempt, "none (full)");
        assert_eq!((report.tainted, report.status), (Some(512), None));
        report.take(b"\n");
        assert_eq!(report.status, Some(3));
    }
}
