//! Functions of programs and libraries.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use memtools::attach::{Uprobes, has_seccomp_filter, return_probes_harm_seccomp};
use memtools::cli::UserError;
use memtools::nearest::nearest;
use memtools::output::clean;
use memtools::pattern::Pattern;
use memtools::symbols::demangled;
use memtools::target::elf::{ElfObject, Function};
use memtools::target::exits::{ExitKind, Exits, Part, exits};
use memtools::target::libraries::{find_library, find_program};
use memtools::target::mappings::Mappings;
use memtools::target::mappings::read_text_mappings;
use memtools::target::object::Object;
use memtools::target::placement::{Needs, endangers, is_probe_refused, place};
use memtools::target::{Target, TargetError};

use super::exceptions::{Danger, Peculiar, Throwers, in_process, is_never_called};
use super::{Ending, Place, Plan, Planned, Site, UserPlace, check_count};
use crate::cli::Cli;
use crate::collector::{COOKIE_CONDITION, COOKIE_KIND, EXIT_CONDITIONAL, EXIT_JUMP, EXIT_RETURN};
use crate::model;

/// What holds for all patterns, and takes time to find out.
#[derive(Debug)]
pub struct Setting {
    pub uprobes: Uprobes,
    /// A thread that stands for the process.
    thread: Option<u32>,
    process: Option<Peculiar>,
    /// Return probes harm it on this kernel.
    is_filtered: bool,
}

impl Setting {
    /// Of the process, if there is one, and of the kernel.
    pub fn find(cli: &Cli) -> Result<Self> {
        let target = cli.pid.map(Target::new).transpose().map_err(bad_target)?;
        let any_thread = target.as_ref().is_some_and(Target::leader_is_dead);
        let thread = target.map(|target| target.live_thread());
        let uprobes = Uprobes::find(any_thread)?;
        // Without a process it is everybody's function.
        let may_be_filtered = thread.is_none_or(has_seccomp_filter);
        Ok(Self {
            uprobes,
            thread,
            process: thread.map(in_process),
            is_filtered: may_be_filtered && return_probes_harm_seccomp(uprobes.way).unwrap_or(true),
        })
    }
}

/// Adds the functions of an object that a pattern stands for.
pub fn plan(plan: &mut Plan, cli: &Cli, object: &str, text: &str, setting: &Setting) -> Result<()> {
    let planner = Planner::open(cli, object, setting)?;
    let functions = planner.find(text)?;
    check_count(cli, functions.len())?;
    let is_exact = functions.len() == 1;
    for function in functions {
        match planner.place(&function) {
            Ok(place) if plan.has_place(&place) => {}
            Ok(place) => plan.functions.push(Planned {
                function: model::Function {
                    shown: demangled(&function.name),
                    name: function.name,
                    module: planner.module.clone(),
                    arguments: None,
                },
                place: Place::User(place),
            }),
            Err(why) if is_exact => {
                let name = clean(&function.name);
                return Err(UserError::usage(format!("{name}: {why}")).into());
            }
            Err(why) => plan
                .notes
                .push(format!("{} is left out: {why}", clean(&function.name))),
        }
    }
    Ok(())
}

fn bad_target(error: TargetError) -> anyhow::Error {
    if error.is_bad_input() {
        UserError::usage(error.to_string()).into()
    } else {
        error.into()
    }
}

struct Planner<'a> {
    cli: &'a Cli,
    object: Arc<Object>,
    elf: ElfObject,
    /// For people, and in JSON.
    module: String,
    throwers: Throwers,
    setting: &'a Setting,
}

impl<'a> Planner<'a> {
    fn open(cli: &'a Cli, name: &str, setting: &'a Setting) -> Result<Self> {
        let thread = setting.thread;
        let object = find_object(name, thread)?;
        let opened = ElfObject::open(&object.open_path());
        let elf = opened.map_err(|error| UserError::usage(shown_error(&error, &object)))?;
        let root = thread.map(|tid| PathBuf::from(format!("/proc/{tid}/root")));
        let elf = match &root {
            Some(root) => elf.with_root(root),
            None => elf,
        };
        if elf.is_go() {
            let text = format!(
                "{} is a Go program: Go moves the stacks of its goroutines, and a return probe, whose \
                 address stands on one, would crash it; goroutines also change threads in the middle \
                 of a call",
                clean(&object.name())
            );
            return Err(UserError::usage(text).into());
        }
        Ok(Self {
            cli,
            throwers: Throwers::of(&elf, &object, setting.process),
            module: object.path().to_string_lossy().into_owned(),
            object,
            elf,
            setting,
        })
    }

