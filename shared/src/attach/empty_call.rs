//! How long a function seems to take that does nothing: what probes add to each time that they
//! measure, tried on two functions of our own.

use std::mem::MaybeUninit;
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Error, ProgramAttachType, ProgramMut};

use super::self_test::{call_emulated, call_stepped, own_probes, skel, tell_who_we_are};
use super::uprobe::{self, Kind, Links, Probe, Way};
use crate::target::placement::Cost;

/// In nanoseconds, by what the entry probe costs and by how the end is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmptyCall {
    returned: [u64; 2],
    left: [u64; 2],
}

impl EmptyCall {
    /// Of a function with an entry probe of this kind, and a return probe or, `by_instruction`, probes
    /// on the instructions that end it.
    pub fn ns(&self, entry: Cost, by_instruction: bool) -> u64 {
        let times = if by_instruction {
            self.left
        } else {
            self.returned
        };
        times[usize::from(entry == Cost::SingleStepped)]
    }

    /// Measures it, for this way of attaching.
    pub fn measure(way: Way) -> Result<Self, Error> {
        let mut object = MaybeUninit::uninit();
        let mut open = skel::ProbeTestSkelBuilder::default().open(&mut object)?;
        tell_who_we_are(&mut open)?;
        let is_session = way == Way::Session;
        for mut program in open.open_object_mut().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let is_needed = match name.as_str() {
                "time_session" => is_session,
                "time_entry" | "time_left" => true,
                "time_return" => !is_session,
                _ => false,
            };
            program.set_autoload(is_needed);
            if is_needed && way != Way::PerfEvent && name != "time_session" {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
        }
        let skel = open.load()?;
        let (emulated, stepped) = own_probes()?;
        let progs = &skel.progs;
        let attach = |program: &ProgramMut<'_>, kind, probe| {
            let path = Path::new("/proc/self/exe");
            uprobe::attach(program, way, kind, std::process::id(), path, &[probe])
                .map_err(uprobe::AttachError::into_source)
        };
        // What is single-stepped costs more or less by its kind: no more than the least is taken off.
        let typical = |call: fn(), is_stepped: bool| {
            for _ in 0..CALLS {
                call();
            }
            skel.maps.bss_data.as_deref().map_or(0, |bss| {
                // SAFETY: numbers that only this thread's calls make the kernel write.
                let mut times = unsafe { (&raw const bss.times).read_volatile() };
                times.sort_unstable();
                times[if is_stepped { 0 } else { times.len() / 2 }]
            })
        };
        let mut found = Self::default();
        for (at, (probe, call)) in [(emulated, call_emulated as fn()), (stepped, call_stepped)]
            .into_iter()
            .enumerate()
        {
            let mut links = Links::default();
            if is_session {
                links.extend(attach(&progs.time_session, Kind::Session, probe)?);
            } else {
                links.extend(attach(&progs.time_return, Kind::Return, probe)?);
                links.extend(attach(&progs.time_entry, Kind::Entry, probe)?);
            }
            found.returned[at] = typical(call, at > 0);
            drop(links);
            let end = Probe {
                file_offset: probe.file_offset + END,
                ..Probe::default()
            };
            let mut links = Links::default();
            links.extend(attach(&progs.time_left, Kind::Entry, end)?);
            links.extend(attach(&progs.time_entry, Kind::Entry, probe)?);
            found.left[at] = typical(call, at > 0);
        }
        Ok(found)
    }
}

/// As many times are kept.
const CALLS: u32 = 256;
/// Both functions return by their third byte, or on arm64 by their second instruction.
const END: u64 = if cfg!(target_arch = "x86_64") { 2 } else { 4 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_time_is_which() {
        let call = EmptyCall {
            returned: [1, 2],
            left: [3, 4],
        };
        assert_eq!(call.ns(Cost::Emulated, false), 1);
        assert_eq!(call.ns(Cost::SingleStepped, false), 2);
        assert_eq!(call.ns(Cost::Emulated, true), 3);
        assert_eq!(call.ns(Cost::SingleStepped, true), 4);
    }
}
