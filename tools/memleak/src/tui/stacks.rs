//! The pane of stacks: which rows, in which order, and what each column says.

use memtools::output::{grouped, human_bytes, human_bytes_signed, short_duration};
use memtools::stacks::Frame;
use memtools::tui::filter::Filter;
use memtools::tui::table::{Cell, Column, Rows, Sort};
use memtools::tui::theme::Tone;

use crate::cli::SortKey;
use crate::model::{Ledger, Row};
use crate::snapshot::{Amount, Class, ProcessFigures};
use crate::update::RowId;

const SCORE: usize = 0;
const LIVE: usize = 1;
const COUNT: usize = 2;
const GROWTH: usize = 3;
const AGE: usize = 4;
const KEPT: usize = 5;
const TREND: usize = 6;
/// The process, where there are several; else the stack.
const STACK: usize = 7;

/// How many columns a trend has.
const TREND_WIDTH: u16 = 12;

/// What is shown of a row.
const COLUMNS: &[Column] = &[
    Column::number("SCORE", 6),
    Column::number("LIVE", 10),
    Column::number("COUNT", 9).rank(2),
    Column::number("GROWTH/S", 11),
    Column::number("AGE", 8).rank(1),
    Column::number("KEPT", 6).rank(3),
    Column::sparkline("TREND", TREND_WIDTH).rank(4),
    Column::text("STACK", 20).fill().unsorted(),
];

/// The same with several processes.
const COLUMNS_OF_SEVERAL: &[Column] = &[
    COLUMNS[SCORE],
    COLUMNS[LIVE],
    COLUMNS[COUNT],
    COLUMNS[GROWTH],
    COLUMNS[AGE],
    COLUMNS[KEPT],
    COLUMNS[TREND],
    Column::text("PROCESS", 20).rank(5).unsorted(),
    COLUMNS[STACK],
];

/// The columns for what a ledger has.
pub fn columns(ledger: &Ledger) -> &'static [Column] {
    if has_several(ledger) {
        COLUMNS_OF_SEVERAL
    } else {
        COLUMNS
    }
}

fn has_several(ledger: &Ledger) -> bool {
    ledger
        .moment()
        .is_some_and(|moment| moment.processes.is_some())
}

/// What comes first when the view opens.
pub const FIRST_SORT: Sort = Sort::descending(SCORE);

/// The order that a flag asks for; `None`: the first one.
pub fn sort_by(key: SortKey) -> Option<Sort> {
    match key {
        SortKey::Bytes => None,
        SortKey::Count => Some(Sort::descending(COUNT)),
        SortKey::Age => Some(Sort::descending(AGE)),
        SortKey::Growth => Some(Sort::descending(GROWTH)),
    }
}

/// Which rows are shown.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Matched against functions, files and the class.
    pub filter: Filter,
    /// Also rows that hold nothing, and classes that are no leak.
    pub shows_all: bool,
    /// Only what was made after the base line.
    pub only_fresh: bool,
}

impl Selection {
    /// What is live of a row, as far as it is shown.
    pub fn amount(&self, row: &Row) -> Amount {
        if self.only_fresh {
            row.figures.fresh
        } else {
            row.figures.live
        }
    }
}

/// The rows that are shown, in order, and what was found out about them at the last update.
#[derive(Debug, Default)]
pub struct Arrangement {
    order: Vec<RowId>,
    /// By row: scores take longer than all the rest, so not all are made anew with each update.
    scores: Vec<u8>,
    /// Where the next ones are that are made anew though nothing changed but the time.
    next: usize,
    /// By frame: whether the filter matches it.
    matches: Vec<bool>,
    filter: String,
}

