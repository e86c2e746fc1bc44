//! What happened, and which of it is shown. Pure: no I/O, no clock.
//!
//! Events are reused: their texts keep the room that they have, so that on the way from the kernel to
//! the output nothing is allocated while memory is short.

mod groups;

use std::time::Duration;

use jiff::Timestamp;

pub use groups::Groups;

/// How many processes of the domain are named.
pub const TOP: usize = 5;
/// How many of the others of a group are named.
pub const MAX_SIBLINGS: usize = 64;

/// A process's name as the kernel has it: bytes up to the first NUL, any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// The name's bytes.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&byte| byte == 0);
        &self.0[..end.unwrap_or(self.0.len())]
    }
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its PID, in the initial PID namespace as all IDs here.
    pub pid: u32,
    /// The thread that was looked at.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
    /// Its real user, in the initial user namespace.
    pub uid: u32,
    /// That user's name on this machine; empty: none is known.
    pub user: String,
    /// Its memory cgroup, from the root of the hierarchy.
    pub cgroup: String,
    /// Its cgroup in the version 2 hierarchy, where that is another one; else empty.
    pub unified_cgroup: String,
}

/// Whom the OOM killer chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    /// Who it is.
    pub task: Task,
    /// Its arguments, each ended by NUL; empty: not known.
    pub command_line: Vec<u8>,
    /// They are from /proc, after the event.
    pub command_line_is_late: bool,
    /// When it was started.
    pub start: Option<Timestamp>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// What /proc/PID/oom_score would have said; 0 to 2000.
    pub oom_score: Option<u32>,
    /// Its memory.
    pub memory: Memory,
}

/// What a process has, in bytes, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the kernel's own words
pub struct Memory {
    pub total_vm: u64,
    pub anon_rss: u64,
    pub file_rss: u64,
    pub shmem_rss: u64,
    pub swap: u64,
    pub pgtables: u64,
}

impl Memory {
    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        self.anon_rss + self.file_rss + self.shmem_rss
    }
}

/// In which way the trigger asked for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum During {
    /// It could not be found out.
    #[default]
    Unknown,
    /// A page fault.
    PageFault,
    /// A system call, by number.
    SystemCall(i64),
    /// A thread of the kernel's own.
    Kernel,
}

/// Who asked for the memory that was not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// Who it is.
    pub task: Task,
    /// What it was doing.
    pub during: During,
    /// Its stacks (`--stack`).
    pub stacks: Option<Box<Stacks>>,
}

/// The trigger's stacks, from the innermost frame outward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// In the kernel.
    pub kernel: Vec<String>,
    /// In its program.
    pub user: Vec<String>,
}

/// What limits the memory that ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// The machine.
    #[default]
    None,
    /// The nodes of a cpuset.
    Cpuset,
    /// The nodes of a memory policy.
    MemoryPolicy,
    /// A memory cgroup's limit.
    Memcg,
}

impl Constraint {
    /// As it is numbered in the kernel (`enum oom_constraint`).
    pub fn new(number: u32) -> Self {
        match number {
            1 => Self::Cpuset,
            2 => Self::MemoryPolicy,
            3 => Self::Memcg,
            _ => Self::None,
        }
    }

    /// Its name in the kernel's log.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "CONSTRAINT_NONE",
            Self::Cpuset => "CONSTRAINT_CPUSET",
            Self::MemoryPolicy => "CONSTRAINT_MEMORY_POLICY",
            Self::Memcg => "CONSTRAINT_MEMCG",
        }
    }
}

/// A memory cgroup at its limit, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the files of a memory cgroup have these names
pub struct Limits {
    pub usage: u64,
    pub limit: Option<u64>,
    pub peak: u64,
    pub failcnt: Option<u64>,
    pub swap_usage: u64,
    pub swap_limit: Option<u64>,
    /// The swap figures are those of memory and swap together (version 1).
    pub swap_has_memory: bool,
}

/// The memory that ran out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// What limits it.
    pub constraint: Constraint,
    /// The memory cgroup, from the root of the hierarchy.
    pub cgroup: String,
    /// That cgroup's figures.
    pub limits: Option<Limits>,
    /// Its size in pages: RAM and swap, or the cgroup's limit.
    pub total_pages: u64,
    /// What was asked for: 2^order pages; -1: sysrq.
    pub order: i32,
    /// That in bytes.
    pub request_bytes: u64,
    /// How it was asked for.
    pub gfp: u32,
    /// The first 64 NUMA nodes that it may be on; 0: any.
    pub nodes: u64,
    /// It was found on the trigger's kernel stack.
    pub is_by_stack: bool,
}

