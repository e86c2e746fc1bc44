//! What is set before the programs are loaded, and right after.

use libbpf_rs::{MapCore, MapFlags, ProgramAttachType};
use memtools::attach::{Uprobes, Way};
use memtools::target::PidNamespace;

use super::skel;
use crate::collector::{Options, sets};
use crate::plan::MOST_SITES;

/// BPF_F_NO_PREALLOC in linux/bpf.h.
const NO_PREALLOC: u32 = 1;
/// Threads before 6.1, where the table is there at once: 2 KiB each.
const PREALLOCATED_THREADS: u32 = 8192;
/// The same for each of several processes.
const PREALLOCATED_THREADS_EACH: u32 = 1024;
/// The ring buffer of each of several processes, in bytes.
const EVENT_BYTES_EACH: u32 = 512 << 10;

pub fn configure(
    open: &mut skel::OpenMemleakSkel<'_>,
    options: &Options,
    uprobes: Uprobes,
    namespace: Option<PidNamespace>,
) {
    let Some(rodata) = open.maps.rodata_data.as_deref_mut() else {
        return;
    };
    if let Some(namespace) = namespace {
        rodata.pid_namespace_device = namespace.device;
        rodata.pid_namespace_inode = namespace.inode;
    }
    rodata.has_attach_cookie = u32::from(uprobes.has_cookie);
    rodata.sample_every = options.sample_every;
    rodata.min_bytes = options.min_bytes;
    rodata.max_bytes = options.max_bytes;
    rodata.block_set_count = sets::set_count(options.room.blocks);
    rodata.trace_every_event = u32::from(options.trace);
    rodata.max_stack_depth = options.max_stack_depth;
}

/// Which of the programs are loaded: only those of one way can be on every kernel.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub way: Way,
    /// The process may tell of its own samples.
    pub uses_sampler: bool,
    /// Stacks are walked by the kernel's helper for loops.
    pub walks_by_helper: bool,
}

pub fn choose_programs(open: &mut skel::OpenMemleakSkel<'_>, chosen: Chosen) {
    let Chosen {
        way,
        uses_sampler,
        walks_by_helper,
    } = chosen;
    let is_session = way == Way::Session;
    let progs = &mut open.progs;
    for (program, is_loaded) in [
        (&mut progs.call_session, !walks_by_helper),
        (&mut progs.call_session_by_helper, walks_by_helper),
    ] {
        program.set_autoload(is_session && is_loaded);
    }
    for (program, is_loaded) in [
        (&mut progs.malloc_enter, !is_session),
        (&mut progs.calloc_enter, !is_session),
        (&mut progs.memalign_enter, !is_session),
        (&mut progs.posix_memalign_enter, !is_session),
        (&mut progs.realloc_enter, !is_session),
        (&mut progs.reallocarray_enter, !is_session),
        (&mut progs.mmap_enter, !is_session),
        (&mut progs.mremap_enter, !is_session),
        (&mut progs.xallocx_enter, !is_session),
        (&mut progs.rust_realloc_enter, !is_session),
        (&mut progs.call_leave, !is_session && !walks_by_helper),
        (
            &mut progs.call_leave_by_helper,
            !is_session && walks_by_helper,
        ),
        (&mut progs.sample_enter, uses_sampler),
        (&mut progs.sample_free_enter, uses_sampler),
        (&mut progs.free_enter, true),
        (&mut progs.new_enter, true),
        (&mut progs.munmap_enter, true),
        (&mut progs.anchor_enter, true),
        (&mut progs.unload_enter, true),
    ] {
        program.set_autoload(is_loaded);
        if way != Way::PerfEvent {
            program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
        }
    }
}

pub fn size_maps(
    open: &mut skel::OpenMemleakSkel<'_>,
    options: &Options,
    uses_sampler: bool,
) -> Result<(), libbpf_rs::Error> {
    if uses_sampler {
        let sites = MOST_SITES as u32 + 1;
        open.maps.usdt_sites.set_max_entries(sites)?;
        // Of kernels without attach cookies: sites and anchors, some of them of programs before.
        open.maps.probe_cookies.set_max_entries(4 * sites)?;
    }
    // Slot 0 stands for the stacks that found no room.
    let slots = options.room.stacks + 1;
    open.maps.stacks.set_max_entries(slots)?;
    open.maps.totals.set_max_entries(slots)?;
    open.maps.free_slots.set_max_entries(slots)?;
    open.maps.stack_slots.set_max_entries(slots)?;
    open.maps.blocks.set_max_entries(options.room.blocks)?;
    let sets = sets::set_count(options.room.blocks);
    open.maps.block_sets.set_max_entries(sets.max(1))?;
    if options.grows {
        open.maps.blocks.set_map_flags(NO_PREALLOC)?;
        open.maps.threads.set_map_flags(NO_PREALLOC)?;
        open.maps.threads.set_max_entries(options.room.threads)?;
        open.maps.stack_slots.set_map_flags(NO_PREALLOC)?;
    } else {
        let most = if options.is_one_of_several {
            PREALLOCATED_THREADS_EACH
        } else {
            PREALLOCATED_THREADS
        };
        let threads = options.room.threads.min(most);
        open.maps.threads.set_max_entries(threads)?;
    }
    if options.is_one_of_several && !options.trace {
        open.maps.events.set_max_entries(EVENT_BYTES_EACH)?;
    }
    Ok(())
}

pub fn fill_free_slots(skel: &skel::MemleakSkel<'_>, slots: u32) -> Result<(), libbpf_rs::Error> {
    for slot in 1..=slots {
        skel.maps
            .free_slots
            .update(&[], &slot.to_ne_bytes(), MapFlags::ANY)?;
    }
    Ok(())
}
