//! An event as text. Pure, and without an allocation of its own.

mod json;

use std::fmt::{self, Write};

use memtools::cgroup::container;
use memtools::output::{Clean, HumanBytes, HumanDuration, WallClock};

use crate::gfp::Gfp;
use crate::model::{
    Constraint, Domain, During, EndedBy, Event, Fact, Limits, Pressure, Process, Reaped, Task,
};

pub use json::{write_event as write_json, write_reaped as write_json_reaped};

/// How wide the names of the facts are.
const NAME_WIDTH: usize = 9;

/// An event as it is logged: bcc's line, and unless it is to be brief, a line for each fact.
pub fn write_event(out: &mut impl Write, event: &Event, is_brief: bool) -> fmt::Result {
    write_headline(out, event)?;
    out.write_char('\n')?;
    if is_brief {
        return Ok(());
    }
    write_details(out, event)
}

/// The line that bcc's oomkill prints.
pub fn write_headline(out: &mut impl Write, event: &Event) -> fmt::Result {
    let (victim, trigger) = (&event.victim.task, &event.trigger.task);
    write!(
        out,
        "{} Triggered by PID {} (\"{}\"), ",
        WallClock(event.time),
        trigger.pid,
        Clean(trigger.comm.bytes()),
    )?;
    if event.is_exiting {
        out.write_str("no OOM kill, exiting already: ")?;
    } else {
        out.write_str("OOM kill of ")?;
    }
    write!(
        out,
        "PID {} (\"{}\"), ",
        victim.pid,
        Clean(victim.comm.bytes())
    )?;
    match &event.domain {
        Some(domain) => write!(out, "{} pages", domain.total_pages)?,
        None => out.write_str("unknown pages")?,
    }
    write!(out, ", loadavg: {}", event.loadavg)
}

/// The headline as a text of its own.
pub fn headline(event: &Event) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_headline(&mut text, event);
    text
}

/// The details as a text of its own.
pub fn details(event: &Event) -> String {
    let mut text = String::new();
    let _ = write_details(&mut text, event);
    text
}

/// A victim's memory was back.
pub fn write_reaped(out: &mut impl Write, reaped: &Reaped) -> fmt::Result {
    let by = match reaped.by {
        EndedBy::Reaper => "taken by the OOM reaper",
        EndedBy::Exit => "freed at its exit",
    };
    writeln!(
        out,
        "{} Memory of PID {} (\"{}\") is back after {}: {by}",
        WallClock(reaped.time),
        reaped.pid,
        Clean(reaped.comm.bytes()),
        HumanDuration(reaped.after),
    )
}

/// A fact: its name, then whatever is written after it, to the end of the line.
fn name(out: &mut impl Write, name: &str) -> fmt::Result {
    write!(out, "    {name:NAME_WIDTH$} ")
}

fn write_details(out: &mut impl Write, event: &Event) -> fmt::Result {
    if !event.unknown.has(Fact::Victim) {
        write_victim(out, event)?;
    }
    write_trigger(out, event)?;
    write_domain(out, event)?;
    write_pressure(out, event)?;
    write_top(out, event)?;
    write_siblings(out, event)?;
    write_stacks(out, event)?;
    write_unknown(out, event)
}

fn write_victim(out: &mut impl Write, event: &Event) -> fmt::Result {
    let victim = &event.victim;
    name(out, "victim")?;
    write_command_line(out, &victim.command_line)?;
    write_user(out, &victim.task)?;
    if let Some(start) = victim.start {
        let age = event.time.duration_since(start).unsigned_abs();
        write!(out, ", started {} before", HumanDuration(age))?;
    }
    out.write_char('\n')?;
    name(out, "cgroup")?;
    write_cgroup(out, &victim.task)?;
    let memory = &victim.memory;
    name(out, "memory")?;
    for (what, bytes, end) in [
        ("total-vm", memory.total_vm, ", "),
        ("anon-rss", memory.anon_rss, ", "),
        ("file-rss", memory.file_rss, ", "),
        ("shmem-rss", memory.shmem_rss, ", "),
        ("swap", memory.swap, ", "),
        ("page tables", memory.pgtables, "\n"),
    ] {
        write!(out, "{what} {}{end}", HumanBytes(bytes))?;
    }
    name(out, "score")?;
    if let Some(score) = victim.oom_score {
        write!(out, "oom_score {score}, ")?;
    }
    writeln!(out, "oom_score_adj {}", victim.oom_score_adj)
}

