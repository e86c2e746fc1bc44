//! The kernel side: loaded for one way of tracing functions, and attached.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, OpenObject, ProgramAttachType};
use memtools::attach::{
    self, KernelError, Links, has_attach_cookie, has_reentrant_task_storage, missed_calls,
    recursion_misses,
};
use memtools::maps::SharedWords;

use super::abi;
use super::wanted::Wanted;
use crate::cli::Recursion;
use crate::model::SplitBy;
use crate::plan::{Place, Plan};

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
    include!(concat!(env!("OUT_DIR"), "/funclatency.skel.rs"));
}

pub use skel::{FunclatencySkel, types};

/// How functions are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Of programs.
    User(attach::Way),
    /// Of the kernel: trampolines (fentry, fexit), programs of its own for each function.
    Trampoline,
    /// Many functions at once, entries and returns paired (6.12).
    Session,
    /// Many functions at once (5.18).
    Multi,
    /// One by one.
    Kprobe,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(way) => way.fmt(f),
            Self::Trampoline => f.write_str("fentry and fexit"),
            Self::Session => f.write_str("kprobe.session"),
            Self::Multi => f.write_str("kprobe.multi"),
            Self::Kprobe => f.write_str("kprobes"),
        }
    }
}

impl Way {
    fn is_kernel(self) -> bool {
        !matches!(self, Self::User(_))
    }

    /// Whether one set of programs does for all functions: each learns from a cookie which it is.
    pub fn has_cookies(self) -> bool {
        self != Self::Trampoline && has_attach_cookie()
    }

    fn is_needed(self, program: &str) -> bool {
        match self {
            Self::User(attach::Way::Session) => {
                matches!(
                    program,
                    "on_user_session" | "on_user_entry_alone" | "on_user_exit"
                )
            }
            Self::User(_) => {
                matches!(program, "on_user_entry" | "on_user_return")
                    || matches!(program, "on_user_entry_alone" | "on_user_exit")
            }
            Self::Trampoline => program.starts_with("on_trampoline"),
            Self::Session => program == "on_kernel_session",
            Self::Multi | Self::Kprobe => {
                matches!(program, "on_kernel_entry" | "on_kernel_return")
            }
        }
    }

    fn attach_type(self, program: &str) -> Option<ProgramAttachType> {
        match self {
            Self::User(attach::Way::Session | attach::Way::Multi)
                if program != "on_user_session" =>
            {
                Some(ProgramAttachType::TraceUprobeMulti)
            }
            Self::Multi => Some(ProgramAttachType::KprobeMulti),
            _ => None,
        }
    }
}

/// A function that has programs of its own.
#[derive(Clone, Copy, Debug)]
pub struct OwnFunction<'a> {
    /// Its number.
    pub number: u32,
    /// Its name, for a trampoline.
    pub name: &'a str,
    /// How many arguments it has, for a trampoline.
    pub arguments: u32,
}

/// What is counted, and the programs that do. Dropping it detaches.
pub struct Loaded {
    /// Of functions, and of threads; detached first.
    pub links: Links,
    /// That which sees the entries of many functions of the kernel.
    pub calls: Option<Link>,
    /// One set of programs for all functions, or one for each.
    pub sets: Vec<FunclatencySkel<'static>>,
    /// The maps, and the programs that see threads end.
    pub base: FunclatencySkel<'static>,
    /// In `functions`, for each function.
    pub stripes: u32,
    has_task_storage: bool,
    has_one_function: bool,
    way: Way,
}

impl Loaded {
    /// Loads the maps and what sees threads end, for so many functions.
    pub fn load(wanted: &Wanted, way: Way, functions: u32) -> Result<Self, KernelError> {
        let stripes = stripes(functions);
        let load = |has_task_storage| {
            let mut open = open(wanted, way, stripes, has_task_storage)?;
            let loading = |source| KernelError::new("loading funclatency's BPF programs", source);
            let maps = &mut open.maps;
            maps.functions
                .set_max_entries(functions * stripes)
                .map_err(loading)?;
            maps.numbers.set_max_entries(functions).map_err(loading)?;
            let is_split = wanted.split.is_some();
            for (map, size) in [
                (&mut maps.rows, wanted.max_rows),
                (&mut maps.names, wanted.max_rows),
                (&mut maps.cells, cells(wanted.max_rows)),
            ] {
                map.set_max_entries(if is_split { size } else { 1 })
                    .map_err(loading)?;
            }
            for mut program in open.open_object_mut().progs_mut() {
                let name = program.name().to_string_lossy().into_owned();
                program.set_autoload(matches!(name.as_str(), "on_exit" | "on_exec"));
            }
            open.load().map_err(loading)
        };
        // Functions of the kernel may be called where no memory can be allocated.
        let may_store = !way.is_kernel() || has_reentrant_task_storage();
        let stored = may_store.then(|| load(true)).and_then(Result::ok);
        let (base, has_task_storage) = match stored {
            Some(base) => (base, true),
            None => (load(false)?, false),
        };
        Ok(Self {
            links: Links::default(),
            calls: None,
            sets: Vec::new(),
            base,
            stripes,
            has_task_storage,
            has_one_function: functions == 1,
            way,
        })
    }