impl Arrangement {
    /// After an update: of rows that changed, and of some that only grew older.
    pub fn score(&mut self, ledger: &Ledger) {
        /// Each row's turn comes after so many updates.
        const TURNS: usize = 16;
        /// So many cost next to nothing, and none of them stands where its score no longer is.
        const AT_ONCE: usize = 512;
        let rows = ledger.rows();
        let known = self.scores.len();
        self.scores.resize(rows.len(), 0);
        let share = rows.len().div_ceil(TURNS).max(AT_ONCE);
        let turn = self.next..self.next + share;
        self.next = if turn.end >= rows.len() { 0 } else { turn.end };
        for (index, row) in rows.iter().enumerate() {
            let is_due = index >= known || turn.contains(&index) || ledger.has_changed(row);
            if is_due {
                self.scores[index] = ledger.score(row).total.round() as u8;
            }
        }
    }

    /// With another ledger: nothing that was known holds.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// After an update, or with another selection or order.
    pub fn arrange(&mut self, ledger: &Ledger, selection: &Selection, sort: Sort) {
        self.match_frames(ledger, &selection.filter);
        let is_shown = |row: &&Row| {
            let is_there = if selection.shows_all {
                row.is_present()
            } else {
                row.class.can_leak() && selection.amount(row).count > 0
            };
            is_there && row.suppressed_by.is_none() && self.is_match(ledger, row, &selection.filter)
        };
        let shown = ledger.rows().iter().filter(is_shown);
        let mut keyed: Vec<(Key, RowId)> = shown
            .map(|row| {
                (
                    self.key(ledger, row, selection, sort.column),
                    row.figures.row,
                )
            })
            .collect();
        sort.apply(&mut keyed, |(key, _)| *key);
        self.order.clear();
        self.order.extend(keyed.into_iter().map(|(_, row)| row));
    }

    fn match_frames(&mut self, ledger: &Ledger, filter: &Filter) {
        if self.filter != filter.text() {
            filter.text().clone_into(&mut self.filter);
            self.matches.clear();
        }
        if filter.is_empty() {
            return;
        }
        let stacks = ledger.stacks();
        for id in self.matches.len() as u32..stacks.frame_count() {
            let frame = stacks.frame(memtools::stacks::FrameId(id));
            let symbol = frame
                .symbol
                .as_deref()
                .is_some_and(|name| filter.matches(name));
            self.matches.push(symbol || filter.matches(&frame.module));
        }
    }

    fn is_match(&self, ledger: &Ledger, row: &Row, filter: &Filter) -> bool {
        if filter.is_empty() || filter.matches(row.class.name()) {
            return true;
        }
        let frames = ledger.stacks().frame_ids(row.stack);
        frames.iter().any(|id| self.matches[id.0 as usize])
    }

    /// What a row is put in order by; equal rows stay in a fixed order.
    fn key(&self, ledger: &Ledger, row: &Row, selection: &Selection, column: usize) -> Key {
        let amount = selection.amount(row);
        let first = match column {
            SCORE => i128::from(self.score_of(row)),
            COUNT => i128::from(amount.count),
            GROWTH => ledger.growth_per_second(row) as i128,
            AGE => ledger.oldest(row).map_or(-1, |age| age.as_nanos() as i128),
            KEPT => i128::from(kept_per_mille(row)),
            _ => i128::from(amount.bytes),
        };
        (first, amount.bytes, row.figures.allocs, row.figures.row)
    }

    fn score_of(&self, row: &Row) -> u8 {
        let at = row.figures.row.0 as usize;
        self.scores.get(at).copied().unwrap_or(0)
    }

    /// The rows that are shown, the first first.
    pub fn order(&self) -> &[RowId] {
        &self.order
    }
}

type Key = (i128, u64, u64, RowId);

/// The part of a row's allocations that was never freed, in thousandths.
fn kept_per_mille(row: &Row) -> u64 {
    let figures = &row.figures;
    let kept = figures.allocs.saturating_sub(figures.frees);
    if figures.allocs == 0 {
        return 0;
    }
    (u128::from(kept) * 1000 / u128::from(figures.allocs)) as u64
}

/// The rows as the table draws them.
pub struct StackRows<'a> {
    pub ledger: &'a Ledger,
    pub arrangement: &'a Arrangement,
    pub selection: &'a Selection,
}

