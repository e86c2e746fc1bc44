//! Which end-to-end tests run where.
//!
//! All of them run on the host. In emulated machines a test takes ten times as long, so that a test
//! runs in one only if that kernel can make a difference to it.

use super::binaries::TestBinary;
use crate::vm::kernels::Kernel;

/// What is done with what was collected: output, files, the view. No kernel has a part in it.
const HOST_ONLY: &[&str] = &[
    "demo",
    "exports",
    "recordings",
    "screen",
    "suppressions",
    "text",
    "view",
];

/// How processes are started, watched and refused, and limits that are kept in user space: by system
/// calls that all kernels have.
const EXTREMES_ONLY: &[&str] = &["command", "errors", "json", "limits"];

/// Whether a program's tests run in a machine with this kernel.
pub fn runs_in(program: &TestBinary, kernel: &Kernel) -> bool {
    let is_one_of = |names: &[&str]| names.contains(&program.target());
    if is_one_of(HOST_ONLY) {
        return false;
    }
    kernel.is_extreme || !is_one_of(EXTREMES_ONLY)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::vm::kernels::parse;

    fn program(target: &str) -> TestBinary {
        TestBinary {
            name: format!("tests: {target}"),
            program: PathBuf::from("/p"),
            directory: PathBuf::from("/d"),
            needs_root: true,
        }
    }

    #[test]
    fn what_hangs_on_the_kernel_runs_on_each() {
        let runs = |target, kernel| runs_in(&program(target), parse(kernel).unwrap());
        assert!(runs("leaks", "6.1") && runs("leaks", "5.10"));
        assert!(!runs("view", "5.10"));
        assert!(runs("command", "5.10") && runs("command", "7.2"));
        assert!(!runs("command", "6.12-full"));
    }

    #[test]
    fn the_lists_name_programs_that_there_are() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
        for name in HOST_ONLY.iter().chain(EXTREMES_ONLY) {
            let is_there = tests.join(format!("{name}.rs")).exists()
                || tests.join(name).join("main.rs").exists();
            assert!(is_there, "{name}");
        }
    }
}
