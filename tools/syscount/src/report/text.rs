//! Tables for a pipe or a terminal: bcc's columns come first.

use std::fmt::Write as _;

use memtools::histogram::bars;
use memtools::output::{clean, counted, wall_clock};

use crate::calls;
use crate::model::{By, Group, GroupId, Ledger, SortKey, sort};

/// What of the ledger is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// What rows are of.
    pub by: By,
    /// With times.
    pub times: bool,
    /// Times in milliseconds, not microseconds.
    pub milliseconds: bool,
    /// With histograms.
    pub hist: bool,
    /// So many rows; 0: all.
    pub top: usize,
}

// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}

/// A table of one interval.
pub fn table(ledger: &Ledger, shown: Shown) -> String {
    let mut out = String::new();
    put!(out, "[{}]", wall_clock(ledger.time));
    let mut groups = ledger.groups(shown.by);
    let key = if shown.times && shown.by != By::Errno {
        SortKey::Total
    } else {
        SortKey::Count
    };
    sort(&mut groups, key);
    if shown.top > 0 {
        groups.truncate(shown.top);
    }
    put!(out, "{}", heads(shown));
    for group in &groups {
        put!(out, "{}", line(group, shown));
    }
    if shown.hist {
        for group in &groups {
            if group.owner().is_none() {
                histogram("", group, &mut out);
                continue;
            }
            // Each call of its own: a wait and a read have no distribution together.
            let whose = format!("{} ", line_name(group));
            let mut calls = ledger.calls_of(group.id);
            sort(&mut calls, SortKey::Total);
            for call in &calls {
                histogram(&whose, call, &mut out);
            }
        }
    }
    for lost in ledger.loss.lines() {
        put!(out, "WARNING: {lost}");
    }
    out.push('\n');
    out
}

fn heads(shown: Shown) -> String {
    let mut line = match shown.by {
        By::Call => format!("{:<22} {:>8}", "SYSCALL", "COUNT"),
        By::Process => format!("{:<6} {:<22} {:>8}", "PID", "COMM", "COUNT"),
        By::Thread => format!("{:<6} {:<22} {:>8}", "TID", "COMM", "COUNT"),
        By::Cgroup => format!("{:<40} {:>8}", "CGROUP", "COUNT"),
        By::Errno => format!("{:<22} {:>8}", "ERRNO", "COUNT"),
    };
    if shown.times && shown.by != By::Errno {
        let unit = if shown.milliseconds { "ms" } else { "us" };
        let _ = write!(
            line,
            " {:>16} {:>8} {:>12} {:>12} {:>12} {:>12} {:>9} {:>13}",
            format!("TIME ({unit})"),
            "ERRORS",
            "AVG",
            "P50",
            "P99",
            "MAX",
            "INFLIGHT",
            "LONGEST"
        );
    }
    line
}

fn line(group: &Group, shown: Shown) -> String {
    let figures = &group.figures;
    let name = clean(&group.name).replace('\t', " ");
    let mut line = match group.id {
        GroupId::Owner(owner) if shown.by != By::Cgroup => {
            format!("{owner:<6} {name:<22} {:>8}", figures.count)
        }
        GroupId::Owner(owner) => {
            let name = if name.is_empty() {
                format!("id {owner}")
            } else {
                name
            };
            format!("{name:<40} {:>8}", figures.count)
        }
        GroupId::Call(_) | GroupId::Errno(_) => format!("{name:<22} {:>8}", figures.count),
    };
    if !shown.times || shown.by == By::Errno {
        return line;
    }
    let time = |ns: u64| duration_text(ns, shown.milliseconds);
    let known = |ns: Option<u64>| ns.map_or("-".to_owned(), time);
    let at_least = if group.longest_at_least { "≥" } else { "" };
    let longest = match group.in_flight {
        0 => "-".to_owned(),
        _ => format!("{at_least}{}", time(group.longest_ns)),
    };
    let _ = write!(
        line,
        " {:>16} {:>8} {:>12} {:>12} {:>12} {:>12} {:>9} {longest:>13}",
        time(figures.total_ns),
        figures.errors,
        known(figures.average_ns()),
        known(figures.quantile_ns(0.5)),
        known(figures.quantile_ns(0.99)),
        known(figures.average_ns().map(|_| figures.max_ns)),
        group.in_flight,
    );
    line
}

/// Microseconds or milliseconds, with a nanosecond's or a microsecond's precision.
pub fn duration_text(ns: u64, milliseconds: bool) -> String {
    if milliseconds {
        format!("{:.3}", ns as f64 / 1e6)
    } else {
        format!("{:.3}", ns as f64 / 1e3)
    }
}

/// `12 calls, 3 errors (EAGAIN 2, EINTR 1)`.
pub fn figures_words(group: &Group) -> String {
    let figures = &group.figures;
    let mut words = format!(
        "{}, {}",
        counted(figures.count, "call"),
        counted(figures.errors, "error")
    );
    let mut errnos: Vec<_> = figures.errnos.iter().collect();
    errnos.sort_by_key(|(errno, count)| (std::cmp::Reverse(**count), **errno));
    let parts: Vec<String> = errnos
        .iter()
        .map(|(errno, count)| format!("{} {count}", calls::errno_name(**errno)))
        .collect();
    if !parts.is_empty() {
        let _ = write!(words, " ({})", parts.join(", "));
    }
    words
}

/// `4711 server`.
fn line_name(group: &Group) -> String {
    let owner = group.owner().map(|owner| owner.to_string());
    let name = Some(clean(&group.name)).filter(|name| !name.is_empty());
    let parts: Vec<String> = owner.into_iter().chain(name).collect();
    parts.join(" ")
}

/// In rows of powers of two, as bcc has them.
fn histogram(whose: &str, group: &Group, out: &mut String) {
    let rows = bars("nsecs", &group.figures.histogram.rows(), usize::MAX);
    if !rows.is_empty() {
        let name = clean(&group.name);
        put!(out, "\n{whose}{name}: {}", figures_words(group));
        out.push_str(&rows);
    }
}

/// The calls that are known by name, as bcc lists them.
pub fn list() -> String {
    let calls = calls::list();
    let lines = calls
        .iter()
        .map(|(number, name)| format!("{number:3}: {name}\n"));
    lines.collect()
}
