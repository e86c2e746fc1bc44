//! What the chores need, and how to find out by trying whether it is there.

use std::path::Path;
use std::process::Command;

use crate::privilege;
use crate::process::try_quietly;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    Build,
    Demo,
    Lint,
    Test,
    Vm,
    Bench,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    C,
    Cxx,
    Make,
    PkgConfig,
    Libelf,
    Zlib,
    Clang,
    ClangFormat,
    Rustfmt,
    Clippy,
    MuslC,
    Allocators,
    Valgrind,
    Strace,
    Tmux,
    Go,
    Bpftrace,
    LibbpfTools,
    Qemu,
    Busybox,
    KernelTypes,
    LoadBpf,
}

/// Who can bring what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    Package,
    RustComponent(&'static str),
    /// Only whoever owns the machine.
    Owner,
}

#[derive(Debug)]
pub struct Missing {
    pub need: Need,
    pub reason: String,
}

impl Purpose {
    pub const ALL: &'static [Self] = &[
        Self::Build,
        Self::Demo,
        Self::Lint,
        Self::Test,
        Self::Vm,
        Self::Bench,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Demo => "demo",
            Self::Lint => "lint",
            Self::Test => "test",
            Self::Vm => "vm",
            Self::Bench => "bench",
        }
    }

    /// What this purpose needs beyond a tool's build.
    fn own_needs(self) -> &'static [Need] {
        match self {
            // The whole workspace has workloads in C++ in it.
            Self::Build => &[Need::Cxx],
            Self::Demo => &[Need::KernelTypes, Need::LoadBpf],
            Self::Lint => &[Need::Cxx, Need::ClangFormat, Need::Rustfmt, Need::Clippy],
            // A kernel without type information makes tests skip, each by name.
            Self::Test => &[
                Need::Cxx,
                Need::MuslC,
                Need::Allocators,
                Need::Valgrind,
                Need::Strace,
                Need::Tmux,
                Need::Go,
                Need::LoadBpf,
            ],
            // What is built here runs there, so that no right to load programs here is needed.
            Self::Vm => &[
                Need::Cxx,
                Need::MuslC,
                Need::Allocators,
                Need::Qemu,
                Need::Busybox,
            ],
            Self::Bench => &[
                Need::Cxx,
                Need::Bpftrace,
                Need::LibbpfTools,
                Need::KernelTypes,
                Need::LoadBpf,
            ],
        }
    }
}

/// What every tool of the suite is built with.
const FOR_A_TOOL: &[Need] = &[
    Need::C,
    Need::Make,
    Need::PkgConfig,
    Need::Libelf,
    Need::Zlib,
    Need::Clang,
];

impl Need {
    pub fn what(self) -> &'static str {
        match self {
            Self::C => "a C compiler, cc",
            Self::Cxx => "a C++ compiler, c++",
            Self::Make => "make",
            Self::PkgConfig => "pkg-config",
            Self::Libelf => "libelf with its headers",
            Self::Zlib => "zlib with its headers",
            Self::Clang => "a clang that compiles for BPF",
            Self::ClangFormat => "clang-format",
            Self::Rustfmt => "rustfmt",
            Self::Clippy => "clippy",
            Self::MuslC => "a C compiler for musl, musl-gcc",
            Self::Allocators => "jemalloc, tcmalloc and mimalloc",
            Self::Valgrind => "valgrind",
            Self::Strace => "strace",
            Self::Tmux => "tmux",
            Self::Go => "Go, for its pprof",
            Self::Bpftrace => "bpftrace",
            Self::LibbpfTools => {
                "bcc's libbpf-tools, for its funclatency, slabratetop and syscount"
            }
            Self::Qemu => "QEMU for x86-64",
            Self::Busybox => "busybox",
            Self::KernelTypes => "the kernel's type information, /sys/kernel/btf/vmlinux",
            Self::LoadBpf => "the right to load BPF programs",
        }
    }

    pub fn remedy(self) -> Remedy {
        match self {
            Self::Rustfmt => Remedy::RustComponent("rustfmt"),
            Self::Clippy => Remedy::RustComponent("clippy"),
            Self::KernelTypes | Self::LoadBpf => Remedy::Owner,
            _ => Remedy::Package,
        }
    }

    /// Whether a chore can do without it. Tests that miss one of these skip and say so.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::MuslC | Self::Allocators | Self::Valgrind | Self::Strace | Self::Tmux | Self::Go
        )
    }

    /// Tries it; the error is why it does not work.
    fn check(self) -> Result<(), String> {
        match self {
            Self::C => compiles("cc", "c", "#include <stdio.h>", &[]),
            Self::Cxx => compiles("c++", "c++", "#include <new>", &[]),
            Self::Libelf => {
                let headers = "#include <libelf.h>\n#include <gelf.h>";
                compiles("cc", "c", headers, &["-lelf"])
            }
            Self::Zlib => compiles("cc", "c", "#include <zlib.h>", &["-lz"]),
            Self::Clang => try_quietly(
                Command::new("clang").args("-target bpf -mcpu=v3 -O2 -c -x c - -o -".split(' ')),
                "int one(void) { return 1; }\n",
            ),
            Self::Make => answers("make", &["--version"]),
            Self::PkgConfig => answers("pkg-config", &["--version"]),
            Self::ClangFormat => answers("clang-format", &["--version"]),
            Self::MuslC => compiles("musl-gcc", "c", "#include <stdio.h>", &["-static"]),
            Self::Allocators => {
                let libraries = [
                    "-l:libjemalloc.so.2",
                    "-l:libtcmalloc_minimal.so.4",
                    "-l:libmimalloc.so.2",
                ];
                compiles("cc", "c", "#include <stdio.h>", &libraries)
            }
            Self::Valgrind => answers("valgrind", &["--version"]),
            Self::Strace => answers("strace", &["--version"]),
            Self::Tmux => answers("tmux", &["-V"]),
            Self::Go => answers("go", &["version"]),
            Self::Bpftrace => answers("bpftrace", &["--version"]),
            Self::LibbpfTools => answers("slabratetop", &["--version"]),
            Self::Qemu => answers(crate::vm::QEMU, &["--version"]),
            Self::Busybox => answers("busybox", &["true"]),
            Self::Rustfmt => answers("cargo", &["fmt", "--version"]),
            Self::Clippy => answers("cargo", &["clippy", "--version"]),
            Self::KernelTypes => has_kernel_types(),
            Self::LoadBpf => privilege::may_load_bpf(),
        }
    }
}

