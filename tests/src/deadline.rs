//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for the slowest step on a loaded machine: reaching it is a failure.
pub fn deadline() -> Duration {
    Duration::from_secs(if is_slow() { 300 } else { 120 })
}

/// Whether this machine is one whose processors are emulated.
fn is_slow() -> bool {
    std::env::var_os("MEMTOOLS_SLOW").is_some_and(|value| value != "0")
}

/// How much of something a test does: `slow` of it where that takes 20 to 50 times as long.
pub fn load<T>(usual: T, slow: T) -> T {
    if is_slow() { slow } else { usual }
}

const POLL: Duration = Duration::from_millis(5);

/// Returns as soon as `condition` holds, panics when it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline();
    while !condition() {
        assert!(Instant::now() < end, "waited for {:?}: {what}", deadline());
        thread::sleep(POLL);
    }
}