/// Averages in percent of time, of one kind of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five.
    pub avg300: f64,
    /// All of it, in microseconds.
    pub total_us: u64,
}

/// Memory pressure (PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Some task waited for memory.
    pub some: Stall,
    /// All did.
    pub full: Stall,
}

/// A process of the domain, shortly after the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Who it is.
    pub pid: u32,
    /// Its name.
    pub comm: Comm,
    /// Its resident bytes.
    pub resident: u64,
    /// Its swapped bytes.
    pub swap: u64,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
}

/// Another one that was killed by the same call of the OOM killer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sibling {
    /// Who it is.
    pub pid: u32,
    /// Its name.
    pub comm: Comm,
}

/// A fact that may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// All of the victim but its PID.
    Victim,
    /// Its command line.
    CommandLine,
    /// Whether the domain ran out, and what was asked for.
    Domain,
    /// Names for the gfp flags: all that the kernel may have.
    GfpNames,
    /// How often the limit was hit.
    Failcnt,
    /// The load average.
    Loadavg,
    /// Memory pressure of the machine.
    SystemPressure,
    /// That of the cgroup.
    CgroupPressure,
    /// The biggest processes.
    Top,
    /// Whether it was killed or about to exit.
    IsKill,
    /// A text of the kernel's was too long for the record.
    WholeTexts,
    /// Who else was killed: not all, there were too many.
    Siblings,
}

impl Fact {
    const ALL: [Self; 12] = [
        Self::Victim,
        Self::CommandLine,
        Self::Domain,
        Self::GfpNames,
        Self::Failcnt,
        Self::Loadavg,
        Self::SystemPressure,
        Self::CgroupPressure,
        Self::Top,
        Self::IsKill,
        Self::WholeTexts,
        Self::Siblings,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Victim => "victim",
            Self::CommandLine => "victim.cmdline",
            Self::Domain => "domain",
            Self::GfpNames => "gfp.names",
            Self::Failcnt => "domain.failcnt",
            Self::Loadavg => "loadavg",
            Self::SystemPressure => "pressure.system",
            Self::CgroupPressure => "pressure.cgroup",
            Self::Top => "top",
            Self::IsKill => "already_exiting",
            Self::WholeTexts => "truncated",
            Self::Siblings => "siblings",
        }
    }
}

/// Facts that are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown(u16);

impl Unknown {
    /// Adds one.
    pub fn add(&mut self, fact: Fact) {
        self.0 |= 1 << fact as u16;
    }

    /// Whether one is not known.
    pub fn has(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u16) != 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Fact> {
        Fact::ALL.into_iter().filter(move |&fact| self.has(fact))
    }
}

/// What is missing from the log, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Events for which the ring buffer had no room.
    pub events: u64,
    /// Victims of whom nobody will tell when their memory was back.
    pub reaps: u64,
    /// Events that the kernel did not hand to a program (recursion).
    pub missed: u64,
}

impl Loss {
    /// All together.
    pub fn total(self) -> u64 {
        self.events + self.reaps + self.missed
    }
}

/// A victim was marked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// The same for all that one call of the OOM killer kills.
    pub invocation: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// It was about to exit when it was marked: nobody was killed.
    pub is_exiting: bool,
    /// memory.oom.group holds: others are killed with it.
    pub is_group: bool,
    /// Who was chosen.
    pub victim: Victim,
    /// Who asked.
    pub trigger: Trigger,
    /// Whose memory it is.
    pub domain: Option<Domain>,
    /// As /proc/loadavg has it.
    pub loadavg: String,
    /// Of the machine.
    pub system_pressure: Option<Pressure>,
    /// Of the domain's cgroup, or else the victim's.
    pub cgroup_pressure: Option<Pressure>,
    /// The biggest processes of the domain, the first `top_count` of them.
    pub top: [Process; TOP],
    /// How many are named.
    pub top_count: usize,
    /// Who else was killed, the first of them.
    pub siblings: Vec<Sibling>,
    /// How many there are.
    pub sibling_count: usize,
    /// What this kernel could not give.
    pub unknown: Unknown,
    /// What was lost until now.
    pub loss: Loss,
}

