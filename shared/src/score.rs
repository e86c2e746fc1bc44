//! How much a row looks like a leak. Pure.
//!
//! ```text
//! score = 100 × (0.9 × growth × (0.2 + 0.35 × unfreed + 0.45 × spread) + 0.1 × unfreed × spread)
//! ```
//!
//! All terms lie between 0 and 1. Without growth there is next to no score: a cache that is full and what
//! was allocated at the start are never freed either. The other two tell a leak from what merely has
//! more to do. The last product puts a leak that has stopped before other rows that do not grow. Where
//! nobody counted births (`-C`), the terms with `spread` are left out, and the weights of the others are
//! scaled to the same sum.
//!
//! **growth** is `trend × lasting`. The row's life, from its first bytes on, is cut into 24 windows; the
//! least bytes of each are its floor, which the coming and going of short-lived blocks does not touch.
//! `trend` is Kendall's rank correlation of floor and time: the share of pairs of windows in which the
//! later one has the higher floor, less the share in which it has the lower one. What chance gives
//! (standard deviation 0.15) is taken off: 0.2 becomes 0, 0.8 becomes 1. `lasting` says that growth does
//! not level off: the share of the last four windows in the rise since the first quarter, by medians of
//! floors; two thirds of what a steady leak has give 1. With fewer than 5 slots in which bytes changed,
//! growth counts for a quarter less for each.
//!
//! **unfreed** is the share of the row's allocations that were not freed.
//!
//! **spread** is `reach × evenness × age`. `reach` is the time from the oldest birth to the youngest as a
//! share of the row's life: near 0 for a burst at the start and for churn, near 1 for a leak. `evenness`
//! is less than 1 if most births lie before the middle of them, as in a burst with stragglers. `age` asks
//! that more than one old block makes it so: the mean age stands for so many blocks as old as the
//! oldest, and of n such blocks n / (n + 4) is taken.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::series::{Point, Series};

const WINDOWS: usize = 24;
const QUARTER: usize = WINDOWS / 4;
const LAST_THIRD: usize = WINDOWS * 2 / 3;
/// Nothing is said about a row that is younger than this.
const LEAST_LIFE: Duration = Duration::from_secs(3);
/// Changes that it takes to tell growth from a burst.
const ENOUGH_CHANGES: usize = 5;
/// From this growth on people are told of it.
const GROWS: f64 = 0.35;

/// Bytes, and in how many blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Amount {
    /// Bytes as they were asked for.
    pub bytes: u64,
    /// Blocks.
    pub count: u64,
}

impl Amount {
    /// One block.
    pub fn of_block(bytes: u64) -> Self {
        Self { bytes, count: 1 }
    }

    /// Adds one block.
    pub fn add_block(&mut self, bytes: u64) {
        self.add(Self::of_block(bytes));
    }

    /// Adds blocks.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.count += other.count;
    }

    /// All of it so many times.
    #[must_use]
    pub fn scaled(self, factor: u64) -> Self {
        Self {
            bytes: self.bytes * factor,
            count: self.count * factor,
        }
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |mut sum, amount| {
            sum.add(amount);
            sum
        })
    }
}

/// When live blocks were made, since recording began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Births {
    /// The oldest.
    pub first: Duration,
    /// The youngest.
    pub last: Duration,
    /// On the average.
    pub mean: Duration,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its live bytes so far.
    pub series: &'a Series,
    /// What is live now.
    pub live: Amount,
    /// Allocations since the attach.
    pub allocs: u64,
    /// Frees of them.
    pub frees: u64,
    /// When the live blocks were made; `None` if nobody counted (`-C`) or nothing is live.
    pub births: Option<Births>,
    /// The time since recording began.
    pub elapsed: Duration,
}

/// What a row does, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It gains memory and does not stop.
    GrowsSteadily,
    /// It gained memory, kept it, and gains no more.
    LevelledOff,
    /// It gives back what it takes, sooner or later.
    ComesAndGoes,
    /// It took its memory when recording began and kept it.
    SinceTheStart,
    /// Nothing can be said.
    TooEarly,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GrowsSteadily => "grows steadily",
            Self::LevelledOff => "levelled off",
            Self::ComesAndGoes => "comes and goes",
            Self::SinceTheStart => "since the start",
            Self::TooEarly => "too early to tell",
        })
    }
}

/// How much a row looks like a leak, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The whole: 0, no leak, to 100.
    pub total: f64,
    /// Growth that does not level off, 0 to 1.
    pub growth: f64,
    /// Allocations that were not freed, 0 to 1.
    pub unfreed: f64,
    /// How far the births of what is live are spread over the life of the row, 0 to 1; `None` if nobody
    /// counted them.
    pub spread: Option<f64>,
    /// In words.
    pub verdict: Verdict,
}

/// Judges a row.
pub fn score(evidence: &Evidence) -> Score {
    let points = evidence.series.points(evidence.elapsed);
    let life = Life::of(&points);
    let growth = if evidence.live.bytes == 0 {
        0.0
    } else {
        life.as_ref().map_or(0.0, Life::growth) * confidence(evidence.series.changes())
    };
    let unfreed = share(
        evidence.allocs.saturating_sub(evidence.frees),
        evidence.allocs,
    );
    let start = evidence.series.start().unwrap_or(evidence.elapsed);
    let spread = evidence.births.map(|births| {
        spread(
            births,
            evidence.live.count,
            evidence.elapsed.saturating_sub(start),
        )
    });
    let verdict = verdict(evidence, life.as_ref(), growth, unfreed);
    Score {
        total: total(growth, unfreed, spread),
        growth,
        unfreed,
        spread,
        verdict,
    }
}

