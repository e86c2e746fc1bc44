//! The table: which rows, in which order, and what each column says.

use memtools::output::grouped;
use memtools::tui::filter::Filter;
use memtools::tui::table::{Cell, Column, Rows, Sort};
use memtools::tui::theme::{Glyphs, Tone};

use super::record::Record;
use super::times::Times;
use crate::model::{Figures, Function, Unit};

/// What a column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Rate,
    Count,
    Share,
    Average,
    P50,
    P99,
    Max,
    Inside,
}

const FIELDS: [Field; COUNT] = [
    Field::Name,
    Field::Rate,
    Field::Count,
    Field::Share,
    Field::Average,
    Field::P50,
    Field::P99,
    Field::Max,
    Field::Inside,
];

const COUNT: usize = 9;

/// `width`: of a time.
const fn with_times(width: u16) -> [Column; COUNT] {
    [
        Column::text("FUNCTION", 14).fill(),
        Column::number("CALLS/s", 9),
        Column::number("COUNT", 11).rank(3),
        Column::number("TIME %", 7),
        Column::number("AVG", width).rank(4),
        Column::number("P50", width).rank(2),
        Column::number("P99", width),
        Column::number("MAX", width).rank(1),
        Column::number("INSIDE", 7),
    ]
}

const FITTING: [Column; COUNT] = with_times(8);
/// An hour, and thousandths of a unit.
const MILLISECONDS: [Column; COUNT] = with_times(11);
/// Likewise, and as much to the nanosecond.
const MICROSECONDS: [Column; COUNT] = with_times(14);

/// The columns.
pub const fn columns(times: Times) -> &'static [Column] {
    match times {
        Times::Fitting => &FITTING,
        Times::In(Unit::Nanoseconds | Unit::Microseconds) => &MICROSECONDS,
        Times::In(Unit::Milliseconds) => &MILLISECONDS,
    }
}

/// By the share of the time.
pub const FIRST_SORT: Sort = Sort::descending(3);

/// A function's figures.
#[derive(Clone, Debug)]
struct Row {
    function: usize,
    name: String,
    rate: f64,
    count: u64,
    total_ns: u64,
    average_ns: Option<u64>,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: Option<u64>,
    inside: u64,
}

/// The rows that are shown, in order.
#[derive(Debug, Default)]
pub struct Arrangement {
    rows: Vec<Row>,
    /// Of all functions, those that are not shown too.
    total_ns: u64,
}

/// What rows are put in order by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Nothing comes before zero.
    Figure(Option<u64>),
    Name(String),
}

impl Arrangement {
    /// After new figures, or with another filter or order.
    pub fn arrange(
        &mut self,
        functions: &[Function],
        record: &Record,
        is_last_interval: bool,
        filter: &Filter,
        sort: Sort,
    ) {
        let figures = record.figures(is_last_interval);
        self.total_ns = figures.iter().map(|figures| figures.total_ns).sum();
        let has_modules = functions
            .windows(2)
            .any(|pair| pair[0].module != pair[1].module);
        self.rows.clear();
        for (at, function) in functions.iter().enumerate() {
            let name = name(function, has_modules);
            if !filter.matches(&name) {
                continue;
            }
            let figures = figures.get(at);
            let average_ns = figures.and_then(Figures::average_ns);
            let quantile = |fraction| figures.and_then(|figures| figures.quantile_ns(fraction));
            let calls = record.ledger.functions.get(at).map_or(0, |last| last.calls);
            self.rows.push(Row {
                function: at,
                name,
                rate: record.rate(calls),
                count: figures.map_or(0, |figures| figures.ended),
                total_ns: figures.map_or(0, |figures| figures.total_ns),
                average_ns,
                p50_ns: quantile(0.5),
                p99_ns: quantile(0.99),
                max_ns: average_ns.and(figures.map(|figures| figures.max_ns)),
                inside: record.inside(at),
            });
        }
        // Those that are equal stand by their names.
        self.rows
            .sort_by(|a, b| a.name.cmp(&b.name).then(a.function.cmp(&b.function)));
        let field = FIELDS.get(sort.column).copied().unwrap_or(Field::Share);
        sort.apply(&mut self.rows, |row| row.key(field));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The function at a position from the top.
    pub fn function(&self, position: usize) -> Option<usize> {
        self.rows.get(position).map(|row| row.function)
    }
}

/// With the name of the file that it is in, where there are several.
fn name(function: &Function, has_module: bool) -> String {
    let Function { shown, module, .. } = function;
    let file = module.rsplit('/').next().unwrap_or(module);
    match (shown.as_str(), has_module) {
        ("", _) => format!("(no name) [{file}]"),
        (shown, true) => format!("{shown} [{file}]"),
        (shown, false) => shown.to_owned(),
    }
}

impl Row {
    fn key(&self, field: Field) -> Key {
        match field {
            Field::Name => Key::Name(self.name.clone()),
            Field::Rate => Key::Figure(Some((self.rate * 1e3) as u64)),
            Field::Count => Key::Figure(Some(self.count)),
            Field::Share => Key::Figure(Some(self.total_ns)),
            Field::Average => Key::Figure(self.average_ns),
            Field::P50 => Key::Figure(self.p50_ns),
            Field::P99 => Key::Figure(self.p99_ns),
            Field::Max => Key::Figure(self.max_ns),
            Field::Inside => Key::Figure(Some(self.inside)),
        }
    }

