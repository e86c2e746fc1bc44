//! Which probes go where: found from the target's objects before anything is attached.

mod rust;
mod sampler;

pub use sampler::{MOST_SITES, numbered_sites};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use memtools::attach::{Probe, ProbeCost, Uprobes};
use memtools::target::elf::usdt::Site;
use memtools::target::elf::{ElfError, ElfObject, Function};
use memtools::target::object::{FileId, Object};
use memtools::target::placement::{Cost, Placement, endangers, place};
use memtools::target::returns::{goes_to, returns};

use crate::functions::{
    ALLOCATOR, JEMALLOC, LIBRARY_WRAPPERS, MAPPING, MIMALLOC, MIMALLOC_HEAPS, OPERATOR_DELETE,
    OPERATOR_NEW, PREFIXES, Role,
};

/// Where the allocator is looked for.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    /// `-O`: only this object.
    pub object: Option<String>,
    /// `-S`: what its functions begin with.
    pub prefix: String,
}

impl Allocator {
    /// Whether it is given, and not to be found.
    pub fn is_named(&self) -> bool {
        self.object.is_some() || !self.prefix.is_empty()
    }
}

/// One probe, and what `--explain` says of it.
#[derive(Clone, Debug)]
pub struct PlannedProbe {
    /// The file.
    pub object: Arc<Object>,
    /// What the function does.
    pub role: Role,
    /// Its names; aliases share one probe.
    pub names: Vec<String>,
    /// Where in the function.
    pub placement: Placement,
    /// What is attached.
    pub probe: Probe,
    /// How far an anchor's function reaches below the probe (upper 32 bits) and above it. A USDT site's
    /// number, once it has one.
    pub reach: u64,
    /// A USDT probe, and where its arguments are.
    pub site: Option<Arc<Site>>,
}

/// All probes for some objects.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In no particular order.
    pub probes: Vec<PlannedProbe>,
    /// The allocator's functions, where the process tells of its own samples instead.
    pub withheld: Vec<PlannedProbe>,
    /// What a user should know.
    pub notes: Vec<String>,
    /// The program, if it is among the objects.
    pub program: Option<FileId>,
}

impl Plan {
    /// Whether allocations would be seen.
    pub fn has_allocator(&self) -> bool {
        if self.uses_sampler() {
            return true;
        }
        let has = |role| self.probes.iter().any(|probe| probe.role == role);
        has(Role::Malloc) && has(Role::Free)
    }

    /// How many functions free: where there are several, one may call another.
    pub fn frees(&self) -> usize {
        let frees = self.probes.iter().filter(|probe| probe.role == Role::Free);
        frees.count()
    }

    /// The probes of some roles, by object.
    pub fn by_object(&self, roles: &[Role]) -> Vec<(Arc<Object>, Vec<Probe>)> {
        let mut groups: Vec<(Arc<Object>, Vec<Probe>)> = Vec::new();
        for planned in self
            .probes
            .iter()
            .filter(|probe| roles.contains(&probe.role))
        {
            match groups
                .iter_mut()
                .find(|(object, _)| object.id() == planned.object.id())
            {
                Some((_, probes)) => probes.push(planned.probe),
                None => groups.push((planned.object.clone(), vec![planned.probe])),
            }
        }
        groups
    }

    /// Whether an object holds an allocator.
    pub fn is_allocator(&self, id: FileId) -> bool {
        let all = self.probes.iter().chain(&self.withheld);
        let mut own = all.filter(|probe| probe.object.id() == id);
        own.any(|probe| probe.role == Role::Malloc)
    }

    /// Whether whatever an object maps is its allocator's affair.
    pub fn maps_for_allocator(&self, id: FileId) -> bool {
        self.uses_sampler() && self.program != Some(id) && self.is_allocator(id)
    }

