//! Attaching to the functions of a plan, in the best way that works.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};
use libbpf_rs::Error;
use memtools::attach::{
    self, EVERY_PROCESS, EmptyCall, Hook, Kind, Probe, Seen, Uprobes, attach_function,
    attach_functions, has_fentry, try_hook,
};
use memtools::process::kernel_may_be_preempted;
use memtools::target::Target;
use memtools::target::object::Object;

use super::abi;
use super::kernel::{FunclatencySkel, Loaded, OwnFunction, Way};
use super::wanted::Wanted;
use crate::plan::{Ending, Place, Plan, Planned, UserPlace};

/// A trampoline is loaded and attached for each function alone: no more than so many.
const MOST_TRAMPOLINES: usize = 8;

/// What came of it.
pub struct Attached {
    pub loaded: Loaded,
    pub way: Way,
    /// The better ways, and why they do not work.
    pub tried: Vec<String>,
    /// What was left out.
    pub notes: Vec<String>,
}

/// Attaches; nothing counts yet.
pub fn attach(wanted: &Wanted, plan: &Plan, force_kprobes: bool) -> Result<Attached> {
    let count = plan.functions.len() as u32;
    if let Some(uprobes) = plan.uprobes {
        let way = Way::User(uprobes.way);
        let mut loaded = Loaded::load(wanted, way, count)?;
        loaded.attach_threads()?;
        attach_user(&mut loaded, wanted, plan, uprobes)?;
        set_probes_ns(&loaded, plan, uprobes)?;
        return Ok(Attached {
            loaded,
            way,
            tried: Vec::new(),
            notes: Vec::new(),
        });
    }
    let mut tried = Vec::new();
    for way in kernel_ways(wanted, plan, force_kprobes) {
        let mut loaded = Loaded::load(wanted, way, count)?;
        loaded.attach_threads()?;
        match attach_kernel(&mut loaded, wanted, plan, way) {
            Ok(notes) => {
                return Ok(Attached {
                    loaded,
                    way,
                    tried,
                    notes,
                });
            }
            Err(error) => tried.push(format!("{way}: {error:#}")),
        }
    }
    Err(anyhow!(
        "functions of the kernel cannot be traced here ({})",
        tried.join("; ")
    ))
}

/// From best to last.
fn kernel_ways(wanted: &Wanted, plan: &Plan, force_kprobes: bool) -> Vec<Way> {
    let mut ways = vec![Way::Session, Way::Multi, Way::Kprobe];
    let is_known = |planned: &Planned| planned.function.arguments.is_some();
    let few = plan.functions.len() <= MOST_TRAMPOLINES && plan.functions.iter().all(is_known);
    // Stacks are read without being preempted in kprobes only.
    let has_stacks = !wanted.stack || !kernel_may_be_preempted();
    // One that sends something is not kept from tracing a lock that another one holds for that.
    let is_apart = !wanted.wants_slow() || plan.functions.len() == 1;
    if few && !force_kprobes && has_stacks && is_apart && has_exact_trampolines() {
        ways.insert(0, Way::Trampoline);
    }
    ways
}

/// Where programs can be preempted, one that runs already on a CPU is skipped there.
fn has_exact_trampolines() -> bool {
    has_fentry() && (!kernel_may_be_preempted() || try_hook(Hook::Fentry).is_ok_and(Seen::is_exact))
}

fn attach_kernel(
    loaded: &mut Loaded,
    wanted: &Wanted,
    plan: &Plan,
    way: Way,
) -> Result<Vec<String>, Error> {
    let names: Vec<(&str, u64)> = plan
        .functions
        .iter()
        .zip(0_u64..)
        .map(|(planned, number)| (planned.function.name.as_str(), number))
        .collect();
    match way {
        Way::Session => {
            let set = loaded.add_set(wanted, way, None)?;
            let link = attach_functions(&set.progs.on_kernel_session, Kind::Session, &names)?;
            loaded.calls = Some(link);
            Ok(Vec::new())
        }
        Way::Multi => {
            let set = loaded.add_set(wanted, way, None)?;
            let returns = attach_functions(&set.progs.on_kernel_return, Kind::Return, &names)?;
            let entries = attach_functions(&set.progs.on_kernel_entry, Kind::Entry, &names)?;
            loaded.links.extend([returns]);
            loaded.calls = Some(entries);
            Ok(Vec::new())
        }
        _ => attach_one_by_one(loaded, wanted, plan, way),
    }
}

