//! The kernel side: loaded for what is asked, and attached.

use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

use libbpf_rs::libbpf_sys::BPF_FUNC_get_current_task_btf;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, OpenObject, ProgramType};
use memtools::attach::{Hook, KernelError, exact_tracepoint, recursion_misses};

use super::abi;
use super::wanted::Wanted;
use crate::model::By;

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
    include!(concat!(env!("OUT_DIR"), "/syscount.skel.rs"));
}

pub use skel::{SyscountSkel, types};

/// In which way calls are seen on this kernel, found by trying.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// The tracepoints of calls.
    pub hook: Hook,
    /// Whether what a thread has entered is kept in the task itself.
    pub has_task_storage: bool,
    /// Whether programs may look into the running task (5.11).
    has_current_task: bool,
}

impl Ways {
    /// Finds the cheapest that loses nothing: for a tenth of a second.
    pub fn find() -> Self {
        Self {
            hook: exact_tracepoint(),
            has_task_storage: true,
            has_current_task: ProgramType::RawTracepoint
                .is_helper_supported(BPF_FUNC_get_current_task_btf)
                .unwrap_or(false),
        }
    }
}

/// Programs, loaded and attached. Dropping it detaches.
pub struct Loaded {
    /// The iterator over threads.
    pub threads: Option<Link>,
    links: Vec<Link>,
    // After the links.
    pub skel: SyscountSkel<'static>,
}

impl Loaded {
    /// Loads; with task storage, if this kernel lets such programs have it.
    pub fn load(wanted: &Wanted, ways: &mut Ways) -> Result<Self, KernelError> {
        if wanted.times && ways.has_task_storage {
            match load(wanted, *ways) {
                Ok(loaded) => return Ok(loaded),
                Err(_) => ways.has_task_storage = false,
            }
        }
        load(wanted, *ways)
    }

    /// Attaches. Nothing counts before all programs are there.
    pub fn attach(&mut self) -> Result<(), KernelError> {
        let attaching =
            |source| KernelError::new("attaching to the tracepoints of system calls", source);
        for program in self.skel.object_mut().progs_mut() {
            if !program.autoload() {
                continue;
            }
            let is_iterator = program.name() == "list_threads";
            let link = program.attach().map_err(attaching)?;
            if is_iterator {
                self.threads = Some(link);
            } else {
                self.links.push(link);
            }
        }
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: a word that only we write, in memory shared with the kernel.
            unsafe { (&raw mut bss.enabled).write_volatile(1) };
        }
        Ok(())
    }

    /// The number of the interval that goes on.
    pub fn interval(&self) -> u32 {
        self.skel
            .maps
            .bss_data
            .as_deref()
            .map_or(0, |bss| bss.interval)
    }

    /// Begins an interval; returns the number of the one that has ended.
    pub fn end_interval(&mut self) -> u32 {
        let Some(bss) = self.skel.maps.bss_data.as_deref_mut() else {
            return 0;
        };
        let ended = bss.interval;
        // SAFETY: a word that only we write, in memory shared with the kernel.
        unsafe { (&raw mut bss.interval).write_volatile(ended.wrapping_add(1)) };
        ended
    }

    /// Events that the kernel skipped, because a program ran already.
    pub fn missed(&self) -> u64 {
        let programs = self.skel.object().progs();
        let loaded = programs.filter(libbpf_rs::ProgramImpl::autoload);
        loaded.map(|program| recursion_misses(&program)).sum()
    }
}

/// Whether a program is loaded.
fn is_needed(program: &str, wanted: &Wanted, ways: Ways) -> bool {
    let enters = wanted.times || !wanted.only_errors || wanted.waits_for_exec;
    let leaves = wanted.times || wanted.only_errors || wanted.by_errno;
    let is_raw = ways.hook != Hook::Tracepoint;
    match program {
        "on_enter" => enters && is_raw,
        "on_leave" => leaves && is_raw,
        "on_enter_record" => enters && !is_raw,
        "on_leave_record" => leaves && !is_raw,
        "on_fork" => wanted.follows && is_raw,
        "on_fork_record" => wanted.follows && !is_raw,
        "on_exit" => (wanted.follows || wanted.times) && is_raw,
        "on_exit_record" => (wanted.follows || wanted.times) && !is_raw,
        "on_exec" | "list_threads" => wanted.times,
        _ => false,
    }
}

