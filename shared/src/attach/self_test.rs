//! Which way of attaching uprobes works on this kernel, and what a hit costs on this machine:
//! tried on two functions of our own, with a second thread, before any target is touched.

use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, OpenObject, ProgramAttachType, ProgramMut};

use super::uprobe::{self, Kind, Links, Probe, Way};
use super::{KernelError, has_attach_cookie};
use crate::target::PidNamespace;
use crate::target::mappings::{Mappings, read_text_mappings};
use crate::target::placement::Cost;

// Generated code.
#[allow(
    clippy::all,
    clippy::expect_used,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    unused
)]
pub(super) mod skel {
    include!(concat!(env!("OUT_DIR"), "/probe_test.skel.rs"));
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text",
    ".globl memtools_probe_test_emulated",
    ".type memtools_probe_test_emulated, @function",
    "memtools_probe_test_emulated:",
    "push rbp",
    "pop rbp",
    "ret",
    ".globl memtools_probe_test_stepped",
    ".type memtools_probe_test_stepped, @function",
    "memtools_probe_test_stepped:",
    "mov eax, edi",
    "ret",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text",
    ".globl memtools_probe_test_emulated",
    ".type memtools_probe_test_emulated, @function",
    "memtools_probe_test_emulated:",
    "nop",
    "ret",
    ".globl memtools_probe_test_stepped",
    ".type memtools_probe_test_stepped, @function",
    "memtools_probe_test_stepped:",
    "mov w0, w1",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn memtools_probe_test_emulated();
    fn memtools_probe_test_stepped();
}

/// What a hit costs on this machine, in nanoseconds, with a program that only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeCost {
    /// An entry probe on an instruction that the kernel emulates.
    pub emulated_ns: u64,
    /// An entry probe on one that it single-steps.
    pub stepped_ns: u64,
    /// What a return probe adds to an entry probe.
    pub return_ns: u64,
}

impl ProbeCost {
    /// An entry probe.
    pub fn entry_ns(&self, cost: Cost) -> u64 {
        match cost {
            Cost::Emulated => self.emulated_ns,
            Cost::SingleStepped => self.stepped_ns,
        }
    }
}

/// How uprobes are attached on this kernel.
#[derive(Clone, Copy, Debug)]
pub struct Uprobes {
    /// The best way that passed its test.
    pub way: Way,
    /// What a hit costs that way.
    pub cost: ProbeCost,
    /// Whether probes have attach cookies.
    pub has_cookie: bool,
}

impl Uprobes {
    /// Tries the ways from best to last.
    ///
    /// `any_thread` asks for the way that also works for a process whose leader has exited:
    /// uprobe_multi attaches to one without an error, and sees nothing.
    pub fn find(any_thread: bool) -> Result<Self, KernelError> {
        let ways: &[Way] = if any_thread {
            &[Way::PerfEvent]
        } else {
            &Way::ALL
        };
        let has_cookie = has_attach_cookie();
        let mut last = None;
        for &way in ways {
            match try_way(way) {
                Ok(Some(cost)) => {
                    return Ok(Self {
                        way,
                        cost,
                        has_cookie,
                    });
                }
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
        }
        Err(KernelError::new(
            "attaching a uprobe to this tool itself, as a test",
            last.unwrap_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        ))
    }
}

/// Hits of a test that single-steps; one may take 25 µs.
const STEPPED_HITS: u32 = 32;
const EMULATED_HITS: u32 = 256;

/// Tries one way. `None`: it attached, but hits of a second thread went missing.
pub fn try_way(way: Way) -> Result<Option<ProbeCost>, libbpf_rs::Error> {
    let mut object = MaybeUninit::uninit();
    let trial = Trial::load(&mut object, way)?;
    let (emulated, stepped) = own_probes()?;
    let pid = std::process::id();

    let mut links = Links::default();
    links.extend(trial.attach_entry(pid, emulated)?);
    let entry_ns = time_hits(EMULATED_HITS, call_emulated);
    let (emulated_ns, return_ns) = if way == Way::Session {
        // The pair cannot be told apart: an entry costs about two fifths of it.
        let return_ns = entry_ns * 3 / 5;
        (entry_ns - return_ns, return_ns)
    } else {
        links.extend(trial.attach_return(pid, emulated)?);
        let both_ns = time_hits(EMULATED_HITS, call_emulated);
        (entry_ns, both_ns.saturating_sub(entry_ns))
    };
    let seen = trial.hits_of_second_thread();
    links.extend(trial.attach_entry(pid, stepped)?);
    let stepped_ns = time_hits(STEPPED_HITS, call_stepped);
    let cost = ProbeCost {
        emulated_ns,
        stepped_ns: match way {
            Way::Session => stepped_ns.saturating_sub(return_ns),
            Way::Multi | Way::PerfEvent => stepped_ns,
        },
        return_ns,
    };
    Ok((seen == (1, 1)).then_some(cost))
}

/// Our counting programs, loaded for one way.
pub(super) struct Trial<'a> {
    skel: skel::ProbeTestSkel<'a>,
    way: Way,
}

