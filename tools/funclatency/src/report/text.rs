//! Histograms for a pipe or a terminal, as bcc has them, with percentiles below.

use std::fmt::Write as _;

use memtools::histogram::bars;
use memtools::output::{clean, counted, wall_clock};

use crate::model::outliers::SlowCall;
use crate::model::{Figures, Function, Ledger, SplitBy, SplitKey, SplitRow, Unit};

/// What is shown of a ledger.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub unit: Unit,
    /// A histogram for each function.
    pub by_function: bool,
    pub split: Option<SplitBy>,
    /// With the time of day.
    pub timestamp: bool,
}

// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}

/// A report of one interval.
pub fn report(functions: &[Function], ledger: &Ledger, shown: Shown) -> String {
    let mut out = String::new();
    out.push('\n');
    if shown.timestamp {
        put!(out, "{}", wall_clock(ledger.time));
    }
    let by_function = shown.by_function || shown.split.is_some();
    if by_function {
        let mut order: Vec<usize> = (0..functions.len()).collect();
        order.retain(|at| !ledger.functions[*at].is_empty() || ledger.inside[*at] > 0);
        order.sort_by_key(|at| std::cmp::Reverse(ledger.functions[*at].total_ns));
        for at in order {
            let figures = &ledger.functions[at];
            put!(out, "Function = {}", name_of(&functions[at]));
            if let Some(by) = shown.split {
                for (key, row) in ledger.split_of(at as u32) {
                    put!(out, "{}", split_head(by, key, row));
                    block(&mut out, &row.figures, 0, shown.unit);
                }
                put!(out, "{}", account(figures, ledger.inside[at]));
            } else {
                block(&mut out, figures, ledger.inside[at], shown.unit);
            }
            out.push('\n');
        }
    } else {
        block(&mut out, &ledger.total(), ledger.inside_all(), shown.unit);
    }
    for lost in ledger.loss.lines() {
        put!(out, "WARNING: {lost}");
    }
    out
}

/// `vfs_read [vmlinux]`.
fn name_of(function: &Function) -> String {
    clean(&format!("{} [{}]", function.shown, function.module))
}

/// `PID = 4711 server`.
fn split_head(by: SplitBy, key: &SplitKey, row: &SplitRow) -> String {
    let name = clean(row.name.as_deref().unwrap_or_default());
    match by {
        SplitBy::Pid => format!("PID = {} {name}", key.key),
        SplitBy::Tid => format!("TID = {} {name}", key.key),
        SplitBy::Comm => format!("COMM = {name}"),
        SplitBy::Cgroup if name.is_empty() => format!("CGROUP = id {}", key.key),
        SplitBy::Cgroup => format!("CGROUP = {name}"),
        SplitBy::Cpu => format!("CPU = {}", key.key),
        SplitBy::Return => format!("RETURN = {}", number(key.key)),
    }
}

/// As a number where it can be one, else as an address.
pub fn number(value: u64) -> String {
    const SMALL: i64 = 1 << 32;
    let signed = value as i64;
    // An int's upper half is whatever was there.
    let int = value as u32 as i32;
    if value >> 32 == 0 && (-4095..0).contains(&int) {
        return int.to_string();
    }
    if (-SMALL..=SMALL).contains(&signed) {
        signed.to_string()
    } else {
        format!("0x{value:x}")
    }
}

/// A histogram, what bcc prints below it, and percentiles.
fn block(out: &mut String, figures: &Figures, inside: u64, unit: Unit) {
    out.push_str(&bars(unit.name(), &figures.rows, 0));
    if let Some(average) = figures.average_ns() {
        let whole = |ns: u64| ns / unit.ns();
        put!(
            out,
            "\navg = {} {}, total: {} {}, count: {}",
            whole(average),
            unit.name(),
            whole(figures.total_ns),
            unit.name(),
            figures.ended
        );
        let quantile = |fraction| {
            let ns = figures.quantile_ns(fraction).unwrap_or(0);
            duration_text(ns, unit)
        };
        put!(
            out,
            "min = {}, p50 = {}, p90 = {}, p99 = {}, p99.9 = {}, max = {} {}",
            duration_text(figures.min_ns, unit),
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            duration_text(figures.max_ns, unit),
            unit.name()
        );
    } else {
        put!(out, "no call has returned");
    }
    if figures.calls > 0 || inside > 0 || figures.unpaired > 0 {
        put!(out, "{}", account(figures, inside));
    }
}

/// What became of calls: `calls: 100 entered, 64 timed, 36 missed`.
fn account(figures: &Figures, inside: u64) -> String {
    let mut text = format!("calls: {} entered, {} timed", figures.calls, figures.ended);
    for (count, what) in [
        (inside, "not returned yet"),
        (figures.unwound, "left without a return"),
        (figures.missed, "returned unseen"),
        (figures.unpaired, "had begun before"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

/// With a precision of a nanosecond, or of a thousandth of the unit.
pub fn duration_text(ns: u64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => ns.to_string(),
        _ => format!("{:.3}", ns as f64 / unit.ns() as f64),
    }
}

/// One slow call, and its stack.
pub fn slow_call(functions: &[Function], call: &SlowCall, time: &str, unit: Unit) -> String {
    let (name, words) = match functions.get(call.function as usize) {
        Some(function) => (
            clean(&function.shown),
            function.arguments_of(&call.arguments),
        ),
        None => ("?".to_owned(), &call.arguments[..]),
    };
    let arguments: Vec<String> = words.iter().map(|value| number(*value)).collect();
    let mut text = format!(
        "{time:<15} {:>14} {:<7} {:<7} {:<15} {name}({}) = {}\n",
        duration_text(call.ns, unit),
        call.pid,
        call.tid,
        clean(&call.comm),
        arguments.join(", "),
        number(call.result)
    );
    for frame in &call.stack {
        put!(text, "        {}", clean(frame));
    }
    text
}

/// The heads of the columns of slow calls.
pub fn slow_heads(unit: Unit) -> String {
    format!(
        "{:<15} {:>14} {:<7} {:<7} {:<15} CALL\n",
        "TIME",
        format!("LAT ({})", unit.name()),
        "PID",
        "TID",
        "COMM"
    )
}

/// The slowest calls, slowest first.
pub fn slowest(functions: &[Function], calls: &[(SlowCall, String)], unit: Unit) -> String {
    let mut out = format!("\n{}:\n", counted(calls.len() as u64, "slowest call"));
    out.push_str(&slow_heads(unit));
    for (call, time) in calls {
        out.push_str(&slow_call(functions, call, time, unit));
    }
    out
}
