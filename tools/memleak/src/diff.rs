//! What grew between two states, of one run or of two. Pure.
//!
//! Stacks are the same if their memory is of one class and their frames have the same names, one by one:
//! addresses and lines differ from run to run and from build to build. A frame without a symbol is known by
//! its module and by the place of its address within a page, which a loader at random addresses leaves alone
//! and another build does not. Stacks that cannot be told apart like this are one.

use std::collections::HashMap;

use memtools::stacks::Frame;

use crate::snapshot::{Amount, Class, Moment};
use crate::suppressions::{Suppressions, Tally};

/// Pages are at least this large, in bytes, and modules begin at one.
const PAGE_BYTES: u64 = 4096;

/// A state, as reports name it.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Where it comes from: a file's name.
    pub source: &'a str,
    /// What held for the whole process.
    pub moment: &'a Moment,
    /// One allocation in so many was tracked.
    pub sample_rate: u64,
    /// What is left out of it, rule by rule.
    pub suppressed: &'a Tally,
    /// The rules.
    pub suppressions: &'a Suppressions,
}

/// Live memory by one stack.
#[derive(Clone, Debug)]
pub struct Holding<'a> {
    /// What kind of memory.
    pub class: Class,
    /// From the allocating call outward.
    pub frames: Vec<&'a Frame>,
    /// How much; estimated for the whole where only a sample was tracked.
    pub live: Amount,
}

/// What became of a stack's memory: of its bytes, or of its blocks where the bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// There was none before.
    New,
    /// There is none after.
    Gone,
    /// There is more.
    Grew,
    /// There is less.
    Shrank,
    /// There is as much.
    Same,
}

impl ChangeKind {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Grew => "grew",
            Self::Shrank => "shrank",
            Self::Same => "same",
        }
    }
}

/// Two amounts of the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Live in the first state.
    pub before: Amount,
    /// Live in the second one.
    pub after: Amount,
}

impl Change {
    /// How many bytes came; negative: went.
    pub fn bytes(&self) -> i64 {
        difference(self.before.bytes, self.after.bytes)
    }

    /// How many blocks came; negative: went.
    pub fn count(&self) -> i64 {
        difference(self.before.count, self.after.count)
    }

    /// What kind of change it is.
    pub fn kind(&self) -> ChangeKind {
        let is_none = |amount: Amount| amount == Amount::default();
        match (self.bytes(), self.count()) {
            (0, 0) => ChangeKind::Same,
            _ if is_none(self.before) => ChangeKind::New,
            _ if is_none(self.after) => ChangeKind::Gone,
            (1.., _) | (0, 1..) => ChangeKind::Grew,
            _ => ChangeKind::Shrank,
        }
    }

    fn add(&mut self, other: &Self) {
        self.before.add(other.before);
        self.after.add(other.after);
    }
}

fn difference(before: u64, after: u64) -> i64 {
    let difference = i128::from(after) - i128::from(before);
    difference.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// One stack in both states.
#[derive(Clone, Debug)]
pub struct DiffRow<'a> {
    /// What kind of memory.
    pub class: Class,
    /// From the allocating call outward, with addresses and lines of the second state, or of the first
    /// where the second has none.
    pub frames: Vec<&'a Frame>,
    /// How much.
    pub change: Change,
}

/// Two states, stack by stack.
#[derive(Clone, Debug)]
pub struct Diff<'a> {
    /// What grew most comes first, what shrank most last; but before all that comes and goes with threads
    /// comes what can be leaked. Stacks that have nothing in either state are left out.
    pub rows: Vec<DiffRow<'a>>,
    /// The sum of what can be leaked.
    pub total: Change,
    /// The sum of each class that has a row.
    pub classes: Vec<(Class, Change)>,
}

/// Compares two states.
pub fn diff<'a>(
    before: impl IntoIterator<Item = Holding<'a>>,
    after: impl IntoIterator<Item = Holding<'a>>,
) -> Diff<'a> {
    let mut table = Table::default();
    // The second state first: its frames are the ones to be shown.
    for holding in after {
        let live = holding.live;
        table.change_of(holding).after.add(live);
    }
    for holding in before {
        let live = holding.live;
        table.change_of(holding).before.add(live);
    }
    let mut rows = table.rows;
    rows.retain(|row| row.change != Change::default());
    rows.sort_by(|a, b| {
        sort_key(b)
            .cmp(&sort_key(a))
            .then_with(|| names(a).cmp(&names(b)))
    });
    let classes = sum_classes(&rows);
    let mut total = Change::default();
    for (class, change) in &classes {
        if class.can_leak() {
            total.add(change);
        }
    }
    Diff {
        rows,
        total,
        classes,
    }
}

fn sort_key(row: &DiffRow) -> (bool, i64, i64, u64) {
    let change = &row.change;
    let (bytes, count) = (change.bytes(), change.count());
    (row.class.can_leak(), bytes, count, change.after.bytes)
}

/// Equal rows come in the order of their names, so that two runs of the tool print the same.
fn names<'r>(row: &'r DiffRow) -> impl Ord + use<'r> {
    let names = row.frames.iter().map(|frame| FrameName::of(frame));
    (row.class, names.collect::<Vec<_>>())
}

fn sum_classes(rows: &[DiffRow]) -> Vec<(Class, Change)> {
    let mut classes: Vec<(Class, Change)> = Vec::new();
    for row in rows {
        match classes.iter_mut().find(|(class, _)| *class == row.class) {
            Some((_, change)) => change.add(&row.change),
            None => classes.push((row.class, row.change)),
        }
    }
    classes.sort_by_key(|(class, _)| *class);
    classes
}

/// What a frame is known by in another process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct FrameName<'a> {
    place: Place<'a>,
    module: &'a str,
    is_inlined: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place<'a> {
    Symbol(&'a str),
    /// Bytes from the beginning of a page.
    InPage(u64),
}

impl<'a> FrameName<'a> {
    fn of(frame: &'a Frame) -> Self {
        Self {
            place: match &frame.symbol {
                Some(symbol) => Place::Symbol(without_pid(frame, symbol)),
                None => Place::InPage(frame.addr % PAGE_BYTES),
            },
            module: &frame.module,
            is_inlined: frame.inlined,
        }
    }
}

/// A process of several is known by its name: in another run it has another PID.
fn without_pid<'a>(frame: &Frame, symbol: &'a str) -> &'a str {
    let is_process = frame.addr == 0 && frame.module == "process";
    let name = symbol.rsplit_once(" (PID ").filter(|_| is_process);
    name.map_or(symbol, |(name, _)| name)
}

/// Rows by their names.
#[derive(Default)]
struct Table<'a> {
    rows: Vec<DiffRow<'a>>,
    by_name: HashMap<(Class, Vec<FrameName<'a>>), usize>,
}

impl<'a> Table<'a> {
    fn change_of(&mut self, holding: Holding<'a>) -> &mut Change {
        let Holding { class, frames, .. } = holding;
        let names = frames.iter().map(|frame| FrameName::of(frame)).collect();
        let rows = &mut self.rows;
        let index = *self.by_name.entry((class, names)).or_insert_with(|| {
            rows.push(DiffRow {
                class,
                frames,
                change: Change::default(),
            });
            rows.len() - 1
        });
        &mut self.rows[index].change
    }
}

#[cfg(test)]
mod tests;
