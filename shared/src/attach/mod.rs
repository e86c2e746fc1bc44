//! What this kernel can do, found by trying, and the probes themselves.

mod arguments;
mod empty_call;
mod function;
mod kernel_test;
mod seccomp;
mod self_test;
mod uprobe;

pub use arguments::{count_arguments, count_tracepoint_arguments, returns_bool, takes_pointer_to};
pub use empty_call::EmptyCall;
pub use function::{attach_function, attach_functions, missed_calls};
pub use kernel_test::{
    Hook, Seen, exact_tracepoint, has_fentry, has_kprobe, has_safe_trampolines, try_hook,
};
pub use seccomp::{has_seccomp_filter, return_probes_harm_seccomp};
pub use self_test::{ProbeCost, Uprobes, try_way};
pub use uprobe::{AttachError, EVERY_PROCESS, Kind, Links, Probe, Way, attach};

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::btf::types::{Func, Struct};
use libbpf_rs::{Btf, ProgramType, libbpf_sys};

/// Where the kernel describes its own types.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why nothing can be traced here at all.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel was built without BTF.
    #[error(
        "this kernel has no type information ({KERNEL_BTF} is missing); \
         a kernel built with CONFIG_DEBUG_INFO_BTF=y is needed"
    )]
    NoBtf,
    /// BPF programs may not be loaded.
    #[error("not permitted to load BPF programs: {0}")]
    NotPermitted(String),
    /// Anything else.
    #[error("{doing}")]
    Bpf {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: libbpf_rs::Error,
    },
}

impl KernelError {
    /// Tells a missing permission from any other failure.
    pub fn new(doing: &'static str, source: libbpf_rs::Error) -> Self {
        match source.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => Self::NotPermitted(missing_permission()),
            _ => Self::Bpf { doing, source },
        }
    }
}

/// Whether a capability is missing without which no program can be loaded.
pub fn lacks_permission() -> bool {
    !missing_capabilities().is_empty()
}

fn missing_capabilities() -> Vec<&'static str> {
    const NEEDED: [(u32, &str); 2] = [(39, "CAP_BPF"), (38, "CAP_PERFMON")];
    const CAP_SYS_ADMIN: u32 = 21;
    let effective = effective_capabilities().unwrap_or(0);
    let has = |bit: u32| effective & (1 << bit) != 0;
    let missing = NEEDED
        .iter()
        .filter(|(bit, _)| !has(*bit) && !has(CAP_SYS_ADMIN));
    missing.map(|(_, name)| *name).collect()
}

/// Which permission is missing, for a person who has to get it.
pub fn missing_permission() -> String {
    let missing = missing_capabilities();
    if missing.is_empty() {
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        if lockdown.contains("[confidentiality]") {
            return "the kernel is locked down (lockdown=confidentiality)".to_owned();
        }
        return "the capabilities are there, so a security module (or seccomp, in a container) \
                forbids it"
            .to_owned();
    }
    format!("{} missing; run as root (sudo)", missing.join(" and "))
}

fn effective_capabilities() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether there is BTF, without which no program of the suite loads.
pub fn check_btf() -> Result<(), KernelError> {
    if Path::new(KERNEL_BTF).exists() {
        Ok(())
    } else {
        Err(KernelError::NoBtf)
    }
}

/// Whether a hash map may take its elements as it fills, from a probe: before the kernel had an
/// allocator of its own for BPF (6.1), loading such a program prints a warning on 5.10, and an
/// element may not be had.
pub fn has_bpf_allocator() -> bool {
    has_type("bpf_mem_alloc")
}

/// Whether programs may ask for task storage wherever they run: from 6.4 on its memory is BPF's own
/// (`selem_ma`), later that of an allocator without locks. Before, it is the kernel's, and a program
/// that traces a function of the allocator would wait for itself.
pub fn has_reentrant_task_storage() -> bool {
    let Ok(types) = Btf::from_vmlinux() else {
        return false;
    };
    let storage = types.type_by_name::<Struct<'_>>("bpf_local_storage_map");
    let has_own = storage.is_some_and(|storage| {
        let mut members = storage.iter();
        members.any(|member| member.name.is_some_and(|name| name == "selem_ma"))
    });
    has_own
        || types
            .type_by_name::<Func<'_>>("kmalloc_nolock_noprof")
            .is_some()
}

/// Whether the kernel has a structure of this name.
pub fn has_type(structure: &str) -> bool {
    Btf::from_vmlinux().is_ok_and(|btf| btf.type_by_name::<Struct<'_>>(structure).is_some())
}

/// Whether a uprobe program can have a helper run its loops (5.17).
pub fn has_loop_helper() -> bool {
    ProgramType::Kprobe
        .is_helper_supported(libbpf_rs::libbpf_sys::BPF_FUNC_loop)
        .unwrap_or(false)
}

/// Whether a uprobe program can ask for its attach cookie (5.15).
pub fn has_attach_cookie() -> bool {
    ProgramType::Kprobe
        .is_helper_supported(libbpf_rs::libbpf_sys::BPF_FUNC_get_attach_cookie)
        .unwrap_or(false)
}

/// How often the kernel has skipped a program because it ran already (5.12; before, nobody counts).
/// Allocates nothing.
pub fn recursion_misses(program: &impl AsFd) -> u64 {
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut info: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut bytes = size_of_val(&info) as u32;
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: the kernel writes no more than `bytes` bytes into our own variable.
    let outcome =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(fd, (&raw mut info).cast(), &raw mut bytes) };
    if outcome == 0 {
        info.recursion_misses
    } else {
        0
    }
}

/// Keeps libbpf's own messages off the terminal; errors carry what matters.
pub fn silence_libbpf() {
    libbpf_rs::set_print(None);
}
