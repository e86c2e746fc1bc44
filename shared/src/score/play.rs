//! A stack that allocates, played through second by second.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Amount, Births};
use super::{Evidence, Score, score};
use crate::series::Series;

/// The stack, and what it holds.
pub struct Play {
    pub series: Series,
    /// Births in seconds, and bytes.
    pub live: VecDeque<(u64, u64)>,
    pub allocs: u64,
    pub frees: u64,
    now: u64,
    pub random: u64,
}

impl Play {
    /// `step` is called for every second.
    pub fn run(seconds: u64, mut step: impl FnMut(&mut Self, u64)) -> Self {
        let mut play = Self {
            series: Series::default(),
            live: VecDeque::new(),
            allocs: 0,
            frees: 0,
            now: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        for now in 0..=seconds {
            play.now = now;
            step(&mut play, now);
            let bytes = play.live.iter().map(|(_, bytes)| bytes).sum();
            play.series.push(Duration::from_secs(now), bytes);
        }
        play
    }

    pub fn allocate(&mut self, count: u64, bytes: u64) {
        self.allocs += count;
        self.live.extend((0..count).map(|_| (self.now, bytes)));
    }

    pub fn free_oldest(&mut self, count: u64) {
        let count = count.min(self.live.len() as u64);
        self.live.drain(..count as usize);
        self.frees += count;
    }

    pub fn free_all(&mut self) {
        self.free_oldest(u64::MAX);
    }

    /// Frees all blocks of this size, but keeps the others.
    pub fn free_sized(&mut self, bytes: u64) {
        let before = self.live.len();
        self.live.retain(|block| block.1 != bytes);
        self.frees += (before - self.live.len()) as u64;
    }

    /// From 0 to `limit` - 1, always the same ones.
    pub fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    pub fn births(&self) -> Option<Births> {
        let births = || self.live.iter().map(|(born, _)| *born);
        Some(Births {
            first: Duration::from_secs(births().min()?),
            last: Duration::from_secs(births().max()?),
            mean: Duration::from_secs(births().sum::<u64>()) / self.live.len() as u32,
        })
    }

    pub fn evidence(&self) -> Evidence<'_> {
        Evidence {
            series: &self.series,
            live: Amount {
                bytes: self.live.iter().map(|(_, bytes)| bytes).sum(),
                count: self.live.len() as u64,
            },
            allocs: self.allocs,
            frees: self.frees,
            births: self.births(),
            elapsed: Duration::from_secs(self.now),
        }
    }

    pub fn score(&self) -> Score {
        score(&self.evidence())
    }
}
