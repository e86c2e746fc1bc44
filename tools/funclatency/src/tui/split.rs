//! What the calls of a function are told apart by: a line for each.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use memtools::output::grouped;
use memtools::tui::text::{Cut, fit, width};
use memtools::tui::theme::Glyphs;

use super::times::Times;
use crate::model::{Figures, SplitBy, SplitKey, SplitRow};
use crate::report::number;

/// The rows of a function, the one with most time first: the heads, and lines that fit.
pub fn lines(
    by: SplitBy,
    rows: &BTreeMap<SplitKey, SplitRow>,
    function: usize,
    (times, columns): (Times, usize),
    glyphs: Glyphs,
) -> (String, Vec<String>) {
    let mut rows: Vec<(&SplitKey, &SplitRow)> = rows
        .iter()
        .filter(|(key, _)| key.function as usize == function)
        .collect();
    rows.sort_by_key(|(key, row)| (std::cmp::Reverse(row.figures.total_ns), key.key));
    let total_ns: u64 = rows.iter().map(|(_, row)| row.figures.total_ns).sum();
    let heads = ["COUNT", "TIME %", "AVG", "P50", "P99", "MAX"].map(str::to_owned);
    let cells: Vec<[String; 6]> = std::iter::once(heads)
        .chain(
            rows.iter()
                .map(|(_, row)| cells(&row.figures, total_ns, times, glyphs)),
        )
        .collect();
    let widest = |column: usize| cells.iter().map(|cells| width(&cells[column])).max();
    let widths: Vec<usize> = (0..6).map(|column| widest(column).unwrap_or(0)).collect();
    let figures_width: usize = widths.iter().map(|width| width + 2).sum();
    // Where there is hardly room, it goes to the figures.
    let room = columns.saturating_sub(figures_width).max(8);
    let line = |name: &str, cells: &[String; 6]| {
        let name = fit(name, room, Cut::End, glyphs);
        let mut text = format!("{name}{}", " ".repeat(room - width(&name)));
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, "  {cell:>width$}");
        }
        text
    };
    let mut all = cells.iter();
    let head = all
        .next()
        .map(|heads| line(title(by), heads))
        .unwrap_or_default();
    let lines = rows.iter().zip(all);
    let lines = lines.map(|((key, row), cells)| line(&name(by, key, row), cells));
    (head, lines.collect())
}

fn cells(figures: &Figures, total_ns: u64, times: Times, glyphs: Glyphs) -> [String; 6] {
    let average = figures.average_ns();
    let time = |ns: Option<u64>| ns.map_or(glyphs.no_figure().to_owned(), |ns| times.figure(ns));
    [
        grouped(figures.ended),
        format!(
            "{:.1}",
            figures.total_ns as f64 * 100.0 / total_ns.max(1) as f64
        ),
        time(average),
        time(figures.quantile_ns(0.5)),
        time(figures.quantile_ns(0.99)),
        time(average.and(Some(figures.max_ns))),
    ]
}

fn title(by: SplitBy) -> &'static str {
    match by {
        SplitBy::Pid => "PROCESS",
        SplitBy::Tid => "THREAD",
        SplitBy::Comm => "COMM",
        SplitBy::Cgroup => "CGROUP",
        SplitBy::Cpu => "CPU",
        SplitBy::Return => "RETURNED",
    }
}

fn name(by: SplitBy, key: &SplitKey, row: &SplitRow) -> String {
    match (by, row.name.as_deref().unwrap_or_default()) {
        (SplitBy::Return, _) => number(key.key),
        (SplitBy::Pid | SplitBy::Tid, name) => format!("{} {name}", key.key),
        (SplitBy::Cgroup, "") => format!("id {}", key.key),
        (SplitBy::Comm, "") => "(no name)".to_owned(),
        (SplitBy::Cpu, _) => key.key.to_string(),
        (_, name) => name.to_owned(),
    }
}
