//! Anonymous mappings as intervals: munmap and mremap take any part of one, or of several.

use std::collections::{BTreeMap, HashMap};

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MappingClass {
    /// The program's own.
    Mmap,
    /// A thread's stack.
    ThreadStack,
    /// Reserved by the allocator for blocks to come.
    Arena,
}

/// Whose a mapping is: the stack that made it, and what for.
pub type Owner = (u32, MappingClass);

/// A mapping as it was made.
#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    mapping: u64,
    owner: Owner,
    born_ns: u64,
}

/// What one owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Mappings made.
    pub allocs: u64,
    /// Their bytes.
    pub alloc_bytes: u64,
    /// Mappings of which nothing is left.
    pub frees: u64,
}

/// A mapping that is there, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveMapping {
    /// The lowest address that is left.
    pub start: u64,
    /// The bytes that are left.
    pub bytes: u64,
    /// Whose it is.
    pub owner: Owner,
    /// When it was made (CLOCK_MONOTONIC, nanoseconds).
    pub born_ns: u64,
}

/// All tracked mappings of a process. Addresses and lengths are whole pages, in bytes.
#[derive(Debug, Default)]
pub struct Intervals {
    pieces: BTreeMap<u64, Piece>,
    /// How many pieces each mapping has left.
    left: HashMap<u64, u32>,
    next: u64,
    accounts: HashMap<Owner, Account>,
    /// What an mremap of a thread has taken out and not yet put anywhere.
    moving: HashMap<u32, Vec<(u64, Piece)>>,
}

impl Intervals {
    /// A mapping was made; it takes the place of whatever was there.
    pub fn insert(&mut self, start: u64, bytes: u64, owner: Owner, born_ns: u64) {
        self.remove(start, bytes);
        if bytes == 0 {
            return;
        }
        let mapping = self.next;
        self.next += 1;
        self.left.insert(mapping, 1);
        let account = self.accounts.entry(owner).or_default();
        account.allocs += 1;
        account.alloc_bytes += bytes;
        let end = start.saturating_add(bytes);
        self.pieces.insert(
            start,
            Piece {
                end,
                mapping,
                owner,
                born_ns,
            },
        );
    }

    /// A range is gone. Where nothing was tracked, nothing happens.
    pub fn remove(&mut self, start: u64, bytes: u64) {
        for (_, piece) in self.cut_out(start, bytes) {
            self.drop_piece(&piece);
        }
    }

    /// An mremap begins: its old range is taken out before anyone else can be given it.
    pub fn begin_remap(&mut self, thread: u32, start: u64, bytes: u64) {
        let pieces = self.cut_out(start, bytes);
        self.moving.insert(thread, pieces);
    }

    /// It failed: everything is as it was.
    pub fn fail_remap(&mut self, thread: u32) {
        for (start, piece) in self.moving.remove(&thread).unwrap_or_default() {
            self.pieces.insert(start, piece);
        }
    }

    /// It succeeded: like realloc, the new range belongs to the stack that moved it. A range that
    /// was not tracked before (a file, an older mapping) is not tracked now.
    pub fn finish_remap(
        &mut self,
        thread: u32,
        start: u64,
        bytes: u64,
        stack: Option<u32>,
        now_ns: u64,
    ) {
        let pieces = self.moving.remove(&thread).unwrap_or_default();
        for (_, piece) in &pieces {
            self.drop_piece(piece);
        }
        self.remove(start, bytes);
        if let (Some((_, piece)), Some(stack)) = (pieces.first(), stack) {
            self.insert(start, bytes, (stack, piece.owner.1), now_ns);
        }
    }

    /// Another image: nothing is left, and nothing is to be accounted for.
    pub fn clear(&mut self) {
        *self = Self {
            next: self.next,
            ..Self::default()
        };
    }

    /// What has come and gone by owner.
    pub fn accounts(&self) -> impl Iterator<Item = (Owner, Account)> {
        self.accounts
            .iter()
            .map(|(owner, account)| (*owner, *account))
    }

    /// The mappings that are there, by address.
    pub fn live(&self) -> Vec<LiveMapping> {
        let mut index: HashMap<u64, usize> = HashMap::new();
        let mut live: Vec<LiveMapping> = Vec::new();
        for (&start, piece) in &self.pieces {
            let bytes = piece.end - start;
            if let Some(&at) = index.get(&piece.mapping) {
                live[at].bytes += bytes;
                continue;
            }
            index.insert(piece.mapping, live.len());
            live.push(LiveMapping {
                start,
                bytes,
                owner: piece.owner,
                born_ns: piece.born_ns,
            });
        }
        live
    }

    fn drop_piece(&mut self, piece: &Piece) {
        let Some(left) = self.left.get_mut(&piece.mapping) else {
            return;
        };
        *left -= 1;
        if *left == 0 {
            self.left.remove(&piece.mapping);
            self.accounts.entry(piece.owner).or_default().frees += 1;
        }
    }

