//! Tests that cannot run beside each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds all other tests of this program that ask for their turn.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
