//! JSON, an object for each interval (docs/json.md).

use std::collections::BTreeMap;

use memtools::histogram::Bucket;
use memtools::output::{as_hex, rfc3339};
use serde::Serialize;

use crate::model::outliers::SlowCall;
use crate::model::{Figures, Function, Ledger, SplitBy, SplitKey, SplitRow};

#[derive(Serialize)]
struct Report<'a> {
    v: u32,
    tool: &'static str,
    r#type: &'static str,
    time: String,
    interval_s: f64,
    selection: Option<&'a str>,
    ended: bool,
    functions: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outliers: Option<Vec<Slow<'a>>>,
    loss: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Line<'a> {
    function: &'a str,
    module: &'a str,
    calls: u64,
    inside: u64,
    unwound: u64,
    missed_returns: u64,
    began_before: u64,
    #[serde(flatten)]
    times: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<Vec<Row<'a>>>,
}

#[derive(Serialize)]
struct Times {
    count: u64,
    total_ns: u64,
    avg_ns: Option<u64>,
    min_ns: Option<u64>,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
    hist: Vec<Bucket>,
}

#[derive(Serialize)]
struct Row<'a> {
    by: &'static str,
    key: u64,
    name: Option<&'a str>,
    #[serde(flatten)]
    times: Times,
}

#[derive(Serialize)]
struct Slow<'a> {
    time: &'a str,
    function: &'a str,
    ns: u64,
    pid: u32,
    tid: u32,
    comm: &'a str,
    cpu: u32,
    arguments: Vec<Hex>,
    result: Hex,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stack: &'a [String],
}

#[derive(Clone, Copy, Serialize)]
struct Hex(#[serde(serialize_with = "as_hex")] u64);

/// What a report is of, beside its figures.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub functions: &'a [Function],
    pub selection: Option<&'a str>,
    pub split: Option<SplitBy>,
    /// With the times at which they ended.
    pub outliers: Option<&'a [(SlowCall, String)]>,
}

/// One line, with its end.
pub fn json(ledger: &Ledger, about: About<'_>) -> String {
    let lines = about.functions.iter().enumerate().map(|(at, function)| {
        let figures = &ledger.functions[at];
        Line {
            function: &function.shown,
            module: &function.module,
            calls: figures.calls,
            inside: ledger.inside[at],
            unwound: figures.unwound,
            missed_returns: figures.missed,
            began_before: figures.unpaired,
            times: times(figures),
            split: about.split.map(|by| {
                let rows = ledger.split_of(at as u32);
                rows.into_iter()
                    .map(|(key, row)| row_of(by, key, row))
                    .collect()
            }),
        }
    });
    let outliers = about.outliers.map(|calls| {
        let slow = calls
            .iter()
            .map(|(call, time)| slow(about.functions, call, time));
        slow.collect()
    });
    let lost = ledger.loss.named().into_iter();
    line(&Report {
        v: 1,
        tool: "funclatency",
        r#type: "latency",
        time: rfc3339(ledger.time),
        interval_s: (ledger.interval.as_secs_f64() * 1000.0).round() / 1000.0,
        selection: about.selection,
        ended: ledger.has_ended,
        functions: lines.collect(),
        outliers,
        loss: lost.filter(|(_, lost)| *lost > 0).collect(),
    })
}

/// A call that took longer than the threshold, as a line.
pub fn slow_call(functions: &[Function], call: &SlowCall, time: &str) -> String {
    #[derive(Serialize)]
    struct Record<'a> {
        v: u32,
        tool: &'static str,
        r#type: &'static str,
        #[serde(flatten)]
        call: Slow<'a>,
    }
    line(&Record {
        v: 1,
        tool: "funclatency",
        r#type: "call",
        call: slow(functions, call, time),
    })
}

fn line(value: &impl Serialize) -> String {
    // Numbers, texts and lists of them: serde_json refuses only maps without text keys.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

fn slow<'a>(functions: &'a [Function], call: &'a SlowCall, time: &'a str) -> Slow<'a> {
    let function = functions.get(call.function as usize);
    let words = match function {
        Some(function) => function.arguments_of(&call.arguments),
        None => &call.arguments,
    };
    Slow {
        time,
        function: function.map_or("", |function| function.shown.as_str()),
        ns: call.ns,
        pid: call.pid,
        tid: call.tid,
        comm: &call.comm,
        cpu: call.cpu,
        arguments: words.iter().copied().map(Hex).collect(),
        result: Hex(call.result),
        stack: &call.stack,
    }
}

fn row_of<'a>(by: SplitBy, key: &SplitKey, row: &'a SplitRow) -> Row<'a> {
    Row {
        by: match by {
            SplitBy::Pid => "pid",
            SplitBy::Tid => "tid",
            SplitBy::Comm => "comm",
            SplitBy::Cgroup => "cgroup",
            SplitBy::Cpu => "cpu",
            SplitBy::Return => "return",
        },
        key: key.key,
        name: row.name.as_deref(),
        times: times(&row.figures),
    }
}

fn times(figures: &Figures) -> Times {
    let has_ended = figures.ended > 0;
    Times {
        count: figures.ended,
        total_ns: figures.total_ns,
        avg_ns: figures.average_ns(),
        min_ns: has_ended.then_some(figures.min_ns),
        p50_ns: figures.quantile_ns(0.5),
        p90_ns: figures.quantile_ns(0.9),
        p99_ns: figures.quantile_ns(0.99),
        p999_ns: figures.quantile_ns(0.999),
        max_ns: has_ended.then_some(figures.max_ns),
        hist: figures.histogram.buckets().collect(),
    }
}
