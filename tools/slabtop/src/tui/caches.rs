//! The table of caches: which ones, in which order, and what each column says.

use memtools::output::{grouped, human_bytes};
use memtools::tui::filter::Filter;
use memtools::tui::table::{Cell, Column, Rows, Sort};
use memtools::tui::theme::{Glyphs, Tone};

use crate::model::{Ledger, Row, SortKey};
use crate::report::rate_text;

/// How wide the picture of the last minute is.
const HISTORY_COLUMNS: u16 = 15;

/// What is shown of a cache, and what the column's order goes by.
const SHOWN: &[(Column, Option<SortKey>)] = &[
    (Column::text("CACHE", 16).fill(), Some(SortKey::Name)),
    (Column::number("OBJS", 10), Some(SortKey::Objects)),
    (Column::number("ACTIVE", 10).rank(7), Some(SortKey::Active)),
    (Column::number("USE%", 5).rank(2), Some(SortKey::Use)),
    (
        Column::number("OBJSIZE", 8).rank(4),
        Some(SortKey::ObjectBytes),
    ),
    (Column::number("SLABS", 8).rank(8), Some(SortKey::Slabs)),
    (Column::number("BYTES", 10), Some(SortKey::Bytes)),
    (Column::number("ALLOC/s", 9), Some(SortKey::Allocs)),
    (Column::number("FREE/s", 9).rank(1), Some(SortKey::Frees)),
    (
        Column::number("BYTES/s", 10).rank(5),
        Some(SortKey::AllocBytes),
    ),
    (Column::number("NET", 9), Some(SortKey::Net)),
    (Column::number("GROWTH", 10).rank(6), Some(SortKey::Growth)),
    (Column::sparkline("LAST MIN", HISTORY_COLUMNS).rank(3), None),
];

const COUNT: usize = SHOWN.len();

/// The columns; GROWTH stays in a narrow terminal where leaks are looked for.
pub const fn columns(leaks: bool) -> &'static [Column] {
    if leaks { FOR_LEAKS } else { COLUMNS }
}

const COLUMNS: &[Column] = &all(false);
const FOR_LEAKS: &[Column] = &all(true);
const GROWTH: usize = 11;

const fn all(leaks: bool) -> [Column; COUNT] {
    let mut columns = [SHOWN[0].0; COUNT];
    let mut at = 0;
    while at < COUNT {
        columns[at] = SHOWN[at].0;
        at += 1;
    }
    if leaks {
        columns[GROWTH] = columns[GROWTH].rank(0);
    }
    columns
}

/// The order that a key asks for: by its column, if it has one.
pub fn sort_by(key: SortKey) -> Sort {
    let column = SHOWN.iter().position(|(_, own)| *own == Some(key));
    match (column, key) {
        (Some(column), SortKey::Name) => Sort::ascending(column),
        (column, _) => Sort::descending(column.unwrap_or(COUNT)),
    }
}

/// The caches that are shown, in order.
#[derive(Debug, Default)]
pub struct Arrangement {
    order: Vec<String>,
}

/// What rows are put in order by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Figure(i128),
    Name(&'a str),
}

impl Arrangement {
    /// After new figures, or with another filter or order. `key` goes before `sort`.
    pub fn arrange(&mut self, ledger: &Ledger, filter: &Filter, key: Option<SortKey>, sort: Sort) {
        let column = SHOWN.get(sort.column).and_then(|(_, key)| *key);
        let key = key.or(column).unwrap_or(SortKey::Bytes);
        // Those that are equal stand by their names.
        let mut rows = ledger.sorted(SortKey::Name);
        rows.retain(|row| is_match(row, filter));
        sort.apply(&mut rows, |row| order_of(key, row));
        self.order.clear();
        self.order
            .extend(rows.iter().map(|row| row.sizes.name.clone()));
    }

    /// The cache at a position from the top.
    pub fn name(&self, position: usize) -> Option<&str> {
        self.order.get(position).map(String::as_str)
    }

    /// How many are shown.
    pub fn len(&self) -> usize {
        self.order.len()
    }
}

fn order_of(key: SortKey, row: &Row) -> Key<'_> {
    match key {
        SortKey::Name => Key::Name(&row.sizes.name),
        key => Key::Figure((key.figure(row) * 1000.0) as i128),
    }
}

fn is_match(row: &Row, filter: &Filter) -> bool {
    filter.matches(&row.sizes.name) || row.aliases.iter().any(|name| filter.matches(name))
}

