//! What was found, and its order. Pure: no I/O, no clock.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memtools::process::Resident;
use memtools::symbols::{Location, Symbols};
use serde::Serialize;

use crate::cli::SortKey;
use crate::intervals::MappingClass;

/// What kind of memory a stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Blocks of the allocator.
    Heap,
    /// The program's own anonymous mappings.
    Mmap,
    /// Stacks of threads.
    ThreadStack,
    /// What the allocator reserved for blocks to come.
    Arena,
    /// Thread-local storage, allocated by the dynamic linker.
    Tls,
}

impl Class {
    /// Whether memory of this class can be leaked by the program; the others come and go with
    /// its threads.
    pub fn can_leak(self) -> bool {
        matches!(self, Self::Heap | Self::Mmap)
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Mmap => "mmap",
            Self::ThreadStack => "thread stacks",
            Self::Arena => "arenas",
            Self::Tls => "thread-local storage",
        }
    }
}

impl From<MappingClass> for Class {
    fn from(class: MappingClass) -> Self {
        match class {
            MappingClass::Mmap => Self::Mmap,
            MappingClass::ThreadStack => Self::ThreadStack,
            MappingClass::Arena => Self::Arena,
        }
    }
}

/// Bytes, and in how many blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Bytes as they were asked for.
    pub bytes: u64,
    /// Blocks.
    pub count: u64,
}

impl Amount {
    /// Adds one block.
    pub fn add_block(&mut self, bytes: u64) {
        self.add(Self { bytes, count: 1 });
    }

    /// Adds blocks.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.count += other.count;
    }

    fn scaled(self, factor: u64) -> Self {
        Self {
            bytes: self.bytes * factor,
            count: self.count * factor,
        }
    }
}

/// A stack as the kernel side kept it, with what its addresses meant then.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// From the call that allocated outward; ends where text ends.
    pub locations: Vec<Location>,
    /// The walk reached the depth limit.
    pub is_truncated: bool,
    /// The walk left the text of the process: outer frames are missing.
    pub is_cut: bool,
}

/// A block: where, how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Block {
    /// Its address.
    #[serde(serialize_with = "as_hex")]
    pub addr: u64,
    /// Its size in bytes, as it was asked for.
    pub size: u64,
}

/// What one stack has allocated.
#[derive(Clone, Debug)]
pub struct StackAccount {
    /// Where.
    pub stack: Arc<Stack>,
    /// What.
    pub class: Class,
    /// Live, and old enough to be shown.
    pub live: Amount,
    /// Live, and younger than that.
    pub young: Amount,
    /// Allocations since the attach.
    pub allocs: u64,
    /// Frees of them.
    pub frees: u64,
    /// The age of the oldest live block.
    pub oldest: Option<Duration>,
    /// The blocks, if they were asked for (`-a`).
    pub blocks: Vec<Block>,
}

/// Calls since the attach, also those whose blocks are not tracked (`-s`, `-z`, `-Z`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Successful allocations.
    pub allocs: u64,
    /// Frees, those of blocks that are not tracked among them.
    pub frees: u64,
    /// Allocations and mappings that failed.
    pub failed: u64,
}

/// Direct calls of mmap and the like since the attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MappingCalls {
    /// Anonymous mappings made.
    pub maps: u64,
    /// munmap calls.
    pub unmaps: u64,
    /// Mappings moved or resized.
    pub remaps: u64,
}

/// What makes figures wrong; each counts occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Allocations that found the table full (`--max-allocs`).
    #[serde(skip_serializing_if = "is_zero")]
    pub allocs: u64,
    /// Their bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub alloc_bytes: u64,
    /// Addresses given out again although no free was seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed_frees: u64,
    /// Calls that never came back: longjmp, an exception, or a return that the kernel dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed_returns: u64,
    /// Allocations whose stack found no room (`--stack-storage-size`).
    #[serde(skip_serializing_if = "is_zero")]
    pub stacks: u64,
    /// Allocations whose stack is deeper than is kept (`--perf-max-stack-depth`).
    #[serde(skip_serializing_if = "is_zero")]
    pub truncated_stacks: u64,
    /// Calls by threads that found no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub threads: u64,
    /// mmap, munmap and mremap calls that found the ring buffer full.
    #[serde(skip_serializing_if = "is_zero")]
    pub mapping_events: u64,
    /// Lines of `-t` that found it full.
    #[serde(skip_serializing_if = "is_zero")]
    pub trace_events: u64,
    /// Records of new text mappings that were dropped: names may be missing or wrong.
    #[serde(skip_serializing_if = "is_zero")]
    pub text_mappings: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn as_hex<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