fn load(wanted: &Wanted, ways: Ways) -> Result<Loaded, KernelError> {
    let loading = |source| KernelError::new("loading syscount's BPF programs", source);
    // The skeleton borrows its object for as long as it lives, and is handed about.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = skel::SyscountSkelBuilder::default()
        .open(object)
        .map_err(loading)?;
    set_up(&mut open, wanted, ways);
    let maps = &mut open.maps;
    let is_keyed = wanted.by != By::Call && wanted.by != By::Errno;
    for (map, is_there) in [
        (&mut maps.record, wanted.times && ways.has_task_storage),
        (&mut maps.record_by_thread, wanted.times),
        (&mut maps.cells, wanted.times || wanted.by_errno),
        (&mut maps.names, is_keyed),
        (&mut maps.family, wanted.follows),
    ] {
        map.set_autocreate(is_there).map_err(loading)?;
    }
    if ways.has_task_storage {
        /// Threads to which the kernel refuses task storage, at a time.
        const REFUSED_THREADS: u32 = 1024;
        let records = &mut maps.record_by_thread;
        records.set_max_entries(REFUSED_THREADS).map_err(loading)?;
    }
    let cpus = libbpf_rs::num_possible_cpus().map_err(loading)?;
    maps.calls.set_max_entries(cpus as u32).map_err(loading)?;
    if is_keyed {
        /// A row's durations are in so many cells, as a rule.
        const CELLS_PER_ROW: u32 = 16;
        /// Cells take no more than so many bytes: each about these, and 8 for each CPU.
        const MOST_BYTES: usize = 128 << 20;
        const CELL_BYTES: usize = 96;
        let rows = wanted.max_rows;
        let most = MOST_BYTES / (CELL_BYTES + 8 * cpus);
        let cells = rows.saturating_mul(CELLS_PER_ROW).min(most as u32);
        maps.rows.set_max_entries(rows).map_err(loading)?;
        maps.names.set_max_entries(rows).map_err(loading)?;
        maps.cells.set_max_entries(cells).map_err(loading)?;
    } else {
        /// Calls with numbers that no table has.
        const ODD_CALLS: u32 = 256;
        maps.rows.set_max_entries(ODD_CALLS).map_err(loading)?;
    }
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        program.set_autoload(is_needed(&name, wanted, ways));
    }
    let skel = open.load().map_err(loading)?;
    Ok(Loaded {
        threads: None,
        links: Vec::new(),
        skel,
    })
}

fn set_up(open: &mut skel::OpenSyscountSkel<'_>, wanted: &Wanted, ways: Ways) {
    if let Some(bss) = open.maps.bss_data.as_deref_mut() {
        bss.waits_for_exec = wanted.waits_for_exec.into();
    }
    let Some(rodata) = open.maps.rodata_data.as_deref_mut() else {
        return;
    };
    rodata.by = match wanted.by {
        By::Call | By::Errno => abi::BY_CALL,
        By::Process => abi::BY_PROCESS,
        By::Thread => abi::BY_THREAD,
        By::Cgroup => abi::BY_CGROUP,
    };
    rodata.times = wanted.times.into();
    // Else a call that does not fail would be counted twice where nothing is timed.
    rodata.only_errors = (wanted.only_errors || (wanted.by_errno && !wanted.times)).into();
    rodata.wanted_errno = wanted.errno.unwrap_or(0).into();
    rodata.by_errno = wanted.by_errno.into();
    rodata.has_current_task = ways.has_current_task.into();
    // What only counts does without, so that it need not be found out.
    rodata.has_task_storage = (wanted.times && ways.has_task_storage).into();
    rodata.target_process = wanted.process.unwrap_or(0);
    rodata.target_thread = wanted.thread.unwrap_or(0);
    rodata.target_parent = wanted.parent.unwrap_or(0);
    rodata.own_process = wanted.own_process;
    if let Some((device, inode)) = wanted.namespace {
        rodata.pid_namespace_device = device;
        rodata.pid_namespace_inode = inode;
    }
    if let Some(cgroup) = wanted.cgroup {
        rodata.wanted_cgroup = cgroup.id;
    }
    rodata.wants_memory_cgroup = wanted.is_memory_v1.into();
    rodata.follows = wanted.follows.into();
    rodata.exec_calls = [libc::SYS_execve as u32, libc::SYS_execveat as u32];
    if let Some(comm) = &wanted.comm {
        rodata.has_wanted_comm = 1;
        let places = rodata.wanted_comm.iter_mut().take(15);
        for (place, byte) in places.zip(comm.as_bytes()) {
            *place = *byte as _;
        }
    }
    if !wanted.calls.is_empty() {
        rodata.has_wanted_calls = 1;
        for slot in wanted.calls.iter().filter_map(|call| call.slot()) {
            rodata.wanted_calls[slot as usize / 64] |= 1 << (slot % 64);
        }
        let odd = wanted.calls.iter().filter(|call| call.slot().is_none());
        for (place, call) in rodata.wanted_odd_calls.iter_mut().zip(odd) {
            *place = (call.abi as u64) << 32 | u64::from(call.number);
        }
    }
}
