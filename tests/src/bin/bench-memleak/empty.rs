//! The floor: well-placed probes whose programs do nothing.

use std::mem::MaybeUninit;

use anyhow::Result;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{OpenObject, ProgramAttachType};
use memtools::attach::{self, Kind, Links, Uprobes, Way};

use crate::allocator::Allocator;

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
    pub fn load(storage: &'a mut MaybeUninit<OpenObject>) -> Result<Self> {
        let way = match Uprobes::find(false)?.way {
            Way::PerfEvent => Way::PerfEvent,
            Way::Session | Way::Multi => Way::Multi,
        };
        let mut open = skel::ProbeTestSkelBuilder::default().open(storage)?;
        let progs = &mut open.progs;
        for unused in [
            &mut progs.count_entry,
            &mut progs.count_return,
            &mut progs.count_session,
        ] {
            unused.set_autoload(false);
        }
        if way == Way::Multi {
            for program in [&mut progs.empty_entry, &mut progs.empty_return] {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
        }
        Ok(Self {
            skel: open.load()?,
            way,
        })
    }

    /// At the entry and the return of malloc, and in free.
    pub fn attach(&self, pid: u32) -> Result<Links> {
        let allocator = Allocator::of(pid)?;
        let path = allocator.object.open_path();
        let progs = &self.skel.progs;
        let mut links = Links::default();
        for (program, kind, probe) in [
            (&progs.empty_entry, Kind::Entry, allocator.malloc),
            (&progs.empty_return, Kind::Return, allocator.malloc),
            (&progs.empty_entry, Kind::Entry, allocator.free),
        ] {
            links.extend(attach::attach(
                program,
                self.way,
                kind,
                pid,
                &path,
                &[probe],
            )?);
        }
        Ok(links)
    }
}
