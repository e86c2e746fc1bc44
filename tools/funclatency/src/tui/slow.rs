//! The slowest calls, to read.

use jiff::Timestamp;
use memtools::output::{counted, wall_clock};
use memtools::tui::details::wrapped;
use memtools::tui::popup::Popup;
use memtools::tui::theme::{Theme, Tone};
use ratatui::text::Line;

use super::record::Record;
use super::times::Times;
use crate::model::Function;
use crate::model::outliers::SlowCall;
use crate::report::number;

/// So many are listed.
const MOST: usize = 200;

/// The slowest calls of one function, or of all; `columns`: how wide the terminal is.
pub fn popup(
    functions: &[Function],
    record: &Record,
    only: Option<usize>,
    (times, columns): (Times, usize),
    theme: &Theme,
) -> Popup {
    let is_meant = |call: &&SlowCall| only.is_none_or(|only| call.function as usize == only);
    let calls: Vec<&SlowCall> = record.slowest.iter().filter(is_meant).collect();
    let room = columns.saturating_sub(4).max(20);
    let mut lines = Vec::new();
    let mut put = |text: &str, tone| {
        let parts = wrapped(text, room, theme).into_iter();
        lines.extend(parts.map(|part| Line::styled(format!(" {part} "), theme.tone(tone))));
    };
    if record.slowest.is_empty() {
        put("no call has returned", Tone::Dim);
    } else if calls.is_empty() {
        put("the slowest calls are of other functions", Tone::Dim);
    }
    for call in calls.iter().take(MOST) {
        put(&head(functions, record, call, times), Tone::Plain);
        for frame in &call.stack {
            put(&format!("    {frame}"), Tone::Dim);
        }
    }
    if let Some(more) = calls.len().checked_sub(MOST).filter(|more| *more > 0) {
        put(
            &format!("and {}", counted(more as u64, "other call")),
            Tone::Dim,
        );
    }
    Popup::new(&counted(calls.len() as u64, "slowest call"), lines)
}

/// `12.3 ms  work(1, 2) = 0  server 4711/4712  12:34:56`.
fn head(functions: &[Function], record: &Record, call: &SlowCall, times: Times) -> String {
    let function = functions.get(call.function as usize);
    let function = function.map_or("?", |function| function.shown.as_str());
    let arguments: Vec<String> = call.arguments.iter().map(|value| number(*value)).collect();
    format!(
        "{} {}({}) = {}, {} {}/{}, CPU {}, {}",
        times.text(call.ns),
        function,
        arguments.join(", "),
        number(call.result),
        call.comm,
        call.pid,
        call.tid,
        call.cpu,
        wall_clock(time(record, call))
    )
}

/// The time of day at which it ended.
fn time(record: &Record, call: &SlowCall) -> Timestamp {
    let ahead = i128::from(call.time_ns) - i128::from(record.monotonic_ns);
    let ns = record.ledger.time.as_nanosecond() + ahead;
    Timestamp::from_nanosecond(ns).unwrap_or(record.ledger.time)
}
