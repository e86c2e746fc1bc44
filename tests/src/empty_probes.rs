//! The floor of benchmarks: well-placed probes whose programs do nothing.

use std::mem::MaybeUninit;
use std::path::Path;

use anyhow::Result;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{OpenObject, ProgramAttachType};
use memtools::attach::{self, Kind, Links, Probe, Uprobes, Way};

// Generated code.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    unused
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/probe_test.skel.rs"));
}

/// The loaded programs.
pub struct EmptyProbes<'a> {
    skel: skel::ProbeTestSkel<'a>,
    /// Entry and return as two probes, as nearly every tool has them.
    pub way: Way,
}

impl<'a> EmptyProbes<'a> {
    /// Loads them for the way that this kernel has.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn load(storage: &'a mut MaybeUninit<OpenObject>) -> Result<Self> {
        let way = match Uprobes::find(false)?.way {
            Way::PerfEvent => Way::PerfEvent,
            Way::Session | Way::Multi => Way::Multi,
        };
        let mut open = skel::ProbeTestSkelBuilder::default().open(storage)?;
        for mut program in open.open_object_mut().progs_mut() {
            let is_empty = program.name().to_string_lossy().starts_with("empty_");
            program.set_autoload(is_empty);
            if is_empty && way == Way::Multi {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
        }
        Ok(Self {
            skel: open.load()?,
            way,
        })
    }

    /// Attaches to places in one file, for one process, in this order.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self, pid: u32, path: &Path, places: &[(Kind, Probe)]) -> Result<Links> {
        let progs = &self.skel.progs;
        let mut links = Links::default();
        for (kind, probe) in places {
            let program = match kind {
                Kind::Return => &progs.empty_return,
                Kind::Entry | Kind::Session => &progs.empty_entry,
            };
            links.extend(attach::attach(
                program,
                self.way,
                *kind,
                pid,
                path,
                &[*probe],
            )?);
        }
        Ok(links)
    }
}
