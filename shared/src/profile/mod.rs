//! Figures by stack, and the files that other programs read them from: [`folded`] stacks,
//! [`flamegraph`] pictures, [`pprof`] profiles.

mod names;
mod tree;

pub mod flamegraph;
pub mod folded;
pub mod pprof;

#[cfg(test)]
mod fixture;

use std::time::Duration;

use jiff::Timestamp;

use crate::output::{grouped, human_bytes, human_duration};
use crate::stacks::{StackId, StackTable};

/// One kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueKind {
    /// As pprof names it: `inuse_space`.
    pub name: &'static str,
    /// `bytes`, `count`, `nanoseconds`.
    pub unit: &'static str,
}

impl ValueKind {
    /// A figure of this kind as a person reads it: `1.5 MiB`, `1,234`, `12.3 s`.
    pub fn human(&self, value: u64) -> String {
        match self.unit {
            "bytes" => human_bytes(value),
            "nanoseconds" if value < 1_000_000 => format!("{} ns", grouped(value)),
            "nanoseconds" => human_duration(Duration::from_nanos(value)),
            "count" => grouped(value),
            unit => format!("{} {unit}", grouped(value)),
        }
    }
}

/// The figures of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whose.
    pub stack: StackId,
    /// What kind of memory, for instance; empty where there is but one.
    pub class: &'static str,
    /// One figure for each kind. May be negative in a difference.
    pub values: Vec<i64>,
}

/// Figures by stack.
#[derive(Clone, Debug)]
pub struct Profile<'a> {
    /// What the samples' stacks are.
    pub stacks: &'a StackTable,
    /// What the figures are.
    pub kinds: Vec<ValueKind>,
    /// The kind that is shown first: an index into `kinds`.
    pub default_kind: usize,
    /// Each stack once for each class.
    pub samples: Vec<Sample>,
    /// For people: tool, target, time. Not yet cleaned.
    pub title: String,
    /// When it was taken.
    pub time: Timestamp,
    /// How much time it covers, in nanoseconds.
    pub duration_ns: u64,
}

impl Sample {
    /// The figure of a kind; 0 where the sample has none.
    pub fn value(&self, kind: usize) -> i64 {
        self.values.get(kind).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_unit() {
        let human = |unit, value| ValueKind { name: "", unit }.human(value);
        assert_eq!(human("bytes", 1536), "1.5 KiB");
        assert_eq!(human("count", 1536), "1,536");
        assert_eq!(human("nanoseconds", 1_536), "1,536 ns");
        assert_eq!(human("nanoseconds", 1_500_000_000), "1.5 s");
        assert_eq!(human("faults", 1536), "1,536 faults");
    }
}
