//! What the collector hands over: plain figures of one moment.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memtools::output::{as_hex, counted};
use memtools::process::Resident;
use memtools::symbols::Location;

pub use memtools::score::{Amount, Births};
use serde::Serialize;

use crate::intervals::MappingClass;

/// What kind of memory a stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Blocks of the allocator.
    Heap,
    /// The program's own anonymous mappings.
    Mmap,
    /// Stacks of threads.
    ThreadStack,
    /// What the allocator reserved for blocks to come.
    Arena,
    /// Thread-local storage, allocated by the dynamic linker.
    Tls,
    /// The kernel's objects: kmalloc and its caches.
    Slab,
    /// The kernel's pages, but those of its other allocators.
    Pages,
    /// The kernel's memory of which each CPU has a copy.
    Percpu,
    /// The kernel's areas of pages that need not lie together.
    Vmalloc,
    /// Pages of the kernel's other allocators, where those are traced themselves.
    Backing,
}

impl Class {
    /// Whether memory of this class can be leaked by the program; the others come and go with
    /// its threads.
    pub fn can_leak(self) -> bool {
        matches!(
            self,
            Self::Heap | Self::Mmap | Self::Slab | Self::Pages | Self::Percpu | Self::Vmalloc
        )
    }

    /// Whether it is the kernel's own.
    pub fn is_of_kernel(self) -> bool {
        matches!(
            self,
            Self::Slab | Self::Pages | Self::Percpu | Self::Vmalloc | Self::Backing
        )
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Mmap => "mmap",
            Self::ThreadStack => "thread stacks",
            Self::Arena => "arenas",
            Self::Tls => "thread-local storage",
            Self::Slab => "slab",
            Self::Pages => "pages",
            Self::Percpu => "per-CPU memory",
            Self::Vmalloc => "vmalloc",
            Self::Backing => "pages of slab, vmalloc and per-CPU memory",
        }
    }
}

impl From<MappingClass> for Class {
    fn from(class: MappingClass) -> Self {
        match class {
            MappingClass::Mmap => Self::Mmap,
            MappingClass::ThreadStack => Self::ThreadStack,
            MappingClass::Arena => Self::Arena,
        }
    }
}

/// A stack as the kernel side kept it, with what its addresses meant then.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// From the call that allocated outward; ends where text ends.
    pub locations: Vec<Arc<Location>>,
    /// The walk reached the depth limit.
    pub is_truncated: bool,
    /// The walk left the text of the process: outer frames are missing.
    pub is_cut: bool,
}

/// A block: where, how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Block {
    /// Its address.
    #[serde(serialize_with = "as_hex")]
    pub addr: u64,
    /// Its size in bytes, as it was asked for.
    pub size: u64,
}

/// Live blocks by size: how many lie in each power of two, the smallest first; none is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SizeHistogram(pub Vec<(u8, u64)>);

impl SizeHistogram {
    /// Adds blocks of one size: bucket 0 holds sizes 0 and 1, bucket N those from 2^N to 2^(N+1)-1.
    pub fn add_blocks(&mut self, bytes: u64, count: u64) {
        self.add(bytes.max(1).ilog2() as u8, count);
    }

    /// Adds blocks to a bucket.
    pub fn add(&mut self, bucket: u8, count: u64) {
        match self.0.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (bucket, count)),
        }
    }

    /// Adds all of another one, so many times.
    pub fn merge(&mut self, other: &Self, factor: u64) {
        for (bucket, count) in &other.0 {
            self.add(*bucket, count * factor);
        }
    }
}

/// What one stack has allocated.
#[derive(Clone, Debug)]
pub struct StackAccount {
    /// Where.
    pub stack: Arc<Stack>,
    /// What.
    pub class: Class,
    /// Live, and old enough to be shown.
    pub live: Amount,
    /// Live, and younger than that.
    pub young: Amount,
    /// Of `live`: made after the base line was set, or all while there is none.
    pub fresh: Amount,
    /// Allocations since the attach.
    pub allocs: u64,
    /// Their bytes.
    pub alloc_bytes: u64,
    /// Frees of them.
    pub frees: u64,
    /// When the live blocks were made; `None` where there are none, or nobody counted them (`-C`).
    pub births: Option<Births>,
    /// How large they are.
    pub sizes: SizeHistogram,
    /// The blocks, if they were asked for (`-a`).
    pub blocks: Vec<Block>,
}

/// Calls since the attach, also those whose blocks are not tracked (`-s`, `-z`, `-Z`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Successful allocations.
    pub allocs: u64,
    /// Frees, those of blocks that are not tracked among them.
    pub frees: u64,
    /// Allocations and mappings that failed.
    pub failed: u64,
}

/// Direct calls of mmap and the like since the attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MappingCalls {
    /// Anonymous mappings made.
    pub maps: u64,
    /// munmap calls.
    pub unmaps: u64,
    /// Mappings moved or resized.
    pub remaps: u64,
}

