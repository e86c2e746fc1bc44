//! Reports as text and as JSON. Pure.

use std::fmt::Write as _;

use memtools::output::{
    clean, counted, grouped, human_bytes, human_bytes_signed, human_duration, rfc3339, wall_clock,
};
use serde::Serialize;

use crate::model::{
    Amount, Block, Class, Events, Frame, Loss, MappingCalls, ProbeLoad, Report, Row,
};

/// How a text report is cut.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// How many stacks are listed.
    pub top: usize,
    /// Whether the stacks' blocks are listed too.
    pub lists_blocks: bool,
}

/// A report for people: bcc's shape, with a head that says how to read it.
pub fn text(report: &Report, style: TextStyle) -> String {
    let mut out = String::new();
    head(&mut out, report);
    let shown: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.class.can_leak() && row.live.count > 0)
        .collect();
    let top = style.top.min(shown.len());
    line(
        &mut out,
        &format!(
            "[{}] Top {top} stacks with outstanding allocations:",
            wall_clock(report.snapshot.time)
        ),
    );
    for row in &shown[..top] {
        stack(&mut out, row, style);
    }
    let rest = &shown[top..];
    if !rest.is_empty() {
        let sum: u64 = rest.iter().map(|row| row.live.bytes).sum();
        let stacks = counted(rest.len() as u64, "more stack");
        line(
            &mut out,
            &format!("\t({stacks} with {}; -T lists more)", human_bytes(sum)),
        );
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(&clean(text));
    out.push('\n');
}

fn head(out: &mut String, report: &Report) {
    let snapshot = &report.snapshot;
    let ended = if snapshot.has_ended {
        ", which has ended"
    } else {
        ""
    };
    let scaled = match report.scale {
        1 => String::new(),
        n => format!(", estimated from one allocation in {n}"),
    };
    line(
        out,
        &format!(
            "{} (PID {}){ended}: {} outstanding after {}{scaled}",
            snapshot.comm,
            snapshot.pid,
            amount(report.total),
            human_duration(snapshot.elapsed),
        ),
    );
    if report.young.count > 0 {
        line(
            out,
            &format!("  hidden because young (-o): {}", amount(report.young)),
        );
    }
    resident(out, report);
    let others = class_list(report, |class| !class.can_leak());
    if !others.is_empty() {
        line(
            out,
            &format!("  not leaks, reserved as address space: {others}"),
        );
    }
    events(out, report);
    load(out, &snapshot.load);
    loss(out, &snapshot.loss);
}

fn amount(amount: Amount) -> String {
    format!(
        "{} in {}",
        human_bytes(amount.bytes),
        counted(amount.count, "block")
    )
}

fn class_list(report: &Report, wanted: impl Fn(Class) -> bool) -> String {
    let parts: Vec<String> = report
        .classes
        .iter()
        .filter(|(class, _)| wanted(*class))
        .map(|(class, amount)| format!("{} {}", class.name(), human_bytes(amount.bytes)))
        .collect();
    parts.join(", ")
}

/// Where the process's memory went, as far as it is known.
fn resident(out: &mut String, report: &Report) {
    let change = &report.snapshot.resident;
    let (Some(before), Some(now)) = (change.at_attach, change.now) else {
        return;
    };
    let grown = now.total as i64 - before.total as i64;
    line(
        out,
        &format!(
            "  RSS: {} at attach, {} now ({})",
            human_bytes(before.total),
            human_bytes(now.total),
            human_bytes_signed(grown)
        ),
    );
    let tracked = report.total.bytes + report.young.bytes;
    let overhead = report.snapshot.chunk_overhead * report.scale;
    let files = now.file as i64 - before.file as i64 + now.shared as i64 - before.shared as i64;
    let rest = grown - tracked as i64 - overhead as i64 - files;
    let rest_is = if rest < 0 {
        "blocks not touched yet, or in memory that was there before"
    } else {
        "freed but kept by the allocator, older than the attach, or not from it"
    };
    line(
        out,
        &format!(
            "  of that: {} tracked blocks, {} their headers and padding, {} files and shared \
             memory, {} the rest ({rest_is})",
            human_bytes_signed(tracked as i64),
            human_bytes_signed(overhead as i64),
            human_bytes_signed(files),
            human_bytes_signed(rest),
        ),
    );
}