    fn words(&self, field: Field, total_ns: u64, times: Times, glyphs: Glyphs) -> String {
        let time = |ns: Option<u64>| {
            ns.map_or_else(|| glyphs.no_figure().to_owned(), |ns| times.figure(ns))
        };
        match field {
            Field::Name => self.name.clone(),
            Field::Rate if self.rate > 0.0 && self.rate < 9.95 => format!("{:.1}", self.rate),
            Field::Rate => grouped(self.rate.round() as u64),
            Field::Count => grouped(self.count),
            Field::Share if total_ns == 0 => glyphs.no_figure().to_owned(),
            Field::Share => format!("{:.1}", self.total_ns as f64 * 100.0 / total_ns as f64),
            Field::Average => time(self.average_ns),
            Field::P50 => time(self.p50_ns),
            Field::P99 => time(self.p99_ns),
            Field::Max => time(self.max_ns),
            Field::Inside => grouped(self.inside),
        }
    }
}

/// The rows as the table draws them.
pub struct FunctionRows<'a> {
    pub arrangement: &'a Arrangement,
    pub times: Times,
    pub glyphs: Glyphs,
}

impl Rows for FunctionRows<'_> {
    type Id = usize;

    fn len(&self) -> usize {
        self.arrangement.len()
    }

    fn id(&self, position: usize) -> usize {
        self.arrangement.rows[position].function
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let row = &self.arrangement.rows[position];
        let Some(field) = FIELDS.get(column).copied() else {
            return Cell::text("");
        };
        let is_idle = row.rate == 0.0 && row.inside == 0;
        let tone = match field {
            Field::Name if is_idle => Tone::Plain,
            Field::Name => Tone::Strong,
            Field::Rate if row.rate == 0.0 => Tone::Dim,
            Field::Inside if row.inside == 0 => Tone::Dim,
            Field::Count | Field::Share if row.count == 0 => Tone::Dim,
            _ => Tone::Plain,
        };
        let total_ns = self.arrangement.total_ns;
        Cell::text(row.words(field, total_ns, self.times, self.glyphs)).tone(tone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_where_there_are_several() {
        let function = |shown: &str| Function {
            name: shown.to_owned(),
            shown: shown.to_owned(),
            module: "/usr/lib/libc.so.6".to_owned(),
            arguments: None,
        };
        assert_eq!(name(&function("read"), false), "read");
        assert_eq!(name(&function("read"), true), "read [libc.so.6]");
        assert_eq!(name(&function(""), false), "(no name) [libc.so.6]");
    }

    #[test]
    fn the_first_order_is_by_time() {
        assert_eq!(FIELDS[FIRST_SORT.column], Field::Share);
        for times in [Times::Fitting, Times::In(Unit::Milliseconds)] {
            assert_eq!(columns(times)[FIRST_SORT.column].title(), "TIME %");
        }
    }
}
