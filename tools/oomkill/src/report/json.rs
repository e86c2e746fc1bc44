//! An event as one JSON object on a line; docs/json.md describes it.

use std::fmt;
use std::io::{self, Write};

use jiff::Timestamp;
use memtools::output::Lossy;
use serde::{Serialize, Serializer};

use super::container_of;
use crate::gfp::Gfp;
use crate::model::{
    Domain, During, EndedBy, Event, Fact, Loss, Pressure, Reaped, Sibling, Stacks, Stall, Task,
    Unknown,
};

const VERSION: u32 = 1;
const TOOL: &str = "oomkill";

/// Writes an event and a newline.
pub fn write_event(out: &mut impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &JsonEvent::new(event))?;
    out.write_all(b"\n")
}

/// Writes the end of a victim and a newline.
pub fn write_reaped(out: &mut impl Write, reaped: &Reaped) -> io::Result<()> {
    let json = JsonReaped {
        v: VERSION,
        tool: TOOL,
        kind: "reaped",
        time: Rfc3339(reaped.time),
        pid: reaped.pid,
        comm: Lossy(reaped.comm.bytes()),
        after_ns: reaped.after.as_nanos() as u64,
        by: match reaped.by {
            EndedBy::Reaper => "reaper",
            EndedBy::Exit => "exit",
        },
    };
    serde_json::to_writer(&mut *out, &json)?;
    out.write_all(b"\n")
}

/// A time as RFC 3339 in UTC, to the millisecond.
struct Rfc3339(Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Serialize)]
struct JsonReaped<'a> {
    v: u32,
    tool: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: Rfc3339,
    pid: u32,
    comm: Lossy<'a>,
    after_ns: u64,
    by: &'static str,
}

#[derive(Serialize)]
struct JsonEvent<'a> {
    v: u32,
    tool: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: Rfc3339,
    already_exiting: bool,
    victim: JsonVictim<'a>,
    trigger: JsonTrigger<'a>,
    domain: Option<JsonDomain<'a>>,
    order: Option<i32>,
    gfp: Option<JsonGfp>,
    loadavg: Option<&'a str>,
    pressure: JsonPressures,
    #[serde(serialize_with = "top")]
    top: &'a Event,
    #[serde(serialize_with = "siblings")]
    siblings: &'a [Sibling],
    sibling_count: usize,
    #[serde(serialize_with = "unknown")]
    unknown: Unknown,
    loss: JsonLoss,
}

impl<'a> JsonEvent<'a> {
    fn new(event: &'a Event) -> Self {
        let domain = event.domain.as_ref();
        Self {
            v: VERSION,
            tool: TOOL,
            kind: "oom",
            time: Rfc3339(event.time),
            already_exiting: event.is_exiting,
            victim: JsonVictim::new(event),
            trigger: JsonTrigger::new(event),
            domain: domain.map(JsonDomain::new),
            order: domain.map(|domain| domain.order),
            gfp: domain.map(|domain| JsonGfp {
                flags: domain.gfp,
                names: Gfp(domain.gfp),
            }),
            loadavg: (!event.unknown.has(Fact::Loadavg)).then_some(&event.loadavg),
            pressure: JsonPressures {
                system: event.system_pressure.map(JsonPressure::new),
                cgroup: event.cgroup_pressure.map(JsonPressure::new),
            },
            top: event,
            siblings: &event.siblings,
            sibling_count: event.sibling_count,
            unknown: event.unknown,
            loss: JsonLoss::new(event.loss),
        }
    }
}

/// Who a process is.
#[derive(Serialize)]
struct JsonTask<'a> {
    pid: u32,
    tid: u32,
    comm: Lossy<'a>,
    uid: Option<u32>,
    user: Option<&'a str>,
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unified_cgroup: Option<&'a str>,
    container: Option<&'a str>,
}

impl<'a> JsonTask<'a> {
    fn new(task: &'a Task, is_known: bool) -> Self {
        Self {
            pid: task.pid,
            tid: task.tid,
            comm: Lossy(task.comm.bytes()),
            uid: is_known.then_some(task.uid),
            user: filled(&task.user),
            cgroup: filled(&task.cgroup),
            unified_cgroup: filled(&task.unified_cgroup),
            container: container_of(task),
        }
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[derive(Serialize)]
struct JsonVictim<'a> {
    #[serde(flatten)]
    task: JsonTask<'a>,
    cmdline: Option<CommandLine<'a>>,
    /// Where the command line is from: the kernel, at the event, or /proc, after it.
    cmdline_after_event: bool,
    start_time: Option<Rfc3339>,
    total_vm_bytes: Option<u64>,
    anon_rss_bytes: Option<u64>,
    file_rss_bytes: Option<u64>,
    shmem_rss_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    pgtables_bytes: Option<u64>,
    oom_score: Option<u32>,
    oom_score_adj: Option<i32>,
}

impl<'a> JsonVictim<'a> {
    fn new(event: &'a Event) -> Self {
        let is_known = !event.unknown.has(Fact::Victim);
        let known = |bytes: u64| is_known.then_some(bytes);
        let victim = &event.victim;
        let memory = &victim.memory;
        let has_command_line = !victim.command_line.is_empty();
        Self {
            task: JsonTask::new(&victim.task, is_known),
            cmdline: has_command_line.then_some(CommandLine(&victim.command_line)),
            cmdline_after_event: has_command_line && victim.command_line_is_late,
            start_time: victim.start.map(Rfc3339),
            total_vm_bytes: known(memory.total_vm),
            anon_rss_bytes: known(memory.anon_rss),
            file_rss_bytes: known(memory.file_rss),
            shmem_rss_bytes: known(memory.shmem_rss),
            swap_bytes: known(memory.swap),
            pgtables_bytes: known(memory.pgtables),
            oom_score: victim.oom_score,
            oom_score_adj: is_known.then_some(victim.oom_score_adj),
        }
    }
}

/// Arguments, with blanks between them.
struct CommandLine<'a>(&'a [u8]);

