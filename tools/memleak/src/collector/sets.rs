//! The table in front of the table of blocks, read and swept in place (bpf/memleak/sets.bpf.h).

use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::{BLOCK_SET_WORDS, Block, SET_GENERATION_SHIFT, SET_STACK_SHIFT, SET_WAYS};

/// With fewer blocks than this the hash table is all there is: then the limit is exact.
const FEWEST_BLOCKS: u32 = 128 << 10;
/// 64 bytes each.
const SETS: u32 = 64 << 10;

/// How many sets go with a table of so many blocks.
pub fn set_count(max_blocks: u32) -> u32 {
    if max_blocks < FEWEST_BLOCKS { 0 } else { SETS }
}

/// struct block_set.
pub type Set = [AtomicU64; BLOCK_SET_WORDS];

/// Attempts at a block that changes while it is read.
const ATTEMPTS: usize = 16;

/// Calls `visit` for every block of an image. One that comes or goes meanwhile may be seen or not.
pub fn for_each_block<'a>(
    sets: impl Iterator<Item = &'a Set>,
    generation: u32,
    mut visit: impl FnMut(u64, &Block),
) {
    for set in sets {
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
pub fn sweep<'a>(sets: impl Iterator<Item = &'a Set>, generation: u32) {
    for set in sets {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// What the kernel side does, in its order.
    fn put(set: &Set, way: usize, key: u64, what: u64, born_ns: u64) {
        set[6].fetch_add(1 << (32 * way), Ordering::SeqCst);
        set[4 + way].store(what, Ordering::Release);
        set[2 + way].store(born_ns, Ordering::Release);
        set[way].store(key, Ordering::Release);
    }

    fn take(set: &Set, way: usize) {
        set[way].store(0, Ordering::Release);
        set[6].fetch_sub(1 << (32 * way), Ordering::SeqCst);
    }

    fn blocks(set: &Set, generation: u32) -> Vec<(u64, u64, u64, u32)> {
        let mut found = Vec::new();
        for_each_block(std::iter::once(set), generation, |address, block| {
            found.push((address, block.born_ns, block.bytes, block.stack));
        });
        found
    }

    fn what(bytes: u64, stack: u64) -> u64 {
        bytes + (stack << SET_STACK_SHIFT)
    }

    fn key(address: u64, generation: u64) -> u64 {
        address + (generation << SET_GENERATION_SHIFT)
    }

    #[test]
    fn blocks_of_the_present_image_are_seen_and_others_swept() {
        let set = Set::default();
        put(&set, 0, key(0x1000, 255), what(24, 7), 5);
        put(&set, 1, key(0x2000, 0), what(48, 9), 6);
        assert_eq!(blocks(&set, 255), [(0x1000, 5, 24, 7)]);
        assert_eq!(blocks(&set, 256), [(0x2000, 6, 48, 9)]);

        // Seen from the image before, the one of the next image is not old.
        sweep(std::iter::once(&set), 255);
        assert_eq!(blocks(&set, 256).len() + blocks(&set, 255).len(), 2);
        sweep(std::iter::once(&set), 256);
        assert_eq!(blocks(&set, 255), []);
        assert_eq!(blocks(&set, 256), [(0x2000, 6, 48, 9)]);
        assert_eq!(set[6].load(Ordering::SeqCst), 1 << 32);
        sweep(std::iter::once(&set), 257);
        assert_eq!(set[6].load(Ordering::SeqCst), 0);
    }

    #[test]
    fn no_block_is_a_mixture_of_two() {
        let set = Set::default();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..300_000_u64 {
                    put(&set, 0, key(0x1000, 1), what(n, n % 1000), n);
                    take(&set, 0);
                }
                is_over.store(true, Ordering::SeqCst);
            });
            while !is_over.load(Ordering::SeqCst) {
                for (_, born_ns, bytes, stack) in blocks(&set, 1) {
                    assert_eq!((bytes, u64::from(stack)), (born_ns, born_ns % 1000));
                }
            }
        });
    }
}
