//! What each stack has, while the kernel's tables are read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::abi;
use crate::snapshot::{Amount, Births, Block, Class, SizeHistogram, Stack, StackAccount};

/// What a stack has so far, while the tables are read.
#[derive(Debug, Default)]
pub struct Tally {
    /// What the kernel side has counted.
    pub totals: Totals,
    sum: Sum,
    sizes: SizeHistogram,
    blocks: Vec<Block>,
}

/// Since the attach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub allocs: u64,
    pub alloc_bytes: u64,
    pub frees: u64,
    /// Where blocks are not looked at (`-C`): what is live.
    pub live: Amount,
}

/// What is touched for each of a million blocks, in no order that a cache would like.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    live: Amount,
    young: Amount,
    fresh: Amount,
    /// Births in nanoseconds since recording began; they hold if anything is live.
    first: u64,
    last: u64,
    births: u128,
}

impl Sum {
    fn add(&mut self, amount: Amount, born: u64, is_fresh: bool) {
        self.first = if self.live.count == 0 {
            born
        } else {
            self.first.min(born)
        };
        self.last = self.last.max(born);
        self.births += u128::from(born) * u128::from(amount.count);
        self.live.add(amount);
        if is_fresh {
            self.fresh.add(amount);
        }
    }

    fn births(&self) -> Option<Births> {
        let mean = self.births.checked_div(u128::from(self.live.count))?;
        Some(Births {
            first: Duration::from_nanos(self.first),
            last: Duration::from_nanos(self.last),
            mean: Duration::from_nanos(mean as u64),
        })
    }
}

impl Tally {
    pub fn into_account(self, stack: Arc<Stack>, class: Class) -> StackAccount {
        let mut live = self.sum.live;
        live.add(self.totals.live);
        let mut fresh = self.sum.fresh;
        fresh.add(self.totals.live);
        StackAccount {
            stack,
            class,
            live,
            young: self.sum.young,
            fresh,
            allocs: self.totals.allocs,
            alloc_bytes: self.totals.alloc_bytes,
            frees: self.totals.frees,
            births: self.sum.births(),
            sizes: self.sizes,
            blocks: self.blocks,
        }
    }
}

/// What is counted, and from when. Times are of CLOCK_MONOTONIC, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    /// Recording began.
    pub started_ns: u64,
    /// What was born after this is young.
    pub young_after_ns: u64,
    /// What was born after this is fresh.
    pub fresh_after_ns: u64,
    /// Each block is listed.
    pub list_blocks: bool,
}

/// All stacks' tallies.
pub struct Accounts {
    pub chunk_overhead: u64,
    census: Census,
    tallies: Vec<((u32, Class), Tally)>,
    /// Where a slot's heap is in `tallies`, counted from 1: there are a million blocks to look up.
    heap: Vec<u32>,
    others: HashMap<(u32, Class), usize>,
}

impl Accounts {
    pub fn new(census: Census) -> Self {
        Self {
            chunk_overhead: 0,
            census,
            tallies: Vec::new(),
            heap: Vec::new(),
            others: HashMap::new(),
        }
    }

    /// The tally of a stack, by its slot, for a class of memory.
    pub fn tally(&mut self, slot: u32, class: Class) -> &mut Tally {
        let next = self.tallies.len();
        let at = if class == Class::Heap {
            let slot = slot as usize;
            if slot >= self.heap.len() {
                self.heap.resize(slot + 1, 0);
            }
            if self.heap[slot] == 0 {
                self.heap[slot] = next as u32 + 1;
            }
            self.heap[slot] as usize - 1
        } else {
            *self.others.entry((slot, class)).or_insert(next)
        };
        if at == next {
            self.tallies.push(((slot, class), Tally::default()));
        }
        &mut self.tallies[at].1
    }

    /// All of them; each stack and class once.
    pub fn into_tallies(self) -> Vec<((u32, Class), Tally)> {
        self.tallies
    }