fn events(out: &mut String, report: &Report) {
    let Events {
        allocs,
        frees,
        failed,
    } = report.snapshot.events;
    let mut text = format!(
        "  events: {}, {} ({} of blocks not tracked), {} failed",
        counted(allocs, "alloc"),
        counted(frees, "free"),
        grouped(report.snapshot.untracked_frees),
        grouped(failed),
    );
    let MappingCalls {
        maps,
        unmaps,
        remaps,
    } = report.snapshot.mappings;
    if maps + unmaps + remaps > 0 {
        let _ = write!(
            text,
            "; {} mmap, {} munmap, {} mremap",
            grouped(maps),
            grouped(unmaps),
            grouped(remaps)
        );
    }
    line(out, &text);
}

fn load(out: &mut String, load: &ProbeLoad) {
    let share = match load.cpu_percent {
        Some(percent) => format!("about {percent:.1} % of the target's CPU time"),
        None => "the target used no CPU time".to_owned(),
    };
    line(
        out,
        &format!(
            "  probes: {} hits/s, {share}",
            grouped(load.hits_per_s as u64)
        ),
    );
}

/// What each loss means, and what helps.
fn loss(out: &mut String, loss: &Loss) {
    let lost_bytes = human_bytes(loss.alloc_bytes);
    let lines = [
        (
            loss.allocs,
            format!(
                "allocations not tracked ({lost_bytes}): the table is full; raise --max-allocs"
            ),
        ),
        (
            loss.missed_frees,
            "frees missed: the block's address was given out again".to_owned(),
        ),
        (
            loss.missed_returns,
            "calls that never came back (longjmp, an exception): their result is unknown"
                .to_owned(),
        ),
        (
            loss.stacks,
            "allocations without a stack: no room; raise --stack-storage-size".to_owned(),
        ),
        (
            loss.truncated_stacks,
            "allocations by stacks deeper than --perf-max-stack-depth: outer frames are missing"
                .to_owned(),
        ),
        (
            loss.threads,
            "calls by threads that found no room".to_owned(),
        ),
        (
            loss.mapping_events,
            "mmap, munmap or mremap calls not seen: ring buffer full".to_owned(),
        ),
        (
            loss.trace_events,
            "lines of -t missing: ring buffer full".to_owned(),
        ),
        (
            loss.text_mappings,
            "records of loaded libraries dropped: names may be wrong".to_owned(),
        ),
    ];
    for (count, meaning) in lines.iter().filter(|(count, _)| *count > 0) {
        line(out, &format!("  LOST: {} {meaning}", grouped(*count)));
    }
}

fn stack(out: &mut String, row: &Row, style: TextStyle) {
    let class = if row.class == Class::Heap {
        String::new()
    } else {
        format!(" ({})", row.class.name())
    };
    line(
        out,
        &format!(
            "\t{} bytes in {} allocations from stack{class}",
            row.live.bytes, row.live.count
        ),
    );
    if style.lists_blocks {
        for block in &row.blocks {
            line(
                out,
                &format!("\t\taddr = {:#x} size = {}", block.addr, block.size),
            );
        }
    }
    for (index, frame) in row.frames.iter().enumerate() {
        line(out, &format!("\t\t{index} {}", frame_text(frame)));
    }
    if row.frames.is_empty() {
        line(out, "\t\t[no stack: there was no room, or none to be read]");
    } else if row.is_incomplete {
        line(out, "\t\t[outer frames missing]");
    }
}

/// `[<address>] symbol+0xoffset [module] file:line`
fn frame_text(frame: &Frame) -> String {
    let mut text = format!("[<{:016x}>] ", frame.addr);
    match (&frame.symbol, frame.offset) {
        (Some(symbol), Some(offset)) => {
            let _ = write!(text, "{symbol}+{offset:#x}");
        }
        (Some(symbol), None) => text.push_str(symbol),
        (None, _) => text.push_str("[unknown]"),
    }
    let _ = write!(text, " [{}]", frame.module);
    if let Some(file) = &frame.file {
        let _ = write!(text, " {}", file.display());
        if let Some(line) = frame.line {
            let _ = write!(text, ":{line}");
        }
    }
    if frame.inlined {
        text.push_str(" (inlined)");
    }
    text
}

// ---- JSON ----

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

#[cfg(test)]
mod tests;
