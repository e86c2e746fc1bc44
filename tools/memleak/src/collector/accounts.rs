//! What each stack has, while the kernel's tables are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::abi;
use crate::snapshot::{Amount, Block, Class, Stack, StackAccount};

/// What a stack has so far, while the tables are read.
#[derive(Debug, Default)]
pub struct Tally {
    pub live: Amount,
    young: Amount,
    pub allocs: u64,
    pub frees: u64,
    oldest_born_ns: Option<u64>,
    blocks: Vec<Block>,
}

impl Tally {
    pub fn into_account(self, stack: Arc<Stack>, class: Class, now_ns: u64) -> StackAccount {
        StackAccount {
            stack,
            class,
            live: self.live,
            young: self.young,
            allocs: self.allocs,
            frees: self.frees,
            oldest: self
                .oldest_born_ns
                .map(|born| Duration::from_nanos(now_ns.saturating_sub(born))),
            blocks: self.blocks,
        }
    }
}

/// All stacks' tallies.
pub struct Accounts {
    pub by_stack: BTreeMap<(u32, Class), Tally>,
    pub chunk_overhead: u64,
    list_blocks: bool,
    born_before_ns: u64,
}

impl Accounts {
    pub fn new(list_blocks: bool, min_age: Duration, now_ns: u64) -> Self {
        Self {
            by_stack: BTreeMap::new(),
            chunk_overhead: 0,
            list_blocks,
            born_before_ns: now_ns.saturating_sub(min_age.as_nanos() as u64),
        }
    }

    pub fn add_block(&mut self, slot: u32, address: u64, block: &abi::Block) {
        self.chunk_overhead += chunk_overhead(block.bytes);
        self.add((slot, Class::Heap), address, block.bytes, block.born_ns);
    }

    pub fn add(&mut self, key: (u32, Class), address: u64, bytes: u64, born_ns: u64) {
        let tally = self.by_stack.entry(key).or_default();
        tally.oldest_born_ns = Some(tally.oldest_born_ns.map_or(born_ns, |old| old.min(born_ns)));
        if born_ns > self.born_before_ns {
            tally.young.add_block(bytes);
            return;
        }
        tally.live.add_block(bytes);
        if self.list_blocks {
            tally.blocks.push(Block {
                addr: address,
                size: bytes,
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
}