    pub fn add_block(&mut self, address: u64, block: &abi::Block) {
        let amount = Amount {
            bytes: block.bytes,
            count: 1 + u64::from(block.further),
        };
        self.chunk_overhead += chunk_overhead(amount.bytes / amount.count) * amount.count;
        self.add((block.stack, Class::Heap), address, amount, block.born_ns);
    }

    /// What lies at an address: one block, or what a sample of one stands for.
    pub fn add(&mut self, key: (u32, Class), address: u64, amount: Amount, born_ns: u64) {
        let census = self.census;
        let tally = self.tally(key.0, key.1);
        if born_ns > census.young_after_ns {
            tally.sum.young.add(amount);
            return;
        }
        let since_start = born_ns.saturating_sub(census.started_ns);
        let is_fresh = born_ns > census.fresh_after_ns;
        tally.sum.add(amount, since_start, is_fresh);
        let size = amount.bytes / amount.count.max(1);
        tally.sizes.add_blocks(size, amount.count);
        if census.list_blocks {
            tally.blocks.push(Block {
                addr: address,
                size,
            });
        }
    }
}

/// What glibc adds to a block: a word before it, and alignment to 16 (malloc/malloc.c).
fn chunk_overhead(bytes: u64) -> u64 {
    const SMALLEST: u64 = 32;
    (bytes.saturating_add(8 + 15) & !15)
        .max(SMALLEST)
        .saturating_sub(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_aligned_and_have_a_header() {
        assert_eq!(chunk_overhead(1), 31);
        assert_eq!(chunk_overhead(24), 8);
        assert_eq!(chunk_overhead(25), 23);
        assert_eq!(chunk_overhead(1000), 8);
    }

    /// Two samples, of which one stands for ten objects.
    #[test]
    fn a_sample_stands_for_many() {
        let mut accounts = Accounts::new(Census {
            young_after_ns: 5000,
            list_blocks: true,
            ..Census::default()
        });
        for (bytes, further, born_ns) in [(1000, 9, 1000), (50, 0, 2100)] {
            let block = abi::Block {
                bytes,
                born_ns,
                stack: 3,
                further,
            };
            accounts.add_block(bytes, &block);
        }
        assert_eq!(accounts.chunk_overhead, 10 * 12 + 14);
        let tally = &accounts.into_tallies()[0].1;
        let live = tally.sum.live;
        assert_eq!((live.bytes, live.count), (1050, 11));
        assert_eq!(tally.sizes, SizeHistogram(vec![(5, 1), (6, 10)]));
        assert_eq!(tally.sum.births().unwrap().mean.as_nanos(), 1100);
        let sizes: Vec<u64> = tally.blocks.iter().map(|block| block.size).collect();
        assert_eq!(sizes, [100, 50]);
    }

    #[test]
    fn blocks_are_told_apart_by_when_they_were_made() {
        let mut accounts = Accounts::new(Census {
            started_ns: 1000,
            young_after_ns: 5000,
            fresh_after_ns: 3000,
            list_blocks: false,
        });
        for (bytes, born_ns) in [(10, 2000), (20, 4000), (40, 6000)] {
            accounts.add((7, Class::Heap), bytes, Amount::of_block(bytes), born_ns);
        }
        accounts.add((7, Class::Mmap), 0, Amount::of_block(4096), 2000);
        let tallies = accounts.into_tallies();
        let keys: Vec<(u32, Class)> = tallies.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [(7, Class::Heap), (7, Class::Mmap)]);
        let tally = &tallies[0].1;
        let Sum {
            live, young, fresh, ..
        } = tally.sum;
        assert_eq!((live.bytes, live.count), (30, 2));
        assert_eq!((fresh.bytes, young.bytes), (20, 40));
        assert_eq!(tally.sizes, SizeHistogram(vec![(3, 1), (4, 1)]));
        let births = tally.sum.births().unwrap();
        let nanos = [births.first, births.mean, births.last].map(|time| time.as_nanos());
        assert_eq!(nanos, [1000, 2000, 3000]);
    }
}
