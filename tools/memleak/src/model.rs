//! What was found, with names and in order. Pure: no I/O, no clock.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use memtools::symbols::{Location, Symbols};
use serde::Serialize;

use crate::cli::SortKey;
use crate::snapshot::{Amount, Block, Class, Snapshot, Stack, StackAccount, as_hex};

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
    pub file: Option<String>,
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
                s.file
                    .as_ref()
                    .map(|path| path.to_string_lossy().into_owned()),
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
    /// Growth is from the attach on.
    pub is_first: bool,
    /// No later report follows.
    pub is_final: bool,
}

/// Remembers the last report, from which growth is measured.
#[derive(Debug, Default)]
pub struct History {
    /// By a hash of class and frames.
    last: HashMap<u64, u64>,
    has_reported: bool,
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
            let mut hasher = DefaultHasher::new();
            (row.class, &row.frames).hash(&mut hasher);
            let before = self
                .last
                .insert(hasher.finish(), row.live.bytes)
                .unwrap_or(0);
            row.growth = row.live.bytes as i64 - before as i64;
            row.is_incomplete |= !reaches_start(&row.frames);
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
            is_first: !std::mem::replace(&mut self.has_reported, true),
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

/// Whether the last frame is where a program or a thread begins. A chain of frame pointers that
/// ends elsewhere has run into code without them. Where the C library's own symbols are missing, any
/// frame of it that called into the program is taken for a beginning.
fn reaches_start(frames: &[Frame]) -> bool {
    const STARTS: [&str; 9] = [
        "_start",
        "__libc_start_main",
        "__libc_start_call_main",
        "__libc_start_main_impl",
        "libc_start_main_stage2",
        "start_thread",
        "start",
        "clone",
        "clone3",
    ];
    let Some(last) = frames.last() else {
        return true;
    };
    let is_start = |symbol: &str| {
        STARTS.contains(&symbol)
            || symbol.starts_with("__clone")
            || symbol.starts_with("__run_exit_handlers")
            || symbol.starts_with("_dl_")
            || symbol == "call_init"
    };
    last.symbol.as_deref().is_some_and(is_start)
        || frames.len() > 1 && last.module.starts_with("libc.so")
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
