//! What the view knows: figures of the last interval and of the whole run, and heat maps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::STEP;
use crate::model::heat::Heat;
use crate::model::outliers::SlowCall;
use crate::model::{Figures, Ledger, Snapshot, SplitKey, SplitRow};

/// What the view is sent: all that there is, in the place of what came before.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// All that was counted since the start.
    pub snapshot: Snapshot,
    /// When, on the monotonic clock.
    pub monotonic_ns: u64,
    /// The slowest calls, slowest first.
    pub slowest: Arc<[SlowCall]>,
    /// There will be no more; why.
    pub ended: Option<String>,
    /// By number.
    extremes: Vec<Extremes>,
    split_extremes: BTreeMap<SplitKey, Extremes>,
}

/// The shortest and the longest call of a run, in nanoseconds; 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Extremes {
    min_ns: u64,
    max_ns: u64,
}

impl Extremes {
    fn widen(&mut self, figures: &Figures) {
        self.max_ns = self.max_ns.max(figures.max_ns);
        self.min_ns = match (self.min_ns, figures.min_ns) {
            (0, min) | (min, 0) => min,
            (a, b) => a.min(b),
        };
    }

    /// Figures of the whole run, whose extremes are those of their last interval.
    fn whole(self, figures: &Figures) -> Figures {
        let run = Figures {
            min_ns: self.min_ns,
            max_ns: self.max_ns,
            ..figures.clone()
        };
        run.since(&Figures::default())
    }
}

impl Data {
    /// An interval has ended.
    pub fn take(&mut self, snapshot: Snapshot, monotonic_ns: u64, slowest: &[SlowCall]) {
        let count = snapshot.functions.len();
        self.extremes.resize(count, Extremes::default());
        for (extremes, figures) in self.extremes.iter_mut().zip(&snapshot.functions) {
            extremes.widen(figures);
        }
        for (key, row) in &snapshot.split {
            let extremes = self.split_extremes.entry(key.clone()).or_default();
            extremes.widen(&row.figures);
        }
        self.snapshot = snapshot;
        self.monotonic_ns = monotonic_ns;
        // Stacks have many names.
        if *self.slowest != *slowest {
            self.slowest = slowest.into();
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The last interval.
    pub ledger: Ledger,
    /// The whole run, by number.
    pub whole: Vec<Figures>,
    whole_split: BTreeMap<SplitKey, SplitRow>,
    /// By number.
    pub heats: Vec<Heat>,
    /// Since the start.
    pub elapsed: Duration,
    pub monotonic_ns: u64,
    pub slowest: Arc<[SlowCall]>,
    pub ended: Option<String>,
}

/// So many columns have all heat maps together; one alone has no more than a part of it.
const COLUMNS: usize = 60_000;
/// So many columns a heat map has at least, and at most.
const COLUMNS_EACH: (usize, usize) = (20, 240);
/// A time without snapshots is no longer than this on a heat map, in moments.
const LONGEST_GAP: u64 = 240;

impl Record {
    /// Takes what has come.
    pub fn update(&mut self, data: Data) {
        self.slowest = data.slowest;
        self.ended = data.ended;
        // The end is told of together with what is known already.
        if data.snapshot.elapsed == self.elapsed {
            return;
        }
        self.elapsed = data.snapshot.elapsed;
        self.monotonic_ns = data.monotonic_ns;
        let functions = data.snapshot.functions.iter().zip(&data.extremes);
        self.whole = functions
            .map(|(figures, extremes)| extremes.whole(figures))
            .collect();
        let rows = data.snapshot.split.iter();
        self.whole_split = rows
            .map(|(key, row)| {
                let extremes = data.split_extremes.get(key).copied().unwrap_or_default();
                let (name, figures) = (row.name.clone(), extremes.whole(&row.figures));
                (key.clone(), SplitRow { name, figures })
            })
            .collect();
        self.ledger.update(data.snapshot);
        self.heat();
    }

    fn heat(&mut self) {
        let count = self.ledger.functions.len();
        if self.heats.len() != count {
            let each = COLUMNS.checked_div(count).unwrap_or(0);
            self.heats = vec![Heat::new(each.clamp(COLUMNS_EACH.0, COLUMNS_EACH.1)); count];
        }
        // Snapshots can be missing: the view was late, or the process was stopped.
        let moments = self.ledger.interval.as_secs_f64() / STEP.as_secs_f64();
        let moments = (moments.round() as u64).clamp(1, LONGEST_GAP);
        for (heat, figures) in self.heats.iter_mut().zip(&self.ledger.functions) {
            let used = figures.rows.iter().rposition(|calls| *calls > 0);
            let rows = &figures.rows[..used.map_or(0, |last| last + 1)];
            for moment in 0..moments {
                // Nobody knows when calls were made in between: evenly.
                let share = |calls: &u64| {
                    let until =
                        |moment| u128::from(*calls) * u128::from(moment) / u128::from(moments);
                    (until(moment + 1) - until(moment)) as u64
                };
                heat.add(&rows.iter().map(share).collect::<Vec<_>>());
            }
        }
    }

    /// What there is of each function.
    pub fn figures(&self, is_last_interval: bool) -> &[Figures] {
        if is_last_interval {
            &self.ledger.functions
        } else {
            &self.whole
        }
    }

    /// What there is of each part.
    pub fn split(&self, is_last_interval: bool) -> &BTreeMap<SplitKey, SplitRow> {
        if is_last_interval {
            &self.ledger.split
        } else {
            &self.whole_split
        }
    }

    /// How many calls of a function go on.
    pub fn inside(&self, function: usize) -> u64 {
        self.ledger.inside.get(function).copied().unwrap_or(0)
    }

    /// Calls of the last interval for each of its seconds.
    pub fn rate(&self, calls: u64) -> f64 {
        calls as f64 / self.ledger.interval.as_secs_f64().max(1e-3)
    }

    /// Whether there is nothing yet.
    pub fn is_empty(&self) -> bool {
        self.elapsed.is_zero()
    }
}
