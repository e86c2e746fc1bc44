//! How durations are distributed: log-linear slots, as the kernel side counts them
//! (bpf/include/histogram.h).
//!
//! Each power of two from 32 ns on is divided into 32 slots, and below each nanosecond has its own:
//! the middle of a slot is at most 1/64 off. The last slot holds all from 2^48 ns (three days) on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

const FRACTION_BITS: u32 = 5;
const FRACTIONS: u32 = 1 << FRACTION_BITS;
const BITS: u32 = 48;
/// How many slots there are.
pub const SLOTS: u32 = (BITS - FRACTION_BITS + 1) * FRACTIONS;

/// Counts of durations by slot; only those that are not empty take room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    slots: BTreeMap<u32, u64>,
}

/// Durations of a range, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The shortest, in nanoseconds.
    pub low_ns: u64,
    /// Longer than the longest, in nanoseconds.
    pub high_ns: u64,
    /// How many.
    pub count: u64,
}

/// The durations of a slot: from the first on, below the second. Nanoseconds.
pub fn bounds(slot: u32) -> (u64, u64) {
    if slot < FRACTIONS {
        return (slot.into(), u64::from(slot) + 1);
    }
    let shift = slot / FRACTIONS - 1;
    let low = u64::from(slot % FRACTIONS + FRACTIONS) << shift;
    (low, low + (1 << shift))
}

impl Histogram {
    /// Adds durations of a slot.
    pub fn add(&mut self, slot: u32, count: u64) {
        if count > 0 {
            *self.slots.entry(slot.min(SLOTS - 1)).or_default() += count;
        }
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        for (slot, count) in &other.slots {
            self.add(*slot, *count);
        }
    }

    /// What there is more than in an earlier state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut more = Self::default();
        for (slot, count) in &self.slots {
            let before = earlier.slots.get(slot).copied().unwrap_or(0);
            more.add(*slot, count.saturating_sub(before));
        }
        more
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.slots.values().sum()
    }

    /// The duration, in nanoseconds, that a fraction of all does not exceed (nearest rank): the middle
    /// of its slot, at most 1/64 off. `None`: there are none.
    pub fn quantile(&self, fraction: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * fraction).ceil() as u64).max(1);
        let mut seen = 0;
        let slot = self.slots.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        let (slot, _) = slot.or_else(|| self.slots.last_key_value())?;
        let (low, high) = bounds(*slot);
        Some(low + (high - low) / 2)
    }

    /// The shortest that the longest can have been, in nanoseconds.
    pub fn longest_at_least(&self) -> u64 {
        self.slots
            .last_key_value()
            .map_or(0, |(slot, _)| bounds(*slot).0)
    }

    /// The slots that are not empty.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        self.slots.iter().map(|(slot, count)| {
            let (low_ns, high_ns) = bounds(*slot);
            Bucket {
                low_ns,
                high_ns,
                count: *count,
            }
        })
    }

    /// How many there are of each power of two, from the first, which has 0 and 1, to the longest.
    pub fn rows(&self) -> Vec<u64> {
        let mut rows = Vec::new();
        for bucket in self.buckets() {
            let row = bucket.low_ns.checked_ilog2().unwrap_or(0) as usize;
            rows.resize(rows.len().max(row + 1), 0);
            rows[row] += bucket.count;
        }
        rows
    }

    /// The powers of two from the shortest to the longest, those without any among them.
    pub fn powers_of_two(&self) -> Vec<Bucket> {
        let power = |ns: u64| ns.checked_ilog2().map_or(0, |log| log + 1);
        let mut powers: Vec<Bucket> = Vec::new();
        for bucket in self.buckets() {
            let wanted = power(bucket.low_ns);
            let first = powers.first().map_or(wanted, |first| power(first.low_ns));
            for power in first + powers.len() as u32..=wanted {
                powers.push(Bucket {
                    low_ns: if power == 0 { 0 } else { 1 << (power - 1) },
                    high_ns: 1 << power,
                    count: 0,
                });
            }
            if let Some(last) = powers.last_mut() {
                last.count += bucket.count;
            }
        }
        powers
    }
}

