//! The kernel side, loaded and attached.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, Link, MapCore, OpenObject};
use memtools::attach::{Hook, KernelError, recursion_misses};

use crate::model::Loss;

// Generated code.
#[allow(
    clippy::all,
    clippy::expect_used,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    unused
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/oomkill.skel.rs"));
}

pub use skel::types;

/// In which way the domain of a kill is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainWay {
    /// `oom_kill_process()` is probed: its argument says it.
    Function(Hook),
    /// It is looked for on the kernel stack of the thread that asked for memory.
    Stack,
}

impl DomainWay {
    /// From best to last.
    const ALL: [Self; 3] = [
        Self::Function(Hook::Fentry),
        Self::Function(Hook::Kprobe),
        Self::Stack,
    ];

    /// For people.
    pub fn explain(self) -> String {
        let way = match self {
            Self::Function(hook) => format!("{hook} of oom_kill_process"),
            Self::Stack => "search of the kernel stack (no fentry, no kprobes here)".to_owned(),
        };
        format!("victims by raw tracepoint oom/mark_victim, domains by {way}")
    }
}

/// The loaded and attached programs.
pub struct Kernel {
    pub skel: skel::OomkillSkel<'static>,
    /// Dropping them detaches.
    #[allow(dead_code)]
    links: Vec<Link>,
    processes: Option<Link>,
    /// How the domain is found.
    pub way: DomainWay,
    /// A kill is told from a task that was about to exit.
    pub knows_kills: bool,
    /// When a victim's memory is freed.
    pub knows_ends: bool,
}

/// Over how many CPUs the counters of a process are summed. The kernel's log has them so from 7.0 on;
/// its types do not tell, so this stands on the release.
fn counted_cpus() -> u32 {
    const SUMMED_FROM: u32 = 7;
    let release = memtools::process::kernel_release().unwrap_or_default();
    let major = release
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < SUMMED_FROM) || !has_symbol("__per_cpu_offset") {
        return 0;
    }
    libbpf_rs::num_possible_cpus().map_or(0, |cpus| cpus as u32)
}

/// Whether the kernel names a symbol, and says where it is.
fn has_symbol(name: &str) -> bool {
    let Ok(symbols) = File::open("/proc/kallsyms") else {
        return false;
    };
    let mut lines = BufReader::new(symbols).lines().map_while(Result::ok);
    lines.any(|line| line.split(' ').nth(2) == Some(name) && !line.starts_with("0000000000000000"))
}

impl Kernel {
    /// Loads and attaches, in the best way that works. `stacks`: the trigger's stacks are wanted.
    pub fn start(stacks: bool) -> Result<Self, KernelError> {
        for way in DomainWay::ALL {
            match Self::start_by(way, stacks) {
                Err(_) if way != DomainWay::Stack => {}
                outcome => return outcome,
            }
        }
        unreachable!("the last way returns its outcome")
    }

    fn start_by(way: DomainWay, stacks: bool) -> Result<Self, KernelError> {
        let loading = |source| KernelError::new("loading oomkill's BPF programs", source);
        // The object has to outlive the skeleton, and both live until the process ends.
        let object: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = skel::OomkillSkelBuilder::default()
            .open(object)
            .map_err(loading)?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.wants_stacks = u32::from(stacks);
            rodata.counted_cpus = counted_cpus();
        }
        if let Some(bss) = open.maps.bss_data.as_deref_mut() {
            bss.has_function = u32::from(way != DomainWay::Stack);
        }
        let progs = &mut open.progs;
        progs
            .oom_kill_process_entry
            .set_autoload(way == DomainWay::Function(Hook::Fentry));
        progs
            .oom_kill_process_kprobe
            .set_autoload(way == DomainWay::Function(Hook::Kprobe));
        let skel = open.load().map_err(loading)?;
        let mut kernel = Self {
            skel,
            links: Vec::new(),
            processes: None,
            way,
            knows_kills: false,
            knows_ends: false,
        };
        kernel.attach().map_err(|source| {
            KernelError::new("attaching to the OOM killer's tracepoints", source)
        })?;
        Ok(kernel)
    }

    /// What comes first in a kill is attached last: no event is half of one.
    fn attach(&mut self) -> Result<(), libbpf_rs::Error> {
        let progs = &self.skel.progs;
        let mut links = vec![];
        // Without these, nobody tells when the memory was back; that is no reason to do without all.
        let end = progs
            .on_unmapped
            .attach()
            .or_else(|_| progs.on_exit.attach());
        self.knows_ends = end.is_ok();
        links.extend(end.ok());
        links.extend(progs.on_reaped.attach().ok());
        self.processes = progs.list_processes.attach().ok();
        let signals = progs.on_signal.attach().ok();
        self.knows_kills = signals.is_some();
        links.extend(signals);
        match self.way {
            DomainWay::Function(Hook::Fentry) => links.push(progs.oom_kill_process_entry.attach()?),
            DomainWay::Function(_) => links.push(progs.oom_kill_process_kprobe.attach()?),
            DomainWay::Stack => {}
        }
        links.push(progs.on_mark_victim.attach()?);
        self.links = links;
        Ok(())
    }

    /// Begins to list the processes in a memory cgroup, by its kernfs id, or all (0).
    pub fn list_processes(&mut self, cgroup: u64) -> Option<Iter> {
        let bss = self.skel.maps.bss_data.as_deref_mut()?;
        bss.wanted_cgroup = cgroup;
        Iter::new(self.processes.as_ref()?).ok()
    }

    /// What was lost until now. Allocates nothing.
    pub fn loss(&self) -> Loss {
        let progs = &self.skel.progs;
        let programs = [
            &progs.on_mark_victim,
            &progs.on_signal,
            &progs.on_reaped,
            &progs.on_unmapped,
        ];
        let missed = programs.map(recursion_misses).into_iter().sum();
        let Some(bss) = self.skel.maps.bss_data.as_deref() else {
            return Loss::default();
        };
        // SAFETY: counters that the kernel adds to in memory shared with us.
        let read = |counter: *const u64| unsafe { counter.read_volatile() };
        Loss {
            events: read(&raw const bss.lost_events),
            reaps: read(&raw const bss.lost_reaps),
            missed,
        }
    }

    /// The ring buffer.
    pub fn events(&self) -> &dyn MapCore {
        &self.skel.maps.events
    }
}
