//! What was found: rows with their names and figures, and their order. Pure: no I/O, no clock.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use memtools::stacks::{Frame, StackId, StackTable};

use crate::cli::SortKey;
use crate::functions::LIBRARY_WRAPPERS;
use crate::recent::Recent;
use crate::snapshot::{Amount, Class, Moment, ProcessFigures};
use crate::suppressions::{Suppressions, Tally};
use crate::update::{RowFigures, RowId, Update};
use memtools::score::{Evidence, Score, score};
use memtools::series::Series;

/// A stack, and what it holds.
#[derive(Clone, Debug)]
pub struct Row {
    /// What kind of memory.
    pub class: Class,
    /// From the allocating call outward, in the ledger's table.
    pub stack: StackId,
    /// What it has now.
    pub figures: RowFigures,
    /// What came with the last update, in bytes.
    pub growth: i64,
    /// Its live bytes since the attach.
    pub series: Series,
    /// The same in the last seconds.
    recent: Recent,
    /// The update that changed its figures last.
    changed: u64,
    /// The rule that says that it is no leak.
    pub suppressed_by: Option<usize>,
}

impl Row {
    /// The age of the oldest live block.
    pub fn oldest(&self, moment: &Moment) -> Option<Duration> {
        let births = self.figures.births?;
        Some(moment.elapsed.saturating_sub(births.first))
    }

    /// It has allocated in the present image.
    pub fn is_present(&self) -> bool {
        self.figures.allocs > 0 || self.figures.live.count > 0
    }
}

/// All that updates have told so far.
#[derive(Debug, Default)]
pub struct Ledger {
    stacks: StackTable,
    rows: Vec<Row>,
    moment: Option<Moment>,
    updates: u64,
    /// How long after each other updates come.
    interval: Duration,
    suppressions: Suppressions,
    /// Where in the list of processes each is, by the name of its frame: the later one of two that have one.
    labels: HashMap<String, usize>,
    /// Sums over all rows, as of the last update: pictures ask for them all the time.
    sums: Sums,
    /// What can be leaked, over time.
    totals: Series,
    peak: u64,
}

/// What all rows come to.
#[derive(Debug, Default)]
struct Sums {
    total: Amount,
    young: Amount,
    suppressed: Tally,
}

impl Sums {
    fn of(rows: &[Row]) -> Self {
        let mut sums = Self::default();
        for row in rows.iter().filter(|row| row.class.can_leak()) {
            if let Some(rule) = row.suppressed_by {
                sums.suppressed.add(rule, row.figures.live);
                sums.suppressed.add(rule, row.figures.young);
            } else {
                sums.total.add(row.figures.live);
                sums.young.add(row.figures.young);
            }
        }
        sums
    }
}

/// An update that does not follow from those before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an update speaks of a row or frame that was never told of")]
pub struct UpdateError;

impl Ledger {
    /// Nothing yet; rows that `suppressions` match are left out of every figure but their own.
    pub fn new(suppressions: Suppressions) -> Self {
        Self {
            suppressions,
            ..Self::default()
        }
    }

    /// Takes an update in.
    pub fn apply(&mut self, update: Update) -> Result<(), UpdateError> {
        for frame in update.frames {
            self.stacks.add_frame(frame);
        }
        for new in update.rows {
            if new
                .frames
                .iter()
                .any(|id| id.0 >= self.stacks.frame_count())
            {
                return Err(UpdateError);
            }
            let stack = self.stacks.add_stack(new.frames);
            self.rows.push(Row {
                class: new.class,
                stack,
                figures: RowFigures::none(RowId(self.rows.len() as u32)),
                growth: 0,
                series: Series::default(),
                recent: Recent::default(),
                changed: 0,
                suppressed_by: self.suppressions.matching(self.stacks.frames(stack)),
            });
        }
        let gap = Gap {
            from: self.elapsed(),
            to: update.moment.elapsed,
            usual: self.interval,
        };
        self.interval = gap.next_usual();
        let before = self.total().bytes;
        for row in &mut self.rows {
            row.growth = 0;
        }
        for figures in update.figures {
            let row = self
                .rows
                .get_mut(figures.row.0 as usize)
                .ok_or(UpdateError)?;
            row.growth = figures.live.bytes as i64 - row.figures.live.bytes as i64;
            if row.growth != 0 {
                let before = row.figures.live.bytes;
                for (time, bytes) in gap.filled(before, figures.live.bytes) {
                    row.series.push(time, bytes);
                    row.recent.push(time, bytes);
                }
            }
            row.figures = figures;
            row.changed = self.updates + 1;
        }
        self.sums = Sums::of(&self.rows);
        let total = self.sums.total.bytes;
        for (time, bytes) in gap.filled(before, total) {
            self.totals.push(time, bytes);
        }
        self.peak = self.peak.max(total);
        let processes = update.moment.processes.iter();
        let list = processes.flat_map(|processes| processes.list.iter().enumerate());
        self.labels = list.map(|(at, process)| (process.label(), at)).collect();
        self.moment = Some(update.moment);
        self.updates += 1;
        Ok(())
    }

