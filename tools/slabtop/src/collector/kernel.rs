//! The kernel side: three groups of programs in one object, each loaded by itself.

use std::mem::MaybeUninit;

use libbpf_rs::btf::types::{Enum, Func};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Btf, Link, OpenObject, OpenProgramMut};
use memtools::attach::{
    Hook, KernelError, exact_tracepoint, has_safe_trampolines, has_type, recursion_misses,
    returns_bool, takes_pointer_to,
};
use memtools::selection::Selection;

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
    include!(concat!(env!("OUT_DIR"), "/slabtop.skel.rs"));
}

pub use skel::{SlabtopSkel, types};

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The iterator over caches.
    Sizes,
    /// The counters.
    Motion,
    /// Single objects of followed caches.
    Objects {
        /// So many at most.
        max: u32,
    },
}

/// A program, without what stands before its name, and the kernel's function that it is for.
type Function = (&'static str, &'static str);

/// Functions that tell of what no tracepoint tells, by the names that they have had.
const FUNCTIONS: [(&str, &[&str]); 4] = [
    (
        BULK_ALLOC,
        // From 6.10 on, before.
        &["kmem_cache_alloc_bulk_noprof", "kmem_cache_alloc_bulk"],
    ),
    ("bulk_free", &["kmem_cache_free_bulk"]),
    // From 6.18 on.
    ("rcu_free", &["__kfree_rcu_sheaf"]),
    (FREE_ENTRY, &["kmem_cache_free"]),
];
const BULK_ALLOC: &str = "bulk_alloc";
/// In the place of the tracepoint, where that comes when the object is free already.
const FREE_ENTRY: &str = "free_entry";
const FREE_EVENT: &str = "cache_free";
/// Likewise, where there is no safe trampoline.
const FREE_KPROBE: &str = "free_kprobe";

/// In which ways events are seen on this kernel, found by trying.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // what a kernel has is a set of switches
pub struct Ways {
    /// The tracepoints.
    pub hook: Hook,
    functions: Vec<Function>,
    /// kmem_cache_free() by kprobe.
    has_free_kprobe: bool,
    alloc_has_cache: bool,
    free_has_cache: bool,
    bulk_is_bool: bool,
    /// It can be told of which cache an object of kmalloc is.
    pub knows_objects: bool,
}

impl Ways {
    /// Finds them: for a tenth of a second. Functions are only tried when their programs are loaded:
    /// a trial of its own, with many calls, has hung 5.10 when two tools did it at a time.
    pub fn find() -> Result<Self, KernelError> {
        let types = Btf::from_vmlinux()
            .map_err(|source| KernelError::new("reading the kernel's types", source))?;
        let hook = exact_tracepoint();
        let has_cache = |tracepoint| takes_pointer_to(&types, tracepoint, 2, "kmem_cache");
        let free_has_cache = has_cache("kmem_cache_free");
        // Where there is none that is safe, kmem_cache_free() has to be watched by kprobe.
        let are_safe = has_type("bpf_tramp_image");
        let mut functions = Vec::new();
        if has_safe_trampolines() {
            functions = present_functions(&types);
            if free_has_cache {
                functions.retain(|(program, _)| *program != FREE_ENTRY);
            }
        }
        let mut bulk = functions
            .iter()
            .filter(|(program, _)| *program == BULK_ALLOC);
        Ok(Self {
            hook,
            bulk_is_bool: bulk.any(|(_, name)| returns_bool(&types, name)),
            functions,
            has_free_kprobe: !free_has_cache && !are_safe,
            alloc_has_cache: has_cache("kmem_cache_alloc"),
            free_has_cache,
            knows_objects: knows_objects(&types),
        })
    }

    /// The kernel's functions that are watched, and in which way.
    pub fn functions(&self) -> Vec<String> {
        let fentry = self
            .functions
            .iter()
            .map(|(_, name)| format!("fentry of {name}"));
        let kprobe = self
            .has_free_kprobe
            .then(|| "kprobe of kmem_cache_free".to_owned());
        fentry.chain(kprobe).collect()
    }

    /// Those of the functions for which programs of a group can be loaded, each by itself.
    fn working(&self, group: Group, selection: &Selection) -> Vec<Function> {
        let mut working = self.functions.clone();
        working.retain(|function| {
            let alone = Self {
                functions: vec![*function],
                ..self.clone()
            };
            Loaded::events_by(group, &alone, selection).is_ok()
        });
        working
    }
}

/// Programs of a group, loaded and attached. Dropping it detaches.
pub struct Loaded {
    links: Vec<Link>,
    // After the links.
    pub skel: SlabtopSkel<'static>,
}

