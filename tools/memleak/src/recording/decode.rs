//! Messages as updates. What a file says is believed only as far as it was checked.

mod moment;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use memtools::stacks::{Frame, FrameId};

use self::moment::{moment, time};
use super::columns::{Column, Differences, Runs};
use super::{Ending, Header, format};
use crate::snapshot::{Amount, Births, Block, Class, SizeHistogram};
use crate::update::{NewRow, RowFigures, RowId, Update};

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No memleak wrote it.
    Damaged(&'static str),
    /// There is more than [`format::MOST_MEMORY`].
    TooLarge,
}

/// What a frame takes without its names, in bytes: itself, and its place in this table and in another one.
/// [`format::MOST_MEMORY`] of them are fewer than 2^32.
const FRAME_BYTES: usize = size_of::<Frame>() + 4 * size_of::<(Arc<Frame>, FrameId)>();
/// What a row takes without its stack, in bytes: as it is told, and as it is kept.
const ROW_BYTES: usize = 2 * (size_of::<NewRow>() + size_of::<RowFigures>());
/// What each frame of a row's stack takes, in bytes: its number, and where stacks are compared a reference.
const STACK_FRAME_BYTES: usize = size_of::<FrameId>() + size_of::<&Frame>();

/// What earlier updates brought, as far as later ones refer to it.
#[derive(Debug)]
pub struct Decoder {
    names: Vec<String>,
    /// In no order; another table numbers them, and would give two that are equal one number.
    frames: HashSet<Arc<Frame>>,
    /// What each row has, as one number: see [`weight`].
    weights: Vec<u64>,
    total_weight: u64,
    sample_rate: u64,
    elapsed: Duration,
    /// What may still be taken in memory, in bytes.
    budget: u64,
}

impl Decoder {
    /// Updates of a recording with this header.
    pub fn new(header: &Header) -> Self {
        Self {
            names: Vec::new(),
            frames: HashSet::new(),
            weights: Vec::new(),
            total_weight: 0,
            sample_rate: header.sample_rate,
            elapsed: Duration::ZERO,
            budget: format::MOST_MEMORY,
        }
    }

    /// One that may take less memory, in bytes.
    #[cfg(test)]
    pub fn with_budget(header: &Header, budget: u64) -> Self {
        Self {
            budget,
            ..Self::new(header)
        }
    }

    /// An update; it follows those that were decoded before.
    pub fn update(&mut self, update: format::Update) -> Result<Update, Fault> {
        let moment = moment(update.moment.unwrap_or_default(), self.sample_rate)?;
        if moment.elapsed < self.elapsed {
            return Err(Fault::Damaged("time goes back"));
        }
        self.elapsed = moment.elapsed;
        for name in &update.names {
            self.spend(size_of::<String>() + name.len())?;
        }
        self.names.extend(update.names);
        Ok(Update {
            moment,
            frames: self.frames(&update.frames.unwrap_or_default())?,
            rows: self.rows(&update.rows.unwrap_or_default())?,
            figures: self.figures(&update.figures.unwrap_or_default())?,
        })
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.budget = self
            .budget
            .checked_sub(bytes as u64)
            .ok_or(Fault::TooLarge)?;
        Ok(())
    }

    fn frames(&mut self, columns: &format::Frames) -> Result<Vec<Arc<Frame>>, Fault> {
        let count = columns.addr.len();
        let mut addresses = Differences::default();
        let symbols = Column::new(&columns.symbol, count)?;
        let offsets = Column::new(&columns.offset, count)?;
        let modules = Column::new(&columns.module, count)?;
        let files = Column::new(&columns.file, count)?;
        let lines = Column::new(&columns.line, count)?;
        let inlined = Column::new(&columns.inlined, count)?;
        let mut frames = Vec::with_capacity(count);
        for (index, difference) in columns.addr.iter().enumerate() {
            let line = lines.get(index).checked_sub(1).map(u32::try_from);
            let frame = Arc::new(Frame {
                addr: addresses.next(*difference),
                symbol: self.optional_name(symbols.get(index))?,
                offset: offsets.get(index).checked_sub(1),
                module: self.name(modules.get(index))?,
                file: self.optional_name(files.get(index))?,
                line: line
                    .transpose()
                    .map_err(|_| Fault::Damaged("a line is out of range"))?,
                inlined: inlined.get(index),
            });
            self.spend(FRAME_BYTES)?;
            if !self.frames.insert(frame.clone()) {
                return Err(Fault::Damaged("a frame is there twice"));
            }
            frames.push(frame);
        }
        Ok(frames)
    }

