//! The kernels that there are virtual machines of.

/// A kernel, and how it has to be started.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What users call it.
    pub name: &'static str,
    /// The Debian suite whose cloud kernel it is.
    pub suite: &'static str,
    /// The processor that it lives with under emulation.
    pub cpu: &'static str,
    /// Arguments of its own on the kernel's command line.
    pub append: &'static str,
}

const CPU: &str = "Haswell-noTSX";

/// QEMU 7.2 emulates cmpxchg16b wrongly enough to corrupt 6.12's slabs in most boots. The others
/// keep it: without it 7.2 has neither task storage nor arenas.
const CPU_WITHOUT_CX16: &str = "Haswell-noTSX,-cx16";

pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        suite: "bullseye",
        cpu: CPU,
        append: "",
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        cpu: CPU,
        append: "",
    },
    Kernel {
        name: "6.12",
        suite: "bookworm-backports",
        cpu: CPU_WITHOUT_CX16,
        append: "",
    },
    // Where BPF programs that are not safe under preemption crash the kernel.
    Kernel {
        name: "6.12-full",
        suite: "bookworm-backports",
        cpu: CPU_WITHOUT_CX16,
        append: "preempt=full",
    },
    Kernel {
        name: "7.2",
        suite: "trixie-backports",
        cpu: CPU,
        append: "",
    },
];

/// Reads an argument; the error names those that there are.
pub fn parse(name: &str) -> Result<&'static Kernel, String> {
    let found = KERNELS.iter().find(|kernel| kernel.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        format!("there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_by_its_whole_name() {
        assert_eq!(parse("6.12").unwrap().append, "");
        assert_eq!(parse("6.12-full").unwrap().append, "preempt=full");
        assert_eq!(
            parse("6").unwrap_err(),
            "there are 5.10, 6.1, 6.12, 6.12-full, 7.2"
        );
    }
}