impl Event {
    /// One with room for all its texts.
    pub fn with_room() -> Self {
        const PATH: usize = 1024;
        const COMMAND_LINE: usize = 4096;
        let mut event = Self::default();
        for task in [&mut event.victim.task, &mut event.trigger.task] {
            task.cgroup.reserve_exact(PATH);
            task.unified_cgroup.reserve_exact(PATH);
            task.user.reserve_exact(64);
        }
        event.victim.command_line.reserve_exact(COMMAND_LINE);
        event.loadavg.reserve_exact(64);
        event.siblings.reserve_exact(MAX_SIBLINGS);
        event.domain = Some(Domain {
            cgroup: String::with_capacity(PATH),
            ..Domain::default()
        });
        event
    }

    /// The biggest processes.
    pub fn top(&self) -> &[Process] {
        &self.top[..self.top_count]
    }

    /// Puts a process among the biggest, if it is one. A process that is there already keeps the
    /// larger figure: what was seen first.
    pub fn rank(&mut self, process: Process) {
        if let Some(at) = self.top().iter().position(|p| p.pid == process.pid) {
            if self.top[at].resident >= process.resident {
                return;
            }
            self.top.copy_within(at + 1..self.top_count, at);
            self.top_count -= 1;
        }
        let place = self
            .top()
            .partition_point(|p| p.resident >= process.resident);
        if place == TOP {
            return;
        }
        self.top_count = (self.top_count + 1).min(TOP);
        self.top.copy_within(place..self.top_count - 1, place + 1);
        self.top[place] = process;
    }

    /// Names another one that was killed by the same call.
    pub fn add_sibling(&mut self, sibling: Sibling) {
        self.sibling_count += 1;
        if self.siblings.len() < MAX_SIBLINGS {
            self.siblings.push(sibling);
        }
    }
}

/// What ended a victim's hold on its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The OOM reaper took it.
    Reaper,
    /// It was freed at the end of the process.
    Exit,
}

/// A victim's memory was back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// When.
    pub time: Timestamp,
    /// Whose it was.
    pub pid: u32,
    /// Its name.
    pub comm: Comm,
    /// After it was marked.
    pub after: Duration,
    /// In which way.
    pub by: EndedBy,
}

/// `badness` and the formula of /proc/PID/oom_score, as the kernel has them from 5.9 on
/// (oom_badness() in mm/oom_kill.c, proc_oom_score() in fs/proc/base.c). `total_pages` is RAM and
/// swap; sizes are in pages.
pub fn oom_score(used_pages: u64, oom_score_adj: i32, total_pages: u64) -> u32 {
    const UNKILLABLE: i32 = -1000;
    if oom_score_adj == UNKILLABLE || total_pages == 0 {
        return 0;
    }
    let total = total_pages as i64;
    let badness = used_pages as i64 + i64::from(oom_score_adj) * (total / 1000);
    ((1000 + badness * 1000 / total) * 2 / 3).max(0) as u32
}

/// Which events are shown.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only victims in this cgroup, or below it.
    pub cgroup: Option<String>,
    /// Only this victim.
    pub pid: Option<u32>,
    /// Only victims of this name.
    pub comm: Option<String>,
}

impl Selection {
    /// Whether an event is shown. One of which too little is known to tell is.
    pub fn has(&self, event: &Event) -> bool {
        let task = &event.victim.task;
        let is_known = !event.unknown.has(Fact::Victim);
        if !is_known || event.unknown.has(Fact::WholeTexts) {
            return self.pid.is_none_or(|pid| pid == task.pid);
        }
        let is_inside = |path: &str, wanted: &str| {
            let rest = path.strip_prefix(wanted.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let in_cgroup = self.cgroup.as_deref().is_none_or(|wanted| {
            is_inside(&task.cgroup, wanted)
                || (!task.unified_cgroup.is_empty() && is_inside(&task.unified_cgroup, wanted))
        });
        let has_name = |wanted: &str| task.comm.bytes() == wanted.as_bytes();
        in_cgroup
            && self.pid.is_none_or(|pid| pid == task.pid)
            && self.comm.as_deref().is_none_or(has_name)
    }
}

#[cfg(test)]
mod tests;