fn write_command_line(out: &mut impl Write, command_line: &[u8]) -> fmt::Result {
    if command_line.is_empty() {
        return out.write_str("(command line unknown)");
    }
    let text = command_line.strip_suffix(b"\0").unwrap_or(command_line);
    for (at, argument) in text.split(|&byte| byte == 0).enumerate() {
        if at > 0 {
            out.write_char(' ')?;
        }
        write!(out, "{}", Clean(argument))?;
    }
    Ok(())
}

fn write_user(out: &mut impl Write, task: &Task) -> fmt::Result {
    if task.user.is_empty() {
        write!(out, ", user {}", task.uid)
    } else {
        write!(out, ", user {} ({})", Clean(task.user.as_bytes()), task.uid)
    }
}

/// The path, and the container, to the end of the line.
fn write_cgroup(out: &mut impl Write, task: &Task) -> fmt::Result {
    write!(out, "{}", Clean(task.cgroup.as_bytes()))?;
    if !task.unified_cgroup.is_empty() {
        write!(
            out,
            ", in version 2 {}",
            Clean(task.unified_cgroup.as_bytes())
        )?;
    }
    if let Some(id) = container_of(task) {
        write!(out, ", container {}", Clean(short(id).as_bytes()))?;
    }
    out.write_char('\n')
}

/// The container that a process is in.
pub fn container_of(task: &Task) -> Option<&str> {
    container(&task.cgroup).or_else(|| container(&task.unified_cgroup))
}

/// As Docker shows an ID.
fn short(id: &str) -> &str {
    if id.len() == 64 { &id[..12] } else { id }
}

fn write_trigger(out: &mut impl Write, event: &Event) -> fmt::Result {
    let trigger = &event.trigger;
    name(out, "trigger")?;
    if trigger.task.pid == event.victim.task.pid {
        out.write_str("the victim itself")?;
    } else {
        write!(
            out,
            "PID {} (\"{}\")",
            trigger.task.pid,
            Clean(trigger.task.comm.bytes())
        )?;
        write_user(out, &trigger.task)?;
    }
    match trigger.during {
        During::PageFault => out.write_str(", in a page fault")?,
        During::SystemCall(number) => write!(out, ", in system call {number}")?,
        During::Kernel => out.write_str(", a thread of the kernel")?,
        During::Unknown => {}
    }
    if trigger.task.cgroup == event.victim.task.cgroup {
        out.write_char('\n')
    } else {
        out.write_str(", cgroup ")?;
        write_cgroup(out, &trigger.task)
    }
}

fn write_domain(out: &mut impl Write, event: &Event) -> fmt::Result {
    let Some(domain) = &event.domain else {
        return Ok(());
    };
    name(out, "domain")?;
    match domain.constraint {
        Constraint::None => out.write_str("the machine")?,
        Constraint::Cpuset => out.write_str("the nodes of a cpuset")?,
        Constraint::MemoryPolicy => write_nodes(out, domain.nodes)?,
        Constraint::Memcg => write!(out, "memory cgroup {}", Clean(domain.cgroup.as_bytes()))?,
    }
    if let Some(limits) = &domain.limits {
        write_limits(out, limits)?;
    }
    out.write_char('\n')?;
    write_request(out, domain)
}

fn write_nodes(out: &mut impl Write, nodes: u64) -> fmt::Result {
    out.write_str("the nodes of a memory policy:")?;
    for node in (0..64).filter(|node| nodes & (1 << node) != 0) {
        write!(out, " {node}")?;
    }
    Ok(())
}

