//! Reports for programs: docs/json.md.

use memtools::output::rfc3339;
use serde::Serialize;

use crate::model::Report;
use crate::snapshot::{Amount, Block, Class, Events, Loss, MappingCalls, ProbeLoad};
use memtools::stacks::Frame;

#[derive(Serialize)]
struct JsonReport<'a> {
    v: u32,
    tool: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    elapsed_ms: u64,
    #[serde(rename = "final")]
    is_final: bool,
    target: JsonTarget<'a>,
    total: Amount,
    young: Amount,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressed: Vec<JsonSuppressed<'a>>,
    sample_rate: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_sampled: bool,
    events: Events,
    mappings: MappingCalls,
    untracked: JsonUntracked,
    resident: Option<JsonResident>,
    probes: ProbeLoad,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    processes: Vec<JsonProcess<'a>>,
    stacks: Vec<JsonStack<'a>>,
    loss: &'a Loss,
}

#[derive(Serialize)]
struct JsonSuppressed<'a> {
    rule: &'a str,
    #[serde(flatten)]
    hidden: Amount,
}

#[derive(Serialize)]
struct JsonTarget<'a> {
    pid: u32,
    comm: &'a str,
    ended: bool,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: u32,
    comm: &'a str,
    ended: bool,
    detached: bool,
    bytes: u64,
    count: u64,
    allocs: u64,
    frees: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_ms: Option<f64>,
}

#[derive(Serialize)]
struct JsonUntracked {
    frees: u64,
}

#[derive(Serialize)]
#[allow(clippy::struct_field_names)] // the unit belongs to the name
struct JsonResident {
    at_attach_bytes: u64,
    now_bytes: u64,
    chunk_overhead_bytes: u64,
}

#[derive(Serialize)]
struct JsonStack<'a> {
    bytes: u64,
    count: u64,
    allocs: u64,
    frees: u64,
    growth_bytes: i64,
    oldest_ms: Option<u64>,
    pid: u32,
    class: Class,
    incomplete: bool,
    #[serde(skip_serializing_if = "<[Block]>::is_empty")]
    blocks: &'a [Block],
    frames: Vec<&'a Frame>,
}

/// A report as one line of JSON (docs/json.md). Names are as they are: JSON escapes control
/// characters itself.
pub fn json(report: &Report<'_>) -> serde_json::Result<String> {
    let moment = report.moment;
    let resident = &moment.resident;
    let stacks = report.rows.iter().map(|row| JsonStack {
        bytes: row.figures.live.bytes,
        count: row.figures.live.count,
        allocs: row.figures.allocs,
        frees: row.figures.frees,
        growth_bytes: row.growth,
        oldest_ms: row.oldest(moment).map(|age| age.as_millis() as u64),
        pid: report
            .ledger
            .process_of(row)
            .map_or(moment.pid, |of| of.pid),
        class: row.class,
        incomplete: report.ledger.is_incomplete(row),
        blocks: &row.figures.blocks,
        frames: report.ledger.frames(row).collect(),
    });
    let mut line = serde_json::to_string(&JsonReport {
        v: 1,
        tool: "memleak",
        kind: "report",
        time: rfc3339(moment.time),
        elapsed_ms: moment.elapsed.as_millis() as u64,
        is_final: report.is_final,
        target: JsonTarget {
            pid: moment.pid,
            comm: &moment.comm,
            ended: moment.has_ended,
        },
        total: report.total,
        young: report.young,
        suppressed: suppressed(report),
        sample_rate: report.scale,
        is_sampled: moment.is_sampled,
        events: moment.events,
        mappings: moment.mappings,
        untracked: JsonUntracked {
            frees: moment.untracked_frees,
        },
        resident: resident
            .at_attach
            .zip(resident.now)
            .map(|(before, now)| JsonResident {
                at_attach_bytes: before.total,
                now_bytes: now.total,
                chunk_overhead_bytes: moment.chunk_overhead,
            }),
        probes: moment.load,
        processes: processes(report),
        stacks: stacks.collect(),
        loss: &moment.loss,
    })?;
    line.push('\n');
    Ok(line)
}

fn processes<'a>(report: &Report<'a>) -> Vec<JsonProcess<'a>> {
    let processes = report.ledger.processes().into_iter();
    processes
        .map(|(process, live)| JsonProcess {
            pid: process.pid,
            comm: &process.comm,
            ended: process.has_ended,
            detached: process.was_detached,
            bytes: live.bytes,
            count: live.count,
            allocs: process.allocs,
            frees: process.frees,
            // To the microsecond.
            late_ms: process.late.map(|late| late.as_micros() as f64 / 1000.0),
        })
        .collect()
}

fn suppressed<'a>(report: &Report<'a>) -> Vec<JsonSuppressed<'a>> {
    let tally = report.ledger.suppressed();
    let used = tally.used(report.ledger.suppressions()).0.into_iter();
    used.map(|(rule, hidden)| JsonSuppressed {
        rule: &rule.pattern,
        hidden,
    })
    .collect()
}