    /// The functions that a pattern, or an address, stands for; each address once.
    fn find(&self, text: &str) -> Result<Vec<Function>> {
        let reading = || format!("reading the symbols of {}", clean(&self.module));
        if let Some(address) = text.strip_prefix("0x") {
            let address = u64::from_str_radix(address, 16)
                .map_err(|_| UserError::usage(format!("{} is no address", clean(text))))?;
            let function = self.elf.function_at(address).with_context(reading)?;
            let function = function.ok_or_else(|| {
                UserError::usage(format!(
                    "no function of {} is known to begin at {text}",
                    clean(&self.module)
                ))
            })?;
            return Ok(vec![function]);
        }
        let pattern = Pattern::new(text, self.cli.regexp)
            .map_err(|error| UserError::usage(error.to_string()))?;
        let mut found = match pattern.exact_name() {
            Some(name) => self.elf.functions(&[name]),
            None => self.elf.functions_where(|name| pattern.matches(name)),
        }
        .with_context(reading)?;
        if found.is_empty() {
            // As it stands in the source, or as this tool shows it.
            let is_it = |name: &str| {
                let shown = demangled(name);
                let short = without_arguments(&shown);
                shown != name
                    && (pattern.matches(&shown)
                        || pattern.matches(short)
                        || pattern.matches(without_parameters(short)))
            };
            found = self.elf.functions_where(is_it).with_context(reading)?;
        }
        if found.is_empty() && pattern.exact_name().is_some() {
            return Err(self.unknown(text).into());
        }
        let mut addresses = std::collections::HashSet::new();
        found.retain(|function| addresses.insert(function.address));
        Ok(found)
    }

    fn unknown(&self, name: &str) -> UserError {
        let module = clean(&self.module);
        let shown = clean(name);
        if self.elf.inlined(name).unwrap_or(false) {
            return UserError::usage(format!(
                "{shown} is inlined everywhere in {module}: there is no call of it to be seen"
            ));
        }
        let names = self.elf.function_names().unwrap_or_default();
        if names.is_empty() {
            return UserError::usage(format!(
                "{module} is stripped: it names no function; give an address, as in {module}:0x1234"
            ));
        }
        let near = nearest(name, names.iter().map(String::as_str), 3);
        let hint = match &near[..] {
            [] => String::new(),
            near => {
                let near: Vec<String> = near
                    .iter()
                    .map(|name| without_arguments(&demangled(name)).to_owned())
                    .collect();
                format!("; did you mean {}?", clean(&near.join(", ")))
            }
        };
        UserError::usage(format!("{module} has no function {shown}{hint}"))
    }

    /// Where the probes of a function go, or why it cannot be traced.
    fn place(&self, function: &Function) -> Result<UserPlace, String> {
        if is_never_called(&function.name) {
            return Err("nobody calls it: there is nothing to return to".to_owned());
        }
        let needs = Needs {
            arguments: if self.cli.wants_slow() { 6 } else { 0 },
            return_address: true,
            ..Needs::default()
        };
        let placement = place(&function.code, function.address, &needs);
        let rest = function.code.get(placement.offset as usize..);
        let rest = rest.unwrap_or_default();
        if is_probe_refused(rest) {
            return Err(format!(
                "the kernel takes no probe on its first instruction ({})",
                placement.instruction
            ));
        }
        if endangers(rest) {
            return Err(
                "a probe on its first instruction would make it compute something else".to_owned(),
            );
        }
        Ok(UserPlace {
            object: Arc::clone(&self.object),
            entry_offset: function.file_offset + placement.offset,
            placement,
            ending: self.ending(function)?,
        })
    }

    fn ending(&self, function: &Function) -> Result<Ending, String> {
        let cold = self.elf.cold_parts(function).unwrap_or_default();
        let own = std::iter::once(function).chain(&cold);
        let parts: Vec<Part<'_>> = own
            .map(|part| Part {
                code: &part.code,
                address: part.address,
            })
            .collect();
        let exits = exits(&parts);
        let makes_calls = exits.makes_calls || !exits.is_complete;
        let danger = self.throwers.danger(&self.elf, function, makes_calls);
        let danger = danger.or_else(|| {
            let text = "return probes harm programs with a seccomp filter on this kernel";
            self.setting
                .is_filtered
                .then(|| Danger::Certain(text.to_owned()))
        });
        match danger {
            None => Ok(Ending::ReturnProbe),
            Some(Danger::Unwinding(_)) if self.cli.force_uretprobe => Ok(Ending::ReturnProbe),
            Some(Danger::Unwinding(why)) => {
                let force = "--force-uretprobe uses a return probe all the same, which kills the program if \
                             an exception passes";
                self.instructions(&exits, why)
                    .map_err(|why| format!("{why}; {force}"))
            }
            Some(Danger::Certain(why)) => self.instructions(&exits, why),
        }
    }

