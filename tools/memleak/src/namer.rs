//! Turns snapshots into updates: names what is new, puts together what has one name, and leaves out what
//! has not changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use memtools::stacks::{Frame, FrameId, StackId, StackTable, frames_of};
use memtools::symbols::{Location, Symbolizer};
use memtools::target::object::FileId;

use crate::snapshot::{Births, Class, Snapshot, Stack, StackAccount};
use crate::update::{NewRow, RowFigures, RowId, Update};

/// Gives addresses their names.
pub trait Naming {
    /// The frames of each location, the innermost inlined one first.
    fn names(&mut self, locations: &[&Location]) -> Vec<Vec<Frame>>;

    /// Lets go of what can be had again.
    fn save_memory(&mut self) {}
}

impl Naming for Symbolizer {
    fn names(&mut self, locations: &[&Location]) -> Vec<Vec<Frame>> {
        self.prepare(locations.iter().copied());
        let named = locations.iter();
        let frames = named
            .map(|location| frames_of(location, &self.symbols(location)))
            .collect();
        // They are kept as frames from now on.
        self.forget();
        frames
    }

    fn save_memory(&mut self) {
        self.forget_files();
    }
}

/// What tells one location from another: an address alone means different things over time.
type Place = (Option<FileId>, u64, u64);

/// Names stacks, and remembers what it has told.
pub struct Namer<N> {
    naming: N,
    /// `-s`: what figures of the heap are multiplied by.
    scale: u64,
    table: StackTable,
    places: HashMap<Place, Arc<[FrameId]>>,
    /// The row of a stack as the collector has it, by its address, which the stack beside it keeps.
    known: HashMap<(usize, Class), (Arc<Stack>, RowId)>,
    rows: Vec<(Class, StackId)>,
    row_ids: HashMap<(Class, StackId), RowId>,
    /// A hash of each row's figures as they were told; 0: none.
    told: Vec<u64>,
    told_frames: u32,
}

impl<N: Naming> Namer<N> {
    /// `scale` is the sample rate.
    pub fn new(naming: N, scale: u64) -> Self {
        Self {
            naming,
            scale,
            table: StackTable::default(),
            places: HashMap::new(),
            known: HashMap::new(),
            rows: Vec::new(),
            row_ids: HashMap::new(),
            told: Vec::new(),
            told_frames: 0,
        }
    }

    /// What a snapshot brings.
    pub fn update(&mut self, snapshot: Snapshot) -> Update {
        let (frames_before, rows_before) = (self.told_frames, self.rows.len());
        self.name_new(&snapshot.stacks);
        let mut figures: Vec<Option<RowFigures>> = Vec::new();
        for account in &snapshot.stacks {
            let row = self.row(account);
            figures.resize(self.rows.len(), None);
            let figures = figures[row.0 as usize].get_or_insert_with(|| RowFigures::none(row));
            let sampled = is_sampled(self.rows[row.0 as usize].0);
            add(figures, account, if sampled { self.scale } else { 1 });
        }
        self.let_go(snapshot.stacks);
        figures.resize(self.rows.len(), None);
        self.told.resize(self.rows.len(), 0);
        self.told_frames = self.table.frame_count();
        Update {
            moment: snapshot.moment,
            frames: (frames_before..self.told_frames)
                .map(|id| self.table.shared_frame(FrameId(id)))
                .collect(),
            rows: self.rows[rows_before..]
                .iter()
                .map(|&(class, stack)| NewRow {
                    class,
                    frames: self.table.shared_stack(stack),
                })
                .collect(),
            figures: self.changes(figures),
        }
    }

    /// Lets go of what can be had again.
    pub fn save_memory(&mut self) {
        self.naming.save_memory();
    }

    /// All new locations at once: symbols are looked up by file.
    fn name_new(&mut self, accounts: &[StackAccount]) {
        let mut wanted: Vec<&Location> = Vec::new();
        for account in accounts {
            if self.known.contains_key(&key(account)) {
                continue;
            }
            for location in &account.stack.locations {
                if let Entry::Vacant(entry) = self.places.entry(place(location)) {
                    entry.insert([].into());
                    wanted.push(location);
                }
            }
        }
        for (location, frames) in wanted.iter().zip(self.naming.names(&wanted)) {
            let ids: Vec<FrameId> = frames
                .into_iter()
                .map(|frame| self.table.add_frame(frame))
                .collect();
            self.places.insert(place(location), ids.into());
        }
    }

