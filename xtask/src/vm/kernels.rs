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
    /// The oldest, or the newest: what holds in both holds between them, if it does not hang on what one
    /// kernel has and another has not.
    pub is_extreme: bool,
    /// The newest that its suite has, which is a newer one as time goes by.
    pub may_be_newer: bool,
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Kernel {
    /// The first two numbers of its releases.
    pub fn number(&self) -> &'static str {
        self.name.split('-').next().unwrap_or(self.name)
    }

    /// Whether a machine that was started for this one runs it; the error says what it runs.
    pub fn is_what_runs(&self, release: &str, preempt: &str) -> Result<(), String> {
        let number = self.number();
        let is_it = release.starts_with(&format!("{number}."));
        let is_newer = self.may_be_newer && version(release) > version(number);
        if !is_it && !is_newer {
            return Err(format!("the machine runs Linux {release}"));
        }
        if self.append.contains("preempt=full") && !preempt.contains("(full)") {
            return Err(format!("its preemption is {preempt:?} and not full"));
        }
        Ok(())
    }
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
        is_extreme: true,
        may_be_newer: false,
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        cpu: CPU,
        append: "",
        is_extreme: false,
        may_be_newer: false,
    },
    Kernel {
        name: "6.12",
        suite: "bookworm-backports",
        cpu: CPU_WITHOUT_CX16,
        append: "",
        is_extreme: false,
        may_be_newer: false,
    },
    // Where BPF programs that are not safe under preemption crash the kernel.
    Kernel {
        name: "6.12-full",
        suite: "bookworm-backports",
        cpu: CPU_WITHOUT_CX16,
        append: "preempt=full",
        is_extreme: false,
        may_be_newer: false,
    },
    Kernel {
        name: "7.2",
        suite: "trixie-backports",
        cpu: CPU,
        append: "",
        is_extreme: true,
        may_be_newer: true,
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
    fn another_kernel_is_noticed() {
        let full = parse("6.12-full").unwrap();
        assert!(
            full.is_what_runs("6.12.95+deb12-cloud", "none voluntary (full)")
                .is_ok()
        );
        assert!(
            full.is_what_runs("6.12.95+deb12-cloud", "(none) voluntary full")
                .is_err()
        );
        assert!(full.is_what_runs("6.1.12-cloud", "(full)").is_err());
        let newest = parse("7.2").unwrap();
        assert!(newest.is_what_runs("7.2.12+deb13-cloud", "").is_ok());
        assert!(newest.is_what_runs("7.10.1+deb13-cloud", "").is_ok());
        assert!(newest.is_what_runs("6.19.1-cloud", "").is_err());
        assert!(parse("6.1").unwrap().is_what_runs("6.12.3", "").is_err());
    }

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
