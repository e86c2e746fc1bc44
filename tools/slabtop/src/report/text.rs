//! Tables for a pipe or a terminal.

use std::fmt::Write as _;

use memtools::output::{clean, counted, grouped, human_bytes, wall_clock};

use crate::model::{Ledger, Place, Row, SortKey};

/// What of the ledger is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// In which order.
    pub sort: SortKey,
    /// So many caches; 0: all.
    pub rows: usize,
    /// Of whose events rates are.
    pub selection: Option<String>,
    /// /proc/loadavg, where it can be read.
    pub loadavg: Option<String>,
    /// Only what grows is shown.
    pub leaks: bool,
    /// How wide the terminal is; `None`: no terminal, all columns are shown.
    pub columns: Option<u16>,
}

/// So many stacks of a cache are shown.
const STACKS: usize = 5;

/// A table of one interval.
pub fn table(ledger: &Ledger, shown: &Shown) -> String {
    let mut out = String::new();
    head(ledger, shown, &mut out);
    let mut rows = ledger.sorted(shown.sort);
    if shown.leaks {
        rows.retain(|row| row.is_growing());
    }
    let count = if shown.rows == 0 {
        rows.len()
    } else {
        shown.rows.min(rows.len())
    };
    if shown.leaks && rows.is_empty() {
        out.push_str("no cache grows steadily so far\n");
    } else {
        columns(ledger, &rows[..count], shown.columns, &mut out);
    }
    stacks(ledger, &rows[..count], &mut out);
    losses(ledger, &mut out);
    out.push('\n');
    out
}

// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}

/// The first line as bcc has it, the second as procps'.
fn head(ledger: &Ledger, shown: &Shown, out: &mut String) {
    let loadavg = shown.loadavg.as_deref().unwrap_or("unknown");
    put!(out, "{} loadavg: {loadavg}", wall_clock(ledger.time));
    let rows = ledger.rows();
    let objects: u64 = rows.iter().map(|row| row.sizes.objects).sum();
    let active: u64 = rows.iter().filter_map(|row| row.sizes.active).sum();
    let bytes: u64 = rows.iter().map(|row| row.sizes.bytes()).sum();
    let percent = 100.0 * active as f64 / objects.max(1) as f64;
    put!(
        out,
        "{active} / {objects} objects active ({percent:.1} %), {} in {}",
        human_bytes(bytes),
        counted(rows.len() as u64, "cache")
    );
    if let Some(selection) = &shown.selection {
        put!(
            out,
            "ALLOC/s, FREE/s and BYTES/s of {}{}; all else of the whole machine",
            clean(selection),
            if ledger.has_ended {
                ", which has ended"
            } else {
                ""
            }
        );
    }
}

/// A column: its title, its width, and when it goes in a narrow terminal: the highest first.
struct Column {
    title: &'static str,
    width: usize,
    rank: u8,
    words: fn(&Ledger, &Row) -> String,
}

#[rustfmt::skip] // A table is read by columns.
const COLUMNS: &[Column] = &[
    Column { title: "CACHE", width: 24, rank: 0, words: name },
    Column { title: "OBJS", width: 9, rank: 0, words: |_, row| row.sizes.objects.to_string() },
    Column { title: "ACTIVE", width: 9, rank: 4, words: |_, row| known(row.sizes.active.map(|active| active.to_string())) },
    Column { title: "USE%", width: 4, rank: 1, words: |_, row| known(row.sizes.use_percent().map(|percent| format!("{percent:.0}"))) },
    Column { title: "OBJSIZE", width: 7, rank: 3, words: |_, row| row.sizes.object_bytes.to_string() },
    Column { title: "SLABS", width: 7, rank: 5, words: |_, row| row.sizes.slabs.to_string() },
    Column { title: "BYTES", width: 10, rank: 0, words: |_, row| row.sizes.bytes().to_string() },
    Column { title: "ALLOC/s", width: 9, rank: 0, words: |_, row| at_least(row.allocs_per_s, row.hides_allocs) },
    Column { title: "FREE/s", width: 9, rank: 0, words: |_, row| at_least(row.frees_per_s, row.hides_frees) },
    Column { title: "BYTES/s", width: 11, rank: 2, words: |_, row| at_least(row.alloc_bytes_per_s(), row.hides_allocs) },
    Column { title: "NET", width: 9, rank: 0, words: |_, row| known(row.net_objects().map(signed)) },
];