/// What the probes cost the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProbeLoad {
    /// Probe hits since the attach.
    pub hits: u64,
    /// Probe hits a second, since the last report.
    pub hits_per_s: f64,
    /// The estimated share of the target's CPU time that they take, since the last report, in
    /// percent; `None` while it used none.
    pub cpu_percent: Option<f64>,
}

/// The memory of the process as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentChange {
    /// When the probes went in.
    pub at_attach: Option<Resident>,
    /// Now, or when it was last there.
    pub now: Option<Resident>,
}

/// Everything that was known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub time: Timestamp,
    /// Since recording began.
    pub elapsed: Duration,
    /// Whose.
    pub pid: u32,
    /// Its name, not yet cleaned.
    pub comm: String,
    /// Whether it has ended.
    pub has_ended: bool,
    /// By stack and class; each once.
    pub stacks: Vec<StackAccount>,
    /// What happened.
    pub events: Events,
    /// Likewise.
    pub mappings: MappingCalls,
    /// Frees of blocks that are not tracked: older than the attach, or left out.
    pub untracked_frees: u64,
    /// Resident memory.
    pub resident: ResidentChange,
    /// What glibc needs beside the bytes that were asked for (headers, alignment), in bytes.
    pub chunk_overhead: u64,
    /// What the probes cost.
    pub load: ProbeLoad,
    /// What is missing.
    pub loss: Loss,
}

/// A frame with its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Frame {
    /// The return address.
    #[serde(serialize_with = "as_hex")]
    pub addr: u64,
    /// The function.
    pub symbol: Option<String>,
    /// How far into it, in bytes.
    pub offset: Option<u64>,
    /// The file that holds it.
    pub module: String,
    /// The source file.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// Whether it was inlined into the next frame.
    pub inlined: bool,
}

/// The frames of an address, the innermost inlined one first.
pub fn frames_of(location: &Location, symbols: &Symbols) -> Vec<Frame> {
    let frame = |symbol, offset, file, line, inlined| Frame {
        addr: location.address,
        symbol,
        offset,
        module: location.module(),
        file,
        line,
        inlined,
    };
    if symbols.is_empty() {
        return vec![frame(None, None, None, None, false)];
    }
    symbols
        .iter()
        .map(|s| {
            let offset = (!s.inlined).then_some(s.offset);
            frame(
                Some(s.name.clone()),
                offset,
                s.file.clone(),
                s.line,
                s.inlined,
            )
        })
        .collect()
}

/// One line of a report: a stack, and what it holds.
#[derive(Clone, Debug)]
pub struct Row {
    /// What.
    pub class: Class,
    /// From the allocating call outward.
    pub frames: Vec<Frame>,
    /// Live, and old enough.
    pub live: Amount,
    /// Allocations since the attach.
    pub allocs: u64,
    /// Frees of them.
    pub frees: u64,
    /// The age of the oldest live block.
    pub oldest: Option<Duration>,
    /// What came since the last report, in bytes.
    pub growth: i64,
    /// Outer frames are missing.
    pub is_incomplete: bool,
    /// The blocks, if they were asked for, by address.
    pub blocks: Vec<Block>,
}

/// A snapshot with names, in order: what reports print.
#[derive(Clone, Debug)]
pub struct Report {
    /// The moment.
    pub snapshot: Snapshot,
    /// All stacks; the first first.
    pub rows: Vec<Row>,
    /// What can be leaked: the sum of the rows of such classes.
    pub total: Amount,
    /// The same, hidden because it is young.
    pub young: Amount,
    /// The sum of each class that has any.
    pub classes: Vec<(Class, Amount)>,
    /// The allocations that each one stands for (`-s`).
    pub scale: u64,
    /// No later report follows.
    pub is_final: bool,
}

/// Remembers the last report, from which growth is measured.
#[derive(Debug, Default)]
pub struct History {
    last: HashMap<(Class, Vec<Frame>), u64>,
}

/// How rows are put in order.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// By what.
    pub key: SortKey,
    /// `-s`: what each figure is multiplied by.
    pub scale: u64,
}

