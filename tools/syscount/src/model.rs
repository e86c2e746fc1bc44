//! What is known of system calls, and what came in an interval. Pure.

mod group;
mod ledger;
#[cfg(test)]
pub mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use memtools::histogram::Histogram;
use memtools::output::counted;

use crate::calls::Call;

pub use group::{Group, GroupId, SortKey, sort};
pub use ledger::{Ledger, Row};

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A system call
    Call,
    /// A process
    Process,
    /// A thread
    Thread,
    /// A cgroup
    Cgroup,
    /// An errno
    Errno,
}

/// The owner of what others have left that have ended.
pub const ENDED: u64 = u64::MAX;

/// Calls of one kind, by one process, thread or cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// A PID, a TID, or a cgroup's id; 0: everybody.
    pub owner: u64,
    /// Which call.
    pub call: Call,
}

/// What was counted. All times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls that were entered; where only failures count, calls that failed.
    pub count: u64,
    /// Calls that returned, and were timed.
    pub ended: u64,
    /// Calls that failed.
    pub errors: u64,
    /// How long those that ended took together.
    pub total_ns: u64,
    /// The longest of those that ended in this interval.
    pub max_ns: u64,
    /// How long those that ended took.
    pub histogram: Histogram,
    /// Calls that failed, by errno.
    pub errnos: BTreeMap<u16, u64>,
}

impl Figures {
    /// What there is more than before; the longest is this interval's own.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let errnos = self.errnos.iter().filter_map(|(errno, count)| {
            let more = count.saturating_sub(before.errnos.get(errno).copied().unwrap_or(0));
            (more > 0).then_some((*errno, more))
        });
        let histogram = self.histogram.since(&before.histogram);
        Self {
            count: self.count.saturating_sub(before.count),
            ended: self.ended.saturating_sub(before.ended),
            errors: self.errors.saturating_sub(before.errors),
            total_ns: self.total_ns.saturating_sub(before.total_ns),
            // A call that ended between two intervals may be missing from the longest.
            max_ns: self.max_ns.max(histogram.longest_at_least()),
            histogram,
            errnos: errnos.collect(),
        }
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.ended += other.ended;
        self.errors += other.errors;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.histogram.merge(&other.histogram);
        for (errno, count) in &other.errnos {
            *self.errnos.entry(*errno).or_default() += count;
        }
    }

    /// How long a call took on average, of those that ended.
    pub fn average_ns(&self) -> Option<u64> {
        (self.ended > 0).then(|| self.total_ns / self.ended)
    }

    /// The duration that a fraction does not exceed; never above the longest.
    pub fn quantile_ns(&self, fraction: f64) -> Option<u64> {
        // Where all are alike, the average is nearer than the middle of their slot.
        if self.histogram.buckets().nth(1).is_none() {
            return self.average_ns();
        }
        let found = self.histogram.quantile(fraction)?;
        Some(found.min(self.max_ns.max(1)))
    }
}

/// A call that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Whose it is, and which call.
    pub key: Key,
    /// The thread that is inside.
    pub thread: u32,
    /// How long it has been there, in nanoseconds.
    pub elapsed_ns: u64,
    /// It was inside at the start already: it has been there longer.
    pub at_least: bool,
}

/// What makes figures wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Calls of rows for which there was no room.
    pub rows: u64,
    /// Calls that could not be timed.
    pub untimed: u64,
    /// Durations and errors that are in no histogram.
    pub cells: u64,
    /// Children that were not followed.
    pub children: u64,
    /// Events for which the kernel did not run the programs.
    pub missed: u64,
}

impl Loss {
    /// By the names of docs/json.md.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("rows", self.rows),
            ("untimed", self.untimed),
            ("cells", self.cells),
            ("children", self.children),
            ("missed", self.missed),
        ]
    }

    /// For people: a line for each kind.
    pub fn lines(&self) -> Vec<String> {
        let words = [
            (
                self.rows,
                "call",
                "in no row: there was no room (see --max-rows)",
            ),
            (
                self.untimed,
                "call",
                "not timed: there was no room for the time of its entry",
            ),
            (self.cells, "figure", "in no histogram: there was no room"),
            (self.children, "fork", "not followed: there was no room"),
            (self.missed, "event", "missed by the kernel"),
        ];
        let lost = words.into_iter().filter(|(lost, ..)| *lost > 0);
        lost.map(|(lost, what, why)| format!("lost: {}, {why}", counted(lost, what)))
            .collect()
    }
}

/// All that was counted since the start.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub time: Timestamp,
    /// Since the start.
    pub elapsed: Duration,
    /// What was counted.
    pub figures: HashMap<Key, Figures>,
    /// What owners are called.
    pub names: HashMap<u64, String>,
    /// Calls that go on.
    pub in_flight: Vec<InFlight>,
    /// What is missing.
    pub loss: Loss,
    /// The process that was asked for has ended.
    pub has_ended: bool,
    /// These are told for the last time: their owners have ended.
    pub gone: Vec<Key>,
}