    /// What an event of a role costs the target in its probes, in nanoseconds.
    pub fn event_cost_ns(&self, role: Role, cost: &ProbeCost) -> u64 {
        let entry = self.probes.iter().filter(|probe| probe.role == role);
        let entry = entry
            .map(|probe| cost.entry_ns(probe.placement.cost))
            .min()
            .unwrap_or(0);
        entry + if role.has_return() { cost.return_ns } else { 0 }
    }
}

/// What was planned for objects that other processes have too.
#[derive(Debug, Default)]
pub struct PlanCache {
    /// By file, as it was then, and whether it is the program.
    known: HashMap<(FileId, Version, bool), Plan>,
}

/// Tells a file from what was written over it: its size and when it was changed (seconds, nanoseconds).
type Version = (u64, i64, i64);

fn version(object: &Object) -> Option<Version> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(object.open_path()).ok()?;
    Some((metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
}

impl PlanCache {
    /// As [`plan`], with the same allocator and probes each time.
    pub fn plan(
        &mut self,
        objects: &[Arc<Object>],
        program: Option<&Object>,
        allocator: &Allocator,
        uprobes: &Uprobes,
    ) -> Plan {
        /// Each keeps its file open.
        const MOST: usize = 1024;
        if self.known.len() > MOST {
            self.known.clear();
        }
        let mut all = Plan {
            program: program.map(Object::id),
            ..Plan::default()
        };
        for object in objects {
            let is_program = program.is_some_and(|program| program.id() == object.id());
            let new = || plan(std::slice::from_ref(object), program, allocator, uprobes);
            let Some(version) = version(object) else {
                all.notes.extend(new().notes);
                continue;
            };
            let known = self.known.entry((object.id(), version, is_program));
            let own = known.or_insert_with(new);
            all.probes.extend(own.probes.iter().cloned());
            all.notes.extend(own.notes.iter().cloned());
        }
        all
    }
}

/// Plans for objects of a process; `program` is the first of them.
pub fn plan(
    objects: &[Arc<Object>],
    program: Option<&Object>,
    allocator: &Allocator,
    uprobes: &Uprobes,
) -> Plan {
    let mut plan = Plan {
        program: program.map(Object::id),
        ..Plan::default()
    };
    for object in objects {
        let is_program = program.is_some_and(|program| program.id() == object.id());
        // A mapped file need not be an ELF file.
        let Ok(mut planner) = Planner::new(object, is_program, allocator, uprobes) else {
            continue;
        };
        match planner.run() {
            Ok(()) => {
                plan.probes.append(&mut planner.probes);
                plan.notes.append(&mut planner.notes);
            }
            Err(error) => plan.notes.push(error.to_string()),
        }
    }
    plan
}

struct Planner<'a> {
    object: &'a Arc<Object>,
    elf: ElfObject,
    is_program: bool,
    allocator: &'a Allocator,
    has_cookie: bool,
    probes: Vec<PlannedProbe>,
    notes: Vec<String>,
}

impl<'a> Planner<'a> {
    fn new(
        object: &'a Arc<Object>,
        is_program: bool,
        allocator: &'a Allocator,
        uprobes: &Uprobes,
    ) -> Result<Self, ElfError> {
        Ok(Self {
            object,
            elf: ElfObject::open(&object.open_path())?,
            is_program,
            allocator,
            has_cookie: uprobes.has_cookie,
            probes: Vec::new(),
            notes: Vec::new(),
        })
    }

    fn run(&mut self) -> Result<(), ElfError> {
        if self.is_dynamic_linker() {
            return Ok(());
        }
        if !self.allocator.is_named() {
            self.notes_failure(Self::add_sampler);
        }
        if self.elf.imports_any(MIMALLOC_HEAPS) {
            self.notes.push(format!(
                "{} uses heaps of mimalloc's: what it allocates in them is not seen",
                self.object.name()
            ));
        }
        let prefixes = self.prefixes()?;
        for prefix in &prefixes {
            self.add_allocator(prefix)?;
        }
        let has_own_operators = !prefixes.is_empty() && self.has_own_operators()?;
        if has_own_operators {
            self.add_operators()?;
        }
        if !self.allocator.is_named() {
            self.notes_failure(Self::add_rust_allocator);
        }
        let is_library = self.defines_public("mmap")?;
        if is_library {
            self.add_table(MAPPING, "")?;
            self.add_anchors(LIBRARY_WRAPPERS, !self.is_program)?;
        }
        // What is traced itself needs none.
        if has_own_operators {
            return Ok(());
        }
        self.add_anchors(OPERATOR_NEW, false)
    }