    /// The moment of the last update; `None` before the first.
    pub fn moment(&self) -> Option<&Moment> {
        self.moment.as_ref()
    }

    /// How many updates there were.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The names of the rows' stacks.
    pub fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    /// All rows, those that have nothing among them.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A row; its number came from this ledger.
    pub fn row(&self, id: RowId) -> &Row {
        &self.rows[id.0 as usize]
    }

    /// Whether the last update changed a row's figures.
    pub fn has_changed(&self, row: &Row) -> bool {
        row.changed == self.updates
    }

    /// What can be leaked.
    pub fn total(&self) -> Amount {
        self.sums.total
    }

    /// The same, hidden because it is young.
    pub fn young(&self) -> Amount {
        self.sums.young
    }

    /// The largest total at any update, in bytes.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// What the suppressions leave out, rule by rule.
    pub fn suppressed(&self) -> &Tally {
        &self.sums.suppressed
    }

    /// The rules that leave out.
    pub fn suppressions(&self) -> &Suppressions {
        &self.suppressions
    }

    /// The frames of a row, from the allocating call outward.
    pub fn frames(&self, row: &Row) -> impl DoubleEndedIterator<Item = &Frame> + ExactSizeIterator {
        self.stacks.frames(row.stack)
    }

    /// Whose a row is, where there are several.
    pub fn process_of(&self, row: &Row) -> Option<&ProcessFigures> {
        let processes = self.moment.as_ref()?.processes.as_ref()?;
        let name = self.frames(row).next_back()?.symbol.as_deref()?;
        processes.list.get(*self.labels.get(name)?)
    }

    /// All processes, where there are several, with what can be leaked of each: the largest first.
    pub fn processes(&self) -> Vec<(&ProcessFigures, Amount)> {
        let processes = self
            .moment
            .as_ref()
            .and_then(|moment| moment.processes.as_ref());
        let list = processes.map_or(&[][..], |processes| &processes.list);
        let mut live: HashMap<&str, Amount> = HashMap::new();
        let rows = self
            .rows
            .iter()
            .filter(|row| !list.is_empty() && row.class.can_leak());
        for row in rows.filter(|row| row.suppressed_by.is_none()) {
            if let Some(name) = self
                .frames(row)
                .next_back()
                .and_then(|f| f.symbol.as_deref())
            {
                live.entry(name).or_default().add(row.figures.live);
            }
        }
        let mut all: Vec<(&ProcessFigures, Amount)> = list
            .iter()
            .rev()
            .map(|process| (process, live.remove(&*process.label()).unwrap_or_default()))
            .collect();
        all.sort_by_key(|(process, live)| (Reverse(live.bytes), process.pid));
        all
    }

    /// The age of a row's oldest live block.
    pub fn oldest(&self, row: &Row) -> Option<Duration> {
        row.oldest(self.moment.as_ref()?)
    }

    /// What a row's live bytes grew by a second in the last ten.
    pub fn growth_per_second(&self, row: &Row) -> f64 {
        row.recent.growth_per_second(self.elapsed())
    }

    /// A row's live bytes since the attach, in so many steps.
    pub fn trend(&self, row: &Row, steps: usize) -> Vec<u64> {
        row.series.resampled(self.elapsed(), steps)
    }

    /// What can be leaked since the attach, in so many steps.
    pub fn timeline(&self, steps: usize) -> Vec<u64> {
        self.totals.resampled(self.elapsed(), steps)
    }

    /// How much a row looks like a leak.
    pub fn score(&self, row: &Row) -> Score {
        score(&Evidence {
            series: &row.series,
            live: row.figures.live,
            allocs: row.figures.allocs,
            frees: row.figures.frees,
            births: row.figures.births,
            elapsed: self.elapsed(),
        })
    }

    fn elapsed(&self) -> Duration {
        self.moment
            .as_ref()
            .map(|moment| moment.elapsed)
            .unwrap_or_default()
    }

    /// Outer frames of the row are missing.
    pub fn is_incomplete(&self, row: &Row) -> bool {
        if row.figures.is_incomplete || row.class.is_of_kernel() {
            return row.figures.is_incomplete;
        }
        // The outermost one is the process.
        let is_owned = self.process_of(row).is_some();
        let own = self.frames(row).len() - usize::from(is_owned);
        !reaches_start(self.stacks.frames(row.stack).take(own))
    }

    /// The rows that are there, in order; `None` before the first update.
    pub fn report(&self, options: ReportOptions) -> Option<Report<'_>> {
        let moment = self.moment.as_ref()?;
        let rows = self.rows.iter();
        let mut rows: Vec<&Row> = rows
            .filter(|row| row.is_present() && row.suppressed_by.is_none())
            .collect();
        sort(&mut rows, options.sort, &self.stacks);
        let classes = sum_classes(&rows);
        Some(Report {
            ledger: self,
            moment,
            rows,
            total: self.total(),
            young: self.young(),
            classes,
            scale: options.scale,
            is_first: self.updates == 1,
            is_final: options.is_final,
        })
    }
}

