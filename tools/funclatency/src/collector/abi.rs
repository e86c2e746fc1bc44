//! The kernel side's structures (bpf/funclatency.h), checked for size.

use std::sync::atomic::{AtomicU64, Ordering};

use memtools::histogram::SLOTS;
use plain::Plain;

use super::kernel::types;
use crate::model::Figures;

const COMM_BYTES: usize = 16;
const MAX_ARGUMENTS: usize = 6;
/// MAX_FRAMES.
pub const MAX_FRAMES: usize = 127;
/// LATENCY_ROWS.
const ROWS: usize = 64;
/// FIRST_ROW.
pub const FIRST_ROW: u32 = 2048;

/// COOKIE_KIND and COOKIE_CONDITION.
pub const COOKIE_KIND: u32 = 16;
pub const COOKIE_CONDITION: u32 = 20;
/// enum exit_kind.
pub const EXIT_RETURN: u64 = 0;
pub const EXIT_JUMP: u64 = 1;
pub const EXIT_CONDITIONAL: u64 = 2;

/// enum recursion.
pub const RECURSION_ALL: u32 = 0;
pub const RECURSION_OUTERMOST: u32 = 1;
pub const RECURSION_INNERMOST: u32 = 2;

/// enum split.
pub const SPLIT_NONE: u32 = 0;
pub const SPLIT_PROCESS: u32 = 1;
pub const SPLIT_THREAD: u32 = 2;
pub const SPLIT_COMM: u32 = 3;
pub const SPLIT_CGROUP: u32 = 4;
pub const SPLIT_CPU: u32 = 5;
pub const SPLIT_RETURN: u32 = 6;

/// enum function_counter.
pub const LOST_THREADS: usize = 0;
pub const LOST_ROWS: usize = 1;
pub const LOST_CELLS: usize = 2;
pub const LOST_SLOW: usize = 3;
pub const COUNTERS: u32 = 4;

/// struct function_stats: words before the histogram, and all of them.
const HEAD_WORDS: usize = 12;
/// The word that says what the probes add.
pub const PROBES_NS_WORD: usize = 11;
pub const STATS_WORDS: usize = HEAD_WORDS + SLOTS as usize + ROWS;

/// Adds what some CPUs have counted of a function. The extremes are those of the interval.
pub fn add_stats(figures: &mut Figures, words: &[AtomicU64; STATS_WORDS], interval: u32) {
    let word = |at: usize| words[at].load(Ordering::Relaxed);
    let half = interval as usize & 1;
    let intervals = word(10).to_ne_bytes();
    let of_half = [0, 1, 2, 3].map(|byte| intervals[half * 4 + byte]);
    let is_of_interval = u32::from_ne_bytes(of_half) == interval;
    let mut own = Figures {
        calls: word(0),
        total_ns: word(2),
        unwound: word(3),
        missed: word(4),
        unpaired: word(5),
        max_ns: if is_of_interval { word(6 + half) } else { 0 },
        min_ns: if is_of_interval { word(8 + half) } else { 0 },
        ..Figures::default()
    };
    for slot in 0..SLOTS {
        own.histogram.add(slot, word(HEAD_WORDS + slot as usize));
    }
    // Calls end while this is read: one figure is that of the other.
    own.ended = own.histogram.count();
    let rows = HEAD_WORDS + SLOTS as usize;
    own.rows = (rows..rows + ROWS).map(word).collect();
    figures.merge(&own);
}

/// struct split_key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SplitKey {
    pub key: u64,
    pub function: u32,
    pub slot: u32,
}

/// struct split_stats.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SplitStats {
    pub ended: u64,
    pub total_ns: u64,
    pub max_ns: [u64; 2],
    pub min_ns: [u64; 2],
    pub interval: [u32; 2],
}

impl SplitStats {
    /// What one CPU has counted.
    pub fn figures(&self, interval: u32) -> Figures {
        let half = interval as usize & 1;
        let is_of_interval = self.interval[half] == interval;
        Figures {
            ended: self.ended,
            total_ns: self.total_ns,
            max_ns: if is_of_interval { self.max_ns[half] } else { 0 },
            min_ns: if is_of_interval { self.min_ns[half] } else { 0 },
            ..Figures::default()
        }
    }
}

/// struct split_name.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SplitName {
    pub text: [u8; COMM_BYTES],
}

/// struct slow_call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SlowCall {
    pub time_ns: u64,
    pub ns: u64,
    pub result: u64,
    pub arguments: [u64; MAX_ARGUMENTS],
    pub process: u32,
    pub thread: u32,
    pub function: u32,
    pub depth: u32,
    pub cpu: u32,
    pub reserved: u32,
    pub comm: [u8; COMM_BYTES],
}

/// struct slow_call_with_stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SlowCallWithStack {
    pub call: SlowCall,
    pub frames: [u64; MAX_FRAMES],
}

impl Default for SlowCallWithStack {
    fn default() -> Self {
        Self {
            call: SlowCall::default(),
            frames: [0; MAX_FRAMES],
        }
    }
}

const _: () = {
    assert!(STATS_WORDS * 8 == size_of::<types::function_stats>());
    assert!(size_of::<SplitKey>() == size_of::<types::split_key>());
    assert!(size_of::<SplitStats>() == size_of::<types::split_stats>());
    assert!(size_of::<SplitName>() == size_of::<types::split_name>());
    assert!(size_of::<SlowCall>() == size_of::<types::slow_call>());
    assert!(size_of::<SlowCallWithStack>() == size_of::<types::slow_call_with_stack>());
};

// SAFETY: structures of numbers without padding, for which all bytes are values.
unsafe impl Plain for SplitKey {}
// SAFETY: as above.
unsafe impl Plain for SplitStats {}
// SAFETY: as above.
unsafe impl Plain for SplitName {}
// SAFETY: as above.
unsafe impl Plain for SlowCall {}
// SAFETY: as above.
unsafe impl Plain for SlowCallWithStack {}
