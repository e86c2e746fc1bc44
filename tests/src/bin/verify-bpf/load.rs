//! Loading one program and listening to the verifier.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use libbpf_rs::btf::types::{DataSec, Func, Struct, Var};
use libbpf_rs::{
    AsRawLibbpf, Btf, MapType, ObjectBuilder, OpenObject, OpenProgramMut, PrintLevel, ProgramType,
};
use memtools::attach::{Hook, has_safe_trampolines, takes_pointer_to, try_hook};

/// Only the number of instructions, and the state of the verifier where it refuses.
const LOG_STATISTICS: u32 = 4;

/// As many as memleak makes by default.
const BLOCK_SETS: u32 = 64 << 10;

/// What libbpf says; it asks for a function without a state of its own.
static SAID: Mutex<String> = Mutex::new(String::new());

/// What programs may be written for.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub has_attach_cookie: bool,
    pub has_sessions: bool,
}

impl Kernel {
    /// Whether programs of this section can be loaded at all.
    fn has(self, section: &str) -> bool {
        let (kind, place) = section.split_once('/').unwrap_or((section, ""));
        let hook = match kind {
            "uprobe.session" => return self.has_sessions,
            "iter" => return has_iterator(place),
            // Where there are no safe trampolines the suite asks for none.
            "fentry" | "fexit" => return function(place).is_some() && has_safe_trampolines(),
            "kprobe.multi" => Hook::KprobeMulti,
            "kprobe.session" => return function("bpf_session_cookie").is_some(),
            "kprobe" | "kretprobe" => Hook::Kprobe,
            _ => return true,
        };
        try_hook(hook).is_ok()
    }
}

/// Whether the kernel has an iterator over such things.
fn has_iterator(over: &str) -> bool {
    let name = format!("bpf_iter__{over}");
    Btf::from_vmlinux().is_ok_and(|btf| btf.type_by_name::<Struct<'_>>(&name).is_some())
}

/// Whether a program is attached to functions of the kernel, where one object has both kinds.
fn is_of_kernel(program: &str) -> bool {
    program.starts_with("on_kernel") || program.starts_with("on_trampoline")
}

/// What the kernel calls a function: from 6.10 on many have a suffix.
fn function(name: &str) -> Option<String> {
    let btf = Btf::from_vmlinux().ok()?;
    let mut names = [name.to_owned(), format!("{name}_noprof")].into_iter();
    names.find(|name| btf.type_by_name::<Func<'_>>(name).is_some())
}

pub struct Object {
    pub name: String,
    image: Vec<u8>,
}

/// What came of a program.
pub enum Verdict {
    /// So many instructions were followed.
    Loaded(u64),
    /// Why.
    Refused(String),
    /// The suite does not load it on this one.
    OtherKernels,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded(instructions) => write!(f, "{instructions:>8} instructions"),
            Self::Refused(why) => write!(f, " REFUSED\n{why}"),
            Self::OtherKernels => write!(f, "       - for other kernels"),
        }
    }
}

