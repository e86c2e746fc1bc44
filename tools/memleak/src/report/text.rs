//! Reports for people, in bcc's shape.

use std::fmt::Write as _;

use memtools::output::{
    clean, counted, grouped, human_bytes, human_bytes_signed, human_duration, wall_clock,
};
use memtools::stacks::Frame;

use crate::model::{Report, Row};
use crate::snapshot::{Amount, Class, Events, Loss, MappingCalls, Moment};

/// How a text report is cut.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// How many stacks are listed.
    pub top: usize,
    /// Whether the stacks' blocks are listed too.
    pub lists_blocks: bool,
}

/// A report for people: bcc's shape, with a head that says how to read it.
pub fn text(report: &Report<'_>, style: TextStyle) -> String {
    let mut out = String::new();
    head(&mut out, report);
    let rows = report.rows.iter().copied();
    let shown: Vec<&Row> = rows
        .filter(|row| row.class.can_leak() && row.figures.live.count > 0)
        .collect();
    let top = style.top.min(shown.len());
    line(
        &mut out,
        &format!(
            "[{}] Top {top} stacks with outstanding allocations:",
            wall_clock(report.moment.time)
        ),
    );
    for row in &shown[..top] {
        stack(&mut out, report, row, style);
    }
    let rest = &shown[top..];
    if !rest.is_empty() {
        let sum: u64 = rest.iter().map(|row| row.figures.live.bytes).sum();
        let stacks = counted(rest.len() as u64, "more stack");
        line(
            &mut out,
            &format!("\t({stacks} with {}; -T lists more)", human_bytes(sum)),
        );
    }
    out
}

pub(super) fn line(out: &mut String, text: &str) {
    out.push_str(&clean(text));
    out.push('\n');
}

fn head(out: &mut String, report: &Report<'_>) {
    let moment = report.moment;
    let ended = match (moment.has_ended, &moment.processes) {
        (false, _) => "",
        (true, None) => ", which has ended",
        (true, Some(_)) => ", all ended",
    };
    let is_some = moment.is_sampled && moment.processes.is_some();
    let scaled = match (report.scale, moment.is_sampled) {
        _ if is_some => ", some of it estimated from processes' own samples".to_owned(),
        (1, false) => String::new(),
        (1, true) => ", estimated from the process's own samples".to_owned(),
        (n, false) => format!(", estimated from one allocation in {n}"),
        (n, true) => format!(", estimated from one in {n} of the process's own samples"),
    };
    line(
        out,
        &format!(
            "{}{ended}: {} outstanding after {}{scaled}",
            moment.subject(),
            amount(report.total),
            human_duration(moment.elapsed),
        ),
    );
    if report.young.count > 0 {
        line(
            out,
            &format!("  hidden because young (-o): {}", amount(report.young)),
        );
    }
    suppressed(out, report);
    resident(out, report);
    processes(out, report);
    let others = class_list(report, |class| !class.can_leak());
    if moment.is_of_kernel() {
        let classes = class_list(report, Class::can_leak);
        line(out, &format!("  of that: {classes}"));
    }
    if !others.is_empty() {
        let why = if moment.is_of_kernel() {
            "not counted again"
        } else {
            "not leaks, reserved as address space"
        };
        line(out, &format!("  {why}: {others}"));
    }
    events(out, report);
    load(out, moment);
    loss(out, &moment.loss);
}

pub(super) fn amount(amount: Amount) -> String {
    format!(
        "{} in {}",
        human_bytes(amount.bytes),
        counted(amount.count, "block")
    )
}

/// What a suppression hides is said, rule by rule: one that matches too much hides a leak.
fn suppressed(out: &mut String, report: &Report<'_>) {
    let tally = report.ledger.suppressed();
    for (rule, hidden) in tally.used(report.ledger.suppressions()).0 {
        line(
            out,
            &format!("  suppressed by {}: {}", rule.pattern, amount(hidden)),
        );
    }
}

/// The largest ones.
fn processes(out: &mut String, report: &Report<'_>) {
    const MOST: usize = 10;
    let all = report.ledger.processes();
    for (process, live) in all.iter().take(MOST) {
        let ended = if process.has_ended { ", ended" } else { "" };
        // What it did since is not known.
        let detached = if process.was_detached {
            ", detached (--max-overhead)"
        } else {
            ""
        };
        let late = process.late.map(|late| {
            let late = human_duration(late);
            format!(", not seen in its first {late}")
        });
        line(
            out,
            &format!(
                "  {}{detached}{ended}: {}, {}, {}{}",
                process.label(),
                amount(*live),
                counted(process.allocs, "alloc"),
                counted(process.frees, "free"),
                late.unwrap_or_default(),
            ),
        );
    }
    if let Some(rest) = all.get(MOST..).filter(|rest| !rest.is_empty()) {
        let mut sum = Amount::default();
        for (_, live) in rest {
            sum.add(*live);
        }
        let processes = counted(rest.len() as u64, "more process");
        line(out, &format!("  {processes}: {}", amount(sum)));
    }
}

