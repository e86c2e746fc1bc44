//! What is known of each function: figures of an interval, and of what its calls are split by.

pub mod heat;
pub mod outliers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use memtools::histogram::Histogram;

/// In what times are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    #[default]
    Nanoseconds,
    Microseconds,
    Milliseconds,
}

impl Unit {
    /// So many nanoseconds.
    pub fn ns(self) -> u64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
        }
    }

    /// As bcc writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nsecs",
            Self::Microseconds => "usecs",
            Self::Milliseconds => "msecs",
        }
    }
}

/// What calls are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitBy {
    /// The process
    Pid,
    /// The thread
    Tid,
    /// The name of the thread
    Comm,
    /// The cgroup
    Cgroup,
    /// The CPU on which the call ended
    Cpu,
    /// What the function returned
    Return,
}

/// A function that is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// As its symbol has it.
    pub name: String,
    /// For people: demangled.
    pub shown: String,
    /// The file that it is in, or the kernel's module: `vmlinux`.
    pub module: String,
    /// How many arguments it has, if that is known.
    pub arguments: Option<u32>,
}

impl Function {
    /// Those of the six words that were in registers which are its arguments, as far as is known.
    pub fn arguments_of<'a, T>(&self, words: &'a [T; 6]) -> &'a [T] {
        let known = self.arguments.map_or(words.len(), |count| count as usize);
        &words[..known.min(words.len())]
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls that were entered.
    pub calls: u64,
    /// Calls that were timed.
    pub ended: u64,
    /// All of their time.
    pub total_ns: u64,
    /// Calls that ended, and no return was seen: an exception, longjmp, the thread's end.
    pub unwound: u64,
    /// Calls that were too deep for their returns to be seen.
    pub missed: u64,
    /// Returns of calls that nobody has seen entered.
    pub unpaired: u64,
    /// The shortest of the interval, 0: there is none.
    pub min_ns: u64,
    /// The longest of the interval.
    pub max_ns: u64,
    /// How times are distributed.
    pub histogram: Histogram,
    /// The same by powers of two of the unit: the first has 0 and 1.
    pub rows: Vec<u64>,
}

impl Figures {
    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.ended += other.ended;
        self.total_ns += other.total_ns;
        self.unwound += other.unwound;
        self.missed += other.missed;
        self.unpaired += other.unpaired;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.min_ns = match (self.min_ns, other.min_ns) {
            (0, min) | (min, 0) => min,
            (a, b) => a.min(b),
        };
        self.histogram.merge(&other.histogram);
        self.rows.resize(self.rows.len().max(other.rows.len()), 0);
        for (row, more) in self.rows.iter_mut().zip(&other.rows) {
            *row += more;
        }
    }

    /// What there is more than earlier. The extremes are those of the later figures.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let rows = self.rows.iter().enumerate();
        let before = |row: usize| earlier.rows.get(row).copied().unwrap_or(0);
        let mut more = Self {
            calls: self.calls.saturating_sub(earlier.calls),
            ended: self.ended.saturating_sub(earlier.ended),
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            unwound: self.unwound.saturating_sub(earlier.unwound),
            missed: self.missed.saturating_sub(earlier.missed),
            unpaired: self.unpaired.saturating_sub(earlier.unpaired),
            min_ns: self.min_ns,
            max_ns: self.max_ns,
            histogram: self.histogram.since(&earlier.histogram),
            rows: rows
                .map(|(row, count)| count.saturating_sub(before(row)))
                .collect(),
        };
        more.bound_extremes();
        more
    }

    /// Two programs that write at once can lose the extreme of one: a histogram has all.
    fn bound_extremes(&mut self) {
        if self.histogram.is_empty() {
            (self.min_ns, self.max_ns) = (0, 0);
            return;
        }
        self.max_ns = self.max_ns.max(self.histogram.longest_at_least());
        let shortest = self.histogram.buckets().next();
        let below = shortest.map_or(0, |bucket| bucket.high_ns.saturating_sub(1));
        self.min_ns = match self.min_ns {
            0 => below,
            min => min.min(below),
        };
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.calls == 0 && self.ended == 0 && self.unwound == 0 && self.unpaired == 0
    }

    /// Nanoseconds; `None`: nothing was timed.
    pub fn average_ns(&self) -> Option<u64> {
        self.total_ns.checked_div(self.ended)
    }

    /// Nanoseconds, at most 1/64 off, and never beyond the extremes; `None`: nothing was timed.
    pub fn quantile_ns(&self, fraction: f64) -> Option<u64> {
        let ns = self.histogram.quantile(fraction)?;
        Some(ns.clamp(self.min_ns.min(self.max_ns), self.max_ns))
    }
}