    /// Takes a range out; pieces that reach over its ends are split.
    fn cut_out(&mut self, start: u64, bytes: u64) -> Vec<(u64, Piece)> {
        let end = start.saturating_add(bytes);
        self.split_at(start);
        self.split_at(end);
        let inside: Vec<u64> = self
            .pieces
            .range(start..end)
            .map(|(start, _)| *start)
            .collect();
        inside
            .into_iter()
            .filter_map(|start| Some((start, self.pieces.remove(&start)?)))
            .collect()
    }

    fn split_at(&mut self, address: u64) {
        let Some((&start, piece)) = self.pieces.range_mut(..address).next_back() else {
            return;
        };
        if piece.end <= address {
            return;
        }
        let upper = *piece;
        piece.end = address;
        debug_assert!(start < address);
        *self.left.entry(upper.mapping).or_default() += 1;
        self.pieces.insert(address, upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Owner = (1, MappingClass::Mmap);
    const OTHER: Owner = (2, MappingClass::Mmap);

    fn bytes_of(intervals: &Intervals, owner: Owner) -> u64 {
        intervals
            .live()
            .iter()
            .filter(|m| m.owner == owner)
            .map(|m| m.bytes)
            .sum()
    }

    fn account(intervals: &Intervals, owner: Owner) -> Account {
        intervals
            .accounts()
            .find(|(o, _)| *o == owner)
            .unwrap_or_default_account()
    }

    trait OrDefault {
        fn unwrap_or_default_account(self) -> Account;
    }

    impl OrDefault for Option<(Owner, Account)> {
        fn unwrap_or_default_account(self) -> Account {
            self.map(|(_, account)| account).unwrap_or_default()
        }
    }

    #[test]
    fn a_partial_munmap_shrinks() {
        let mut intervals = Intervals::default();
        intervals.insert(100, 50, OWN, 7);
        intervals.remove(110, 20);
        assert_eq!(bytes_of(&intervals, OWN), 30);
        assert_eq!(intervals.live().len(), 1);
        assert_eq!(
            account(&intervals, OWN),
            Account {
                allocs: 1,
                alloc_bytes: 50,
                frees: 0
            }
        );
        intervals.remove(0, 1000);
        assert_eq!(
            account(&intervals, OWN),
            Account {
                allocs: 1,
                alloc_bytes: 50,
                frees: 1
            }
        );
    }

    #[test]
    fn a_failed_mremap_changes_nothing() {
        let mut intervals = Intervals::default();
        intervals.insert(100, 50, OWN, 7);
        let before = intervals.live();
        intervals.begin_remap(3, 110, 10);
        intervals.fail_remap(3);
        assert_eq!(intervals.live(), before);
    }

    #[test]
    fn an_mremap_moves_and_another_thread_takes_the_old_place() {
        let mut intervals = Intervals::default();
        intervals.insert(100, 50, OWN, 7);
        intervals.begin_remap(3, 100, 50);
        intervals.insert(100, 50, OTHER, 8);
        intervals.finish_remap(3, 500, 80, Some(9), 10);
        assert_eq!(bytes_of(&intervals, OTHER), 50);
        assert_eq!(bytes_of(&intervals, (9, MappingClass::Mmap)), 80);
        assert_eq!(
            account(&intervals, OWN),
            Account {
                allocs: 1,
                alloc_bytes: 50,
                frees: 1
            }
        );
    }

    #[test]
    fn what_was_not_tracked_is_not_after_mremap() {
        let mut intervals = Intervals::default();
        intervals.begin_remap(3, 100, 50);
        intervals.finish_remap(3, 500, 80, Some(9), 10);
        assert!(intervals.live().is_empty());
    }

    proptest! {
        /// Against a table of pages.
        #[test]
        fn pages_have_the_owner_that_came_last(
            calls in proptest::collection::vec((0_u8..3, 0_u64..60, 1_u64..20, 1_u32..4), 0..60)
        ) {
            let mut intervals = Intervals::default();
            let mut pages = [0_u32; 80];
            for (call, start, length, owner) in calls {
                let range = start as usize..(start + length) as usize;
                match call {
                    0 => {
                        intervals.insert(start, length, (owner, MappingClass::Mmap), 0);
                        pages[range].fill(owner);
                    }
                    1 => {
                        intervals.remove(start, length);
                        pages[range].fill(0);
                    }
                    _ => {
                        intervals.begin_remap(1, start, length);
                        intervals.fail_remap(1);
                    }
                }
            }
            for owner in 1..4 {
                let expected = pages.iter().filter(|&&page| page == owner).count() as u64;
                prop_assert_eq!(bytes_of(&intervals, (owner, MappingClass::Mmap)), expected);
            }
            let (made, gone) = intervals.accounts().fold((0, 0), |(made, gone), (_, account)| {
                (made + account.allocs, gone + account.frees)
            });
            prop_assert_eq!(made - gone, intervals.live().len() as u64);
        }
    }
}