    /// Loads a set of programs that trace functions; all work on the same maps.
    pub fn add_set(
        &mut self,
        wanted: &Wanted,
        way: Way,
        own: Option<OwnFunction<'_>>,
    ) -> Result<&FunclatencySkel<'static>, libbpf_rs::Error> {
        let opened = open(wanted, way, self.stripes, self.has_task_storage);
        let mut open = opened
            .map_err(|error| libbpf_rs::Error::from(std::io::Error::other(error.to_string())))?;
        let (maps, base) = (&mut open.maps, &self.base.maps);
        maps.functions.reuse_fd(base.functions.as_fd())?;
        maps.rows.reuse_fd(base.rows.as_fd())?;
        maps.cells.reuse_fd(base.cells.as_fd())?;
        maps.names.reuse_fd(base.names.as_fd())?;
        maps.counters.reuse_fd(base.counters.as_fd())?;
        maps.events.reuse_fd(base.events.as_fd())?;
        maps.numbers.reuse_fd(base.numbers.as_fd())?;
        maps.bss.reuse_fd(base.bss.as_fd())?;
        maps.data.reuse_fd(base.data.as_fd())?;
        if self.has_task_storage {
            maps.calls.reuse_fd(base.calls.as_fd())?;
            maps.details.reuse_fd(base.details.as_fd())?;
        }
        let (calls, details) = (&base.calls_by_thread, &base.details_by_thread);
        maps.calls_by_thread.reuse_fd(calls.as_fd())?;
        maps.details_by_thread.reuse_fd(details.as_fd())?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.has_one_function = self.has_one_function.into();
        }
        if let (Some(own), Some(rodata)) = (own, open.maps.rodata_data.as_deref_mut()) {
            rodata.own_function = own.number;
            rodata.own_arguments = own.arguments;
            rodata.has_attach_cookie = 0;
        }
        for mut program in open.open_object_mut().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let is_needed = way.is_needed(&name);
            program.set_autoload(is_needed);
            if !is_needed {
                continue;
            }
            if let Some(kind) = way.attach_type(&name) {
                program.set_attach_type(kind);
            }
            if let (Way::Trampoline, Some(own)) = (way, own) {
                program.set_attach_target(0, Some(own.name.to_owned()))?;
            }
        }
        self.sets.push(open.load()?);
        Ok(&self.sets[self.sets.len() - 1])
    }

    /// Where probes have no cookies, a function is found by its address.
    pub fn set_numbers(&self, plan: &Plan) -> Result<(), libbpf_rs::Error> {
        let map = &self.base.maps.numbers;
        for (planned, number) in plan.functions.iter().zip(0_u32..) {
            if let Place::Kernel { address } = planned.place {
                let (address, number) = (address.to_ne_bytes(), number.to_ne_bytes());
                map.update(&address, &number, MapFlags::ANY)?;
            }
        }
        Ok(())
    }

    /// Attaches what sees threads end.
    pub fn attach_threads(&mut self) -> Result<(), KernelError> {
        let attaching =
            |source| KernelError::new("attaching to the scheduler's tracepoints", source);
        let exit = self.base.progs.on_exit.attach().map_err(attaching)?;
        let exec = self.base.progs.on_exec.attach().map_err(attaching)?;
        self.links.extend([exit, exec]);
        Ok(())
    }

    /// Calls count from now on: all programs are there.
    pub fn enable(&mut self) {
        if let Some(bss) = self.base.maps.bss_data.as_deref_mut() {
            // SAFETY: a word that only we write, in memory shared with the kernel.
            unsafe { (&raw mut bss.enabled).write_volatile(1) };
        }
    }

    /// From here on the kernel tells of single calls, in nanoseconds.
    pub fn set_slow_ns(&mut self, ns: u64) {
        if let Some(data) = self.base.maps.data_data.as_deref_mut() {
            // SAFETY: as above.
            unsafe { (&raw mut data.slow_ns).write_volatile(ns) };
        }
    }

    /// The number of the interval that goes on.
    pub fn interval(&self) -> u32 {
        self.base
            .maps
            .bss_data
            .as_deref()
            .map_or(0, |bss| bss.interval)
    }

    /// Begins an interval; returns the number of the one that has ended.
    pub fn end_interval(&mut self) -> u32 {
        let Some(bss) = self.base.maps.bss_data.as_deref_mut() else {
            return 0;
        };
        let ended = bss.interval;
        // SAFETY: as above.
        unsafe { (&raw mut bss.interval).write_volatile(ended.wrapping_add(1)) };
        ended
    }

    /// What was counted of functions, in place.
    pub fn functions(&self) -> Result<SharedWords<{ abi::STATS_WORDS }>, KernelError> {
        SharedWords::new(&self.base.maps.functions).map_err(|error| {
            let source = libbpf_rs::Error::from(std::io::Error::other(error));
            KernelError::new("mapping what is counted", source)
        })
    }

    /// Whether functions are the kernel's.
    pub fn is_kernel(&self) -> bool {
        self.way.is_kernel()
    }

    /// Events that the kernel skipped, because a program ran already.
    pub fn missed(&self) -> u64 {
        let programs = self.sets.iter().flat_map(|set| set.object().progs());
        let loaded = programs.filter(libbpf_rs::ProgramImpl::autoload);
        let skipped: u64 = loaded.map(|program| recursion_misses(&program)).sum();
        skipped + self.calls.as_ref().map_or(0, missed_calls)
    }
}

