//! The kernel side, loaded and attached.

use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, OpenObject, OpenProgramMut, ProgramImpl, ProgramMut};
use memtools::attach::{Hook, KernelError, Kind, attach_function, recursion_misses};
use memtools::target::PidNamespace;

use super::abi;
use super::ways::Ways;
use crate::cli::{Allocators, Charge};
use crate::collector::Options;

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
    include!(concat!(env!("OUT_DIR"), "/memleak_kernel.skel.rs"));
}

pub use skel::types;

/// The loaded programs; dropping it detaches.
pub struct Programs {
    links: Vec<Link>,
    // After the links.
    pub skel: skel::MemleakKernelSkel<'static>,
    /// What they tell of.
    pub allocators: Allocators,
    /// They tell of objects that come and go in bulks,
    pub sees_bulks: bool,
    /// and of those that kfree_rcu() takes one by one.
    pub sees_rcu: bool,
    /// Why functions could not be watched, if they should have been.
    pub why_no_functions: Option<String>,
}

/// Where a program belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It tells of what its section names, or, of old kernels' tracepoints, of nothing.
    Event,
    /// Of this function, under its present name.
    Function(&'static str),
}

impl Programs {
    /// Loads and attaches what tells of these allocators; recording has not begun. Functions that
    /// cannot be watched are left out.
    pub fn start(
        options: &Options,
        ways: &Ways,
        wanted: Allocators,
        charge: Option<Charge>,
        charges_memory_cgroup: bool,
    ) -> Result<Self, KernelError> {
        let doing = "loading memleak's BPF programs for the kernel's memory";
        let start = |ways: &Ways| -> Result<Self, KernelError> {
            let mut programs = load(options, ways, wanted, charge, charges_memory_cgroup)
                .map_err(|source| KernelError::new(doing, source))?;
            programs.attach(ways, wanted).map_err(|source| {
                KernelError::new("attaching to the kernel's tracepoints of memory", source)
            })?;
            Ok(programs)
        };
        let without_trampolines = Ways {
            has_trampoline: false,
            ..ways.clone()
        };
        let mut outcome = start(ways);
        if outcome.is_err() && ways.has_trampoline {
            outcome = start(&without_trampolines);
        }
        match outcome {
            Err(error) if ways.has_kprobe => {
                let mut programs = start(&without_functions(ways))?;
                programs.why_no_functions = Some(format!("{:#}", anyhow::Error::new(error)));
                Ok(programs)
            }
            outcome => outcome,
        }
    }

    fn attach(&mut self, ways: &Ways, wanted: Allocators) -> Result<(), libbpf_rs::Error> {
        // What frees first: otherwise memory would be seen to come and not to go.
        for frees in [true, false] {
            for program in self.skel.object_mut().progs_mut() {
                let name = program.name().to_string_lossy().into_owned();
                let Some(used) = use_of(&name, ways, wanted) else {
                    continue;
                };
                if is_free(&name) != frees {
                    continue;
                }
                match attach(&program, used) {
                    Ok(link) => self.links.push(link),
                    // Before 6.1 there are more tracepoints.
                    Err(_) if used == Use::Event && name.contains("_node") => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Begins or ends recording.
    pub fn enable(&mut self, enabled: bool) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: a word that the kernel side reads at any time.
            unsafe { (&raw mut bss.enabled).write_volatile(u32::from(enabled)) };
        }
    }

    /// Takes the programs out.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// Events that were skipped, because a program ran already; those that have a second program are not
    /// among them.
    pub fn missed(&self) -> u64 {
        let object = self.skel.object();
        let programs = object.progs().filter(|program| {
            ProgramImpl::autoload(program) && !has_twin(&program.name().to_string_lossy())
        });
        programs.map(|program| recursion_misses(&program)).sum()
    }
}

fn attach(program: &ProgramMut<'_>, used: Use) -> Result<Link, libbpf_rs::Error> {
    let section = program.section().to_string_lossy().into_owned();
    match (used, section.split_once('/')) {
        (Use::Function(function), Some(("kprobe", _))) => {
            attach_function(program, Kind::Entry, function, None)
        }
        (Use::Function(function), Some(("kretprobe", _))) => {
            attach_function(program, Kind::Return, function, None)
        }
        _ => program.attach(),
    }
}

fn without_functions(ways: &Ways) -> Ways {
    Ways {
        has_trampoline: false,
        has_kprobe: false,
        ..ways.clone()
    }
}

/// Whether two programs see an event, of which the kernel may skip one.
fn has_twin(program: &str) -> bool {
    const TWINS: [&str; 4] = ["slab_kfree", "slab_cache_free", "pages_free", "percpu_free"];
    TWINS.iter().any(|event| program.starts_with(event))
}

fn is_free(program: &str) -> bool {
    program.contains("free")
}

/// What a program is used for here; `None`: it is not.
fn use_of(program: &str, ways: &Ways, wanted: Allocators) -> Option<Use> {
    let (group, rest) = program.split_once('_')?;
    let is_wanted = match group {
        "slab" | "bulk" | "rcu" => wanted.slab,
        "pages" => wanted.pages,
        "percpu" => wanted.percpu,
        "vmalloc" => wanted.vmalloc,
        _ => false,
    };
    if !is_wanted {
        return None;
    }
    let exit = |name: Option<&'static str>| {
        (ways.has_kprobe && ways.has_trampoline)
            .then_some(name?)
            .map(Use::Function)
    };
    let by_return = |name: Option<&'static str>| {
        (ways.has_kprobe && !ways.has_trampoline)
            .then_some(name?)
            .map(Use::Function)
    };
    let enter = |name: Option<&'static str>| ways.has_kprobe.then_some(name?).map(Use::Function);
    let event = |condition: bool| condition.then_some(Use::Event);
    let is_classic = ways.hook == Hook::Tracepoint;
    match (group, rest) {
        ("bulk", "alloc_enter") => enter(ways.bulk_alloc),
        ("bulk", "alloc_exit") => exit(ways.bulk_alloc),
        ("bulk", "alloc_return") => by_return(ways.bulk_alloc),
        ("bulk", "free_enter") => enter(Some("kmem_cache_free_bulk")),
        ("rcu", _) => exit(ways.has_rcu_sheaf.then_some("__kfree_rcu_sheaf")),
        ("vmalloc", "enter") => enter(ways.vmalloc),
        ("vmalloc", "exit") => exit(ways.vmalloc),
        ("vmalloc", "return") => by_return(ways.vmalloc),
        ("vmalloc", "vfree") => enter(Some("vfree")),
        ("vmalloc", "vfree_atomic") => enter(Some("vfree_atomic")),
        ("slab", "free_kprobe") => event(ways.has_kprobe && !ways.free_has_cache),
        // In the place of these there, which come when the object is free already.
        ("slab", rest)
            if rest.starts_with("cache_free") && ways.has_kprobe && !ways.free_has_cache =>
        {
            None
        }
        (_, rest) if rest.ends_with("_again") => Some(Use::Event),
        (_, rest) => event(rest.ends_with("_record") == is_classic),
    }
}