/// What a function's calls are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SplitKey {
    /// The function's number.
    pub function: u32,
    /// A PID, a TID, a hash of a name, a cgroup's id, a CPU, what was returned.
    pub key: u64,
}

/// A row of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitRow {
    /// What it is called, if it has a name.
    pub name: Option<String>,
    /// Its calls.
    pub figures: Figures,
}

/// What makes figures wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Calls of threads for which there was no room.
    pub threads: u64,
    /// Calls that are in no row of the split.
    pub rows: u64,
    /// Calls that are in a row of the split and not in its histogram.
    pub cells: u64,
    /// Slow calls that could not be told of.
    pub slow_calls: u64,
    /// Events that the kernel skipped, because a program ran already.
    pub events: u64,
    /// Returns that were not seen, of calls that were.
    pub missed_returns: u64,
}

impl Loss {
    /// By name, as in JSON.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("threads", self.threads),
            ("rows", self.rows),
            ("cells", self.cells),
            ("slow_calls", self.slow_calls),
            ("events", self.events),
            ("missed_returns", self.missed_returns),
        ]
    }

    /// For people: a line for each that is not zero.
    pub fn lines(&self) -> Vec<String> {
        let texts = [
            "calls of threads for which there was no room were not timed",
            "calls are in no row: --max-rows is too small",
            "calls are in no histogram: --max-rows is too small",
            "slow calls could not be told of: there were too many at once",
            "events were skipped by the kernel, because a program ran already",
            "returns were missed: the kernel holds 64 of a thread, and some at once of a kernel function; this tool, 128 calls of a thread",
        ];
        let named = self.named().into_iter().zip(texts);
        named
            .filter(|((_, lost), _)| *lost > 0)
            .map(|((_, lost), text)| format!("{lost} {text}"))
            .collect()
    }
}

/// All that was counted since the start; the extremes are of the interval that has ended.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub time: Timestamp,
    pub elapsed: Duration,
    /// By number.
    pub functions: Vec<Figures>,
    pub split: BTreeMap<SplitKey, SplitRow>,
    pub loss: Loss,
    /// What was asked for has ended.
    pub has_ended: bool,
}

/// The figures of one interval.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub time: Timestamp,
    pub interval: Duration,
    /// By number.
    pub functions: Vec<Figures>,
    pub split: BTreeMap<SplitKey, SplitRow>,
    /// Since the start.
    pub loss: Loss,
    pub has_ended: bool,
    /// Calls that go on, by number.
    pub inside: Vec<u64>,
    before: Snapshot,
}

impl Ledger {
    /// An interval ends.
    pub fn update(&mut self, snapshot: Snapshot) {
        let none = Figures::default();
        let functions = snapshot.functions.iter().enumerate();
        self.functions = functions
            .map(|(at, now)| now.since(self.before.functions.get(at).unwrap_or(&none)))
            .collect();
        let rows = snapshot.split.iter().map(|(key, row)| {
            let before = self.before.split.get(key);
            let mut figures = row
                .figures
                .since(before.map_or(&none, |before| &before.figures));
            figures.calls = figures.ended;
            let name = row.name.clone();
            (key.clone(), SplitRow { name, figures })
        });
        self.split = rows.filter(|(_, row)| row.figures.ended > 0).collect();
        self.inside = snapshot
            .functions
            .iter()
            .map(|now| {
                now.calls
                    .saturating_sub(now.ended + now.unwound + now.missed)
            })
            .collect();
        self.time = snapshot.time;
        self.interval = snapshot.elapsed.saturating_sub(self.before.elapsed);
        self.loss = snapshot.loss;
        self.has_ended = snapshot.has_ended;
        self.before = snapshot;
    }

    /// Of all functions together.
    pub fn total(&self) -> Figures {
        let mut total = Figures::default();
        for figures in &self.functions {
            total.merge(figures);
        }
        // For `merge` a shortest of 0 is none.
        total.bound_extremes();
        total
    }

    /// How many calls go on.
    pub fn inside_all(&self) -> u64 {
        self.inside.iter().sum()
    }

    /// The rows of a function's split, the one with most time first.
    pub fn split_of(&self, function: u32) -> Vec<(&SplitKey, &SplitRow)> {
        let mut rows: Vec<_> = self
            .split
            .iter()
            .filter(|(key, _)| key.function == function)
            .collect();
        rows.sort_by_key(|(key, row)| (std::cmp::Reverse(row.figures.total_ns), key.key));
        rows
    }
}
