//! Events of `-t` between the collector and a reader that may be slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::TraceEvent;

/// How many events may wait: some ten megabytes.
const MOST: usize = 1 << 18;

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// How many events wait to be printed, and how many found no room. The collector never waits:
/// that would lose mappings as well.
#[derive(Clone, Debug, Default)]
pub struct Backlog(Arc<Counts>);

impl Backlog {
    /// Leaves as many events as there is room for. Only the collector's thread calls this.
    pub(super) fn admit(&self, events: &mut Vec<TraceEvent>) {
        let room = MOST.saturating_sub(self.0.waiting.load(Ordering::Relaxed));
        let lost = events.len().saturating_sub(room);
        events.truncate(room);
        self.0.lost.fetch_add(lost as u64, Ordering::Relaxed);
        self.0.waiting.fetch_add(events.len(), Ordering::Relaxed);
    }

    /// So many events have been printed.
    pub fn done(&self, events: usize) {
        self.0.waiting.fetch_sub(events, Ordering::Relaxed);
    }

    /// Events that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let event = TraceEvent {
            process: 7,
            age: Duration::ZERO,
            is_alloc: true,
            thread: 1,
            address: 1,
            bytes: 1,
        };
        let backlog = Backlog::default();
        let admitted = |count| {
            let mut events = vec![event; count];
            backlog.admit(&mut events);
            events.len()
        };
        assert_eq!(admitted(MOST - 1), MOST - 1);
        assert_eq!((admitted(5), backlog.lost()), (1, 4));
        assert_eq!((admitted(2), backlog.lost()), (0, 6));
        backlog.done(2);
        assert_eq!((admitted(2), backlog.lost()), (2, 6));
    }
}
