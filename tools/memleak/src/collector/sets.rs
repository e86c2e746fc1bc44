//! The table in front of the table of blocks, read and swept in place (bpf/memleak/sets.bpf.h).

use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::{BLOCK_SET_WORDS, Block, SET_GENERATION_SHIFT, SET_STACK_SHIFT, SET_WAYS};

/// With fewer blocks than this the hash table is all there is: then the limit is exact.
const FEWEST_BLOCKS: u32 = 128 << 10;
/// 64 bytes each.
const FEWEST_SETS: u32 = 64 << 10;
const MOST_SETS: u32 = 1 << 20;

/// How many sets go with a table of so many blocks: a power of two. When as many are live, half of
/// them are in the sets, where they take half the memory and are read ten times as fast.
pub fn set_count(max_blocks: u32) -> u32 {
    if max_blocks < FEWEST_BLOCKS {
        return 0;
    }
    (max_blocks / 4)
        .next_power_of_two()
        .clamp(FEWEST_SETS, MOST_SETS)
}

/// The bytes that they take.
pub fn bytes(max_blocks: u32) -> u64 {
    u64::from(set_count(max_blocks)) * BLOCK_SET_WORDS as u64 * 8
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

/// A block and its address, whole: its birth is written after what it is, and read first and last.
/// (A failed realloc puts a block back with the same birth: that one may be mixed up.)
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
            further: 0,
        };
        let address = key & ((1 << SET_GENERATION_SHIFT) - 1);
        is_whole.then_some(Some((address, block)))
    })?
}

/// Makes room where blocks of earlier images are: no program of the present image takes them out.
/// `generation` gives the present image's number.
pub fn sweep<'a>(sets: impl Iterator<Item = &'a Set>, generation: impl Fn() -> u32) {
    for set in sets {
        for way in 0..SET_WAYS {
            let key = set[way].load(Ordering::Acquire);
            // Asked after the key was read, so that it is not of a later image.
            if key != 0 && image_of(key) != generation() as u8 {
                remove(set, way, key);
            }
        }
    }
}

/// As the kernel side removes a block (take_from_way): whoever finds another one at it lets go.
fn remove(set: &Set, way: usize, key: u64) {
    const CLAIM: u64 = 1;
    const REMOVAL: u64 = 0x10000;
    const REMOVALS: u64 = 0xffff_0000;
    // A way's counters are a half of this word; additions are paired, so that none overflows.
    let half = 32 * way;
    let claims = &set[3 * SET_WAYS];
    let before = claims.fetch_add(REMOVAL << half, Ordering::AcqRel);
    if before >> half & REMOVALS == 0 && set[way].load(Ordering::Acquire) == key {
        set[way].store(0, Ordering::Release);
        claims.fetch_sub((REMOVAL + CLAIM) << half, Ordering::AcqRel);
    } else {
        claims.fetch_sub(REMOVAL << half, Ordering::AcqRel);
    }
}

/// The number of the set that an address belongs to, if any (set_of).
fn set_of(address: u64, set_count: u32) -> Option<usize> {
    let hash = (address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let index = (hash >> 40) as u32 & set_count.checked_sub(1)?;
    (address >> SET_GENERATION_SHIFT == 0).then_some(index as usize)
}

/// A block of an earlier image was taken out of the hash table: its set need not look there for it.
pub fn forget_overflow<'a>(set: impl Fn(usize) -> Option<&'a Set>, set_count: u32, address: u64) {
    if let Some(set) = set_of(address, set_count).and_then(set) {
        // The overflow is the lower half of the last word.
        set[3 * SET_WAYS + 1].fetch_sub(1, Ordering::AcqRel);
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

        sweep(std::iter::once(&set), || 256);
        assert_eq!(blocks(&set, 255), []);
        assert_eq!(blocks(&set, 256), [(0x2000, 6, 48, 9)]);
        assert_eq!(set[6].load(Ordering::SeqCst), 1 << 32);
        sweep(std::iter::once(&set), || 400);
        assert_eq!(set[6].load(Ordering::SeqCst), 0);
    }

    /// A program may be at it that took the present image for an earlier one (7.2 misses execs).
    #[test]
    fn a_block_that_is_being_removed_is_left_alone() {
        let set = Set::default();
        put(&set, 0, key(0x1000, 1), what(24, 7), 5);
        put(&set, 1, key(0x2000, 2), what(48, 9), 6);
        set[6].fetch_add(0x10000, Ordering::SeqCst);
        sweep(std::iter::once(&set), || 2);
        assert_eq!(set[6].load(Ordering::SeqCst), 0x1_0001_0001);
        assert_eq!(blocks(&set, 1), [(0x1000, 5, 24, 7)]);
        assert_eq!(blocks(&set, 2), [(0x2000, 6, 48, 9)]);
    }

    #[test]
    fn an_overflow_is_taken_from_the_addresss_own_set() {
        let sets: Vec<Set> = (0..4).map(|_| Set::default()).collect();
        for set in &sets {
            set[7].store(3, Ordering::SeqCst);
        }
        forget_overflow(|index| sets.get(index), 4, 0x7f00_0000_1230);
        forget_overflow(|index| sets.get(index), 4, 1 << 56);
        let mut left: Vec<u64> = sets
            .iter()
            .map(|set| set[7].load(Ordering::SeqCst))
            .collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3, 3, 3]);
        assert_eq!(set_of(0x1000, 0), None);
    }

    #[test]
    fn no_block_is_a_mixture_of_two() {
        let set = Set::default();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (1..1_000_000).cycle() {
                    put(&set, 0, key(0x1000, 1), what(n, n % 1000), n);
                    for _ in 0..n % 256 {
                        std::hint::spin_loop();
                    }
                    take(&set, 0);
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut seen = 0;
            while seen < 1_000 {
                for (_, born_ns, bytes, stack) in blocks(&set, 1) {
                    assert_eq!((bytes, u64::from(stack)), (born_ns, born_ns % 1000));
                    seen += 1;
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
