//! Loading one program and listening to the verifier.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use libbpf_rs::btf::types::{DataSec, Var};
use libbpf_rs::{AsRawLibbpf, Btf, ObjectBuilder, OpenObject, PrintLevel};
use memtools::attach::{Hook, try_hook};

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
        let hook = match section.split('/').next().unwrap_or(section) {
            "uprobe.session" => return self.has_sessions,
            "fentry" => Hook::Fentry,
            "kprobe.multi" => Hook::KprobeMulti,
            _ => return true,
        };
        try_hook(hook).is_ok()
    }
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
            other.set_log_level(LOG_STATISTICS);
        }
        let constants = [
            ("has_attach_cookie", u32::from(kernel.has_attach_cookie)),
            // Without it the verifier would not follow what the table in front needs.
            ("block_set_count", BLOCK_SETS),
            ("trace_every_event", 1),
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
