//! What changed from one moment to the next, with names: what reports and the view are made from, and
//! what a recording holds. Updates follow each other; each is worth nothing without those before it.

use std::sync::Arc;

use memtools::stacks::{Frame, FrameId};

use crate::snapshot::{Amount, Births, Block, Class, Moment, SizeHistogram};

/// A row: memory of one class by one stack. Rows are numbered in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u32);

/// A row that was not there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// What kind of memory.
    pub class: Class,
    /// From the allocating call outward; empty: no stack could be kept. Two rows of different
    /// classes may have the same frames, no two of one class.
    pub frames: Arc<[FrameId]>,
}

/// What a row has now, in the place of what it had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowFigures {
    /// Which.
    pub row: RowId,
    /// Live, and old enough to be shown.
    pub live: Amount,
    /// Live, and younger than that.
    pub young: Amount,
    /// Of `live`: made after the base line was set, or all while there is none.
    pub fresh: Amount,
    /// Allocations since the attach.
    pub allocs: u64,
    /// Their bytes.
    pub alloc_bytes: u64,
    /// Frees of them.
    pub frees: u64,
    /// When its live blocks were made.
    pub births: Option<Births>,
    /// How large its live blocks are.
    pub sizes: SizeHistogram,
    /// Outer frames are missing.
    pub is_incomplete: bool,
    /// The blocks, if they were asked for (`-a`), by address.
    pub blocks: Vec<Block>,
}

impl RowFigures {
    /// A row that has nothing.
    pub fn none(row: RowId) -> Self {
        Self {
            row,
            live: Amount::default(),
            young: Amount::default(),
            fresh: Amount::default(),
            allocs: 0,
            alloc_bytes: 0,
            frees: 0,
            births: None,
            sizes: SizeHistogram::default(),
            is_incomplete: false,
            blocks: Vec::new(),
        }
    }
}

/// What changed.
#[derive(Clone, Debug)]
pub struct Update {
    /// What holds for the whole process now.
    pub moment: Moment,
    /// Frames that come with it, numbered on from those before.
    pub frames: Vec<Arc<Frame>>,
    /// Rows that come with it, likewise.
    pub rows: Vec<NewRow>,
    /// The rows whose figures changed, new ones among them; a row that is gone is here with zeros.
    pub figures: Vec<RowFigures>,
}
