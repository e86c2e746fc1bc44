//! JSON, an object for each interval (docs/json.md).

use std::collections::BTreeMap;

use memtools::histogram::Bucket;
use memtools::output::rfc3339;
use serde::Serialize;

use crate::calls::errno_name;
use crate::model::{By, Ledger, Row};

#[derive(Serialize)]
struct Report<'a> {
    v: u32,
    tool: &'static str,
    r#type: &'static str,
    time: String,
    interval_s: f64,
    target: Option<&'a Target>,
    rows: Vec<Line<'a>>,
    loss: BTreeMap<&'static str, u64>,
}

/// Whose calls count, if not everybody's.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// The process that was asked for.
    pub pid: Option<u32>,
    /// It has ended.
    pub ended: bool,
    /// The cgroup that was asked for.
    pub cgroup: Option<String>,
    /// All of the selection, in words.
    pub selection: String,
}

#[derive(Serialize)]
struct Line<'a> {
    syscall: String,
    abi: &'static str,
    pid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u64>,
    comm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<Cgroup<'a>>,
    count: u64,
    errors: u64,
    errnos: BTreeMap<String, u64>,
    in_flight: u64,
    in_flight_longest_ns: u64,
    in_flight_at_least: bool,
    total_ns: u64,
    avg_ns: Option<u64>,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: Option<u64>,
    hist: Vec<Bucket>,
}

#[derive(Serialize)]
struct Cgroup<'a> {
    id: u64,
    path: Option<&'a str>,
}

/// One line, with its end.
pub fn json(ledger: &Ledger, by: By, target: Option<&Target>) -> String {
    let mut rows: Vec<&Row> = ledger.active().collect();
    rows.sort_by_key(|row| {
        let weight = row.figures.total_ns.saturating_add_signed(row.inside_ns);
        (
            std::cmp::Reverse(weight),
            std::cmp::Reverse(row.figures.count),
            row.key,
        )
    });
    let lost = ledger.loss.named().into_iter();
    let report = Report {
        v: 1,
        tool: "syscount",
        r#type: "syscalls",
        time: rfc3339(ledger.time),
        interval_s: (ledger.interval.as_secs_f64() * 1000.0).round() / 1000.0,
        target,
        rows: rows.into_iter().map(|row| line(row, by)).collect(),
        loss: lost.filter(|(_, lost)| *lost > 0).collect(),
    };
    // Numbers, texts and lists of them: serde_json refuses only maps without text keys.
    let mut line = serde_json::to_string(&report).unwrap_or_default();
    line.push('\n');
    line
}

fn line(row: &Row, by: By) -> Line<'_> {
    let figures = &row.figures;
    let owner = row.key.owner;
    let has_ended = figures.ended > 0;
    let errnos = figures.errnos.iter();
    Line {
        syscall: row.key.call.name(),
        abi: row.key.call.abi.name(),
        pid: (by == By::Process).then_some(owner),
        tid: (by == By::Thread).then_some(owner),
        comm: row.name.as_deref().filter(|_| by != By::Cgroup),
        cgroup: (by == By::Cgroup).then_some(Cgroup {
            id: owner,
            path: row.name.as_deref(),
        }),
        count: figures.count,
        errors: figures.errors,
        errnos: errnos
            .map(|(errno, count)| (errno_name(*errno), *count))
            .collect(),
        in_flight: row.in_flight,
        in_flight_longest_ns: row.longest_ns,
        in_flight_at_least: row.longest_at_least,
        total_ns: figures.total_ns,
        avg_ns: figures.average_ns(),
        p50_ns: figures.quantile_ns(0.5),
        p99_ns: figures.quantile_ns(0.99),
        max_ns: has_ended.then_some(figures.max_ns),
        hist: figures.histogram.buckets().collect(),
    }
}
