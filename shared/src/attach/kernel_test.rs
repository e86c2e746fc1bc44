//! Which ways of learning of an event in the kernel work here, and which lose events: tried on
//! getpgid calls of our own.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Error, OpenObject, OpenProgramMut, ProgramMut};

use super::has_type;
use crate::process::kernel_may_be_preempted;
use crate::target::PidNamespace;

// Generated code.
#[allow(
    clippy::all,
    clippy::expect_used,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    unused
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/trace_test.skel.rs"));
}

/// A way to learn of an event in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A BTF tracepoint: the tracepoint's arguments, with their types.
    BtfTracepoint,
    /// A raw tracepoint: the arguments as words.
    RawTracepoint,
    /// A classic tracepoint, by perf event: the record that tracefs describes.
    Tracepoint,
    /// The entry of a function, by a trampoline.
    Fentry,
    /// The entries of many functions at once.
    KprobeMulti,
    /// An instruction, by perf event.
    Kprobe,
}

impl Hook {
    /// For tracepoints, from best to last.
    pub const TRACEPOINTS: [Self; 3] = [Self::BtfTracepoint, Self::RawTracepoint, Self::Tracepoint];
    /// For functions, from best to last.
    pub const FUNCTIONS: [Self; 3] = [Self::Fentry, Self::KprobeMulti, Self::Kprobe];
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BtfTracepoint => "BTF tracepoint",
            Self::RawTracepoint => "raw tracepoint",
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::KprobeMulti => "kprobe.multi",
            Self::Kprobe => "kprobe",
        })
    }
}

/// Events that happened, and events that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// That many happened.
    pub made: u64,
    /// That many were seen.
    pub seen: u64,
}

impl Seen {
    /// Whether none went missing, and none was seen twice.
    pub fn is_exact(self) -> bool {
        self.made == self.seen
    }
}

/// Tries one way, with more threads than CPUs: a program that is preempted by itself misses events
/// on some kernels.
pub fn try_hook(hook: Hook) -> Result<Seen, Error> {
    let mut object = MaybeUninit::uninit();
    let skel = load(&mut object, hook)?;
    let link = program(&skel, hook).attach()?;
    let made = call_from_many_threads();
    drop(link);
    let seen = skel.maps.bss_data.as_deref().map_or(0, |bss| {
        // SAFETY: a counter that the kernel adds to in memory shared with us.
        unsafe { (&raw const bss.hits).read_volatile() }
    });
    Ok(Seen { made, seen })
}

/// Raw tracepoints, unless this kernel loses events there that the classic ones see: found out in a
/// tenth of a second, where programs may be preempted at all.
pub fn exact_tracepoint() -> Hook {
    if !kernel_may_be_preempted() {
        return Hook::RawTracepoint;
    }
    let is_exact = |hook| try_hook(hook).is_ok_and(Seen::is_exact);
    if !is_exact(Hook::RawTracepoint) && is_exact(Hook::Tracepoint) {
        Hook::Tracepoint
    } else {
        Hook::RawTracepoint
    }
}

/// Whether trampolines can be had at all: tried on a function that nobody calls. One that is being
/// called on another processor is not for a start: an emulated one may go on with the instruction that
/// is replaced, for ever.
pub fn has_fentry() -> bool {
    can_watch_function(Hook::Fentry)
}

/// The same for probes of functions.
pub fn has_kprobe() -> bool {
    can_watch_function(Hook::Kprobe)
}

/// Whether trampolines can be had that are safe: before 5.12 one can be freed while somebody sleeps in
/// it.
pub fn has_safe_trampolines() -> bool {
    has_type("bpf_tramp_image") && has_fentry()
}

fn can_watch_function(hook: Hook) -> bool {
    /// There for such tests (5.5).
    const NEVER_CALLED: &str = "bpf_fentry_test1";
    let mut object = MaybeUninit::uninit();
    let Ok(skel) = load_for(&mut object, hook, Some(NEVER_CALLED)) else {
        return false;
    };
    let program = program(&skel, hook);
    let attached = match hook {
        Hook::Kprobe => program.attach_kprobe(false, NEVER_CALLED),
        _ => program.attach(),
    };
    attached.is_ok()
}

fn load(
    object: &mut MaybeUninit<OpenObject>,
    hook: Hook,
) -> Result<skel::TraceTestSkel<'_>, Error> {
    load_for(object, hook, None)
}

fn load_for<'a>(
    object: &'a mut MaybeUninit<OpenObject>,
    hook: Hook,
    function: Option<&str>,
) -> Result<skel::TraceTestSkel<'a>, Error> {
    let mut open = skel::TraceTestSkelBuilder::default().open(object)?;
    let pid = std::process::id();
    let namespace = PidNamespace::of(pid, pid)?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.wanted_call = libc::SYS_getpgid as u64;
        rodata.target_process = pid;
        if let Some(namespace) = namespace {
            rodata.pid_namespace_device = namespace.device;
            rodata.pid_namespace_inode = namespace.inode;
            rodata.target_process = namespace.pid;
        }
    }
    let progs = &mut open.progs;
    let programs: [(Hook, &mut OpenProgramMut<'_>); 6] = [
        (Hook::BtfTracepoint, &mut progs.count_btf_tracepoint),
        (Hook::RawTracepoint, &mut progs.count_raw_tracepoint),
        (Hook::Tracepoint, &mut progs.count_tracepoint),
        (Hook::Fentry, &mut progs.count_fentry),
        (Hook::KprobeMulti, &mut progs.count_kprobe_multi),
        (Hook::Kprobe, &mut progs.count_kprobe),
    ];
    for (its_hook, program) in programs {
        program.set_autoload(its_hook == hook);
        if let Some(function) = function
            && its_hook == hook
            && hook == Hook::Fentry
        {
            program.set_attach_target(0, Some(function.to_owned()))?;
        }
    }
    open.load()
}

fn program<'a>(skel: &'a skel::TraceTestSkel<'_>, hook: Hook) -> &'a ProgramMut<'a> {
    let progs = &skel.progs;
    match hook {
        Hook::BtfTracepoint => &progs.count_btf_tracepoint,
        Hook::RawTracepoint => &progs.count_raw_tracepoint,
        Hook::Tracepoint => &progs.count_tracepoint,
        Hook::Fentry => &progs.count_fentry,
        Hook::KprobeMulti => &progs.count_kprobe_multi,
        Hook::Kprobe => &progs.count_kprobe,
    }
}

/// Long enough for each thread to be preempted some times.
const TRIAL: Duration = Duration::from_millis(40);

/// How many calls were made.
fn call_from_many_threads() -> u64 {
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2 * cpus)
            .map(|_| scope.spawn(|| call_until(&is_over)))
            .collect();
        std::thread::sleep(TRIAL);
        is_over.store(true, Ordering::Relaxed);
        let calls = threads.into_iter().map(|thread| thread.join().unwrap_or(0));
        calls.sum()
    })
}

fn call_until(is_over: &AtomicBool) -> u64 {
    let mut calls = 0;
    while !is_over.load(Ordering::Relaxed) {
        // SAFETY: a system call that only reads, by number.
        unsafe { libc::syscall(libc::SYS_getpgid, 0) };
        calls += 1;
    }
    calls
}