    fn optional_name(&mut self, number: u64) -> Result<Option<String>, Fault> {
        let number = number.checked_sub(1);
        number.map(|number| self.name(number)).transpose()
    }

    /// Each frame has names of its own: a few bytes in the file may be megabytes here.
    fn name(&mut self, number: u64) -> Result<String, Fault> {
        let name = usize::try_from(number).ok();
        let name = name.and_then(|number| self.names.get(number));
        let name = name.ok_or(Fault::Damaged("a name is not there"))?;
        let left = self.budget.checked_sub(name.len() as u64);
        self.budget = left.ok_or(Fault::TooLarge)?;
        Ok(name.clone())
    }

    fn rows(&mut self, columns: &format::Rows) -> Result<Vec<NewRow>, Fault> {
        let count = columns.frame_count.len();
        let shared_counts = Column::new(&columns.shared_count, count)?;
        let classes = Column::new(&columns.class, count)?;
        let mut own = Runs::new(&columns.frame);
        let mut ids = Differences::default();
        let mut rows: Vec<NewRow> = Vec::with_capacity(count);
        for (index, own_count) in columns.frame_count.iter().enumerate() {
            let above = rows.last().map_or(&[][..], |row| &row.frames);
            let shared = usize::try_from(shared_counts.get(index)).ok();
            let shared = shared.and_then(|shared| above.len().checked_sub(shared));
            let shared = &above[shared.ok_or(Fault::Damaged("a stack is not there"))?..];
            let own = own.next(*own_count)?;
            let depth = own.len() + shared.len();
            if depth > format::MOST_FRAMES {
                return Err(Fault::Damaged("a stack is too deep"));
            }
            // What a row has later takes its part too: a row that is not there has no figures.
            self.spend(ROW_BYTES + depth * STACK_FRAME_BYTES)?;
            let own = own.iter().map(|id| self.frame_id(ids.next(*id)));
            let frames = own.chain(shared.iter().copied().map(Ok));
            let frames = frames.collect::<Result<Vec<_>, _>>()?;
            rows.push(NewRow {
                class: class(classes.get(index))?,
                frames: frames.into(),
            });
        }
        own.finish()?;
        self.weights.resize(self.weights.len() + count, 0);
        Ok(rows)
    }

    fn frame_id(&self, number: u64) -> Result<FrameId, Fault> {
        if number < self.frames.len() as u64 {
            Ok(FrameId(number as u32))
        } else {
            Err(Fault::Damaged("a frame is not there"))
        }
    }

    fn figures(&mut self, columns: &format::Figures) -> Result<Vec<RowFigures>, Fault> {
        let count = columns.row.len();
        // A byte can be a whole row where columns are left out: there are no more than rows to have them.
        if count > self.weights.len() {
            return Err(Fault::Damaged("a row is not there"));
        }
        let amounts = Amounts::new(columns, count)?;
        let size_counts = Column::new(&columns.sizes, count)?;
        let block_counts = Column::new(&columns.blocks, count)?;
        let mut sizes = Sizes::new(columns)?;
        let mut blocks = Blocks::new(columns)?;
        let mut ids = Differences::default();
        let mut figures = Vec::with_capacity(count);
        for (index, difference) in columns.row.iter().enumerate() {
            let number = ids.next(*difference);
            if number >= self.weights.len() as u64 {
                return Err(Fault::Damaged("a row is not there"));
            }
            let mut row = amounts.row(index, RowId(number as u32));
            row.sizes = sizes.next(size_counts.get(index))?;
            row.blocks = blocks.next(block_counts.get(index))?;
            self.weigh(&row)?;
            figures.push(row);
        }
        sizes.buckets.finish()?;
        blocks.addresses.finish()?;
        Ok(figures)
    }