impl<'a> Trial<'a> {
    /// Loads the programs that the way needs.
    pub(super) fn load(
        object: &'a mut MaybeUninit<OpenObject>,
        way: Way,
    ) -> Result<Self, libbpf_rs::Error> {
        let mut open = skel::ProbeTestSkelBuilder::default().open(object)?;
        tell_who_we_are(&mut open)?;
        let session = way == Way::Session;
        let progs = &mut open.progs;
        progs.count_session.set_autoload(session);
        progs.empty_entry.set_autoload(false);
        progs.empty_return.set_autoload(false);
        progs.time_session.set_autoload(false);
        progs.time_entry.set_autoload(false);
        progs.time_return.set_autoload(false);
        progs.time_left.set_autoload(false);
        for program in [&mut progs.count_entry, &mut progs.count_return] {
            program.set_autoload(!session);
            if way == Way::Multi {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
        }
        let skel = open.load()?;
        Ok(Self { skel, way })
    }

    /// Counts entries, in a session returns as well.
    pub(super) fn attach_entry(
        &self,
        pid: u32,
        probe: Probe,
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let (program, kind) = if self.way == Way::Session {
            (&self.skel.progs.count_session, Kind::Session)
        } else {
            (&self.skel.progs.count_entry, Kind::Entry)
        };
        self.attach(program, kind, pid, probe)
    }

    /// Counts returns; in a session that is done already.
    pub(super) fn attach_return(
        &self,
        pid: u32,
        probe: Probe,
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        if self.way == Way::Session {
            return Ok(Vec::new());
        }
        self.attach(&self.skel.progs.count_return, Kind::Return, pid, probe)
    }

    fn attach(
        &self,
        program: &ProgramMut<'_>,
        kind: Kind,
        pid: u32,
        probe: Probe,
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let path = Path::new("/proc/self/exe");
        uprobe::attach(program, self.way, kind, pid, path, &[probe])
            .map_err(uprobe::AttachError::into_source)
    }

    /// Entries and returns so far.
    fn hits(&self) -> (u64, u64) {
        self.skel.maps.bss_data.as_deref().map_or((0, 0), |bss| {
            // SAFETY: both are counters that the kernel adds to in memory shared with us.
            unsafe {
                (
                    (&raw const bss.entries).read_volatile(),
                    (&raw const bss.returns).read_volatile(),
                )
            }
        })
    }

    /// Some kernels drop the hits of every thread but one, others only its returns.
    fn hits_of_second_thread(&self) -> (u64, u64) {
        let before = self.hits();
        let _ = std::thread::spawn(call_emulated).join();
        let after = self.hits();
        (after.0 - before.0, after.1 - before.1)
    }
}

/// The programs count no hit of another process.
pub(super) fn tell_who_we_are(
    open: &mut skel::OpenProbeTestSkel<'_>,
) -> Result<(), libbpf_rs::Error> {
    let pid = std::process::id();
    let namespace = PidNamespace::of(pid, pid)?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.target_process = pid;
        if let Some(namespace) = namespace {
            rodata.pid_namespace_device = namespace.device;
            rodata.pid_namespace_inode = namespace.inode;
            rodata.target_process = namespace.pid;
        }
    }
    Ok(())
}

pub(super) fn call_emulated() {
    // SAFETY: a function of our own that pushes, pops and returns.
    unsafe { memtools_probe_test_emulated() }
}

pub(super) fn call_stepped() {
    // SAFETY: a function of our own that writes a scratch register and returns.
    unsafe { memtools_probe_test_stepped() }
}

/// The fastest of four rounds: whatever disturbs a round only makes it slower.
fn time_hits(hits: u32, call: fn()) -> u64 {
    let round = || {
        let start = Instant::now();
        for _ in 0..hits / 4 {
            call();
        }
        start.elapsed()
    };
    let best = (0..4).map(|_| round()).min().unwrap_or(Duration::ZERO);
    (best.as_nanos() / u128::from(hits / 4)) as u64
}

/// Where our two functions lie in our own file.
pub(super) fn own_probes() -> Result<(Probe, Probe), libbpf_rs::Error> {
    let pid = std::process::id();
    let mut mappings = Mappings::default();
    for record in read_text_mappings(pid)? {
        mappings.insert(pid, &record, 0);
    }
    let probe = |address: u64| {
        let mapping = mappings
            .find(address, 0)
            .ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::EFAULT))?;
        Ok::<_, libbpf_rs::Error>(Probe {
            file_offset: mapping.offset_of(address),
            ..Probe::default()
        })
    };
    Ok((
        probe(memtools_probe_test_emulated as *const () as u64)?,
        probe(memtools_probe_test_stepped as *const () as u64)?,
    ))
}