impl History {
    /// Puts a snapshot in order. `frames` names a stack.
    pub fn report(
        &mut self,
        snapshot: Snapshot,
        order: Order,
        is_final: bool,
        mut frames: impl FnMut(&Stack) -> Vec<Frame>,
    ) -> Report {
        let mut young = Amount::default();
        let mut rows: Vec<Row> = Vec::new();
        let mut index: HashMap<(Class, Vec<Frame>), usize> = HashMap::new();
        for account in &snapshot.stacks {
            let frames = frames(&account.stack);
            let class = refined_class(account.class, &frames);
            let scale = if is_sampled(class) { order.scale } else { 1 };
            if class.can_leak() {
                young.add(account.young.scaled(scale));
            }
            // Stacks that differed only in what was cut off are one.
            let at = *index
                .entry((class, frames))
                .or_insert_with_key(|(_, frames)| {
                    rows.push(Row::empty(class, frames.clone()));
                    rows.len() - 1
                });
            rows[at].add(account, scale);
        }
        for row in &mut rows {
            let key = (row.class, std::mem::take(&mut row.frames));
            let before = self.last.insert(key.clone(), row.live.bytes).unwrap_or(0);
            row.growth = row.live.bytes as i64 - before as i64;
            row.frames = key.1;
            row.blocks.sort_unstable();
        }
        sort(&mut rows, order.key);
        let classes = sum_classes(&rows);
        let total = classes.iter().filter(|(class, _)| class.can_leak()).fold(
            Amount::default(),
            |mut total, (_, amount)| {
                total.add(*amount);
                total
            },
        );
        Report {
            snapshot,
            rows,
            total,
            young,
            classes,
            scale: order.scale,
            is_final,
        }
    }
}

impl Row {
    fn empty(class: Class, frames: Vec<Frame>) -> Self {
        Self {
            class,
            frames,
            live: Amount::default(),
            allocs: 0,
            frees: 0,
            oldest: None,
            growth: 0,
            is_incomplete: false,
            blocks: Vec::new(),
        }
    }

    fn add(&mut self, account: &StackAccount, scale: u64) {
        self.live.add(account.live.scaled(scale));
        self.allocs += account.allocs * scale;
        self.frees += account.frees * scale;
        self.oldest = self.oldest.max(account.oldest);
        self.is_incomplete |= account.stack.is_truncated || account.stack.is_cut;
        self.blocks.extend_from_slice(&account.blocks);
    }
}

/// Only calls of the allocator are sampled; mappings are all there.
fn is_sampled(class: Class) -> bool {
    matches!(class, Class::Heap | Class::Tls)
}

/// What only names can tell: thread-local storage is heap that the dynamic linker allocates, and
/// some C libraries do not mark thread stacks (MAP_STACK).
fn refined_class(class: Class, frames: &[Frame]) -> Class {
    const TLS: [&str; 5] = [
        "allocate_dtv",
        "_dl_resize_dtv",
        "allocate_dtv_entry",
        "tls_get_addr_tail",
        "__tls_get_addr",
    ];
    let any = |wanted: &dyn Fn(&str) -> bool| {
        frames
            .iter()
            .any(|frame| frame.symbol.as_deref().is_some_and(wanted))
    };
    match class {
        Class::Heap if any(&|s| TLS.contains(&s) || s.starts_with("_dl_allocate_tls")) => {
            Class::Tls
        }
        Class::Mmap if any(&|s| s.trim_start_matches('_').starts_with("pthread_create")) => {
            Class::ThreadStack
        }
        class => class,
    }
}

fn sort(rows: &mut [Row], key: SortKey) {
    let rank = |row: &Row| match key {
        SortKey::Bytes => i128::from(row.live.bytes),
        SortKey::Count => i128::from(row.live.count),
        SortKey::Age => row.oldest.map_or(-1, |age| age.as_nanos() as i128),
        SortKey::Growth => i128::from(row.growth),
    };
    // What cannot be leaked comes last; equal rows stay in a fixed order.
    rows.sort_by(|a, b| {
        (b.class.can_leak(), rank(b), b.live.bytes, b.allocs)
            .cmp(&(a.class.can_leak(), rank(a), a.live.bytes, a.allocs))
            .then_with(|| {
                a.frames
                    .first()
                    .map(|f| f.addr)
                    .cmp(&b.frames.first().map(|f| f.addr))
            })
    });
}

fn sum_classes(rows: &[Row]) -> Vec<(Class, Amount)> {
    let mut classes: Vec<(Class, Amount)> = Vec::new();
    for row in rows.iter().filter(|row| row.live.count > 0) {
        match classes.iter_mut().find(|(class, _)| *class == row.class) {
            Some((_, amount)) => amount.add(row.live),
            None => classes.push((row.class, row.live)),
        }
    }
    classes.sort_by_key(|(class, _)| *class);
    classes
}

#[cfg(test)]
mod tests;