/// So many elements a function has: one for each CPU, as far as they take no more than so many bytes.
fn stripes(functions: u32) -> u32 {
    const MOST_BYTES: usize = 32 << 20;
    let each = functions.max(1) as usize * abi::STATS_WORDS * 8;
    let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1);
    let most = (MOST_BYTES / each).clamp(1, cpus.next_power_of_two()) as u32;
    // Down to a power of two.
    1 << most.ilog2()
}

/// So many places have the histograms of rows.
fn cells(rows: u32) -> u32 {
    /// A row's times are in so many of them, as a rule; each takes about 100 bytes, and 8 a CPU.
    const CELLS_PER_ROW: u32 = 16;
    const MOST: u32 = 1 << 20;
    rows.saturating_mul(CELLS_PER_ROW).min(MOST)
}

fn open(
    wanted: &Wanted,
    way: Way,
    stripes: u32,
    has_task_storage: bool,
) -> Result<skel::OpenFunclatencySkel<'static>, KernelError> {
    /// TEXT_ANYWHERE in walk.bpf.h: frames of any process are walked.
    const TEXT_ANYWHERE: u64 = 1 << 62;
    /// A thread's record takes 5 KiB where the table is there at once, its details 7 KiB.
    const THREADS: u32 = 2048;
    const THREADS_IN_KERNEL: u32 = 8192;
    /// Threads to which the kernel refuses task storage, at a time.
    const REFUSED_THREADS: u32 = 64;
    let opening = |source| KernelError::new("opening funclatency's BPF programs", source);
    // The skeleton borrows its object for as long as it lives, and is handed about.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = skel::FunclatencySkelBuilder::default()
        .open(object)
        .map_err(opening)?;
    if let Some(bss) = open.maps.bss_data.as_deref_mut() {
        bss.text_ranges[0].end = TEXT_ANYWHERE;
    }
    let threads = match has_task_storage {
        true => REFUSED_THREADS,
        false if way.is_kernel() => THREADS_IN_KERNEL,
        false => THREADS,
    };
    let detailed = if wanted.wants_slow() { threads } else { 1 };
    let maps = &mut open.maps;
    for map in [&mut maps.calls, &mut maps.details] {
        map.set_autocreate(has_task_storage).map_err(opening)?;
    }
    for (map, threads) in [
        (&mut maps.calls_by_thread, threads),
        (&mut maps.details_by_thread, detailed),
    ] {
        map.set_max_entries(threads).map_err(opening)?;
    }
    let Some(rodata) = open.maps.rodata_data.as_deref_mut() else {
        return Ok(open);
    };
    rodata.has_attach_cookie = way.has_cookies().into();
    rodata.has_task_storage = has_task_storage.into();
    rodata.is_kernel = way.is_kernel().into();
    rodata.may_miss_returns = matches!(way, Way::Multi | Way::Kprobe).into();
    rodata.stripe_mask = stripes - 1;
    rodata.unit_ns = wanted.unit.ns();
    rodata.wants_slow = wanted.wants_slow().into();
    rodata.wants_stack = wanted.stack.into();
    rodata.target_process = wanted.process.map_or(0, |process| process.inner_pid);
    rodata.target_thread = wanted.thread.map_or(0, |thread| thread.inner_tid);
    rodata.own_process = wanted.own_process;
    if let Some((device, inode)) = wanted.namespace {
        rodata.pid_namespace_device = device;
        rodata.pid_namespace_inode = inode;
    }
    rodata.wanted_cgroup = wanted.cgroup.map_or(0, |cgroup| cgroup.id);
    rodata.wants_memory_cgroup = wanted.is_memory_v1.into();
    rodata.recursion = match wanted.recursion {
        Recursion::All => abi::RECURSION_ALL,
        Recursion::Outermost => abi::RECURSION_OUTERMOST,
        Recursion::Innermost => abi::RECURSION_INNERMOST,
    };
    if let Some(level) = wanted.level {
        rodata.max_level = level;
    }
    rodata.split = match wanted.split {
        None => abi::SPLIT_NONE,
        Some(SplitBy::Pid) => abi::SPLIT_PROCESS,
        Some(SplitBy::Tid) => abi::SPLIT_THREAD,
        Some(SplitBy::Comm) => abi::SPLIT_COMM,
        Some(SplitBy::Cgroup) => abi::SPLIT_CGROUP,
        Some(SplitBy::Cpu) => abi::SPLIT_CPU,
        Some(SplitBy::Return) => abi::SPLIT_RETURN,
    };
    Ok(open)
}
