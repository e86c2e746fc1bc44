//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for the slowest step on a loaded machine: reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(5);

/// Returns as soon as `condition` holds, panics when it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited for {}s: {what}",
            DEADLINE.as_secs()
        );
        thread::sleep(POLL);
    }
}
