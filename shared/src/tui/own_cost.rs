//! What the tool itself costs.

use std::time::{Duration, Instant};

use crate::process::resident;

/// What this process used lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Of one CPU, in percent, since the sample before; more than 100 when several were busy.
    pub cpu_percent: Option<f64>,
    /// Resident memory in bytes.
    pub resident: Option<u64>,
}

/// Measures this process.
#[derive(Debug, Default)]
pub struct OwnCost {
    last: Option<(Instant, Duration)>,
}

impl OwnCost {
    /// What was used since the last call, of all threads.
    pub fn sample(&mut self) -> Cost {
        let now = Instant::now();
        let used = cpu_time();
        let cpu_percent = used.and_then(|used| self.percent(now, used));
        if let Some(used) = used {
            self.last = Some((now, used));
        }
        Cost {
            cpu_percent,
            resident: resident(std::process::id()).map(|resident| resident.total),
        }
    }

    fn percent(&self, now: Instant, used: Duration) -> Option<f64> {
        let (then, used_then) = self.last?;
        percent(now - then, used.saturating_sub(used_then))
    }
}

/// The share of a time, if there was any.
fn percent(time: Duration, used: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (seconds > 0.0).then(|| used.as_secs_f64() / seconds * 100.0)
}

/// The CPU time of all threads of this process; /proc counts it in hundredths of a second only.
fn cpu_time() -> Option<Duration> {
    // SAFETY: the kernel only writes to our own variable.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        let outcome = libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        (outcome == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_needs_time() {
        let second = Duration::from_secs(1);
        assert_eq!(percent(second, Duration::from_millis(250)), Some(25.0));
        assert_eq!(percent(second, second * 2), Some(200.0));
        assert_eq!(percent(Duration::ZERO, second), None);
    }

    #[test]
    fn this_process_costs_something() {
        let mut own = OwnCost::default();
        let first = own.sample();
        assert_eq!(first.cpu_percent, None);
        assert!(first.resident.unwrap() > 0);
        let before = cpu_time().unwrap();
        while cpu_time().unwrap() == before {}
        assert!(own.sample().cpu_percent.unwrap() > 0.0);
    }
}