/// What cannot be traced is left out; if nothing can, that is an error.
fn attach_one_by_one(
    loaded: &mut Loaded,
    wanted: &Wanted,
    plan: &Plan,
    way: Way,
) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    let mut first_error = None;
    if way == Way::Kprobe {
        loaded.add_set(wanted, way, None)?;
        if !way.has_cookies() {
            loaded.set_numbers(plan)?;
        }
    }
    for (planned, number) in plan.functions.iter().zip(0..) {
        let own = OwnFunction {
            number,
            name: planned.function.name.as_str(),
            arguments: planned.function.arguments.unwrap_or(0),
        };
        if let Err(error) = attach_one(loaded, wanted, way, own) {
            notes.push(format!("{} is left out: {error:#}", own.name));
            first_error.get_or_insert(error);
        }
    }
    match first_error {
        // With trampolines it is all or the next way.
        Some(error) if way == Way::Trampoline || notes.len() == plan.functions.len() => Err(error),
        _ => Ok(notes),
    }
}

/// The return first: an entry without its return would look as if the call went on.
fn attach_one(
    loaded: &mut Loaded,
    wanted: &Wanted,
    way: Way,
    own: OwnFunction<'_>,
) -> Result<(), Error> {
    let links = if way == Way::Trampoline {
        let set = loaded.add_set(wanted, way, Some(own))?;
        let returns = set.progs.on_trampoline_return.attach_trace()?;
        [returns, set.progs.on_trampoline_entry.attach_trace()?]
    } else {
        let progs = &loaded.sets[0].progs;
        let cookie = way.has_cookies().then_some(u64::from(own.number));
        let returns = attach_function(&progs.on_kernel_return, Kind::Return, own.name, cookie)?;
        let entry = attach_function(&progs.on_kernel_entry, Kind::Entry, own.name, cookie)?;
        [returns, entry]
    };
    loaded.links.extend(links);
    Ok(())
}

/// Probes of one program in one file.
struct Group<'a> {
    object: &'a Arc<Object>,
    probes: Vec<Probe>,
}

fn attach_user(loaded: &mut Loaded, wanted: &Wanted, plan: &Plan, uprobes: Uprobes) -> Result<()> {
    let pid = match wanted.process {
        None => EVERY_PROCESS,
        Some(process) if uprobes.way == attach::Way::PerfEvent => {
            Target::new(process.pid)?.live_thread()
        }
        Some(process) => process.pid,
    };
    let attacher = Attacher { uprobes, pid };
    let places = || {
        let functions = plan.functions.iter().zip(0_u32..);
        functions.filter_map(|(planned, number)| match &planned.place {
            Place::User(place) => Some((number, place)),
            Place::Kernel { .. } => None,
        })
    };
    if uprobes.has_cookie {
        loaded.add_set(wanted, Way::User(uprobes.way), None)?;
        let places: Vec<_> = places().collect();
        let links = attacher.attach(&loaded.sets[0], &places)?;
        loaded.links.extend(links);
        return Ok(());
    }
    for (number, place) in places() {
        let own = OwnFunction {
            number,
            name: "",
            arguments: 0,
        };
        let links = attacher.attach_without_cookies(loaded, wanted, own, place)?;
        loaded.links.extend(links);
    }
    Ok(())
}

