//! Reports for programs: docs/json.md.

use memtools::output::rfc3339;
use serde::Serialize;

use crate::model::{Frame, Report};
use crate::snapshot::{Amount, Block, Class, Events, Loss, MappingCalls, ProbeLoad};

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
    sample_rate: u64,
    events: Events,
    mappings: MappingCalls,
    untracked: JsonUntracked,
    resident: Option<JsonResident>,
    probes: ProbeLoad,
    stacks: Vec<JsonStack<'a>>,
    loss: &'a Loss,
}

#[derive(Serialize)]
struct JsonTarget<'a> {
    pid: u32,
    comm: &'a str,
    ended: bool,
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
    frames: &'a [Frame],
}

/// A report as one line of JSON (docs/json.md). Names are as they are: JSON escapes control
/// characters itself.
pub fn json(report: &Report) -> serde_json::Result<String> {
    let snapshot = &report.snapshot;
    let resident = &snapshot.resident;
    let stacks = report.rows.iter().map(|row| JsonStack {
        bytes: row.live.bytes,
        count: row.live.count,
        allocs: row.allocs,
        frees: row.frees,
        growth_bytes: row.growth,
        oldest_ms: row.oldest.map(|age| age.as_millis() as u64),
        pid: snapshot.pid,
        class: row.class,
        incomplete: row.is_incomplete,
        blocks: &row.blocks,
        frames: &row.frames,
    });
    let mut line = serde_json::to_string(&JsonReport {
        v: 1,
        tool: "memleak",
        kind: "report",
        time: rfc3339(snapshot.time),
        elapsed_ms: snapshot.elapsed.as_millis() as u64,
        is_final: report.is_final,
        target: JsonTarget {
            pid: snapshot.pid,
            comm: &snapshot.comm,
            ended: snapshot.has_ended,
        },
        total: report.total,
        young: report.young,
        sample_rate: report.scale,
        events: snapshot.events,
        mappings: snapshot.mappings,
        untracked: JsonUntracked {
            frees: snapshot.untracked_frees,
        },
        resident: resident
            .at_attach
            .zip(resident.now)
            .map(|(before, now)| JsonResident {
                at_attach_bytes: before.total,
                now_bytes: now.total,
                chunk_overhead_bytes: snapshot.chunk_overhead,
            }),
        probes: snapshot.load,
        stacks: stacks.collect(),
        loss: &snapshot.loss,
    })?;
    line.push('\n');
    Ok(line)
}