/// Those whose objects are followed are marked.
fn name(ledger: &Ledger, row: &Row) -> String {
    let mark = if ledger.is_followed(&row.sizes.name) {
        "*"
    } else {
        ""
    };
    format!("{}{mark}", clean(&row.sizes.name))
}

fn known(words: Option<String>) -> String {
    words.unwrap_or("–".to_owned())
}

fn columns(ledger: &Ledger, rows: &[&Row], width: Option<u16>, out: &mut String) {
    let mut shown: Vec<&Column> = COLUMNS.iter().collect();
    let taken = |shown: &[&Column]| shown.iter().map(|column| column.width + 1).sum::<usize>() - 1;
    while width.is_some_and(|width| taken(&shown) > width.into()) {
        let last = shown.iter().map(|column| column.rank).max().unwrap_or(0);
        if last == 0 {
            break;
        }
        shown.retain(|column| column.rank != last);
    }
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells = shown.iter().enumerate().map(|(index, column)| {
            let width = column.width;
            if index == 0 {
                format!("{:<width$}", cell(column))
            } else {
                format!("{:>width$}", cell(column))
            }
        });
        cells.collect::<Vec<_>>().join(" ")
    };
    put!(out, "{}", line(&|column| column.title.to_owned()));
    for row in rows {
        put!(out, "{}", line(&|column| (column.words)(ledger, row)));
    }
}

/// A number with its sign, unless it is zero.
fn signed(number: i64) -> String {
    if number == 0 {
        "0".to_owned()
    } else {
        format!("{number:+}")
    }
}

/// A rate. Events can show fewer than there were.
fn at_least(rate: f64, hides: bool) -> String {
    let sign = if hides { "≥" } else { "" };
    format!("{sign}{}", rate_text(rate))
}

/// A rate as a number, small ones with a fraction.
pub fn rate_text(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

/// Where objects of the followed caches are made.
fn stacks(ledger: &Ledger, rows: &[&Row], out: &mut String) {
    let shown = rows.iter().map(|row| row.sizes.name.as_str());
    // A cache that somebody asked for may not be among the rows.
    let others = ledger.followed.iter().map(String::as_str);
    let others: Vec<&str> = others
        .filter(|name| rows.iter().all(|row| row.sizes.name != *name))
        .collect();
    for cache in shown.chain(others) {
        if !ledger.is_followed(cache) {
            continue;
        }
        let places: Vec<&Place> = ledger.places_of(cache).collect();
        put!(out, "\n{}: {}", clean(cache), summary(&places));
        for place in places.iter().take(STACKS) {
            put!(out, "  {}", place_line(place));
            for frame in &place.frames {
                put!(out, "      {}", clean(frame));
            }
        }
        if places.len() > STACKS {
            put!(
                out,
                "  and {} more",
                counted((places.len() - STACKS) as u64, "stack")
            );
        }
    }
}

/// What is known of a cache's objects.
pub fn summary(places: &[&Place]) -> String {
    if places.is_empty() {
        return "followed; nothing has moved yet".to_owned();
    }
    let sum = |figure: fn(&Place) -> u64| grouped(places.iter().map(|place| figure(place)).sum());
    let mut text = format!(
        "{} made since it is followed, {} of them still there",
        sum(|place| place.allocs),
        sum(Place::net)
    );
    if places.iter().any(|place| place.not_followed > 0) {
        let lost = sum(|place| place.not_followed);
        let _ = write!(text, "; of {lost} nobody knows: no room (--max-objects)");
    }
    text
}

/// A place in one line, without its frames.
pub fn place_line(place: &Place) -> String {
    let others = if place.has_others { " and others" } else { "" };
    let who = format!("{} (PID {}{others})", clean(&place.comm), place.pid);
    if place.allocs == 0 {
        return format!("{} freed here, by {who}", counted(place.frees, "object"));
    }
    let mut text = format!(
        "+{}: {} made here by {who}, {} of them freed",
        counted(place.net(), "object"),
        grouped(place.allocs),
        grouped(place.freed)
    );
    if place.not_followed > 0 {
        let _ = write!(text, ", {} not followed", grouped(place.not_followed));
    }
    text
}

fn losses(ledger: &Ledger, out: &mut String) {
    let lost: Vec<String> = ledger
        .loss
        .named()
        .iter()
        .filter(|(_, lost)| *lost > 0)
        .map(|(name, lost)| format!("{name} {lost}"))
        .collect();
    if !lost.is_empty() {
        put!(out, "LOST: {}", lost.join(", "));
    }
}
