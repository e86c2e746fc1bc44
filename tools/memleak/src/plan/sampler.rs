//! A process that samples its allocations itself, and tells of them by USDT probes: what it tells is used
//! in place of the allocator's functions.

use std::sync::Arc;

use memtools::attach::Probe;
use memtools::target::elf::ElfError;
use memtools::target::elf::usdt::Site;
use memtools::target::object::FileId;
use memtools::target::placement::{Cost, Placement};

use super::{Plan, PlannedProbe, Planner};
use crate::functions::Role;

/// The provider of OpenTelemetry's contract for memory profiling.
const PROVIDER: &str = "otel_memory";
/// What is said of one then.
const IS_USED: &str = "is used:";
/// How many arguments its probes have.
const ALLOC_ARGUMENTS: usize = 3;
const FREE_ARGUMENTS: usize = 1;
/// The most places of them in one process: the size of the kernel side's table.
pub const MOST_SITES: usize = 1023;

impl Planner<'_> {
    pub(super) fn add_sampler(&mut self) -> Result<(), ElfError> {
        for site in self.elf.usdt_sites(PROVIDER, MOST_SITES + 1)? {
            let (role, arguments) = match site.name.as_str() {
                "alloc" => (Role::Sample, ALLOC_ARGUMENTS),
                "free" => (Role::SampleFree, FREE_ARGUMENTS),
                // mmap and munmap are seen without them.
                _ => continue,
            };
            let name = format!("{PROVIDER}:{}", site.name);
            match &site.arguments {
                Ok(found) if found.len() >= arguments => {}
                outcome => {
                    let why = match outcome {
                        Ok(found) => format!("it has {} arguments, not {arguments}", found.len()),
                        Err(argument) => format!("its argument {argument} cannot be read"),
                    };
                    let object = self.object.name();
                    self.notes.push(format!(
                        "the USDT probe {name} in {object} is not used: {why}"
                    ));
                    self.probes.retain(|probe| !probe.role.is_sampler());
                    return Ok(());
                }
            }
            self.probes.push(PlannedProbe {
                object: self.object.clone(),
                role,
                names: vec![name],
                reach: 0,
                placement: Placement {
                    offset: 0,
                    cost: Cost::Emulated,
                    instruction: site.instruction.clone(),
                },
                probe: Probe {
                    file_offset: site.file_offset,
                    cookie: 0,
                    semaphore: site.semaphore,
                },
                site: Some(Arc::new(site)),
            });
        }
        Ok(())
    }
}

impl Plan {
    /// Whether the process tells of its own samples.
    pub fn uses_sampler(&self) -> bool {
        self.has(Role::Sample)
    }

    fn has(&self, role: Role) -> bool {
        self.probes.iter().any(|probe| probe.role == role)
    }

    /// With all objects known: what the process samples itself, or the allocator's functions.
    pub fn choose_source(&mut self) {
        let sampler = self.probes.iter().filter(|probe| probe.role.is_sampler());
        let mut objects: Vec<String> = sampler.map(|probe| probe.object.name()).collect();
        let sites = objects.len();
        objects.dedup();
        if objects.is_empty() {
            return;
        }
        let what = format!("the USDT provider {PROVIDER} in {}", objects.join(" and "));
        let why_not = if !self.has(Role::Sample) || !self.has(Role::SampleFree) {
            "it has not both alloc and free"
        } else if sites > MOST_SITES {
            "it has too many probes"
        } else {
            self.withhold_functions();
            self.notes.push(format!(
                "{what} {IS_USED} figures are estimates from what the process samples; -O NAME traces \
                 the functions of that object instead"
            ));
            return;
        };
        self.notes.push(format!("{what} is not used: {why_not}"));
        self.drop_sampler();
    }

    /// Where its probes are.
    pub fn sampler_objects(&self) -> Vec<FileId> {
        let sampler = self.probes.iter().filter(|probe| probe.role.is_sampler());
        sampler.map(|probe| probe.object.id()).collect()
    }

    /// Takes the probes of the sampler out, but for those in objects that are certain to be there.
    pub fn keep_sampler_of(&mut self, is_certain: impl Fn(FileId) -> bool) {
        self.probes
            .retain(|probe| !probe.role.is_sampler() || is_certain(probe.object.id()));
    }

    /// It cannot be used: the allocator's functions are, from now on.
    pub fn refuse_sampler(&mut self, why: &str) {
        self.notes.retain(|note| !note.contains(IS_USED));
        self.notes
            .push(format!("the USDT provider {PROVIDER} is not used: {why}"));
        self.drop_sampler();
        self.probes.append(&mut self.withheld);
    }

    /// Takes the probes of the sampler out.
    pub fn drop_sampler(&mut self) {
        self.probes.retain(|probe| !probe.role.is_sampler());
    }

    /// The allocator's functions are for later.
    pub fn withhold_functions(&mut self) {
        let (functions, others) = std::mem::take(&mut self.probes)
            .into_iter()
            .partition(|probe| probe.role.is_allocators());
        self.withheld.extend::<Vec<_>>(functions);
        self.probes = others;
    }

    /// An object that came later gets the probes of the source that is in use.
    pub fn follow(&mut self, source: &Self) {
        if source.has(Role::Malloc) {
            if self.uses_sampler() {
                self.notes.push(format!(
                    "the USDT provider {PROVIDER} came when the allocator's functions had probes \
                     already: it is not used"
                ));
            }
            self.drop_sampler();
            return;
        }
        self.choose_source();
        if source.uses_sampler() {
            self.withhold_functions();
        }
    }
}

/// Gives USDT sites their numbers: where their arguments are is kept by them. Those that free come first: on
/// kernels without cookies they are known first.
pub fn numbered_sites(plan: &mut Plan, first: u32, has_cookie: bool) -> Vec<(u32, Arc<Site>)> {
    plan.probes
        .sort_by_key(|probe| probe.role != Role::SampleFree);
    let sites = plan.probes.iter_mut().filter_map(|probe| {
        let site = probe.site.clone()?;
        Some((probe, site))
    });
    let numbered = sites.zip(first..).map(|((probe, site), number)| {
        probe.reach = number.into();
        probe.probe.cookie = if has_cookie { probe.reach } else { 0 };
        (number, site)
    });
    numbered.collect()
}
