//! Targets in mount and PID namespaces of their own: what is found there by their names, and PIDs, is
//! not what is found here.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use memtools_tests::{Memleak, Workload, path_of, skip, wait_until};

const EXACT_JSON: &[&str] = &["-o", "0", "--json"];

fn unshare() -> Option<PathBuf> {
    let places = ["/usr/bin/unshare", "/bin/unshare"];
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let mut child = None;
    wait_until("there is a child", || {
        let children = fs::read_to_string(&path).unwrap_or_default();
        child = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        child.is_some()
    });
    child.expect("there is one")
}

/// Runs a program as the first process of a PID namespace, under a root that only its own mount
/// namespace has, and traces it from outside.
/// `linker`: its dynamic linker, which comes along into the root's `/lib`.
fn is_exact_inside(test: &str, workload: &str, linker: Option<&str>) {
    let (Some(unshare), Some(program)) = (unshare(), path_of(workload)) else {
        skip(test, &format!("no unshare, or no {workload}"));
        return;
    };
    if let Some(linker) = linker.filter(|linker| !Path::new(linker).exists()) {
        skip(test, &format!("no {linker}"));
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let script = format!(
        "mount -t tmpfs tmpfs {root} && cp {program} {root}/inside && mkdir -p {root}/lib && \
         {copy} exec chroot {root} /inside",
        root = directory.path().display(),
        copy = linker.map_or_else(String::new, |linker| format!(
            "cp {linker} {root}/lib/ &&",
            root = directory.path().display()
        )),
        program = program.display(),
    );
    let mut workload = Workload::start_at(&unshare, &["-m", "-p", "-f", "sh", "-c", &script]);
    let pid = child_of(workload.pid());
    assert!(!Path::new("/inside").exists());
    let memleak = Memleak::attach(pid, EXACT_JSON);
    let truth = workload.run();
    let report = memleak.interrupt().expect_code(0).report();
    report.agrees_with(&truth);
    assert_eq!(report.total_bytes(), truth.total_bytes());
    assert_eq!(report.json()["target"]["pid"], pid);
    workload.quit();
}

/// Another C library than the one out here.
#[test]
fn a_musl_program_is_exact() {
    is_exact_inside("a_musl_program_is_exact", "exact-musl", None);
}

/// One that has its C library as a library, which is its dynamic linker too.
#[test]
fn a_dynamic_musl_program_is_exact() {
    let linker = format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH);
    is_exact_inside(
        "a_dynamic_musl_program_is_exact",
        "exact-musl-dynamic",
        Some(&linker),
    );
}

#[test]
fn a_static_program_is_exact() {
    is_exact_inside("a_static_program_is_exact", "exact-static", None);
}
