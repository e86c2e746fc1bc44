//! Names for addresses of the kernel's code.

use std::fs;

use blazesym::MaybeDefault;
use blazesym::symbolize::Input;
use blazesym::symbolize::source::{Kernel, Source};

use super::{Symbol, demangled};

/// The functions of the kernel at return addresses. The kernel's table of symbols is read each time,
/// and not kept: it takes some megabytes.
#[allow(clippy::field_reassign_with_default)] // it cannot be made in one go
pub fn kernel_symbols(addresses: &[u64]) -> Vec<Option<Symbol>> {
    let mut source = Kernel::default();
    source.vmlinux = MaybeDefault::None;
    let inner = blazesym::symbolize::Symbolizer::builder()
        .enable_demangling(false)
        .build();
    // A return address belongs to the call before it.
    let before: Vec<u64> = addresses.iter().map(|a| a.saturating_sub(1)).collect();
    let Ok(results) = inner.symbolize(&Source::Kernel(source), Input::AbsAddr(&before)) else {
        return vec![None; addresses.len()];
    };
    let named = results.iter().map(|result| {
        let sym = result.as_sym()?;
        Some(Symbol {
            name: demangled(&sym.name),
            offset: sym.offset as u64 + 1,
            file: None,
            line: None,
            inlined: false,
        })
    });
    named.collect()
}

/// Whether a function is a part of what brings an event to a BPF program, which stands at the inner end
/// of the stacks that the program takes.
pub fn is_tracing(function: &str) -> bool {
    const TRACING: [&str; 12] = [
        "bpf_prog_",
        "bpf_trace_run",
        "__bpf_trace_",
        "bpf_trampoline_",
        "__traceiter_",
        "perf_trace_",
        "trace_call_bpf",
        "perf_call_bpf",
        "kprobe_perf_func",
        "kprobe_dispatcher",
        "kprobe_ftrace_handler",
        "ftrace_trampoline",
    ];
    TRACING.iter().any(|prefix| function.starts_with(prefix))
}

/// Where the kernel's modules lie.
#[derive(Clone, Debug, Default)]
pub struct KernelModules(Vec<(u64, u64, String)>);

impl KernelModules {
    /// As they are now. None where addresses are kept secret.
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/modules").unwrap_or_default())
    }

    /// `NAME SIZE USERS USED_BY STATE ADDRESS …` (proc(5)).
    fn parse(text: &str) -> Self {
        let module = |line: &str| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?.to_owned();
            let bytes: u64 = fields.next()?.parse().ok()?;
            let start = fields.nth(3)?.trim_start_matches("0x");
            let start = u64::from_str_radix(start, 16).ok()?;
            (start > 0).then_some((start, start + bytes, name))
        };
        let mut modules: Vec<_> = text.lines().filter_map(module).collect();
        modules.sort_unstable();
        Self(modules)
    }

    /// The module that an address lies in.
    pub fn find(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(start, ..)| *start <= address);
        let (_, end, name) = self.0.get(after.checked_sub(1)?)?;
        (address < *end).then_some(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_their_addresses() {
        let modules = KernelModules::parse(
            "xfs 4096 1 - Live 0xffffffffc0100000\n\
             ext4 8192 2 jbd2, Live 0xffffffffc0000000 (E)\n\
             secret 4096 0 - Live 0x0000000000000000\n\
             torn\n",
        );
        assert_eq!(modules.find(0xffff_ffff_c000_1fff), Some("ext4"));
        assert_eq!(modules.find(0xffff_ffff_c000_2000), None);
        assert_eq!(modules.find(0xffff_ffff_c010_0000), Some("xfs"));
        assert_eq!(modules.find(0), None);
    }

    #[test]
    fn what_brings_events_is_told_from_the_kernels_own_functions() {
        assert!(is_tracing("bpf_trace_run5"));
        assert!(!is_tracing("kmem_cache_alloc"));
    }
}