impl fmt::Display for CommandLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.strip_suffix(b"\0").unwrap_or(self.0);
        for (at, argument) in text.split(|&byte| byte == 0).enumerate() {
            let separator = if at == 0 { "" } else { " " };
            write!(f, "{separator}{}", Lossy(argument))?;
        }
        Ok(())
    }
}

impl Serialize for CommandLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Serialize)]
struct JsonTrigger<'a> {
    #[serde(flatten)]
    task: JsonTask<'a>,
    is_victim: bool,
    during: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<JsonStacks<'a>>,
}

impl<'a> JsonTrigger<'a> {
    fn new(event: &'a Event) -> Self {
        let trigger = &event.trigger;
        let (during, syscall) = match trigger.during {
            During::Unknown => (None, None),
            During::PageFault => (Some("page fault"), None),
            During::SystemCall(number) => (Some("system call"), Some(number)),
            During::Kernel => (Some("kernel thread"), None),
        };
        Self {
            task: JsonTask::new(&trigger.task, true),
            is_victim: trigger.task.pid == event.victim.task.pid,
            during,
            syscall,
            stacks: trigger.stacks.as_deref().map(JsonStacks::new),
        }
    }
}

#[derive(Serialize)]
struct JsonStacks<'a> {
    kernel: &'a [String],
    user: &'a [String],
}

impl<'a> JsonStacks<'a> {
    fn new(stacks: &'a Stacks) -> Self {
        Self {
            kernel: &stacks.kernel,
            user: &stacks.user,
        }
    }
}

#[derive(Serialize)]
struct JsonGfp {
    flags: u32,
    names: Gfp,
}

#[derive(Serialize)]
struct JsonDomain<'a> {
    constraint: &'static str,
    memcg: Option<&'a str>,
    limit_bytes: Option<u64>,
    usage_bytes: Option<u64>,
    peak_bytes: Option<u64>,
    failcnt: Option<u64>,
    swap_usage_bytes: Option<u64>,
    swap_limit_bytes: Option<u64>,
    /// The swap figures are of memory and swap together.
    swap_includes_memory: bool,
    total_pages: u64,
    nodes: u64,
}

impl<'a> JsonDomain<'a> {
    fn new(domain: &'a Domain) -> Self {
        let limits = domain.limits.as_ref();
        Self {
            constraint: domain.constraint.name(),
            memcg: filled(&domain.cgroup),
            limit_bytes: limits.and_then(|limits| limits.limit),
            usage_bytes: limits.map(|limits| limits.usage),
            peak_bytes: limits.map(|limits| limits.peak),
            failcnt: limits.and_then(|limits| limits.failcnt),
            swap_usage_bytes: limits.map(|limits| limits.swap_usage),
            swap_limit_bytes: limits.and_then(|limits| limits.swap_limit),
            swap_includes_memory: limits.is_some_and(|limits| limits.swap_has_memory),
            total_pages: domain.total_pages,
            nodes: domain.nodes,
        }
    }
}

#[derive(Serialize)]
struct JsonPressures {
    system: Option<JsonPressure>,
    cgroup: Option<JsonPressure>,
}

#[derive(Serialize)]
struct JsonPressure {
    some: JsonStall,
    full: JsonStall,
}

impl JsonPressure {
    fn new(pressure: Pressure) -> Self {
        Self {
            some: JsonStall::new(pressure.some),
            full: JsonStall::new(pressure.full),
        }
    }
}

#[derive(Serialize)]
struct JsonStall {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total_us: u64,
}

impl JsonStall {
    fn new(stall: Stall) -> Self {
        Self {
            avg10: stall.avg10,
            avg60: stall.avg60,
            avg300: stall.avg300,
            total_us: stall.total_us,
        }
    }
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: u32,
    comm: Lossy<'a>,
    rss_bytes: u64,
    swap_bytes: u64,
    oom_score_adj: i32,
    is_victim: bool,
}

fn top<S: Serializer>(event: &&Event, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(event.top().iter().map(|process| JsonProcess {
        pid: process.pid,
        comm: Lossy(process.comm.bytes()),
        rss_bytes: process.resident,
        swap_bytes: process.swap,
        oom_score_adj: process.oom_score_adj,
        is_victim: process.pid == event.victim.task.pid,
    }))
}

#[derive(Serialize)]
struct JsonSibling<'a> {
    pid: u32,
    comm: Lossy<'a>,
}

fn siblings<S: Serializer>(siblings: &&[Sibling], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(siblings.iter().map(|sibling| JsonSibling {
        pid: sibling.pid,
        comm: Lossy(sibling.comm.bytes()),
    }))
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn unknown<S: Serializer>(unknown: &Unknown, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(unknown.iter().map(Fact::name))
}

/// Only what is not zero.
#[derive(Serialize)]
struct JsonLoss {
    #[serde(skip_serializing_if = "is_zero")]
    events: u64,
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    reaps: u64,
}

impl JsonLoss {
    fn new(loss: Loss) -> Self {
        Self {
            events: loss.events,
            missed: loss.missed,
            reaps: loss.reaps,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_zero(number: &u64) -> bool {
    *number == 0
}