/// The caches as the table draws them.
pub struct CacheRows<'a> {
    pub ledger: &'a Ledger,
    pub arrangement: &'a Arrangement,
    pub glyphs: Glyphs,
}

impl Rows for CacheRows<'_> {
    type Id = String;

    fn len(&self) -> usize {
        self.arrangement.order.len()
    }

    fn id(&self, position: usize) -> String {
        self.arrangement.order[position].clone()
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let row = self.ledger.row(&self.arrangement.order[position]);
        let (Some(row), Some((_, key))) = (row, SHOWN.get(column)) else {
            return Cell::text("");
        };
        let Some(key) = *key else {
            // What moves is to be seen, and not how large it is.
            let history = row.last_minute(HISTORY_COLUMNS.into());
            let least = history.iter().min().copied().unwrap_or(0);
            let series: Vec<u64> = history.iter().map(|bytes| bytes - least).collect();
            return Cell::series(series).tone(Tone::Dim);
        };
        Cell::text(words(self.ledger, row, key, self.glyphs)).tone(tone(row, key))
    }
}

fn tone(row: &Row, key: SortKey) -> Tone {
    match key {
        SortKey::Name => Tone::Strong,
        SortKey::Growth => Tone::Warn,
        SortKey::Allocs | SortKey::Frees | SortKey::AllocBytes if key.figure(row) == 0.0 => {
            Tone::Dim
        }
        SortKey::Net if row.net_objects() == Some(0) => Tone::Dim,
        _ => Tone::Plain,
    }
}

fn words(ledger: &Ledger, row: &Row, key: SortKey, glyphs: Glyphs) -> String {
    let sizes = &row.sizes;
    let unknown = || glyphs.no_figure().to_owned();
    let sign = |hides| if hides { glyphs.at_least() } else { "" };
    let rate = |rate: f64, hides| format!("{}{}", sign(hides), short(rate));
    match key {
        SortKey::Name => name(ledger, row),
        SortKey::Objects => grouped(sizes.objects),
        SortKey::Active => sizes.active.map_or_else(unknown, grouped),
        SortKey::Use => sizes
            .use_percent()
            .map_or_else(unknown, |percent| format!("{percent:.0}")),
        SortKey::ObjectBytes => grouped(sizes.object_bytes),
        SortKey::Slabs => grouped(sizes.slabs),
        SortKey::Bytes => human_bytes(sizes.bytes()),
        SortKey::Allocs | SortKey::Frees | SortKey::AllocBytes if !ledger.has_motion() => {
            String::new()
        }
        SortKey::Allocs => rate(row.allocs_per_s, row.hides_allocs),
        SortKey::Frees => rate(row.frees_per_s, row.hides_frees),
        SortKey::AllocBytes => {
            let bytes = human_bytes(row.alloc_bytes_per_s() as u64);
            format!("{}{bytes}", sign(row.hides_allocs))
        }
        SortKey::Net => row.net_objects().map_or_else(unknown, signed),
        SortKey::Growth if row.steady_growth() >= 1.0 => human_bytes(row.steady_growth() as u64),
        _ => String::new(),
    }
}

/// With a mark where its objects are followed, and how many other names it has.
fn name(ledger: &Ledger, row: &Row) -> String {
    let name = &row.sizes.name;
    let mark = if ledger.is_followed(name) { "*" } else { "" };
    match row.aliases.len() {
        0 => format!("{name}{mark}"),
        others => format!("{name}{mark} +{others}"),
    }
}

/// A rate in at most seven columns, so that there is room for a sign.
fn short(rate: f64) -> String {
    if rate < 1000.0 {
        rate_text(rate)
    } else if rate < 1e6 {
        grouped(rate as u64)
    } else {
        format!("{:.2}M", rate / 1e6)
    }
}

fn signed(number: i64) -> String {
    match number {
        0 => "0".to_owned(),
        1.. => format!("+{}", grouped(number.unsigned_abs())),
        _ => format!("-{}", grouped(number.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fit_their_column() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(3.25), "3.2");
        assert_eq!(short(123_456.7), "123,456");
        assert_eq!(short(123_456_789.0), "123.46M");
    }

    #[test]
    fn keys_without_a_column_have_no_head() {
        assert_eq!(sort_by(SortKey::Name), Sort::ascending(0));
        assert_eq!(sort_by(SortKey::Bytes), Sort::descending(6));
        assert_eq!(sort_by(SortKey::PagesPerSlab).column, COUNT);
        assert_eq!(sort_by(SortKey::Growth).column, GROWTH);
    }
}
