//! The floor: probes placed where funclatency places them, whose programs do nothing.

use std::path::Path;

use anyhow::{Context, Result};
use memtools::attach::{Kind, Links, Probe};
use memtools::target::elf::ElfObject;
use memtools::target::placement::{Needs, place};
use memtools_tests::{EmptyProbes, workloads_dir};

/// At the entry and the return of a function of the workload.
pub fn attach(empty: &EmptyProbes<'_>, pid: u32, function: &str) -> Result<Links> {
    let path = workloads_dir().join("callloop");
    let probe = probe(&path, function)?;
    empty.attach(pid, &path, &[(Kind::Return, probe), (Kind::Entry, probe)])
}

fn probe(path: &Path, name: &str) -> Result<Probe> {
    let functions = ElfObject::open(path)?.functions(&[name])?;
    let function = functions
        .first()
        .with_context(|| format!("{name} has no symbol"))?;
    let needs = Needs {
        return_address: true,
        ..Needs::default()
    };
    let placement = place(&function.code, function.address, &needs);
    Ok(Probe {
        file_offset: function.file_offset + placement.offset,
        ..Probe::default()
    })
}
