//! From what was counted since the start to what came in an interval.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::{ENDED, Figures, Key, Loss, Snapshot};

/// So many intervals a row remembers.
const HISTORY: usize = 60;

/// Calls of one kind, by one owner.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose, and which call.
    pub key: Key,
    /// What the owner is called.
    pub name: Option<String>,
    /// Of the interval.
    pub figures: Figures,
    /// Since the start.
    pub all: Figures,
    /// Calls that go on.
    pub in_flight: u64,
    /// How long the longest of them has done so, in nanoseconds.
    pub longest_ns: u64,
    /// It has done so for longer.
    pub longest_at_least: bool,
    /// What makes the time of calls that returned the time that was spent in the interval: what those
    /// that go on have spent in it, less what those that returned had spent before, in nanoseconds.
    pub inside_ns: i64,
    /// How long those that go on have done so, as far as that is known: in nanoseconds.
    elapsed_ns: u64,
    /// Calls a second, of the last intervals; the newest last.
    pub history: VecDeque<u64>,
}

impl Row {
    fn new(key: Key) -> Self {
        Self {
            key,
            name: None,
            figures: Figures::default(),
            all: Figures::default(),
            in_flight: 0,
            longest_ns: 0,
            longest_at_least: false,
            inside_ns: 0,
            elapsed_ns: 0,
            history: VecDeque::new(),
        }
    }

    /// Whether there is anything to say of the interval.
    pub fn is_active(&self) -> bool {
        let figures = &self.figures;
        figures.count > 0 || figures.ended > 0 || figures.errors > 0 || self.in_flight > 0
    }
}

/// What came in the last interval, and since the start.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// When the interval ended.
    pub time: Timestamp,
    /// How long it was.
    pub interval: Duration,
    /// Since the start.
    pub elapsed: Duration,
    /// Every row that there ever was.
    pub rows: HashMap<Key, Row>,
    /// What is missing.
    pub loss: Loss,
    /// The process that was asked for has ended.
    pub has_ended: bool,
    /// Rows that were told for the last time.
    leaving: Vec<Key>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            time: Timestamp::UNIX_EPOCH,
            interval: Duration::ZERO,
            elapsed: Duration::ZERO,
            rows: HashMap::new(),
            loss: Loss::default(),
            has_ended: false,
            leaving: Vec::new(),
        }
    }
}

impl Ledger {
    /// The interval from the last snapshot, or from the start, to this one.
    pub fn update(&mut self, snapshot: Snapshot) {
        self.interval = snapshot.elapsed.saturating_sub(self.elapsed);
        self.elapsed = snapshot.elapsed;
        self.time = snapshot.time;
        self.loss = snapshot.loss;
        self.has_ended = snapshot.has_ended;
        self.forget_leaving();
        for row in self.rows.values_mut() {
            row.figures = Figures::default();
        }
        for (key, figures) in snapshot.figures {
            let row = self.rows.entry(key).or_insert_with(|| Row::new(key));
            row.figures = figures.since(&row.all);
            let max_ns = row.all.max_ns.max(row.figures.max_ns);
            row.all = Figures { max_ns, ..figures };
        }
        let seconds = self.interval.as_secs_f64().max(1e-9);
        for row in self.rows.values_mut() {
            if let Some(name) = snapshot.names.get(&row.key.owner) {
                row.name = Some(name.clone());
            }
            (row.in_flight, row.longest_ns) = (0, 0);
            row.inside_ns = -(std::mem::take(&mut row.elapsed_ns) as i64);
            row.longest_at_least = false;
            if row.history.len() == HISTORY {
                row.history.pop_front();
            }
            let rate = (row.figures.count as f64 / seconds).round();
            row.history.push_back(rate as u64);
        }
        let longest = self.interval.as_nanos() as u64;
        for call in snapshot.in_flight {
            let row = self.rows.entry(call.key);
            let row = row.or_insert_with(|| Row::new(call.key));
            if row.name.is_none() {
                row.name = snapshot.names.get(&call.key.owner).cloned();
            }
            row.in_flight += 1;
            if call.at_least {
                // Its return will tell of no time.
                row.inside_ns += call.elapsed_ns.min(longest) as i64;
            } else {
                row.inside_ns += call.elapsed_ns as i64;
                row.elapsed_ns += call.elapsed_ns;
            }
            // What was inside at the start already has been so for longer than any other.
            if (call.at_least, call.elapsed_ns) > (row.longest_at_least, row.longest_ns) {
                row.longest_ns = call.elapsed_ns;
                row.longest_at_least = call.at_least;
            }
        }
        self.leaving = snapshot.gone;
    }

    /// What they had since the start goes to a row of all that have ended.
    fn forget_leaving(&mut self) {
        for key in std::mem::take(&mut self.leaving) {
            let Some(gone) = self.rows.remove(&key) else {
                continue;
            };
            let all = Key {
                owner: ENDED,
                ..key
            };
            let row = self.rows.entry(all).or_insert_with(|| Row::new(all));
            row.name = Some("(ended)".to_owned());
            row.all.merge(&gone.all);
        }
    }

    /// The rows of which there is something to say.
    pub fn active(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| row.is_active())
    }
}
