//! The kernel side, loaded and attached: maps in, plain values out.

mod recycle;
mod settings;

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, OpenObject, ProgramMut};
use memtools::attach::{self, AttachError, KernelError, Kind, Links, Probe, Uprobes, Way};
use memtools::events::EventReader;
use memtools::maps::{self, MapError, MappedArray, SharedWords};
use memtools::target::PidNamespace;
use memtools::target::object::Object;

use super::abi::{BLOCK_SET_WORDS, BlockKey, COUNTERS, Counter, Event, Stack, StackTotals};
use super::{Options, abi, sets};
use crate::functions::Role;
use crate::plan::{MOST_SITES, Plan, numbered_sites};

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
    include!(concat!(env!("OUT_DIR"), "/memleak.skel.rs"));
}

pub use skel::types;

/// The default of `--max-allocs` where memory is taken as blocks come.
pub const DEFAULT_BLOCKS: u32 = 1 << 20;
/// The default where all of it is taken at once.
pub const DEFAULT_BLOCKS_PREALLOCATED: u32 = 256 << 10;

/// TEXT_ANYWHERE in stack.bpf.h.
const TEXT_ANYWHERE: u64 = 1 << 62;

/// The loaded and attached programs.
pub struct Kernel {
    skel: skel::MemleakSkel<'static>,
    life: Links,
    probes: Links,
    /// The sampler's USDT probes.
    sampler: Links,
    uses_sampler: bool,
    walks_by_helper: bool,
    /// It can be aimed at any process of the initial PID namespace.
    is_for_any: bool,
    /// How many of them are known.
    sites: u32,
    /// How many functions that free have probes.
    frees: usize,
    uprobes: Uprobes,
    attach_pid: u32,
    sets: SharedWords<BLOCK_SET_WORDS>,
    set_count: u32,
    /// The image for which the sets were last swept.
    swept_image: u32,
    totals: MappedArray<StackTotals>,
}

impl Kernel {
    /// Loads the programs for a process of a PID namespace (none: the initial one), which is yet to be
    /// named. Nothing is attached. `uses_sampler`: it may tell of its own samples.
    pub fn load(
        options: &Options,
        uprobes: Uprobes,
        namespace: Option<PidNamespace>,
        uses_sampler: bool,
    ) -> Result<Self, KernelError> {
        let failed = |source| KernelError::new("loading memleak's BPF programs", source);
        // The object has to outlive the skeleton, and both live until the process ends.
        let object: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = skel::MemleakSkelBuilder::default()
            .open(object)
            .map_err(failed)?;
        settings::configure(&mut open, options, uprobes, namespace);
        // Single processes have the walk that costs them less, several the one that is loaded at once.
        let walks_by_helper = options.is_one_of_several && attach::has_loop_helper();
        let chosen = settings::Chosen {
            way: uprobes.way,
            uses_sampler,
            walks_by_helper,
        };
        settings::choose_programs(&mut open, chosen);
        settings::size_maps(&mut open, options, uses_sampler).map_err(failed)?;
        let skel = open.load().map_err(failed)?;
        settings::fill_free_slots(&skel, options.room.stacks).map_err(failed)?;
        let mapped = |error: MapError| failed(libbpf_rs::Error::from(std::io::Error::other(error)));
        let mut kernel = Self {
            set_count: sets::set_count(options.room.blocks),
            swept_image: 0,
            sets: SharedWords::new(&skel.maps.block_sets).map_err(mapped)?,
            totals: MappedArray::new(&skel.maps.totals).map_err(mapped)?,
            skel,
            life: Links::default(),
            probes: Links::default(),
            sampler: Links::default(),
            uses_sampler,
            walks_by_helper,
            is_for_any: namespace.is_none() && !uses_sampler,
            sites: 0,
            frees: 0,
            uprobes,
            attach_pid: 0,
        };
        kernel.allow_any_text();
        Ok(kernel)
    }