impl Loaded {
    /// Loads the iterator.
    pub fn sizes(numa_nodes: u32) -> Result<(Self, Link), KernelError> {
        let loaded = load(Group::Sizes, None, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.numa_nodes = numa_nodes;
            }
        })?;
        let link = loaded.skel.progs.list_caches.attach().map_err(|source| {
            KernelError::new("attaching the iterator over slab caches", source)
        })?;
        Ok((loaded, link))
    }

    /// Loads and attaches what sees events. Functions that cannot be watched are taken out.
    pub fn events(
        group: Group,
        ways: &mut Ways,
        selection: &Selection,
    ) -> Result<Self, KernelError> {
        match Self::events_by(group, ways, selection) {
            Err(_) if !ways.functions.is_empty() || ways.has_free_kprobe => {
                ways.has_free_kprobe = false;
                ways.functions = ways.working(group, selection);
                Self::events_by(group, ways, selection)
            }
            outcome => outcome,
        }
    }

    fn events_by(group: Group, ways: &Ways, selection: &Selection) -> Result<Self, KernelError> {
        let mut loaded = load(group, Some(ways), |open| {
            let Some(rodata) = open.maps.rodata_data.as_deref_mut() else {
                return;
            };
            rodata.bulk_is_bool = ways.bulk_is_bool.into();
            rodata.alloc_has_cache = ways.alloc_has_cache.into();
            rodata.free_has_cache = ways.free_has_cache.into();
            rodata.target_process = selection.process.map_or(0, |process| process.inner_pid);
            if let Some(namespace) = selection.process.and_then(|process| process.namespace) {
                rodata.pid_namespace_device = namespace.device;
                rodata.pid_namespace_inode = namespace.inode;
            }
            if let Some(cgroup) = selection.cgroup {
                rodata.wanted_cgroup = cgroup.id;
                rodata.wants_memory_cgroup = cgroup.is_memory_v1.into();
            }
        })?;
        loaded.attach().map_err(|source| {
            KernelError::new(
                "attaching to the kernel's tracepoints of slab objects",
                source,
            )
        })?;
        Ok(loaded)
    }

    fn attach(&mut self) -> Result<(), libbpf_rs::Error> {
        for program in self.skel.object_mut().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            if !program.autoload() {
                continue;
            }
            match program.attach() {
                Ok(link) => self.links.push(link),
                // Before 6.1 there are more tracepoints.
                Err(_) if is_of_old_kernels(&name) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Events that the kernel skipped, because a program ran already.
    pub fn missed(&self) -> u64 {
        self.skel
            .object()
            .progs()
            .filter(libbpf_rs::ProgramImpl::autoload)
            .map(|program| recursion_misses(&program))
            .sum()
    }
}

fn has_function(types: &Btf<'_>, name: &str) -> bool {
    types.type_by_name::<Func<'_>>(name).is_some()
}

/// Those of the functions that the kernel's types name.
fn present_functions(types: &Btf<'_>) -> Vec<Function> {
    let present = FUNCTIONS.iter().filter_map(|(program, names)| {
        let name = names.iter().find(|name| has_function(types, name))?;
        Some((*program, *name))
    });
    present.collect()
}

fn knows_objects(types: &Btf<'_>) -> bool {
    let has_value = |name: &str, value: &str| {
        types.type_by_name::<Enum<'_>>(name).is_some_and(|found| {
            let mut values = found.iter();
            values.any(|member| member.name.is_some_and(|own| own == value))
        })
    };
    has_function(types, "bpf_get_kmem_cache")
        || has_value("pageflags", "PG_slab")
        || has_value("pagetype", "PGTY_slab")
}

/// Tracepoints that are gone from 6.1 on.
fn is_of_old_kernels(program: &str) -> bool {
    program.contains("_node")
}

/// Whether a program belongs to a load.
fn belongs(program: &str, group: Group, ways: Option<&Ways>) -> Option<Belonging> {
    let rest = match group {
        Group::Sizes => return (program == "list_caches").then_some(Belonging::Itself),
        Group::Motion => program.strip_prefix("on_")?,
        Group::Objects { .. } => program.strip_prefix("follow_")?,
    };
    let ways = ways?;
    let function = |wanted: &str| {
        let mut functions = ways.functions.iter();
        functions.find(|(name, _)| *name == wanted)
    };
    if FUNCTIONS.iter().any(|(name, _)| *name == rest) {
        let (_, name) = function(rest)?;
        return Some(Belonging::Function(name));
    }
    let event = rest.strip_suffix("_record").unwrap_or(rest);
    if event == FREE_KPROBE {
        return ways.has_free_kprobe.then_some(Belonging::Itself);
    }
    if event == FREE_EVENT && (ways.has_free_kprobe || function(FREE_ENTRY).is_some()) {
        return None;
    }
    let is_classic = event.len() < rest.len();
    (is_classic == (ways.hook == Hook::Tracepoint)).then_some(Belonging::Itself)
}