/// Tries everything that these purposes need, all at once, and returns what does not work.
pub fn missing(purposes: &[Purpose]) -> Vec<Missing> {
    let needs = needs_of(purposes);
    std::thread::scope(|scope| {
        let attempts: Vec<_> = needs
            .iter()
            .map(|&need| (need, scope.spawn(move || need.check())))
            .collect();
        attempts
            .into_iter()
            .filter_map(|(need, attempt)| {
                let outcome = attempt.join();
                let outcome = outcome.unwrap_or_else(|_| Err("the check itself failed".to_owned()));
                outcome.err().map(|reason| Missing { need, reason })
            })
            .collect()
    })
}

/// The names that rustup has for those of the needs that are its own.
pub fn components(needs: impl Iterator<Item = Need>) -> Vec<&'static str> {
    needs
        .filter_map(|need| match need.remedy() {
            Remedy::RustComponent(name) => Some(name),
            _ => None,
        })
        .collect()
}

fn needs_of(purposes: &[Purpose]) -> Vec<Need> {
    let mut needs = FOR_A_TOOL.to_vec();
    for &need in purposes.iter().flat_map(|purpose| purpose.own_needs()) {
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    needs
}

fn answers(program: &str, arguments: &[&str]) -> Result<(), String> {
    try_quietly(Command::new(program).args(arguments), "")
}

/// Compiles and links a program of one line, since a header is of no use without its library.
fn compiles(compiler: &str, language: &str, includes: &str, link: &[&str]) -> Result<(), String> {
    // Attempts run side by side: each one's file has a name of its own.
    let label = [compiler, link.first().unwrap_or(&"")].concat();
    let file = format!("xtask-try-{}-{label}", std::process::id());
    let program = std::env::temp_dir().join(file);
    let outcome = try_quietly(
        Command::new(compiler)
            .args(["-x", language, "-", "-o"])
            .arg(&program)
            .args(link),
        &format!("{includes}\nint main(void) {{ return 0; }}\n"),
    );
    // Not there when the attempt failed.
    let _ = std::fs::remove_file(&program);
    outcome
}

fn has_kernel_types() -> Result<(), String> {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Ok(())
    } else {
        Err("boot a kernel that was built with CONFIG_DEBUG_INFO_BTF=y".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chore_can_build_a_tool_and_no_need_is_tried_twice() {
        for &purpose in Purpose::ALL {
            assert!(needs_of(&[purpose]).starts_with(FOR_A_TOOL));
        }
        let all = needs_of(Purpose::ALL);
        for (index, need) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(need), "{need:?} twice");
        }
    }

    #[test]
    fn rust_components_are_told_from_packages() {
        let needs = [Need::Clang, Need::Rustfmt, Need::Clippy, Need::LoadBpf];
        assert_eq!(components(needs.into_iter()), ["rustfmt", "clippy"]);
    }

    #[test]
    fn a_compiler_that_is_not_there_is_not_found() {
        let outcome = compiles("no-such-compiler", "c", "", &[]);
        assert_eq!(outcome, Err("not found".to_owned()));
    }
}