impl Object {
    pub fn new(name: &str, image: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
        }
    }

    pub fn programs(&self) -> Result<Vec<String>> {
        let object = self.open()?;
        let names = object.progs();
        Ok(names
            .map(|program| program.name().to_string_lossy().into_owned())
            .collect())
    }

    /// Loads this program alone, with what the suite tells it about the kernel.
    pub fn verify(&self, program: &str, kernel: Kernel) -> Result<Verdict> {
        let mut object = self.open()?;
        for mut other in object.progs_mut() {
            let is_it = other.name() == program;
            if is_it && !kernel.has(&other.section().to_string_lossy()) {
                return Ok(Verdict::OtherKernels);
            }
            other.set_autoload(is_it);
            set_target(&mut other, is_it)?;
            other.set_log_level(LOG_STATISTICS);
        }
        let has_task_storage = has_task_storage();
        for mut map in object.maps_mut() {
            if map.map_type() == MapType::TaskStorage {
                map.set_autocreate(has_task_storage)?;
            }
        }
        let constants = [
            ("has_attach_cookie", u32::from(kernel.has_attach_cookie)),
            // Without it the verifier would not follow what the table in front needs.
            ("block_set_count", BLOCK_SETS),
            ("trace_every_event", 1),
            ("alloc_has_cache", has_cache("kmem_cache_alloc").into()),
            ("free_has_cache", has_cache("kmem_cache_free").into()),
            ("target_process", 1),
            ("wanted_cgroup", 1),
            ("has_task_storage", has_task_storage.into()),
            ("has_current_task", has_task_storage.into()),
            ("times", 1),
            ("by_errno", 1),
            ("follows", 1),
            ("target_parent", 1),
            ("has_wanted_comm", 1),
            ("has_wanted_calls", 1),
            ("wants_slow", 1),
            ("wants_stack", 1),
            ("recursion", 2),
            ("split", 1),
            ("is_kernel", is_of_kernel(program).into()),
        ];
        for (name, value) in constants {
            set_word(&mut object, name, value)?;
        }
        libbpf_rs::set_print(Some((PrintLevel::Debug, listen)));
        let loaded = object.load();
        libbpf_rs::set_print(None);
        let said = std::mem::take(&mut *said());
        Ok(match loaded {
            Ok(_) => Verdict::Loaded(processed(&said).with_context(|| {
                format!("the verifier does not say how far it went in {program}: {said}")
            })?),
            // Before 5.13 no function with such an argument can be watched, and the suite does without.
            Err(_) if said.contains("type PTR is not a struct") => Verdict::OtherKernels,
            Err(error) => Verdict::Refused(match verifier_log(&said) {
                Some(log) => log.to_owned(),
                None => format!("{error:#}"),
            }),
        })
    }

    fn open(&self) -> Result<OpenObject> {
        ObjectBuilder::default()
            .open_memory(&self.image)
            .with_context(|| format!("open {}", self.name))
    }
}

/// Whether such programs can keep what is theirs in tasks (5.12).
fn has_task_storage() -> bool {
    ProgramType::RawTracepoint
        .is_helper_supported(libbpf_rs::libbpf_sys::BPF_FUNC_task_storage_get)
        .unwrap_or(false)
}

fn has_cache(tracepoint: &str) -> bool {
    Btf::from_vmlinux().is_ok_and(|types| takes_pointer_to(&types, tracepoint, 2, "kmem_cache"))
}

/// Gives a program for a function the name that the function has here.
fn set_target(program: &mut OpenProgramMut<'_>, is_loaded: bool) -> Result<()> {
    let section = program.section().to_string_lossy().into_owned();
    let ("fentry" | "fexit", name) = section.split_once('/').unwrap_or_default() else {
        return Ok(());
    };
    match function(name) {
        Some(function) if is_loaded && function != name => {
            Ok(program.set_attach_target(0, Some(function))?)
        }
        _ => Ok(()),
    }
}

/// Sets a constant of the program's, if it has that one.
fn set_word(object: &mut OpenObject, name: &str, value: u32) -> Result<()> {
    let Some(offset) = offset_of(object, name)? else {
        return Ok(());
    };
    let constants = object
        .maps_mut()
        .find(|map| map.name().to_string_lossy().ends_with(".rodata"));
    let mut constants = constants.context("constants without a map")?;
    let bytes = constants
        .initial_value_mut()
        .context("constants without a value")?;
    bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    Ok(())
}

fn offset_of(object: &OpenObject, name: &str) -> Result<Option<usize>> {
    // SAFETY: the object outlives what is made of it here.
    let raw = unsafe { object.as_libbpf_object().as_ref() };
    let Some(btf) = Btf::from_bpf_object(raw)? else {
        return Ok(None);
    };
    let Some(section) = btf.type_by_name::<DataSec<'_>>(".rodata") else {
        return Ok(None);
    };
    let found = section.iter().find(|variable| {
        btf.type_by_id::<Var<'_>>(variable.ty)
            .is_some_and(|var| var.name().is_some_and(|own| own == name))
    });
    Ok(found.map(|variable| variable.offset as usize))
}

fn said() -> std::sync::MutexGuard<'static, String> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::needless_pass_by_value)] // as libbpf-rs calls it
fn listen(_: PrintLevel, message: String) {
    said().push_str(&message);
}

/// `processed 1234 insns (limit 1000000) max_states_per_insn …`
fn processed(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("\nprocessed ")?;
    rest.split(' ').next()?.parse().ok()
}

fn verifier_log(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("-- BEGIN PROG LOAD LOG --\n")?;
    Some(rest.split_once("-- END PROG LOAD LOG --")?.0)
}