enum Belonging {
    Itself,
    Function(&'static str),
}

fn load(
    group: Group,
    ways: Option<&Ways>,
    set_up: impl FnOnce(&mut skel::OpenSlabtopSkel<'static>),
) -> Result<Loaded, KernelError> {
    let loading = |source| KernelError::new("loading slabtop's BPF programs", source);
    // The skeleton borrows its object for as long as it lives, and is handed about.
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = skel::SlabtopSkelBuilder::default()
        .open(object)
        .map_err(loading)?;
    set_up(&mut open);
    let is_following = matches!(group, Group::Objects { .. });
    let maps = &mut open.maps;
    for map in [&mut maps.counts, &mut maps.names] {
        map.set_autocreate(group == Group::Motion)
            .map_err(loading)?;
    }
    for map in [
        &mut maps.followed,
        &mut maps.objects,
        &mut maps.stacks,
        &mut maps.stack_scratch,
    ] {
        map.set_autocreate(is_following).map_err(loading)?;
    }
    if group == Group::Motion {
        let cpus = libbpf_rs::num_possible_cpus().map_err(loading)?;
        maps.counts.set_max_entries(cpus as u32).map_err(loading)?;
    }
    if let Group::Objects { max } = group {
        maps.objects.set_max_entries(max).map_err(loading)?;
    }
    for mut program in open.open_object_mut().progs_mut() {
        choose(&mut program, group, ways).map_err(loading)?;
    }
    let skel = open.load().map_err(loading)?;
    Ok(Loaded {
        links: Vec::new(),
        skel,
    })
}

fn choose(
    program: &mut OpenProgramMut<'_>,
    group: Group,
    ways: Option<&Ways>,
) -> Result<(), libbpf_rs::Error> {
    let name = program.name().to_string_lossy().into_owned();
    let belonging = belongs(&name, group, ways);
    program.set_autoload(belonging.is_some());
    if let Some(Belonging::Function(function)) = belonging {
        program.set_attach_target(0, Some(function.to_owned()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(hook: Hook, functions: &[Function]) -> Ways {
        Ways {
            hook,
            functions: functions.to_vec(),
            has_free_kprobe: false,
            alloc_has_cache: true,
            free_has_cache: true,
            bulk_is_bool: false,
            knows_objects: true,
        }
    }

    const OBJECTS: Group = Group::Objects { max: 1 };

    #[test]
    fn each_group_has_its_programs() {
        let functions = [("bulk_free", "kmem_cache_free_bulk")];
        let raw = ways(Hook::RawTracepoint, &functions);
        let classic = ways(Hook::Tracepoint, &functions);
        let has = |program, group, ways: &Ways| belongs(program, group, Some(ways)).is_some();
        assert!(has("on_kfree", Group::Motion, &raw));
        assert!(!has("on_kfree_record", Group::Motion, &raw));
        assert!(has("on_kfree_record", Group::Motion, &classic));
        assert!(!has("on_kfree", Group::Motion, &classic));
        assert!(has("on_bulk_free", Group::Motion, &classic));
        assert!(!has("on_bulk_alloc", Group::Motion, &raw));
        assert!(has("follow_bulk_free", OBJECTS, &raw));
        assert!(!has("on_kfree", OBJECTS, &raw));
        assert!(has("list_caches", Group::Sizes, &raw));
    }

    #[test]
    fn a_free_is_counted_once() {
        let functions = [(FREE_ENTRY, "kmem_cache_free")];
        let entry = ways(Hook::RawTracepoint, &functions);
        let event = ways(Hook::RawTracepoint, &[]);
        let kprobe = Ways {
            has_free_kprobe: true,
            ..event.clone()
        };
        for (ways, by) in [
            (entry, "free_entry"),
            (event, "cache_free"),
            (kprobe, "free_kprobe"),
        ] {
            for (prefix, group) in [("on_", Group::Motion), ("follow_", OBJECTS)] {
                let has = |rest: &str| belongs(&format!("{prefix}{rest}"), group, Some(&ways));
                for program in ["free_entry", "cache_free", "free_kprobe"] {
                    assert_eq!(has(program).is_some(), program == by);
                }
            }
        }
    }
}