/// Rows of powers of two as bcc prints them, the first for 0 and 1; `unit`: of what. Empty rows come
/// before the first that is not from `from` on.
pub fn bars(unit: &str, rows: &[u64], from: usize) -> String {
    const STARS: u64 = 40;
    let Some(last) = rows.iter().rposition(|count| *count > 0) else {
        return String::new();
    };
    let most = rows.iter().copied().max().unwrap_or(1).max(1);
    let (width, indent, rest, stars) = if last >= 32 {
        (20, 15, 29, STARS / 2)
    } else {
        (10, 5, 19, STARS)
    };
    let mut text = format!("{:>indent$}{unit:<rest$} : count     distribution\n", "");
    let first = rows.iter().position(|count| *count > 0).unwrap_or(0);
    for (row, count) in rows.iter().enumerate().take(last + 1).skip(from.min(first)) {
        let low = if row == 0 { 0 } else { 1_u64 << row };
        let high = (2_u64 << row) - 1;
        // As many as 2^57 calls would be more than a machine makes.
        let bar = "*".repeat((count * stars / most) as usize);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{low:>width$} -> {high:<width$} : {count:<8} |{bar:<stars$}|",
            stars = stars as usize
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the kernel side has it.
    fn slot_of(ns: u64) -> u32 {
        if ns < FRACTIONS.into() {
            return ns as u32;
        }
        if ns >> BITS != 0 {
            return SLOTS - 1;
        }
        let shift = ns.ilog2() - FRACTION_BITS;
        shift * FRACTIONS + (ns >> shift) as u32
    }

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for ns in durations {
            histogram.add(slot_of(*ns), 1);
        }
        histogram
    }

    #[test]
    fn slots_follow_each_other_without_gaps() {
        let mut end = 0;
        for slot in 0..SLOTS {
            let (low, high) = bounds(slot);
            assert_eq!(low, end);
            assert_eq!((slot_of(low), slot_of(high - 1)), (slot, slot));
            end = high;
        }
        assert_eq!(end, 1 << BITS);
        assert_eq!(slot_of(u64::MAX), SLOTS - 1);
    }

    proptest! {
        #[test]
        fn a_quantile_is_less_than_two_percent_off(
            mut durations in prop::collection::vec(1_u64..1 << 45, 1..200),
            percent in 1_u32..=100,
        ) {
            let fraction = f64::from(percent) / 100.0;
            let found = of(&durations).quantile(fraction).unwrap() as f64;
            durations.sort_unstable();
            let rank = (durations.len() as f64 * fraction).ceil() as usize;
            let truth = durations[rank.max(1) - 1] as f64;
            prop_assert!((found - truth).abs() <= truth * 0.02 + 0.5, "{found} for {truth}");
        }

        #[test]
        fn every_duration_is_in_the_power_of_two_it_belongs_to(
            durations in prop::collection::vec(0_u64..1 << 47, 0..100),
        ) {
            let powers = of(&durations).powers_of_two();
            for row in &powers {
                let truth = durations.iter().filter(|ns| (row.low_ns..row.high_ns).contains(ns));
                prop_assert_eq!(truth.count() as u64, row.count);
            }
            prop_assert_eq!(powers.iter().map(|row| row.count).sum::<u64>(), durations.len() as u64);
            prop_assert!(powers.windows(2).all(|pair| pair[0].high_ns == pair[1].low_ns));
        }
    }

    #[test]
    fn bars_are_as_bcc_has_them() {
        let text = bars("usecs", &[1, 0, 4, 2], 0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "     usecs               : count     distribution"
        );
        let row = "         0 -> 1          : 1        |**********                              |";
        assert_eq!(lines[1], row);
        let row = "         4 -> 7          : 4        |****************************************|";
        assert_eq!(lines[3], row);
        assert_eq!(bars("nsecs", &[0, 0], 0), "");
        assert_eq!(bars("nsecs", &[0, 0, 1], 9).lines().count(), 2);
        let mut wide = vec![0; 40];
        wide[39] = 1;
        let head = "               nsecs                         : count     distribution";
        let wide = bars("nsecs", &wide, 0);
        assert_eq!(wide.lines().next(), Some(head));
        assert!(wide.ends_with(
            "        549755813888 -> 1099511627775        : 1        |********************|\n"
        ));
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let earlier = of(&[10, 1000]);
        let mut later = earlier.clone();
        later.merge(&of(&[1000, 1 << 30]));
        assert_eq!(later.since(&earlier), of(&[1000, 1 << 30]));
        assert!(later.since(&later).is_empty());
        assert_eq!(later.longest_at_least(), 1 << 30);
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert!(Histogram::default().powers_of_two().is_empty());
    }
}