/// Tells the kernel side what the probes of each function add to its times.
fn set_probes_ns(loaded: &Loaded, plan: &Plan, uprobes: Uprobes) -> Result<()> {
    // What cannot be measured is not taken off.
    let empty = EmptyCall::measure(uprobes.way).unwrap_or_default();
    let functions = loaded.functions()?;
    for (planned, number) in plan.functions.iter().zip(0_u32..) {
        let Place::User(place) = &planned.place else {
            continue;
        };
        let ns = empty.ns(place.placement.cost, place.ending != Ending::ReturnProbe);
        for stripe in 0..loaded.stripes {
            if let Some(words) = functions.get((number * loaded.stripes + stripe) as usize) {
                words[abi::PROBES_NS_WORD].store(ns, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

struct Attacher {
    uprobes: Uprobes,
    pid: u32,
}

impl Attacher {
    /// Ends first: an entry without its end would look as if the call went on.
    fn attach(
        &self,
        set: &FunclatencySkel<'_>,
        places: &[(u32, &UserPlace)],
    ) -> Result<Vec<libbpf_rs::Link>> {
        let progs = &set.progs;
        let mut links = Vec::new();
        let mut attach = |program, kind, groups: Vec<Group<'_>>| -> Result<()> {
            for group in groups {
                let path = group.object.open_path();
                let way = self.uprobes.way;
                links.extend(attach::attach(
                    program,
                    way,
                    kind,
                    self.pid,
                    &path,
                    &group.probes,
                )?);
            }
            Ok(())
        };
        let held = |place: &UserPlace| place.ending == Ending::ReturnProbe;
        let entry = |number: u32, place: &UserPlace| {
            vec![Probe {
                file_offset: place.entry_offset,
                cookie: number.into(),
                semaphore: None,
            }]
        };
        let exits = |number: u32, place: &UserPlace| match &place.ending {
            Ending::ReturnProbe => Vec::new(),
            Ending::Instructions { sites, .. } => sites
                .iter()
                .map(|site| Probe {
                    file_offset: site.file_offset,
                    cookie: site.cookie | u64::from(number),
                    semaphore: None,
                })
                .collect(),
        };
        let entries = |is_held: bool| {
            grouped(places, |number, place| {
                if held(place) == is_held {
                    entry(number, place)
                } else {
                    Vec::new()
                }
            })
        };
        attach(&progs.on_user_exit, Kind::Entry, grouped(places, exits))?;
        attach(&progs.on_user_entry_alone, Kind::Entry, entries(false))?;
        if self.uprobes.way == attach::Way::Session {
            attach(&progs.on_user_session, Kind::Session, entries(true))?;
        } else {
            attach(&progs.on_user_return, Kind::Return, entries(true))?;
            attach(&progs.on_user_entry, Kind::Entry, entries(true))?;
        }
        Ok(links)
    }

    /// Before 5.15 a probe's program knows nothing but what it was loaded with: a set for the
    /// function, and one for each kind of instruction that ends it.
    fn attach_without_cookies(
        &self,
        loaded: &mut Loaded,
        wanted: &Wanted,
        own: OwnFunction<'_>,
        place: &UserPlace,
    ) -> Result<Vec<libbpf_rs::Link>> {
        let way = Way::User(self.uprobes.way);
        let mut links = Vec::new();
        if let Ending::Instructions { sites, .. } = &place.ending {
            let mut kinds: Vec<u64> = sites.iter().map(|site| site.cookie).collect();
            kinds.sort_unstable();
            kinds.dedup();
            for kind in kinds {
                let own = OwnFunction {
                    number: own.number | kind as u32,
                    ..own
                };
                let set = loaded.add_set(wanted, way, Some(own))?;
                let probes: Vec<Probe> = sites
                    .iter()
                    .filter(|site| site.cookie == kind)
                    .map(|site| Probe {
                        file_offset: site.file_offset,
                        ..Probe::default()
                    })
                    .collect();
                let path = place.object.open_path();
                let program = &set.progs.on_user_exit;
                let way = self.uprobes.way;
                links.extend(attach::attach(
                    program,
                    way,
                    Kind::Entry,
                    self.pid,
                    &path,
                    &probes,
                )?);
            }
            let mut entry = place.clone();
            entry.ending = Ending::Instructions {
                sites: Vec::new(),
                why: String::new(),
            };
            let set = loaded.add_set(wanted, way, Some(own))?;
            links.extend(self.attach(set, &[(0, &entry)])?);
            return Ok(links);
        }
        let set = loaded.add_set(wanted, way, Some(own))?;
        links.extend(self.attach(set, &[(0, place)])?);
        Ok(links)
    }
}

/// The probes of functions, by file.
fn grouped<'a>(
    places: &[(u32, &'a UserPlace)],
    probes: impl Fn(u32, &UserPlace) -> Vec<Probe>,
) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (number, place) in places {
        let probes = probes(*number, place);
        if probes.is_empty() {
            continue;
        }
        match groups
            .iter_mut()
            .find(|group| group.object.id() == place.object.id())
        {
            Some(group) => group.probes.extend(probes),
            None => groups.push(Group {
                object: &place.object,
                probes,
            }),
        }
    }
    groups
}