impl Rows for StackRows<'_> {
    type Id = RowId;

    fn len(&self) -> usize {
        self.arrangement.order.len()
    }

    fn id(&self, position: usize) -> RowId {
        self.arrangement.order[position]
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let row = self.ledger.row(self.id(position));
        let amount = self.selection.amount(row);
        match column {
            SCORE => score_cell(self.arrangement.score_of(row)),
            LIVE => Cell::text(human_bytes(amount.bytes)).tone(Tone::Strong),
            COUNT => Cell::text(grouped(amount.count)),
            GROWTH => growth_cell(self.ledger.growth_per_second(row)),
            AGE => Cell::text(
                self.ledger
                    .oldest(row)
                    .map(short_duration)
                    .unwrap_or_default(),
            ),
            KEPT => Cell::text(percent(kept_per_mille(row))),
            TREND => Cell::series(self.ledger.trend(row, usize::from(TREND_WIDTH))),
            STACK if has_several(self.ledger) => Cell::text(
                self.ledger
                    .process_of(row)
                    .map(ProcessFigures::label)
                    .unwrap_or_default(),
            ),
            _ => Cell::text(stack_line(self.ledger, row)),
        }
    }
}

fn score_cell(score: u8) -> Cell<'static> {
    let tone = match score {
        75.. => Tone::Bad,
        40..75 => Tone::Warn,
        _ => Tone::Dim,
    };
    Cell::text(score.to_string()).tone(tone)
}

fn growth_cell(bytes_per_second: f64) -> Cell<'static> {
    if bytes_per_second.abs() < 0.5 {
        return Cell::text("0").tone(Tone::Dim);
    }
    Cell::text(human_bytes_signed(bytes_per_second as i64))
}

fn percent(per_mille: u64) -> String {
    match per_mille {
        // Rounded up, 99.9 % would say that nothing was ever freed.
        1000 => "100%".to_owned(),
        _ => format!("{}.{}%", per_mille / 10, per_mille % 10),
    }
}

/// The functions of a stack in one line, from the one that allocated outward.
pub fn stack_line(ledger: &Ledger, row: &Row) -> String {
    /// More than any terminal shows.
    const FRAMES: usize = 40;
    let is_plumbing = |frame: &&Frame| frame.symbol.as_deref().is_some_and(is_plumbing);
    let plumbing = ledger.frames(row).take_while(is_plumbing).count();
    // Who asked for the memory says more than how; but something has to be said.
    let skipped = if plumbing < ledger.frames(row).len() {
        plumbing
    } else {
        0
    };
    let names: Vec<&str> = ledger
        .frames(row)
        .skip(skipped)
        .take(FRAMES)
        .map(|frame| frame.symbol.as_deref().unwrap_or(&frame.module))
        .collect();
    let names = if names.is_empty() {
        "[no stack]".to_owned()
    } else {
        names.join(" < ")
    };
    match row.class {
        Class::Heap => names,
        class => format!("({}) {names}", class.name()),
    }
}

/// Functions of the languages' libraries that allocate for their caller.
fn is_plumbing(symbol: &str) -> bool {
    const BEGINNINGS: [&str; 15] = [
        "alloc::",
        "<alloc::",
        "core::",
        "<core::",
        "std::",
        "<std::",
        "hashbrown::",
        "<hashbrown::",
        "__rust",
        "__rdl_",
        "operator new",
        "__gnu_cxx::",
        "void std::",
        "void* std::",
        "<T as alloc::",
    ];
    // Where a program or a thread begins is a name that helps.
    let is_start = symbol.contains("rt::lang_start") || symbol.contains("thread");
    !is_start && BEGINNINGS.iter().any(|begin| symbol.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_languages_libraries_are_plumbing() {
        assert!(is_plumbing("alloc::raw_vec::RawVec<T,A>::grow_one"));
        assert!(is_plumbing("operator new(unsigned long)"));
        assert!(!is_plumbing("leak_sessions"));
        assert!(!is_plumbing("std::thread::spawn"));
    }

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(percent(1000), "100%");
        assert_eq!(percent(999), "99.9%");
        assert_eq!(percent(0), "0.0%");
    }
}