fn total(growth: f64, unfreed: f64, spread: Option<f64>) -> f64 {
    let total = match spread {
        Some(spread) => {
            0.9 * growth * (0.2 + 0.35 * unfreed + 0.45 * spread) + 0.1 * unfreed * spread
        }
        None => growth * (0.2 + 0.35 * unfreed) / 0.55,
    };
    (100.0 * total).clamp(0.0, 100.0)
}

fn confidence(changes: usize) -> f64 {
    (changes.saturating_sub(1) as f64 / (ENOUGH_CHANGES - 1) as f64).min(1.0)
}

/// The floors of a row, from its first bytes to now.
struct Life {
    floors: [f64; WINDOWS],
    /// The most bytes in the last third.
    peak: f64,
}

impl Life {
    fn of(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let life = last.to.saturating_sub(first.from);
        if life.is_zero() {
            return None;
        }
        let edge = |window: usize| first.from + life.mul_f64(window as f64 / WINDOWS as f64);
        let floors = std::array::from_fn(|window| floor(points, edge(window), edge(window + 1)));
        let late = edge(LAST_THIRD);
        let late = points.iter().filter(|point| point.from >= late);
        let peak = late.map(|point| point.max).max().unwrap_or(last.max) as f64;
        Some(Self { floors, peak })
    }

    fn growth(&self) -> f64 {
        self.trend() * self.lasting()
    }

    fn trend(&self) -> f64 {
        let mut rising = 0_i32;
        for (index, floor) in self.floors.iter().enumerate() {
            for later in &self.floors[index + 1..] {
                rising += i32::from(later > floor) - i32::from(later < floor);
            }
        }
        let pairs = (WINDOWS * (WINDOWS - 1) / 2) as f64;
        ((f64::from(rising) / pairs - 0.2) / 0.6).clamp(0.0, 1.0)
    }

    fn lasting(&self) -> f64 {
        let start = median(&self.floors[..QUARTER]);
        let before = median(&self.floors[WINDOWS - 7..WINDOWS - 4]);
        let end = median(&self.floors[WINDOWS - 3..]);
        if end <= start {
            return 0.0;
        }
        // The medians lie 19.5 windows apart, the last two 4.
        let steady = 4.0 / 19.5;
        ((end - before) / (end - start) / (steady * 2.0 / 3.0)).clamp(0.0, 1.0)
    }

    /// Whether the last third kept to one level: its least floor against its peak.
    fn is_level(&self) -> bool {
        let late = &self.floors[LAST_THIRD..];
        let least = late.iter().copied().fold(f64::INFINITY, f64::min);
        least > 0.0 && least >= 0.75 * self.peak
    }
}

/// The least bytes of the points that touch a window. Those that reach out of it count too, or a
/// window shorter than the teeth of a saw would miss its lows.
fn floor(points: &[Point], from: Duration, to: Duration) -> f64 {
    let start = points.partition_point(|point| point.to <= from);
    let touching = points[start..].iter().take_while(|point| point.from < to);
    let floor = touching.map(|point| point.min).min();
    floor.or(points.last().map(|point| point.last)).unwrap_or(0) as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[middle])
}

fn spread(births: Births, count: u64, life: Duration) -> f64 {
    let between = births.last.saturating_sub(births.first);
    if between.is_zero() || life.is_zero() {
        return 0.0;
    }
    let reach = (between.as_secs_f64() / life.as_secs_f64()).min(1.0);
    let mean = births.mean.min(births.last).saturating_sub(births.first);
    let mean = (mean.as_secs_f64() / between.as_secs_f64()).min(1.0);
    let old_blocks = count as f64 * (1.0 - mean);
    reach * (2.0 * mean).min(1.0) * old_blocks / (old_blocks + 4.0)
}

fn verdict(evidence: &Evidence, life: Option<&Life>, growth: f64, unfreed: f64) -> Verdict {
    let series = evidence.series;
    let Some((life, start)) = life.zip(series.start()) else {
        return Verdict::TooEarly;
    };
    let lived = evidence.elapsed.saturating_sub(start);
    if lived < LEAST_LIFE.max(series.resolution() * 4) {
        return Verdict::TooEarly;
    }
    if growth >= GROWS {
        return Verdict::GrowsSteadily;
    }
    let keeps = unfreed >= 0.5 || holds_old_blocks(evidence.births, evidence.elapsed, lived);
    if !life.is_level() || !keeps {
        return Verdict::ComesAndGoes;
    }
    if series.last_change() <= evidence.elapsed / 10 {
        return Verdict::SinceTheStart;
    }
    Verdict::LevelledOff
}

/// Without births, a level is all there is to go by.
fn holds_old_blocks(births: Option<Births>, elapsed: Duration, lived: Duration) -> bool {
    births.is_none_or(|births| elapsed.saturating_sub(births.mean) >= lived / 4)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

#[cfg(test)]
mod play;
#[cfg(test)]
mod tests;