    /// What fails of it leaves the rest as it is.
    fn notes_failure(&mut self, step: impl FnOnce(&mut Self) -> Result<(), ElfError>) {
        if let Err(error) = step(self) {
            self.notes.push(error.to_string());
        }
    }

    /// Its own small allocator is not the program's. musl's linker, though, is the C library.
    fn is_dynamic_linker(&self) -> bool {
        let name = self.object.name();
        name.starts_with("ld-") && !name.starts_with("ld-musl") || name == "ld.so"
    }

    /// What the functions of the allocators in this object begin with; none: there is no allocator.
    fn prefixes(&self) -> Result<Vec<&'a str>, ElfError> {
        let own = self.allocator.prefix.as_str();
        if let Some(name) = &self.allocator.object {
            let is_it = self.object.is_called(name);
            return Ok(if is_it { vec![own] } else { Vec::new() });
        }
        let known: &[&str] = if own.is_empty() { PREFIXES } else { &[] };
        let mut found = Vec::new();
        for prefix in std::iter::once(own).chain(known.iter().copied()) {
            if self.defines_public(&format!("{prefix}malloc"))? {
                found.push(prefix);
            }
        }
        Ok(found)
    }

    /// Whether others reach the function by name: in a library if it is exported, in a program
    /// also if it is linked statically.
    fn defines_public(&self, name: &str) -> Result<bool, ElfError> {
        Ok(self.elf.exports(name) || self.is_program && !self.elf.functions(&[name])?.is_empty())
    }

    fn add_allocator(&mut self, prefix: &str) -> Result<(), ElfError> {
        let before = self.probes.len();
        self.add_table(ALLOCATOR, prefix)?;
        // One that defines malloc alone leaves its blocks to another one's free.
        if !self.probes[before..]
            .iter()
            .any(|probe| probe.role == Role::Malloc)
        {
            self.probes.truncate(before);
            return Ok(());
        }
        self.add_table(JEMALLOC, prefix)?;
        if prefix == "mi_" {
            self.add_table(MIMALLOC, "")?;
        }
        Ok(())
    }

    /// Whether there is an operator new that does more than to call malloc. What static programs have of
    /// libstdc++ does no more.
    fn has_own_operators(&self) -> Result<bool, ElfError> {
        if !self.defines_public("_Znwm")? {
            return Ok(false);
        }
        let found = self.elf.functions(&["_Znwm"])?;
        let mut found = found.iter();
        Ok(found.any(|new| !goes_to(&self.elf, new, &["malloc"]).unwrap_or(false)))
    }

    /// Those of an allocator need not call its malloc. An exception may leave them (bad_alloc): their
    /// ends get probes, and not their return.
    fn add_operators(&mut self) -> Result<(), ElfError> {
        for function in self.elf.functions(OPERATOR_DELETE)? {
            self.add(Role::Free, &function, 0);
        }
        for function in self.elf.functions(OPERATOR_NEW)? {
            match returns(&self.elf, &function) {
                Ok(ends) if !ends.is_empty() => {
                    for address in ends {
                        self.add_end(address, &function.name);
                    }
                    self.add(Role::New, &function, 0);
                }
                outcome => {
                    let why = outcome
                        .err()
                        .unwrap_or_else(|| "it never returns".to_owned());
                    self.notes.push(format!(
                        "what C++ allocates by {} in {} may not be seen: {why}",
                        function.name,
                        self.object.name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Several functions may end in one place.
    fn add_end(&mut self, address: u64, name: &str) {
        let Some(file_offset) = self.elf.file_offset(address) else {
            return;
        };
        let known = self
            .probes
            .iter_mut()
            .find(|known| known.role == Role::End && known.probe.file_offset == file_offset);
        if let Some(known) = known {
            known.names.push(name.to_owned());
            return;
        }
        self.probes.push(PlannedProbe {
            object: self.object.clone(),
            role: Role::End,
            names: vec![name.to_owned()],
            reach: 0,
            site: None,
            placement: Placement {
                offset: 0,
                cost: Cost::SingleStepped,
                instruction: "ret".to_owned(),
            },
            probe: Probe {
                file_offset,
                cookie: self.cookie(Role::End, 0),
                semaphore: None,
            },
        });
    }

    /// Kernels without cookies refuse one that is not 0; they get it by address.
    fn cookie(&self, role: Role, reach: u64) -> u64 {
        if self.has_cookie {
            role.session_cookie().unwrap_or(reach)
        } else {
            0
        }
    }

    fn add_table(&mut self, table: &[(&str, Role)], prefix: &str) -> Result<(), ElfError> {
        let names: Vec<String> = table
            .iter()
            .map(|(name, _)| format!("{prefix}{name}"))
            .collect();
        let roles: BTreeMap<&str, Role> = names
            .iter()
            .map(String::as_str)
            .zip(table.iter().map(|(_, role)| *role))
            .collect();
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        for function in self.elf.functions(&wanted)? {
            let Some(&role) = roles.get(function.name.as_str()) else {
                continue;
            };
            if role.has_return() && self.may_throw(&function)? {
                self.notes.push(format!(
                    "{} in {} may be left by an exception, which a return probe would turn into \
                     an abort: it is not traced",
                    function.name,
                    self.object.name()
                ));
                continue;
            }
            self.add(role, &function, 0);
        }
        Ok(())
    }

    fn may_throw(&self, function: &Function) -> Result<bool, ElfError> {
        let is_mangled = function.name.starts_with("_Z") || function.name.starts_with("_R");
        Ok(is_mangled || self.elf.has_exception_table(function.address)?)
    }

    /// `in_whole_library`: whatever the library allocates while the function runs is for its
    /// caller.
    fn add_anchors(&mut self, names: &[&str], in_whole_library: bool) -> Result<(), ElfError> {
        for function in self.elf.functions(names)? {
            let own = function.address..function.address + function.size.max(1);
            let reach = in_whole_library
                .then(|| self.elf.text_segment(function.address))
                .flatten()
                .unwrap_or(own);
            let placement = place(&function.code, function.address, &Role::Anchor.needs());
            let probe = function.address + placement.offset;
            // A function without a size may have its probe behind its end.
            let above = reach.end.max(probe + 1) - probe;
            let cookie = (probe - reach.start) << 32 | above & 0xffff_ffff;
            self.add(Role::Anchor, &function, cookie);
        }
        Ok(())
    }

    fn add(&mut self, role: Role, function: &Function, reach: u64) {
        let placement = place(&function.code, function.address, &role.needs());
        if endangers(
            function
                .code
                .get(placement.offset as usize..)
                .unwrap_or_default(),
        ) {
            self.notes.push(format!(
                "{} in {} begins with an instruction that this kernel would not run rightly \
                 under a probe: it is not traced",
                function.name,
                self.object.name()
            ));
            return;
        }
        let file_offset = function.file_offset + placement.offset;
        let known = self
            .probes
            .iter_mut()
            .find(|known| known.role == role && known.probe.file_offset == file_offset);
        if let Some(known) = known {
            known.names.push(function.name.clone());
            return;
        }
        self.probes.push(PlannedProbe {
            object: self.object.clone(),
            role,
            names: vec![function.name.clone()],
            reach,
            site: None,
            placement,
            probe: Probe {
                file_offset,
                cookie: self.cookie(role, reach),
                semaphore: None,
            },
        });
    }
}