fn class_list(report: &Report<'_>, wanted: impl Fn(Class) -> bool) -> String {
    let parts: Vec<String> = report
        .classes
        .iter()
        .filter(|(class, _)| wanted(*class))
        .map(|(class, amount)| format!("{} {}", class.name(), human_bytes(amount.bytes)))
        .collect();
    parts.join(", ")
}

/// Where the process's memory went, as far as it is known.
fn resident(out: &mut String, report: &Report<'_>) {
    let change = &report.moment.resident;
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
    let suppressed = report.ledger.suppressed().total();
    let tracked = report.total.bytes + report.young.bytes + suppressed.bytes;
    let overhead = report.moment.chunk_overhead * report.scale;
    // Without the table of blocks (-C) it is not known.
    let headers = if overhead > 0 {
        format!(
            "{} their headers and padding, ",
            human_bytes_signed(overhead as i64)
        )
    } else {
        String::new()
    };
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
            "  of that: {} tracked blocks, {headers}{} files and shared memory, {} the rest \
             ({rest_is})",
            human_bytes_signed(tracked as i64),
            human_bytes_signed(files),
            human_bytes_signed(rest),
        ),
    );
}

fn events(out: &mut String, report: &Report<'_>) {
    let Events {
        allocs,
        frees,
        failed,
    } = report.moment.events;
    let mut text = format!(
        "  events: {}, {} ({} of blocks not tracked), {} failed",
        counted(allocs, "alloc"),
        counted(frees, "free"),
        grouped(report.moment.untracked_frees),
        grouped(failed),
    );
    let MappingCalls {
        maps,
        unmaps,
        remaps,
    } = report.moment.mappings;
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

fn load(out: &mut String, moment: &Moment) {
    let load = &moment.load;
    if moment.is_of_kernel() {
        let events = grouped(load.hits_per_s as u64);
        line(out, &format!("  probes: {events} events/s"));
        return;
    }
    let share = match load.cpu_percent {
        Some(percent) => format!("about {percent:.1} % of the target's CPU time"),
        None => "its share of the target's CPU time could not be measured".to_owned(),
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
            "calls whose return was not seen (longjmp, an exception): their result is unknown"
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
            loss.blind_ms,
            "ms without probes: the thread that carried them exited, or a program began that does not \
             sample its allocations as the one before it did"
                .to_owned(),
        ),
        (
            loss.skipped_execs,
            "execs told of late: what the new program allocated in its first milliseconds is missing".to_owned(),
        ),
        (
            loss.text_mappings,
            "records of loaded libraries dropped: names may be wrong".to_owned(),
        ),
        (
            loss.skipped_events,
            "events of the kernel's memory not followed: one came in the middle of another, or a bulk \
             was too large; figures can be too low, or too high"
                .to_owned(),
        ),
        (
            loss.late_processes,
            "processes began while memleak ran: what they allocated before their probes were in is not \
             seen"
                .to_owned(),
        ),
        (
            loss.unseen_processes,
            "processes not traced, or not to their end: they ended before their probes were in, cannot be \
             traced, or were too many (--max-processes) or too dear (--max-overhead)"
                .to_owned(),
        ),
    ];
    for (count, meaning) in lines.iter().filter(|(count, _)| *count > 0) {
        line(out, &format!("  LOST: {} {meaning}", grouped(*count)));
    }
}

fn stack(out: &mut String, report: &Report<'_>, row: &Row, style: TextStyle) {
    let live = row.figures.live;
    let class = if row.class == Class::Heap {
        String::new()
    } else {
        format!(" ({})", row.class.name())
    };
    line(
        out,
        &format!(
            "\t{} bytes in {} allocations from stack{class}",
            live.bytes, live.count
        ),
    );
    line(out, &format!("\t\t{}", history(report, row)));
    if style.lists_blocks {
        for block in &row.figures.blocks {
            line(
                out,
                &format!("\t\taddr = {:#x} size = {}", block.addr, block.size),
            );
        }
    }
    for (index, frame) in report.ledger.frames(row).enumerate() {
        line(out, &format!("\t\t{index} {}", frame_text(frame)));
    }
    if report.ledger.frames(row).len() == 0 {
        line(out, "\t\t[no stack: there was no room, or none to be read]");
    } else if report.ledger.is_incomplete(row) {
        line(out, "\t\t[outer frames missing]");
    }
}

/// What a live amount alone does not tell: whether it comes and goes, and whether it grows.
fn history(report: &Report<'_>, row: &Row) -> String {
    let mut text = format!(
        "{} allocated, {} freed",
        grouped(row.figures.allocs),
        grouped(row.figures.frees)
    );
    if let Some(oldest) = row.oldest(report.moment) {
        let _ = write!(text, ", oldest {}", human_duration(oldest));
    }
    if !report.is_first {
        let growth = human_bytes_signed(row.growth);
        let _ = write!(text, ", {growth} since the last report");
    }
    text
}

/// `[<address>] symbol+0xoffset [module] file:line`
pub fn frame_text(frame: &Frame) -> String {
    format!("[<{:016x}>] {}", frame.addr, frame.describe("[unknown]"))
}
