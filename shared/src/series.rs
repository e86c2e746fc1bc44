//! Live bytes of a row over the whole run, in bounded memory. Pure.
//!
//! Time is cut into slots that begin with the recording; there are at most 64 of them. When time has
//! gone past the last one, neighbours merge and the slots become twice as long. So slots depend on
//! nothing but time: all rows have the same ones. Only slots in which bytes changed are kept, 16 bytes
//! each: 1 KiB for a row that changes all the time, nothing for one that never did.
//!
//! Figures in slots are rounded to 24 binary digits; the current one is exact.

use std::time::Duration;

/// The most slots that a run is cut into.
const SLOTS: u64 = 64;
/// The shortest slot, as a power of two in nanoseconds: 67 ms.
const SHORTEST_SLOT: u8 = 26;

/// What happened in one slot.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    number: u8,
    last: f32,
    min: f32,
    max: f32,
}

/// Live bytes over time. A value holds until the next one is pushed.
#[derive(Clone, Debug)]
pub struct Series {
    slots: Vec<Slot>,
    /// The length of a slot, as a power of two in nanoseconds.
    slot_length: u8,
    current: u64,
    changed_ns: u64,
}

/// A stretch of time, and the bytes that were live in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its start, since recording began.
    pub from: Duration,
    /// Its end, at which the next point starts.
    pub to: Duration,
    /// Bytes at its end.
    pub last: u64,
    /// The fewest bytes in it, its start included.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            slot_length: SHORTEST_SLOT,
            current: 0,
            changed_ns: 0,
        }
    }
}

impl Series {
    /// From `elapsed` on, since recording began, so many bytes are live. What did not change need not be
    /// pushed. A time before the last push counts as the same time.
    pub fn push(&mut self, elapsed: Duration, bytes: u64) {
        if bytes == self.current {
            return;
        }
        let now = nanos(elapsed).max(self.changed_ns);
        while now >> self.slot_length >= SLOTS {
            self.merge_neighbours();
        }
        let (before, value) = (self.current as f32, bytes as f32);
        let slot = Slot {
            number: (now >> self.slot_length) as u8,
            last: value,
            min: before.min(value),
            max: before.max(value),
        };
        self.append(slot);
        self.current = bytes;
        self.changed_ns = now;
    }

    /// Bytes since the last push; 0 before the first.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// In how many slots bytes changed, 64 at most.
    pub fn changes(&self) -> usize {
        self.slots.len()
    }

    /// When bytes first changed, rounded down to the slot; `None` if they never did.
    pub fn start(&self) -> Option<Duration> {
        Some(Duration::from_nanos(
            self.slot_start(self.slots.first()?.number),
        ))
    }

    /// When bytes last changed, since recording began.
    pub fn last_change(&self) -> Duration {
        Duration::from_nanos(self.changed_ns)
    }

    /// The time that a slot covers: nothing shorter is told apart.
    pub fn resolution(&self) -> Duration {
        Duration::from_nanos(1 << self.slot_length)
    }

    /// The points from the first change to `now`, without gaps.
    pub fn points(&self, now: Duration) -> Vec<Point> {
        let now = nanos(now).max(self.changed_ns);
        let mut points = Vec::with_capacity(self.slots.len() * 2);
        for (index, slot) in self.slots.iter().enumerate() {
            let from = self.slot_start(slot.number);
            let end = (from + (1 << self.slot_length)).min(now);
            points.push(point(from, end, slot));
            let next = self.slots.get(index + 1);
            let next_start = next.map_or(now, |next| self.slot_start(next.number));
            if next_start > end {
                let held = Slot {
                    min: slot.last,
                    max: slot.last,
                    ..*slot
                };
                points.push(point(end, next_start, &held));
            }
        }
        if let Some(point) = points.last_mut() {
            point.last = self.current;
            point.min = point.min.min(self.current);
            point.max = point.max.max(self.current);
        }
        points
    }

    /// The time from the start of the recording to `now` in `n` cells of equal length, for a sparkline.
    /// A cell shows the fewest or the most bytes of the points that end in it, whichever is farther
    /// from the cell before, so that teeth of a saw stay visible; the last cell shows what is live now.
    pub fn resampled(&self, now: Duration, n: usize) -> Vec<u64> {
        let points = self.points(now);
        let now = nanos(now).max(self.changed_ns);
        let mut rest = points.as_slice();
        let mut shown = 0_u64;
        let mut cells: Vec<u64> = (1..=n as u64)
            .map(|cell| {
                let end = u128::from(now) * u128::from(cell) / n as u128;
                let inside = rest.partition_point(|point| point.to.as_nanos() <= end);
                let (ended, later) = rest.split_at(inside);
                rest = later;
                let min = ended.iter().map(|point| point.min).min();
                let max = ended.iter().map(|point| point.max).max();
                if let (Some(min), Some(max)) = (min, max) {
                    let goes_down = shown.abs_diff(min) > shown.abs_diff(max);
                    shown = if goes_down { min } else { max };
                }
                shown
            })
            .collect();
        if let Some(cell) = cells.last_mut() {
            *cell = self.current;
        }
        cells
    }

    fn append(&mut self, slot: Slot) {
        match self.slots.last_mut() {
            Some(last) if last.number == slot.number => {
                last.last = slot.last;
                last.min = last.min.min(slot.min);
                last.max = last.max.max(slot.max);
            }
            _ => self.slots.push(slot),
        }
    }

    fn merge_neighbours(&mut self) {
        self.slot_length += 1;
        for slot in std::mem::take(&mut self.slots) {
            self.append(Slot {
                number: slot.number / 2,
                ..slot
            });
        }
    }

    fn slot_start(&self, number: u8) -> u64 {
        u64::from(number) << self.slot_length
    }
}

fn point(from: u64, to: u64, slot: &Slot) -> Point {
    Point {
        from: Duration::from_nanos(from),
        to: Duration::from_nanos(to),
        last: slot.last as u64,
        min: slot.min as u64,
        max: slot.max as u64,
    }
}

/// A recording does not last longer than u64 counts, 584 years; half of it keeps sums below that.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos())
        .unwrap_or(u64::MAX)
        .min(u64::MAX / 2)
}

#[cfg(test)]
mod tests;