    /// Whoever adds figures up, scaled or not, stays within an `i64`.
    fn weigh(&mut self, row: &RowFigures) -> Result<(), Fault> {
        let slot = &mut self.weights[row.row.0 as usize];
        let rest = self.total_weight - *slot;
        let weight = weight(row);
        let total = weight.and_then(|weight| rest.checked_add(weight));
        let most = i64::MAX as u64 / self.sample_rate;
        match (weight, total.filter(|total| *total <= most)) {
            (Some(weight), Some(total)) => {
                *slot = weight;
                self.total_weight = total;
                Ok(())
            }
            _ => Err(Fault::Damaged("a figure is out of range")),
        }
    }
}

/// The sum of all that a row has, whatever its unit: at least as large as each.
fn weight(row: &RowFigures) -> Option<u64> {
    let amounts = [row.live, row.young, row.fresh];
    let amounts = amounts
        .iter()
        .flat_map(|amount| [amount.bytes, amount.count]);
    let sizes = row.sizes.0.iter().map(|(_, count)| *count);
    let mut all = amounts
        .chain(sizes)
        .chain([row.allocs, row.alloc_bytes, row.frees]);
    all.try_fold(0, u64::checked_add)
}

/// The columns that have one figure for each row.
struct Amounts<'a> {
    flags: Column<'a, u64>,
    live: [Column<'a, u64>; 2],
    young: [Column<'a, u64>; 2],
    stale: [Column<'a, u64>; 2],
    allocs: Column<'a, u64>,
    gone_bytes: Column<'a, u64>,
    unexplained: Column<'a, i64>,
    births: [Column<'a, u64>; 3],
}

impl<'a> Amounts<'a> {
    fn new(columns: &'a format::Figures, count: usize) -> Result<Self, Fault> {
        let column = |values: &'a [u64]| Column::new(values, count);
        Ok(Self {
            flags: column(&columns.flags)?,
            live: [column(&columns.live_bytes)?, column(&columns.live_count)?],
            young: [column(&columns.young_bytes)?, column(&columns.young_count)?],
            stale: [column(&columns.stale_bytes)?, column(&columns.stale_count)?],
            allocs: column(&columns.allocs)?,
            gone_bytes: column(&columns.gone_bytes)?,
            unexplained: Column::new(&columns.unexplained, count)?,
            births: [
                column(&columns.first_birth)?,
                column(&columns.last_birth)?,
                column(&columns.mean_birth)?,
            ],
        })
    }

    fn row(&self, index: usize, row: RowId) -> RowFigures {
        let amount = |[bytes, count]: &[Column<u64>; 2]| Amount {
            bytes: bytes.get(index),
            count: count.get(index),
        };
        let (live, young, stale) = (amount(&self.live), amount(&self.young), amount(&self.stale));
        let allocs = self.allocs.get(index);
        let unexplained = self.unexplained.get(index) as u64;
        let flags = self.flags.get(index);
        let [first, last, mean] = self.births.each_ref().map(|column| column.get(index));
        RowFigures {
            row,
            live,
            young,
            fresh: Amount {
                bytes: live.bytes.wrapping_sub(stale.bytes),
                count: live.count.wrapping_sub(stale.count),
            },
            allocs,
            alloc_bytes: [live.bytes, young.bytes]
                .into_iter()
                .fold(self.gone_bytes.get(index), u64::wrapping_add),
            frees: [unexplained, live.count, young.count]
                .into_iter()
                .fold(allocs, u64::wrapping_sub),
            births: (flags & format::HAS_BIRTHS != 0).then(|| Births {
                first: Duration::from_nanos(first),
                last: Duration::from_nanos(first.wrapping_add(last)),
                mean: Duration::from_nanos(first.wrapping_add(mean)),
            }),
            sizes: SizeHistogram::default(),
            is_incomplete: flags & format::IS_INCOMPLETE != 0,
            blocks: Vec::new(),
        }
    }
}

/// Histograms, one after the other.
struct Sizes<'a> {
    buckets: Runs<'a, u64>,
    counts: Column<'a, u64>,
}

impl<'a> Sizes<'a> {
    fn new(columns: &'a format::Figures) -> Result<Self, Fault> {
        Ok(Self {
            buckets: Runs::new(&columns.size_bucket),
            counts: Column::new(&columns.size_count, columns.size_bucket.len())?,
        })
    }

    fn next(&mut self, count: u64) -> Result<SizeHistogram, Fault> {
        let at = self.buckets.position();
        let buckets = self.buckets.next(count)?;
        if buckets.iter().any(|bucket| *bucket >= 64) || !buckets.is_sorted_by(|a, b| a < b) {
            return Err(Fault::Damaged("a histogram is not in order"));
        }
        let sizes = buckets.iter().enumerate();
        let sizes = sizes.map(|(index, bucket)| (*bucket as u8, self.counts.get(at + index)));
        Ok(SizeHistogram(sizes.collect()))
    }
}

/// Lists of blocks, one after the other.
struct Blocks<'a> {
    addresses: Runs<'a, i64>,
    sizes: Column<'a, u64>,
    last: Differences,
}

impl<'a> Blocks<'a> {
    fn new(columns: &'a format::Figures) -> Result<Self, Fault> {
        Ok(Self {
            addresses: Runs::new(&columns.block_addr),
            sizes: Column::new(&columns.block_size, columns.block_addr.len())?,
            last: Differences::default(),
        })
    }

    fn next(&mut self, count: u64) -> Result<Vec<Block>, Fault> {
        let at = self.addresses.position();
        let addresses = self.addresses.next(count)?;
        let blocks = addresses.iter().enumerate();
        let blocks = blocks.map(|(index, difference)| Block {
            addr: self.last.next(*difference),
            size: self.sizes.get(at + index),
        });
        Ok(blocks.collect())
    }
}

fn class(number: u64) -> Result<Class, Fault> {
    Ok(match number {
        0 => Class::Heap,
        1 => Class::Mmap,
        2 => Class::ThreadStack,
        3 => Class::Arena,
        4 => Class::Tls,
        5 => Class::Slab,
        6 => Class::Pages,
        7 => Class::Percpu,
        8 => Class::Vmalloc,
        9 => Class::Backing,
        _ => return Err(Fault::Damaged("a class is unknown")),
    })
}

/// A header.
pub fn header(header: format::Header) -> Result<Header, Fault> {
    if !(1..=u64::from(u32::MAX)).contains(&header.sample_rate) {
        return Err(Fault::Damaged("a sample rate is out of range"));
    }
    Ok(Header {
        tool_version: header.tool_version,
        kernel_release: header.kernel_release,
        architecture: header.architecture,
        sample_rate: header.sample_rate,
        min_age: Duration::from_millis(header.min_age_ms),
        is_combined: header.is_combined,
        pid: header.pid,
        comm: header.comm,
        start: time(header.start)?,
    })
}

/// An end.
pub fn ending(end: format::End) -> Ending {
    match end.reason() {
        format::Reason::TargetEnded => Ending::TargetEnded,
        format::Reason::Interrupted => Ending::Interrupted,
        format::Reason::Completed => Ending::Completed,
        format::Reason::Detached => Ending::Detached,
        format::Reason::Other => Ending::Other,
    }
}
