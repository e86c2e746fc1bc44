//! malloc and free of a running program, and where probes on them belong.

use std::sync::Arc;

use anyhow::{Context, Result};
use memtools::attach::Probe;
use memtools::target::elf::ElfObject;
use memtools::target::mappings::{Mappings, read_text_mappings};
use memtools::target::object::Object;
use memtools::target::placement::{Needs, place};

pub struct Allocator {
    pub object: Arc<Object>,
    pub malloc: Probe,
    pub free: Probe,
}

impl Allocator {
    /// The library of process `pid` that exports malloc, with the places that memleak chooses.
    pub fn of(pid: u32) -> Result<Self> {
        let mut mappings = Mappings::default();
        for record in read_text_mappings(pid).context("reading the workload's mappings")? {
            mappings.insert(pid, &record, 0);
        }
        for object in mappings.current_objects() {
            let Ok(elf) = ElfObject::open(&object.open_path()) else {
                continue;
            };
            if elf.exports("malloc") && elf.exports("free") {
                let malloc = probe(&elf, "malloc", MALLOC)?;
                let free = probe(&elf, "free", FREE)?;
                return Ok(Self {
                    object,
                    malloc,
                    free,
                });
            }
        }
        anyhow::bail!("the workload maps no library that exports malloc and free")
    }
}

/// As memleak needs them: the size and the return address.
const MALLOC: Needs = Needs {
    arguments: 1,
    return_address: true,
    may_miss_null: false,
    frame_pointer: false,
};

/// The block.
const FREE: Needs = Needs {
    arguments: 1,
    return_address: false,
    may_miss_null: true,
    frame_pointer: false,
};

fn probe(elf: &ElfObject, name: &str, needs: Needs) -> Result<Probe> {
    let functions = elf.functions(&[name])?;
    let function = functions
        .first()
        .with_context(|| format!("{name} has no symbol"))?;
    let placement = place(&function.code, function.address, &needs);
    Ok(Probe {
        file_offset: function.file_offset + placement.offset,
        ..Probe::default()
    })
}
