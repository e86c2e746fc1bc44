//! What a chore says while it works.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Set when standard output is somebody else's.
static STDOUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on, chores speak on standard error: standard output is for what they run.
pub fn leave_stdout() {
    STDOUT_IS_TAKEN.store(true, Ordering::Relaxed);
}

/// Prints a line to standard output. A reader that has gone (`| head`) is no reason to stop a
/// chore, so a closed pipe is ignored, where `println!` would panic.
pub fn say(line: impl Display) {
    if STDOUT_IS_TAKEN.load(Ordering::Relaxed) {
        return complain(&line.to_string());
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The same to standard error.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Numbered steps, each with its elapsed time.
pub struct Steps {
    total: usize,
    begun: usize,
}

impl Steps {
    pub fn new(total: usize) -> Self {
        Self { total, begun: 0 }
    }

    pub fn step<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begun += 1;
        say(format_args!("[{}/{}] {title}", self.begun, self.total));
        let start = Instant::now();
        let outcome = work()?;
        say(format_args!("      done in {}", seconds(start.elapsed())));
        Ok(outcome)
    }
}

/// A duration as people read it: `0.3 s`, `2 min 6 s`.
pub fn seconds(elapsed: Duration) -> String {
    let whole = elapsed.as_secs();
    if whole < 60 {
        format!("{:.1} s", elapsed.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        assert_eq!(seconds(Duration::from_millis(340)), "0.3 s");
        assert_eq!(seconds(Duration::from_secs(126)), "2 min 6 s");
    }
}