    /// Stacks that only this still has were resolved anew since.
    fn let_go(&mut self, accounts: Vec<StackAccount>) {
        const SLACK: usize = 1024;
        let in_use = accounts.len();
        drop(accounts);
        if self.known.len() > 2 * in_use + SLACK {
            self.known
                .retain(|_, (stack, _)| Arc::strong_count(stack) > 1);
        }
    }

    fn row(&mut self, account: &StackAccount) -> RowId {
        if let Some((_, row)) = self.known.get(&key(account)) {
            return *row;
        }
        let locations = account.stack.locations.iter();
        let frames: Vec<FrameId> = locations
            .flat_map(|location| self.places[&place(location)].iter().copied())
            .collect();
        let stack = self.table.add_stack(frames);
        let class = refined_class(account.class, || self.table.frames(stack));
        let next = RowId(self.rows.len() as u32);
        let row = *self.row_ids.entry((class, stack)).or_insert(next);
        if row == next {
            self.rows.push((class, stack));
        }
        self.known
            .insert(key(account), (account.stack.clone(), row));
        row
    }

    /// What differs from what was told before.
    fn changes(&mut self, figures: Vec<Option<RowFigures>>) -> Vec<RowFigures> {
        let rows = figures.into_iter().zip(&mut self.told).enumerate();
        rows.filter_map(|(index, (figures, told))| {
            let hash = figures.as_ref().map_or(0, hash_of);
            if std::mem::replace(told, hash) == hash {
                return None;
            }
            Some(figures.unwrap_or_else(|| RowFigures::none(RowId(index as u32))))
        })
        .collect()
    }
}

fn key(account: &StackAccount) -> (usize, Class) {
    (Arc::as_ptr(&account.stack) as usize, account.class)
}

fn place(location: &Location) -> Place {
    let file = location.object.as_ref().map(|object| object.id());
    (file, location.file_offset, location.address)
}

/// Never 0.
fn hash_of(figures: &RowFigures) -> u64 {
    let mut hasher = DefaultHasher::new();
    figures.hash(&mut hasher);
    hasher.finish().max(1)
}

/// Stacks that differed only in what was cut off are one.
fn add(figures: &mut RowFigures, account: &StackAccount, scale: u64) {
    figures.births = match (figures.births, account.births) {
        (Some(one), Some(other)) => {
            let counts = (figures.live.count, account.live.count * scale);
            Some(merged(one, other, counts))
        }
        (one, other) => one.or(other),
    };
    figures.live.add(account.live.scaled(scale));
    figures.young.add(account.young.scaled(scale));
    figures.fresh.add(account.fresh.scaled(scale));
    figures.allocs += account.allocs * scale;
    figures.alloc_bytes += account.alloc_bytes * scale;
    figures.frees += account.frees * scale;
    figures.sizes.merge(&account.sizes, scale);
    figures.is_incomplete |= account.stack.is_truncated || account.stack.is_cut;
    figures.blocks.extend_from_slice(&account.blocks);
    figures.blocks.sort_unstable();
}

fn merged(one: Births, other: Births, counts: (u64, u64)) -> Births {
    let all = (counts.0 + counts.1).max(1) as f64;
    let mean = one.mean.as_secs_f64() * (counts.0 as f64 / all)
        + other.mean.as_secs_f64() * (counts.1 as f64 / all);
    Births {
        first: one.first.min(other.first),
        last: one.last.max(other.last),
        mean: Duration::from_secs_f64(mean),
    }
}

/// Only calls of the allocator are sampled; mappings are all there.
fn is_sampled(class: Class) -> bool {
    !matches!(class, Class::Mmap | Class::ThreadStack | Class::Arena)
}

/// What only names can tell: thread-local storage is heap that the dynamic linker allocates, and
/// some C libraries do not mark thread stacks (MAP_STACK).
fn refined_class<'f, I: Iterator<Item = &'f Frame>>(class: Class, frames: impl Fn() -> I) -> Class {
    const TLS: [&str; 5] = [
        "allocate_dtv",
        "_dl_resize_dtv",
        "allocate_dtv_entry",
        "tls_get_addr_tail",
        "__tls_get_addr",
    ];
    let any = |wanted: &dyn Fn(&str) -> bool| {
        frames().any(|frame| frame.symbol.as_deref().is_some_and(wanted))
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

#[cfg(test)]
mod tests;