fn write_limits(out: &mut impl Write, limits: &Limits) -> fmt::Result {
    write!(out, ": {}", HumanBytes(limits.usage))?;
    if let Some(limit) = limits.limit {
        write!(out, " of {}", HumanBytes(limit))?;
    }
    write!(out, ", peak {}", HumanBytes(limits.peak))?;
    if let Some(failcnt) = limits.failcnt {
        write!(out, ", limit hit {failcnt} times")?;
    }
    let with_memory = if limits.swap_has_memory {
        "memory and swap"
    } else {
        "swap"
    };
    if limits.swap_usage > 0 || limits.swap_limit.is_some() {
        write!(out, ", {with_memory} {}", HumanBytes(limits.swap_usage))?;
    }
    if let Some(limit) = limits.swap_limit {
        write!(out, " of {}", HumanBytes(limit))?;
    }
    Ok(())
}

fn write_request(out: &mut impl Write, domain: &Domain) -> fmt::Result {
    name(out, "request")?;
    if domain.order < 0 {
        return out.write_str("none: somebody asked for a kill (sysrq)\n");
    }
    writeln!(
        out,
        "order {} ({}), {} ({:#x})",
        domain.order,
        HumanBytes(domain.request_bytes),
        Gfp(domain.gfp),
        domain.gfp
    )
}

fn write_pressure(out: &mut impl Write, event: &Event) -> fmt::Result {
    let both = [
        ("machine", &event.system_pressure),
        ("cgroup", &event.cgroup_pressure),
    ];
    let mut separator = "";
    for (whose, pressure) in both {
        let Some(Pressure { some, full }) = pressure else {
            continue;
        };
        if separator.is_empty() {
            name(out, "pressure")?;
        }
        write!(
            out,
            "{separator}{whose}: some {:.2} %, full {:.2} % of the last 10 s",
            some.avg10, full.avg10
        )?;
        separator = "; ";
    }
    if separator.is_empty() {
        return Ok(());
    }
    out.write_str(" (read after it)\n")
}

fn write_top(out: &mut impl Write, event: &Event) -> fmt::Result {
    for (at, process) in event.top().iter().enumerate() {
        name(out, if at == 0 { "biggest" } else { "" })?;
        let Process {
            pid,
            comm,
            resident,
            swap,
            ..
        } = process;
        write!(
            out,
            "{:>10}  PID {pid} (\"{}\")",
            HumanBytes(*resident),
            Clean(comm.bytes())
        )?;
        if *swap > 0 {
            write!(out, ", {} in swap", HumanBytes(*swap))?;
        }
        if *pid == event.victim.task.pid {
            out.write_str(", the victim")?;
        }
        out.write_char('\n')?;
    }
    Ok(())
}

fn write_siblings(out: &mut impl Write, event: &Event) -> fmt::Result {
    if event.sibling_count == 0 {
        return Ok(());
    }
    name(out, "siblings")?;
    out.write_str("killed with it (memory.oom.group):")?;
    for sibling in &event.siblings {
        write!(
            out,
            " {} (\"{}\")",
            sibling.pid,
            Clean(sibling.comm.bytes())
        )?;
    }
    let others = event.sibling_count - event.siblings.len();
    if others > 0 {
        write!(out, " and {others} more")?;
    }
    out.write_char('\n')
}

fn write_stacks(out: &mut impl Write, event: &Event) -> fmt::Result {
    let Some(stacks) = &event.trigger.stacks else {
        return Ok(());
    };
    for (whose, frames) in [("kernel", &stacks.kernel), ("user", &stacks.user)] {
        for (at, frame) in frames.iter().enumerate() {
            name(out, if at == 0 { whose } else { "" })?;
            writeln!(out, "{}", Clean(frame.as_bytes()))?;
        }
    }
    Ok(())
}

fn write_unknown(out: &mut impl Write, event: &Event) -> fmt::Result {
    if event.unknown.iter().next().is_some() {
        name(out, "unknown")?;
        for (at, fact) in event.unknown.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(out, "{separator}{}", fact.name())?;
        }
        out.write_char('\n')?;
    }
    if event.loss.total() > 0 {
        name(out, "LOST")?;
        writeln!(
            out,
            "since the start: {} events (buffer full), {} missed by the kernel, {} ends",
            event.loss.events, event.loss.missed, event.loss.reaps
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