    /// Names the process: by its PID, and by the one that it has in its namespace.
    pub fn aim_at(&mut self, pid: u32, inner_pid: u32) {
        self.attach_pid = pid;
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.target_process = inner_pid;
        }
    }

    /// Attaches what tells the life of the process: exec, and the end of threads.
    pub fn attach_life(&mut self) -> Result<(), KernelError> {
        let failed = |source| KernelError::new("attaching to the scheduler's tracepoints", source);
        let exec = self.skel.progs.process_exec.attach().map_err(failed)?;
        let exit = self.skel.progs.thread_exit.attach().map_err(failed)?;
        self.life.extend([exec, exit]);
        Ok(())
    }

    /// Attaches a plan's probes, the freeing ones first. `thread` stands for the process with
    /// probes that any of its threads can carry.
    pub fn attach(&mut self, plan: &Plan, thread: u32) -> Result<(), AttachError> {
        if self.uprobes.way == Way::PerfEvent {
            self.attach_pid = thread;
        }
        self.frees += plan.frees();
        if self.frees > 1
            && let Some(bss) = self.skel.maps.bss_data.as_deref_mut()
        {
            // SAFETY: a word that the kernel side reads at any time.
            unsafe { (&raw mut bss.frees_nest).write_volatile(1) };
        }
        let (mut links, mut sampler) = (Links::default(), Links::default());
        let mut attach_all = || {
            for (roles, entry) in self.entries() {
                for (object, probes) in plan.by_object(roles) {
                    let new = self.attach_probes(&entry, &object, &probes)?;
                    let is_sampler = roles.iter().any(|role| role.is_sampler());
                    if is_sampler { &mut sampler } else { &mut links }.extend(new);
                }
            }
            Ok(())
        };
        let outcome = attach_all();
        // Also of what failed: all of it goes together, which is quicker.
        self.probes.append(links);
        self.sampler.append(sampler);
        outcome
    }

    /// Gives USDT sites their numbers, and tells the kernel side where their arguments are. Without the
    /// programs for them, or where there are too many, the plan has to do without.
    pub fn number_sites(&mut self, plan: &mut Plan) {
        if plan.uses_sampler() && !self.uses_sampler {
            plan.refuse_sampler("its programs were not loaded when memleak began");
        }
        let sites = plan.sampler_objects().len() + self.sites as usize;
        if sites > MOST_SITES {
            plan.refuse_sampler("it has too many probes");
        }
        let has_cookie = self.uprobes.has_cookie;
        for (number, site) in numbered_sites(plan, self.sites + 1, has_cookie) {
            self.sites = number;
            let site = abi::UsdtSite::new(&site);
            // SAFETY: UsdtSite is plain: its bytes are all initialised.
            let bytes = unsafe { plain::as_bytes(&site) };
            let map = &self.skel.maps.usdt_sites;
            // One that is not there is counted as lost when it is hit.
            let _ = map.update(&number.to_ne_bytes(), bytes, MapFlags::ANY);
        }
    }

    /// Samples count until another image than this one begins.
    pub fn trust_samples_until(&mut self, image: u32) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: a word that the kernel side reads at any time.
            unsafe { (&raw mut bss.last_sampled_image).write_volatile(image) };
        }
    }

    /// Takes the USDT probes out.
    pub fn detach_sampler(&mut self) {
        self.sampler = Links::default();
    }

    /// Puts all probes in again, carried by another thread, and takes out the ones before.
    pub fn attach_again(&mut self, plan: &Plan, thread: u32) -> Result<(), AttachError> {
        self.frees = 0;
        let before = std::mem::take(&mut self.probes);
        let sampler = std::mem::take(&mut self.sampler);
        self.attach(plan, thread)?;
        drop((before, sampler));
        Ok(())
    }

    /// Which program each role gets, what frees first: otherwise a block would be seen to come and
    /// not to go.
    fn entries(&self) -> Vec<(&'static [Role], Entry<'_>)> {
        let progs = &self.skel.progs;
        let (session, leave) = self.calls();
        let mut entries: Vec<(&'static [Role], Entry<'_>)> = vec![
            (&[Role::Free], Entry::Alone(&progs.free_enter)),
            (&[Role::SampleFree], Entry::Alone(&progs.sample_free_enter)),
            (&[Role::Sample], Entry::Alone(&progs.sample_enter)),
            (&[Role::Munmap], Entry::Alone(&progs.munmap_enter)),
            (&[Role::Anchor], Entry::Alone(&progs.anchor_enter)),
            (&[Role::Unload], Entry::Alone(&progs.unload_enter)),
        ];
        // Ends first: a call without its end would leave the thread inside it.
        entries.push(match self.uprobes.way {
            Way::Session => (&[Role::End], Entry::Session(session)),
            _ => (&[Role::End], Entry::Alone(leave)),
        });
        // No session: it puts return probes also into processes that it is not for, if another tool
        // has a probe there, and an exception would end those. At an end none can come.
        entries.push((&[Role::New], Entry::Alone(&progs.new_enter)));
        if self.uprobes.way == Way::Session {
            entries.push((&Role::PAIRED, Entry::Session(session)));
            return entries;
        }
        let paired: [(&'static [Role], &ProgramMut<'_>); 10] = [
            (&[Role::RustRealloc], &progs.rust_realloc_enter),
            (&[Role::Xallocx], &progs.xallocx_enter),
            (&[Role::Mmap], &progs.mmap_enter),
            (&[Role::Mremap], &progs.mremap_enter),
            (&[Role::Realloc], &progs.realloc_enter),
            (&[Role::Reallocarray], &progs.reallocarray_enter),
            (&[Role::PosixMemalign], &progs.posix_memalign_enter),
            (&[Role::Memalign], &progs.memalign_enter),
            (&[Role::Calloc], &progs.calloc_enter),
            (&[Role::Malloc], &progs.malloc_enter),
        ];
        entries.extend(paired.map(|(roles, program)| (roles, Entry::Paired(program))));
        entries
    }

    /// The program of a session, and the one at returns.
    fn calls(&self) -> (&ProgramMut<'_>, &ProgramMut<'_>) {
        let progs = &self.skel.progs;
        if self.walks_by_helper {
            (&progs.call_session_by_helper, &progs.call_leave_by_helper)
        } else {
            (&progs.call_session, &progs.call_leave)
        }
    }

    fn attach_probes(
        &self,
        entry: &Entry<'_>,
        object: &Object,
        probes: &[Probe],
    ) -> Result<Vec<Link>, AttachError> {
        let attach = |program: &ProgramMut<'_>, kind| {
            let way = self.uprobes.way;
            attach::attach(
                program,
                way,
                kind,
                self.attach_pid,
                &object.open_path(),
                probes,
            )
        };
        match entry {
            Entry::Alone(program) => attach(program, Kind::Entry),
            Entry::Session(program) => attach(program, Kind::Session),
            Entry::Paired(program) => {
                // The return first: an entry without its return would leave the thread inside the
                // call.
                let mut links = attach(self.calls().1, Kind::Return)?;
                links.extend(attach(program, Kind::Entry)?);
                Ok(links)
            }
        }
    }

    /// Tells a kernel without attach cookies what lies at a probe's address.
    pub fn set_cookie(&self, address: u64, cookie: u64) -> Result<(), libbpf_rs::Error> {
        let map = &self.skel.maps.probe_cookies;
        map.update(&address.to_ne_bytes(), &cookie.to_ne_bytes(), MapFlags::ANY)
    }

    /// Takes all probes out.
    pub fn detach(&mut self) {
        self.probes = Links::default();
        self.sampler = Links::default();
        self.frees = 0;
    }

    /// Begins or ends recording.
    pub fn enable(&mut self, enabled: bool) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: a word that the kernel side reads at any time.
            unsafe { (&raw mut bss.enabled).write_volatile(u32::from(enabled)) };
        }
    }

    /// From now on stacks are others, although their addresses may be the same.
    pub fn begin_epoch(&mut self) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            let epoch = &raw mut bss.epoch;
            // SAFETY: a counter that the kernel side adds to as well: aligned, and never freed.
            unsafe { AtomicU64::from_ptr(epoch) }.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where text can lie: the program, and the rest. Until now it could lie anywhere.
    pub fn set_text_ranges(&mut self, [program, libraries]: [(u64, u64); 2]) {
        // The libraries first: until they are in, the program's range holds everything.
        self.set_text_range(1, libraries);
        self.set_text_range(0, program);
    }

    /// While text comes and goes, anything may be text.
    pub fn allow_any_text(&mut self) {
        self.set_text_range(0, (0, TEXT_ANYWHERE));
    }

    /// Where the dynamic linker's text lies.
    pub fn set_linker_text(&mut self, (start, end): (u64, u64)) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            let range = &raw mut bss.linker_text;
            // SAFETY: words that the kernel side reads at any time.
            unsafe {
                (&raw mut (*range).start).write_volatile(start);
                (&raw mut (*range).end).write_volatile(end);
            }
        }
    }

    fn set_text_range(&mut self, index: usize, (start, end): (u64, u64)) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            let range = &raw mut bss.text_ranges[index];
            // SAFETY: words that the kernel side reads at any time; in this order no moment has
            // less than both the old and the new range.
            unsafe {
                (&raw mut (*range).start).write_volatile(start);
                (&raw mut (*range).end).write_volatile(end);
            }
        }
    }

    /// The number of the present image: each exec begins a new one.
    pub fn generation(&self) -> u32 {
        self.skel.maps.bss_data.as_deref().map_or(0, |bss| {
            // SAFETY: a word that the kernel side writes at any time.
            unsafe { (&raw const bss.generation).read_volatile() }
        })
    }

    /// Does for an exec what its program did not get to do.
    pub fn catch_up(&mut self, images: u32) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: words that the kernel side reads and writes at any time.
            unsafe {
                (&raw mut bss.generation).write_volatile(images);
                (&raw mut bss.trampoline).write_volatile(0);
            }
        }
        self.allow_any_text();
    }

    /// The ring buffer.
    pub fn events(&self) -> Result<EventReader<Event>, libbpf_rs::Error> {
        EventReader::new(&self.skel.maps.events)
    }

    /// Calls `visit` for all live blocks of an image. Those of earlier ones leave the hash table.
    pub fn for_each_block(
        &self,
        generation: u32,
        mut visit: impl FnMut(u64, &abi::Block),
    ) -> Result<(), MapError> {
        sets::for_each_block(self.sets.iter(), generation, &mut visit);
        let mut stale = Vec::new();
        maps::for_each_entry(&self.skel.maps.blocks, |key: &BlockKey, block| {
            if key.generation == generation {
                visit(key.address, block);
            } else if key.generation < generation {
                stale.push(*key);
            }
        })?;
        for key in &stale {
            // SAFETY: BlockKey is plain: its bytes are all initialised.
            let bytes = unsafe { plain::as_bytes(key) };
            if self.skel.maps.blocks.delete(bytes).is_ok() {
                sets::forget_overflow(|index| self.sets.get(index), self.set_count, key.address);
            }
        }
        Ok(())
    }

    /// Lets go of what earlier images have in the first table, once for each image.
    pub fn forget_earlier_images(&mut self) {
        let generation = self.generation();
        if self.swept_image != generation {
            sets::sweep(self.sets.iter(), || self.generation());
            self.swept_image = generation;
        }
    }

    /// What each stack has come to, by slot.
    pub fn totals(&self) -> impl Iterator<Item = (u32, StackTotals)> {
        (0..self.totals.len()).filter_map(|slot| Some((slot as u32, self.totals.get(slot)?)))
    }

    /// A stack. Each is read once: mapped, all of them would count as our resident memory.
    pub fn stack(&self, slot: u32) -> Option<Stack> {
        let mut stack = Stack::default();
        // SAFETY: Stack is plain: whatever bytes are written there are a value.
        let bytes = unsafe { plain::as_mut_bytes(&mut stack) };
        let map = &self.skel.maps.stacks;
        let found = map.lookup_into(&slot.to_ne_bytes(), bytes, MapFlags::ANY);
        found.is_ok_and(|found| found).then_some(stack)
    }

    /// All counters.
    pub fn counters(&self) -> Result<Counters, MapError> {
        Ok(Counters(maps::summed_counters(
            &self.skel.maps.counters,
            COUNTERS,
        )?))
    }

    /// How probes are attached, and what they cost.
    pub fn uprobes(&self) -> Uprobes {
        self.uprobes
    }
}

/// A program, and what goes with it.
enum Entry<'a> {
    /// Nothing.
    Alone(&'a ProgramMut<'a>),
    /// The return program.
    Paired(&'a ProgramMut<'a>),
    /// It is both.
    Session(&'a ProgramMut<'a>),
}

/// The counters at one moment.
#[derive(Debug, Default)]
pub struct Counters(Vec<u64>);

impl Counters {
    /// One of them.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }
}