/// What makes figures wrong; each counts occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Allocations that found the table full (`--max-allocs`).
    #[serde(skip_serializing_if = "is_zero")]
    pub allocs: u64,
    /// Their bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub alloc_bytes: u64,
    /// Addresses given out again although no free was seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed_frees: u64,
    /// Calls that never came back: longjmp, an exception, or a return that the kernel dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed_returns: u64,
    /// Allocations whose stack found no room (`--stack-storage-size`).
    #[serde(skip_serializing_if = "is_zero")]
    pub stacks: u64,
    /// Allocations whose stack is deeper than is kept (`--perf-max-stack-depth`).
    #[serde(skip_serializing_if = "is_zero")]
    pub truncated_stacks: u64,
    /// Calls by threads that found no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub threads: u64,
    /// mmap, munmap and mremap calls that found the ring buffer full.
    #[serde(skip_serializing_if = "is_zero")]
    pub mapping_events: u64,
    /// Lines of `-t` that found it full.
    #[serde(skip_serializing_if = "is_zero")]
    pub trace_events: u64,
    /// Milliseconds in which the probes did not fire: the thread that carried them had exited.
    #[serde(skip_serializing_if = "is_zero")]
    pub blind_ms: u64,
    /// Execs that were noticed only by perf's record.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped_execs: u64,
    /// Records of new text mappings that were dropped: names may be missing or wrong.
    #[serde(skip_serializing_if = "is_zero")]
    pub text_mappings: u64,
    /// Allocations of the kernel's that were not told of: an interrupt came while another one was, or
    /// it was one of too many at once.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped_events: u64,
    /// Processes that ran for a while before their probes were in.
    #[serde(skip_serializing_if = "is_zero")]
    pub late_processes: u64,
    /// Processes that ended before, or could not be traced.
    #[serde(skip_serializing_if = "is_zero")]
    pub unseen_processes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Loss {
    /// How often something was lost, whatever it was.
    pub fn events(&self) -> u64 {
        self.allocs
            + self.missed_frees
            + self.missed_returns
            + self.stacks
            + self.truncated_stacks
            + self.threads
            + self.mapping_events
            + self.trace_events
            + u64::from(self.blind_ms > 0)
            + self.skipped_execs
            + self.text_mappings
            + self.skipped_events
            + self.late_processes
            + self.unseen_processes
    }

    /// Adds what another process has lost.
    pub fn add(&mut self, other: &Self) {
        let Self {
            allocs,
            alloc_bytes,
            missed_frees,
            missed_returns,
            stacks,
            truncated_stacks,
            threads,
            mapping_events,
            trace_events,
            blind_ms,
            skipped_execs,
            text_mappings,
            skipped_events,
            late_processes,
            unseen_processes,
        } = other;
        self.allocs += allocs;
        self.alloc_bytes += alloc_bytes;
        self.missed_frees += missed_frees;
        self.missed_returns += missed_returns;
        self.stacks += stacks;
        self.truncated_stacks += truncated_stacks;
        self.threads += threads;
        self.mapping_events += mapping_events;
        self.trace_events += trace_events;
        self.blind_ms += blind_ms;
        self.skipped_execs += skipped_execs;
        self.text_mappings += text_mappings;
        self.skipped_events += skipped_events;
        self.late_processes += late_processes;
        self.unseen_processes += unseen_processes;
    }
}

/// What the probes cost the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProbeLoad {
    /// Probe hits since the attach.
    pub hits: u64,
    /// Probe hits a second, since the last report.
    pub hits_per_s: f64,
    /// The estimated share of the target's CPU time that they take, since the last report, in
    /// percent; `None` while it used none.
    pub cpu_percent: Option<f64>,
}

/// The memory of the process as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentChange {
    /// When the probes went in.
    pub at_attach: Option<Resident>,
    /// Now, or when it was last there.
    pub now: Option<Resident>,
}

/// One of several processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Which.
    pub pid: u32,
    /// Its name, not yet cleaned.
    pub comm: String,
    /// Whether it has ended.
    pub has_ended: bool,
    /// Whether its probes went out because they took more of its time than was allowed: nothing is
    /// seen of it since.
    pub was_detached: bool,
    /// Allocations since its probes went in.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
    /// How long its program had run before they were in, if it began under our eyes.
    pub late: Option<Duration>,
}

impl ProcessFigures {
    /// What the outermost frame of its stacks is called; not yet cleaned.
    pub fn label(&self) -> String {
        process_label(&self.comm, self.pid)
    }
}

/// A process for people.
pub fn process_label(comm: &str, pid: u32) -> String {
    format!("{comm} (PID {pid})")
}

/// All processes that are, or were, under observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// By what they were chosen; not yet cleaned.
    pub chosen_by: String,
    /// Each of them: those that have ended first, else by PID.
    pub list: Vec<ProcessFigures>,
}

/// What holds for the whole process at one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When.
    pub time: Timestamp,
    /// Since recording began.
    pub elapsed: Duration,
    /// Whose; 0: the kernel's.
    pub pid: u32,
    /// Its name, not yet cleaned.
    pub comm: String,
    /// Whether it has ended.
    pub has_ended: bool,
    /// What happened.
    pub events: Events,
    /// Likewise.
    pub mappings: MappingCalls,
    /// Frees of blocks that are not tracked: older than the attach, or left out.
    pub untracked_frees: u64,
    /// Resident memory.
    pub resident: ResidentChange,
    /// What glibc needs beside the bytes that were asked for (headers, alignment), in bytes.
    pub chunk_overhead: u64,
    /// What the probes cost.
    pub load: ProbeLoad,
    /// What is missing.
    pub loss: Loss,
    /// The process has sampled its allocations itself: figures of the heap are its samples' weights.
    pub is_sampled: bool,
    /// With several processes: which. The outermost frame of each stack names its process then.
    pub processes: Option<Processes>,
}

impl Moment {
    /// Whether it is the kernel's memory, and no process's.
    pub fn is_of_kernel(&self) -> bool {
        self.pid == 0 && self.processes.is_none()
    }

    /// Whose memory it is, for people; not yet cleaned.
    pub fn subject(&self) -> String {
        if let Some(processes) = &self.processes {
            let count = counted(processes.list.len() as u64, "process");
            return format!("{} ({count})", processes.chosen_by);
        }
        if self.is_of_kernel() {
            "the kernel".to_owned()
        } else {
            process_label(&self.comm, self.pid)
        }
    }
}

/// Everything that was known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What holds for all of it.
    pub moment: Moment,
    /// By stack and class; each once.
    pub stacks: Vec<StackAccount>,
}
