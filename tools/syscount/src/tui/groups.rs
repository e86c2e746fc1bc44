//! The table: which rows, in which order, and what each column says.

use memtools::output::grouped;
use memtools::tui::filter::Filter;
use memtools::tui::table::{Cell, Column, Rows, Sort};
use memtools::tui::text::short_ns;
use memtools::tui::theme::{Glyphs, Tone};

use crate::model::{By, Group, GroupId, Ledger, SortKey};

/// How wide the picture of the last minute is.
const HISTORY_COLUMNS: u16 = 15;

/// What is shown, and what the column's order goes by.
const SHOWN: [(Column, Option<SortKey>); 12] = [
    (Column::text("SYSCALL", 14).fill(), Some(SortKey::Name)),
    (Column::number("PID", 7), Some(SortKey::Owner)),
    (Column::number("CALLS/s", 9), Some(SortKey::Count)),
    (Column::number("ERRORS/s", 9).rank(1), Some(SortKey::Errors)),
    (Column::number("TIME/s", 8), Some(SortKey::Total)),
    (Column::number("AVG", 8).rank(6), Some(SortKey::Average)),
    (Column::number("P50", 8).rank(5), Some(SortKey::P50)),
    (Column::number("P99", 8).rank(2), Some(SortKey::P99)),
    (Column::number("MAX", 8).rank(3), Some(SortKey::Max)),
    (Column::number("INFLIGHT", 9), Some(SortKey::InFlight)),
    (Column::number("LONGEST", 8), Some(SortKey::Longest)),
    (Column::sparkline("LAST MIN", HISTORY_COLUMNS).rank(4), None),
];

const COUNT: usize = SHOWN.len();

const fn titled(name: &'static str, owner: Option<&'static str>) -> [Column; COUNT] {
    let mut columns = [SHOWN[0].0; COUNT];
    let mut at = 0;
    while at < COUNT {
        columns[at] = SHOWN[at].0;
        at += 1;
    }
    columns[0] = Column::text(name, 14).fill();
    columns[1] = match owner {
        None => Column::number("", 1).unsorted().rank(9),
        Some(owner) => Column::number(owner, 7),
    };
    columns
}

const CALLS: [Column; COUNT] = titled("SYSCALL", None);
const PROCESSES: [Column; COUNT] = titled("COMM", Some("PID"));
const THREADS: [Column; COUNT] = titled("COMM", Some("TID"));
const CGROUPS: [Column; COUNT] = titled("CGROUP", Some("ID"));
const ERRORS: [Column; COUNT] = titled("ERRNO", None);

/// The columns.
pub const fn columns(by: By) -> &'static [Column] {
    match by {
        By::Call => &CALLS,
        By::Process => &PROCESSES,
        By::Thread => &THREADS,
        By::Cgroup => &CGROUPS,
        By::Errno => &ERRORS,
    }
}

/// The order that a key asks for.
pub fn sort_by(key: SortKey) -> Sort {
    let column = SHOWN.iter().position(|(_, own)| *own == Some(key));
    match (column, key) {
        (Some(column), SortKey::Name) => Sort::ascending(column),
        (column, _) => Sort::descending(column.unwrap_or(0)),
    }
}

/// The rows that are shown, in order.
#[derive(Debug, Default)]
pub struct Arrangement {
    groups: Vec<Group>,
    seconds: f64,
}

/// What rows are put in order by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Figure(u64),
    Name(String),
}

impl Arrangement {
    /// After new figures, or with another filter or order.
    pub fn arrange(&mut self, ledger: &Ledger, by: By, filter: &Filter, sort: Sort) {
        let key = SHOWN.get(sort.column).and_then(|(_, key)| *key);
        let key = match (key, by) {
            (Some(SortKey::Name), _) => SortKey::Name,
            // They have no other figure.
            (_, By::Errno) => SortKey::Count,
            (key, _) => key.unwrap_or(SortKey::Total),
        };
        self.seconds = ledger.interval.as_secs_f64().max(1e-3);
        self.groups = ledger.groups(by);
        self.groups.retain(|group| {
            let owner = group.owner().map(|owner| owner.to_string());
            filter.matches(&group.name) || owner.is_some_and(|owner| filter.matches(&owner))
        });
        // Those that are equal stand by their names.
        self.groups
            .sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        sort.apply(&mut self.groups, |group| match key {
            SortKey::Name => Key::Name(group.name.clone()),
            key => Key::Figure(key.figure(group)),
        });
    }

    /// The row at a position from the top.
    pub fn id(&self, position: usize) -> Option<GroupId> {
        self.groups.get(position).map(|group| group.id)
    }

    /// The rows.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn words(&self, group: &Group, key: SortKey, glyphs: Glyphs) -> String {
        let figures = &group.figures;
        let known = |ns: Option<u64>| ns.map_or(glyphs.no_figure().to_owned(), short_ns);
        let rate = |count: u64| match count as f64 / self.seconds {
            rate if rate < 10.0 && count > 0 => format!("{rate:.1}"),
            rate => grouped(rate.round() as u64),
        };
        match key {
            SortKey::Name if group.name.is_empty() => "(no name)".to_owned(),
            SortKey::Name => group.name.clone(),
            SortKey::Owner => group.owner().map_or_else(String::new, |id| id.to_string()),
            SortKey::Count => rate(figures.count),
            SortKey::Errors => rate(figures.errors),
            // Threads that wait all the time take as many seconds a second as there are.
            SortKey::Total => short_ns((group.weight_ns() as f64 / self.seconds) as u64),
            SortKey::Average => known(figures.average_ns()),
            SortKey::P50 => known(figures.quantile_ns(0.5)),
            SortKey::P99 => known(figures.quantile_ns(0.99)),
            SortKey::Max => known(figures.average_ns().map(|_| figures.max_ns)),
            SortKey::InFlight => grouped(group.in_flight),
            SortKey::Longest if group.in_flight == 0 => glyphs.no_figure().to_owned(),
            SortKey::Longest => {
                let sign = if group.longest_at_least {
                    glyphs.at_least()
                } else {
                    ""
                };
                format!("{sign}{}", short_ns(group.longest_ns))
            }
        }
    }
}

/// The rows as the table draws them.
pub struct GroupRows<'a> {
    pub arrangement: &'a Arrangement,
    pub glyphs: Glyphs,
}

impl Rows for GroupRows<'_> {
    type Id = GroupId;

    fn len(&self) -> usize {
        self.arrangement.groups.len()
    }

    fn id(&self, position: usize) -> GroupId {
        self.arrangement.groups[position].id
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let group = &self.arrangement.groups[position];
        let Some((_, key)) = SHOWN.get(column) else {
            return Cell::text("");
        };
        let Some(key) = *key else {
            let newest = group.history.len().saturating_sub(HISTORY_COLUMNS.into());
            let series: Vec<u64> = group.history.iter().skip(newest).copied().collect();
            return Cell::series(series).tone(Tone::Dim);
        };
        let tone = match key {
            SortKey::Name => Tone::Strong,
            SortKey::Errors if group.figures.errors > 0 => Tone::Warn,
            SortKey::Errors | SortKey::InFlight | SortKey::Count if key.figure(group) == 0 => {
                Tone::Dim
            }
            _ => Tone::Plain,
        };
        Cell::text(self.arrangement.words(group, key, self.glyphs)).tone(tone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_column() {
        assert_eq!(sort_by(SortKey::Name), Sort::ascending(0));
        assert_eq!(sort_by(SortKey::Total), Sort::descending(4));
    }
}