    fn instructions(&self, exits: &Exits, why: String) -> Result<Ending, String> {
        if !exits.is_complete {
            let reason = exits
                .why_not
                .as_deref()
                .unwrap_or("its code is not understood");
            return Err(format!(
                "no return probe, for {why}; and not all of its ends can be found ({reason})"
            ));
        }
        let sites = exits.sites.iter().filter_map(|exit| {
            let cookie = match exit.kind {
                ExitKind::Return => EXIT_RETURN << COOKIE_KIND,
                ExitKind::TailJump => EXIT_JUMP << COOKIE_KIND,
                ExitKind::ConditionalTailJump { condition } => {
                    EXIT_CONDITIONAL << COOKIE_KIND | u64::from(condition) << COOKIE_CONDITION
                }
            };
            let file_offset = self.elf.file_offset(exit.address)?;
            Some(Site {
                file_offset,
                cookie,
            })
        });
        Ok(Ending::Instructions {
            sites: sites.collect(),
            why,
        })
    }
}

fn shown_error(error: &impl std::fmt::Display, object: &Object) -> String {
    let text = error.to_string();
    let opened = object.open_path().display().to_string();
    clean(&text.replace(&opened, &object.path().display().to_string()))
}

/// What stands before the `:`.
fn find_object(name: &str, thread: Option<u32>) -> Result<Arc<Object>> {
    let missing = |what: String| anyhow::Error::from(UserError::usage(what));
    if let Some(tid) = thread {
        if name.is_empty() {
            let path = std::fs::read_link(format!("/proc/{tid}/exe"));
            let path = path.with_context(|| format!("reading /proc/{tid}/exe"))?;
            let object = Object::open_as(Path::new(&format!("/proc/{tid}/exe")), &path);
            return Ok(Arc::new(
                object.with_context(|| format!("opening {}", path.display()))?,
            ));
        }
        if let Some(object) = mapped_object(name, tid)? {
            return Ok(object);
        }
    } else if name.is_empty() {
        let text =
            "no file before the colon; with -p, :FUNC is a function of the process's own program";
        return Err(missing(text.to_owned()));
    }
    let root = match thread {
        Some(tid) => PathBuf::from(format!("/proc/{tid}/root")),
        None => PathBuf::from("/"),
    };
    let found = if name.contains('/') {
        let inside = thread.map(|_| root.join(name.trim_start_matches('/')));
        let inside = inside.filter(|path| path.is_file());
        Some(inside.unwrap_or_else(|| PathBuf::from(name)))
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        find_library(name, &root).or_else(|| find_program(name, OsStr::new(&path), &root))
    };
    let Some(path) = found else {
        return Err(missing(format!(
            "there is no library or program {} (a path has a slash, as in ./{})",
            clean(name),
            clean(name)
        )));
    };
    match Object::open(&path) {
        Ok(object) => Ok(Arc::new(object)),
        Err(error) => Err(missing(format!(
            "{}: {error}",
            clean(&path.to_string_lossy())
        ))),
    }
}

/// An object that the process has mapped, by its name.
fn mapped_object(name: &str, tid: u32) -> Result<Option<Arc<Object>>> {
    let records = read_text_mappings(tid).with_context(|| format!("reading /proc/{tid}/maps"))?;
    let mut mappings = Mappings::default();
    for record in &records {
        mappings.insert(tid, record, 0);
    }
    let objects = mappings.current_objects();
    Ok(objects.into_iter().find(|object| object.is_called(name)))
}

/// `ns::f(int) const` → `ns::f`.
fn without_arguments(name: &str) -> &str {
    name.split_once('(').map_or(name, |(name, _)| name)
}

/// `void ns::f<int>` → `ns::f`.
fn without_parameters(name: &str) -> &str {
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    name.rsplit_once(' ').map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_source() {
        assert_eq!(without_arguments("ns::f(int, char) const"), "ns::f");
        assert_eq!(without_parameters("int ns::f<int, char>"), "ns::f");
        assert_eq!(without_parameters("f"), "f");
    }
}
