//! The table in front of the table of blocks, read and swept in place (bpf/memleak/sets.bpf.h).

use std::sync::atomic::{AtomicU64, Ordering};

use memtools::maps::SharedWords;

use super::abi::{BLOCK_SET_WORDS, Block, SET_GENERATION_SHIFT, SET_STACK_SHIFT, SET_WAYS};

/// With fewer blocks than this the hash table is all there is: then the limit is exact.
const FEWEST_BLOCKS: u32 = 128 << 10;
/// 64 bytes each.
const SETS: u32 = 64 << 10;

/// How many sets go with a table of so many blocks.
pub fn set_count(max_blocks: u32) -> u32 {
    if max_blocks < FEWEST_BLOCKS { 0 } else { SETS }
}

type Set = [AtomicU64; BLOCK_SET_WORDS];

/// Attempts at a block that changes while it is read.
const ATTEMPTS: usize = 16;

/// Calls `visit` for every block of an image. One that comes or goes meanwhile may be seen or not.
pub fn for_each_block(
    sets: &SharedWords<BLOCK_SET_WORDS>,
    generation: u32,
    mut visit: impl FnMut(u64, &Block),
) {
    for set in sets.iter() {
        for way in 0..SET_WAYS {
            if let Some((address, block)) = read(set, way, generation) {
                visit(address, &block);
            }
        }
    }
}

/// A block and its address, whole: its birth is written last and read first and last.
fn read(set: &Set, way: usize, generation: u32) -> Option<(u64, Block)> {
    (0..ATTEMPTS).find_map(|_| {
        let [keys, births, whats] = [way, SET_WAYS + way, 2 * SET_WAYS + way].map(|i| &set[i]);
        let born_ns = births.load(Ordering::Acquire);
        let what = whats.load(Ordering::Acquire);
        let key = keys.load(Ordering::Acquire);
        let is_whole = births.load(Ordering::Acquire) == born_ns;
        if key == 0 || image_of(key) != generation as u8 {
            return Some(None);
        }
        let block = Block {
            bytes: what & ((1 << SET_STACK_SHIFT) - 1),
            born_ns,
            stack: (what >> SET_STACK_SHIFT) as u32,
            reserved: 0,
        };
        let address = key & ((1 << SET_GENERATION_SHIFT) - 1);
        is_whole.then_some(Some((address, block)))
    })?
}

/// Makes room where blocks of earlier images are: nobody else will ever take them out.
pub fn sweep(sets: &SharedWords<BLOCK_SET_WORDS>, generation: u32) {
    for set in sets.iter() {
        for way in 0..SET_WAYS {
            let key = set[way].load(Ordering::Acquire);
            // Blocks of a later image are not old: the sign tells before from after.
            let age = (generation as u8).wrapping_sub(image_of(key)).cast_signed();
            if key != 0 && age > 0 {
                set[way].store(0, Ordering::Release);
                // The way's claim, in its half of the word.
                set[3 * SET_WAYS].fetch_sub(1 << (32 * way), Ordering::AcqRel);
            }
        }
    }
}

fn image_of(key: u64) -> u8 {
    (key >> SET_GENERATION_SHIFT) as u8
}