fn load(
    options: &Options,
    ways: &Ways,
    wanted: Allocators,
    charge: Option<Charge>,
    charges_memory_cgroup: bool,
) -> Result<Programs, libbpf_rs::Error> {
    // The skeleton borrows its object for as long as it lives, and is handed about.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = skel::MemleakKernelSkelBuilder::default().open(object)?;
    let own = std::process::id();
    let namespace = PidNamespace::of(own, own)?;
    let cpus = libbpf_rs::num_possible_cpus()?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.target_process = own;
        if let Some(namespace) = namespace {
            rodata.pid_namespace_device = namespace.device;
            rodata.pid_namespace_inode = namespace.inode;
            rodata.target_process = namespace.pid;
        }
        rodata.charge_to = match charge {
            None => abi::CHARGE_NOBODY,
            Some(Charge::Comm) => abi::CHARGE_COMM,
            Some(Charge::Cgroup) => abi::CHARGE_CGROUP,
        };
        rodata.charges_memory_cgroup = charges_memory_cgroup.into();
        rodata.max_depth = options.max_stack_depth;
        rodata.sample_every = options.sample_every;
        rodata.min_bytes = options.min_bytes;
        rodata.max_bytes = options.max_bytes;
        rodata.trace_every_event = options.trace.into();
        rodata.page_bytes = page_bytes();
        rodata.alloc_has_cache = ways.alloc_has_cache.into();
        rodata.percpu_has_call_site = ways.percpu_has_call_site.into();
        rodata.bulk_is_bool = ways.bulk_is_bool.into();
        rodata.cpus = cpus as u32;
    }
    open.maps.blocks.set_max_entries(options.room.blocks)?;
    // Beside them are those that stand for stacks without room.
    open.maps
        .stacks
        .set_max_entries(options.room.stacks + abi::VMALLOC as u32)?;
    let mut allocators = wanted;
    allocators.vmalloc &= ways.has_kprobe && ways.vmalloc.is_some();
    for mut program in open.open_object_mut().progs_mut() {
        let used = use_of(&program.name().to_string_lossy(), ways, wanted);
        choose(&mut program, used)?;
    }
    let skel = open.load()?;
    for allocator in [abi::SLAB, abi::PAGES, abi::PERCPU, abi::VMALLOC] {
        let unknown = abi::Stack {
            allocator: allocator as u32,
            ..abi::Stack::default()
        };
        // SAFETY: Stack is plain: its bytes are all initialised.
        let bytes = unsafe { plain::as_bytes(&unknown) };
        skel.maps
            .stacks
            .update(&allocator.to_ne_bytes(), bytes, MapFlags::ANY)?;
    }
    Ok(Programs {
        links: Vec::new(),
        skel,
        allocators,
        sees_bulks: ways.has_kprobe,
        sees_rcu: ways.has_kprobe && (ways.has_trampoline || !ways.has_rcu_sheaf),
        why_no_functions: None,
    })
}

fn choose(program: &mut OpenProgramMut<'_>, used: Option<Use>) -> Result<(), libbpf_rs::Error> {
    program.set_autoload(used.is_some());
    if let Some(Use::Function(function)) = used {
        let section = program.section().to_string_lossy().into_owned();
        if section.starts_with("fexit/") {
            program.set_attach_target(0, Some(function.to_owned()))?;
        }
    }
    Ok(())
}

fn page_bytes() -> u32 {
    // SAFETY: a plain question.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(bytes).unwrap_or(4096)
}
