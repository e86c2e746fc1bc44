//! How large the tables are: `--max-memory` shared out. Pure.

use super::sets;

const MIB: u64 = 1 << 20;

/// The least that can be asked for, in bytes.
pub const LEAST: u64 = 64 * MIB;

/// What there is before anything is tracked: programs, ring buffer, caches; binary and symbols being
/// looked up.
const FIXED: u64 = 46 * MIB;
/// A thread's record, in bytes.
const BYTES_PER_THREAD: u64 = 2048 + 128;
/// A stack, in bytes: its slot and totals with the kernel; its locations, name and figures here.
const BYTES_PER_STACK: u64 = 1024 + 160 + 2 * 1024;
/// A block's share of the table when it is full, in bytes: key, value, the element around them
/// (rounded up by the allocator) and its bucket.
pub const BYTES_PER_BLOCK: u64 = 96 + 16;
/// What a block takes here when blocks are listed (`-a`), in bytes.
const BYTES_PER_LISTED_BLOCK: u64 = 64;

const MOST_THREADS: u32 = 32 << 10;
const FEWEST_THREADS: u32 = 1024;
const FEWEST_STACKS: u32 = 256;
const FEWEST_BLOCKS: u32 = 4096;

/// How many of each there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Threads.
    pub threads: u32,
    /// Stacks.
    pub stacks: u32,
    /// Live blocks.
    pub blocks: u32,
}

impl Room {
    /// As much as was asked for, of each.
    pub fn unlimited(stacks: u32, blocks: u32) -> Self {
        Self {
            threads: MOST_THREADS,
            stacks,
            blocks,
        }
    }

    /// What they take before anything is in them, in bytes; `grows`: some tables take memory as they fill.
    pub fn bytes_at_once(self, grows: bool) -> u64 {
        /// Programs, the ring buffer, and what is small.
        const EACH: u64 = 2 * MIB;
        /// A stack's slot and totals.
        const BYTES_PER_SLOT: u64 = 1024 + 160;
        let filled =
            u64::from(self.threads) * BYTES_PER_THREAD + u64::from(self.blocks) * BYTES_PER_BLOCK;
        EACH + u64::from(self.stacks) * BYTES_PER_SLOT
            + sets::bytes(self.blocks)
            + if grows { 0 } else { filled }
    }

    /// The same cut down to what fits into so many bytes: first threads get a sixteenth, then stacks a
    /// third of what is left, then blocks what they need of the rest, and what remains goes to stacks.
    pub fn within(self, bytes: u64, lists_blocks: bool) -> Self {
        let threads = cut(self.threads, bytes / 16, BYTES_PER_THREAD, FEWEST_THREADS);
        let left = bytes
            .saturating_sub(FIXED)
            .saturating_sub(u64::from(threads) * BYTES_PER_THREAD);
        let stacks = cut(self.stacks, left / 3, BYTES_PER_STACK, FEWEST_STACKS);
        let left = left.saturating_sub(u64::from(stacks) * BYTES_PER_STACK);
        let each = if lists_blocks {
            BYTES_PER_BLOCK + BYTES_PER_LISTED_BLOCK
        } else {
            BYTES_PER_BLOCK
        };
        let blocks = cut(self.blocks, left, each, FEWEST_BLOCKS);
        // The table in front is there at once, whatever is in it.
        let left = left.saturating_sub(sets::bytes(blocks));
        let blocks = cut(blocks, left, each, FEWEST_BLOCKS);
        let left = left.saturating_sub(u64::from(blocks) * each);
        let more = u32::try_from(left / BYTES_PER_STACK).unwrap_or(u32::MAX);
        Self {
            threads,
            stacks: self.stacks.min(stacks.saturating_add(more)),
            blocks,
        }
    }
}

/// The default of `--max-allocs` for the kernel's memory: a hundredth of the machine's, which is taken
/// at once.
pub fn kernel_blocks(memory: u64) -> u32 {
    const FEWEST: u64 = 128 << 10;
    const MOST: u64 = 4 << 20;
    (memory / 100 / BYTES_PER_BLOCK).clamp(FEWEST, MOST) as u32
}

/// As many of `wanted` as fit, but not fewer than `least`, unless fewer are wanted.
fn cut(wanted: u32, bytes: u64, each: u64, least: u32) -> u32 {
    let fitting = u32::try_from(bytes / each).unwrap_or(u32::MAX);
    wanted.min(fitting.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(room: Room) -> u64 {
        FIXED
            + u64::from(room.threads) * BYTES_PER_THREAD
            + u64::from(room.stacks) * BYTES_PER_STACK
            + u64::from(room.blocks) * BYTES_PER_BLOCK
            + sets::bytes(room.blocks)
    }

    #[test]
    fn what_fits_is_not_cut() {
        let room = Room::unlimited(10_240, 1 << 20);
        assert_eq!(room.within(1 << 31, false), room);
    }

    proptest! {
        #[test]
        fn it_fits(
            bytes in LEAST..1_u64 << 34,
            stacks in 1_u32..4_000_000,
            blocks in 1_u32..500_000_000,
        ) {
            let room = Room::unlimited(stacks, blocks).within(bytes, false);
            prop_assert!(bytes_of(room) <= bytes, "{room:?}");
            prop_assert!(room.stacks >= stacks.min(FEWEST_STACKS));
            prop_assert!(room.blocks >= blocks.min(FEWEST_BLOCKS));
        }
    }
}