/// The time between two updates.
#[derive(Clone, Copy, Debug)]
struct Gap {
    from: Duration,
    to: Duration,
    /// How long it usually is; zero: not known.
    usual: Duration,
}

impl Gap {
    /// So many times as long as usual, nobody looked: a pause, or a view that was suspended.
    const LONG: u32 = 3;

    fn is_long(&self) -> bool {
        !self.usual.is_zero() && self.to.saturating_sub(self.from) > self.usual * Self::LONG
    }

    /// A pause changes nothing about what is usual.
    fn next_usual(&self) -> Duration {
        if self.is_long() {
            self.usual
        } else {
            self.to.saturating_sub(self.from)
        }
    }

    /// A figure's changes in it: one at its end, or, where nobody looked, even steps. To hold the old figure
    /// up to the end would make a leak of every pause that levels off, and then bursts.
    fn filled(&self, before: u64, after: u64) -> impl Iterator<Item = (Duration, u64)> {
        const MOST: u32 = 12;
        let gap = self.to.saturating_sub(self.from);
        let steps = if self.is_long() {
            let usual = gap.as_nanos() / self.usual.as_nanos().max(1);
            (usual as u32).clamp(1, MOST)
        } else {
            1
        };
        let (to, difference) = (self.to, i128::from(after) - i128::from(before));
        (1..=steps).map(move |step| {
            let bytes = i128::from(before) + difference * i128::from(step) / i128::from(steps);
            (
                to.saturating_sub(gap * (steps - step) / steps),
                bytes as u64,
            )
        })
    }
}

/// How a report is made.
#[derive(Clone, Copy, Debug)]
pub struct ReportOptions {
    /// What comes first.
    pub sort: SortKey,
    /// `-s`: what figures were multiplied by.
    pub scale: u64,
    /// No later report follows.
    pub is_final: bool,
}

/// The ledger at its last moment, in order: what reports print.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// What the rows' stacks are.
    pub ledger: &'a Ledger,
    /// What holds for the whole process.
    pub moment: &'a Moment,
    /// All stacks that have allocated; the first first.
    pub rows: Vec<&'a Row>,
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

/// Whether the last frame is where a program or a thread begins. A chain of frame pointers that
/// ends elsewhere has run into code without them. Where the C library's own symbols are missing, any
/// frame of it that called into the program is taken for a beginning.
fn reaches_start<'f>(
    mut frames: impl DoubleEndedIterator<Item = &'f Frame> + ExactSizeIterator,
) -> bool {
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
    let depth = frames.len();
    let Some(last) = frames.next_back() else {
        return true;
    };
    let is_start = |symbol: &str| {
        STARTS.contains(&symbol)
            || symbol.starts_with("__clone")
            || symbol.starts_with("__run_exit_handlers")
            || symbol.starts_with("_dl_")
            || symbol == "call_init"
    };
    // A function that allocates for its caller has one.
    let allocates = |symbol: &str| {
        let plain = symbol.trim_start_matches("__GI_").trim_start_matches('_');
        LIBRARY_WRAPPERS.contains(&plain)
    };
    let symbol = last.symbol.as_deref();
    symbol.is_some_and(is_start)
        || depth > 1 && last.module.starts_with("libc.so") && !symbol.is_some_and(allocates)
}

fn sort(rows: &mut [&Row], key: SortKey, stacks: &StackTable) {
    let rank = |row: &Row| match key {
        SortKey::Bytes => i128::from(row.figures.live.bytes),
        SortKey::Count => i128::from(row.figures.live.count),
        // The earlier its oldest block was made, the older.
        SortKey::Age => row
            .figures
            .births
            .map_or(i128::MIN, |births| -(births.first.as_nanos() as i128)),
        SortKey::Growth => i128::from(row.growth),
    };
    let first = |row: &Row| stacks.frames(row.stack).next().map(|frame| frame.addr);
    // What cannot be leaked comes last; equal rows stay in a fixed order.
    rows.sort_by_cached_key(|row| {
        std::cmp::Reverse((
            row.class.can_leak(),
            rank(row),
            row.figures.live.bytes,
            row.figures.allocs,
            std::cmp::Reverse(first(row)),
        ))
    });
}

fn sum_classes(rows: &[&Row]) -> Vec<(Class, Amount)> {
    let mut classes: Vec<(Class, Amount)> = Vec::new();
    for row in rows.iter().filter(|row| row.figures.live.count > 0) {
        match classes.iter_mut().find(|(class, _)| *class == row.class) {
            Some((_, amount)) => amount.add(row.figures.live),
            None => classes.push((row.class, row.figures.live)),
        }
    }
    classes.sort_by_key(|(class, _)| *class);
    classes
}

#[cfg(test)]
mod tests;
