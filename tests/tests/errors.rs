//! What cannot be done: one clear line on standard error, nothing on standard output, and an exit
//! code that says whose fault it is.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use memtools_tests::{Memleak, Outcome, Workload, binary, path_of, skip};

const NO_ARGS: &[&str] = &[];
const BAD_INPUT: i32 = 2;
const FAILURE: i32 = 1;

/// The one line says what it is about: it contains one of `words`, whatever the case.
#[track_caller]
fn is_refused(outcome: Outcome, code: i32, words: &[&str]) {
    let outcome = outcome.expect_code(code);
    assert!(outcome.stdout.is_empty(), "{:?}", outcome.stdout);
    assert_eq!(outcome.stderr.len(), 1, "{:#?}", outcome.stderr);
    let line = outcome.stderr[0].to_lowercase();
    let found = words.iter().any(|word| line.contains(&word.to_lowercase()));
    assert!(found, "{line:?} says nothing of {words:?}");
}

#[track_caller]
fn refuses(args: &[&str], words: &[&str]) {
    is_refused(Outcome::of(args), BAD_INPUT, words);
}

/// The same with a process that could be traced.
#[track_caller]
fn refuses_with_target(args: &[&str], words: &[&str]) {
    let workload = Workload::start("basic", NO_ARGS);
    let pid = workload.pid().to_string();
    refuses(&[&["-p", &pid], args].concat(), words);
}

/// A PID that was somebody's a moment ago.
#[test]
fn no_such_process() {
    let mut child = Command::new("true").spawn().expect("true runs");
    let pid = child.id().to_string();
    child.wait().expect("it is our child");
    refuses(&["-p", &pid], &["no such process", "no process"]);
}

#[test]
fn what_is_no_pid() {
    for pid in ["0", "-1", "text", "", "99999999999999999999", "1.5"] {
        refuses(&["-p", pid], &["pid", "-p"]);
    }
}

#[test]
fn numbers_that_make_no_sense() {
    for (args, words) in [
        (&["0"][..], &["interval"][..]),
        (&["-5"], &["-5"]),
        (&["soon"], &["soon"]),
        (&["1", "0"], &["count"]),
        (&["1", "often"], &["often"]),
        (&["1", "2", "3"], &["3"]),
        (&["-o", "old"], &["old"]),
        (&["-s", "0"], &["sample", "-s"]),
        (&["-s", "some"], &["some"]),
        (&["-T", "0"], &["top", "-t"]),
        (&["-z", "10", "-Z", "5"], &["10"]),
        (&["-z", "small"], &["small"]),
        (&["--max-allocs", "0"], &["max-allocs"]),
        (&["--stack-storage-size", "0"], &["stack-storage-size"]),
        (&["--perf-max-stack-depth", "0"], &["stack-depth"]),
        (&["--duration", "0"], &["duration"]),
        (&["--max-overhead", "much"], &["max-overhead"]),
        (&["--fail-above", "much"], &["fail-above"]),
        (&["--sort", "color"], &["sort"]),
        (&["--no-such-flag"], &["no-such-flag"]),
    ] {
        refuses_with_target(args, words);
    }
}

#[test]
fn a_kernel_thread() {
    if fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm.trim() == "kthreadd") {
        refuses(&["-p", "2"], &["kernel thread"]);
    } else {
        skip("a_kernel_thread", "no kernel threads in this PID namespace");
    }
}

#[test]
fn a_program_without_an_allocator() {
    let workload = Workload::start("nomalloc", NO_ARGS);
    refuses(
        &["-p", &workload.pid().to_string()],
        &["allocator", "malloc"],
    );
}

#[test]
fn a_32_bit_program() {
    let Some(path) = path_of("nomalloc-32") else {
        skip("a_32_bit_program", "the compiler makes no 32-bit programs");
        return;
    };
    if !runs(&path) {
        skip("a_32_bit_program", "the kernel runs no 32-bit programs");
        return;
    }
    let workload = Workload::start_at(&path, NO_ARGS);
    refuses(&["-p", &workload.pid().to_string()], &["32-bit", "32 bit"]);
}

fn runs(path: &std::path::Path) -> bool {
    let status = Command::new(path)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn an_object_that_is_not_there() {
    let object = "/nowhere/libnothing.so";
    refuses_with_target(&["-O", object], &[object]);
}

#[test]
fn an_object_without_the_functions() {
    let library = path_of("libplugin_one.so").expect("build.rs has built it");
    let library = library.to_str().expect("the path is text");
    refuses_with_target(&["-O", library], &["libplugin_one.so"]);
    refuses_with_target(&["-S", "no_such_prefix_"], &["no_such_prefix_"]);
}

/// Kernel memory comes later, and says so.
/// Flags of the kernel's memory are not for processes, nor the other way round.
#[test]
fn kernel_memory() {
    refuses_with_target(&["-P"], &["kernel"]);
    refuses_with_target(&["--by", "comm"], &["kernel"]);
    refuses(&["--slab", "--", "true"], &["kernel"]);
    refuses(&["-O", "libc"], &["process"]);
    refuses(&["--explain"], &["process"]);
}

#[test]
fn a_process_and_a_command() {
    refuses_with_target(&["--", "true"], &["-p", "command"]);
    refuses(&["-c", "true", "--", "true"], &["-c", "command"]);
}

#[test]
fn an_unknown_user() {
    let args = ["--user", "nobody-knows-me", "--", "true"];
    refuses(&args, &["nobody-knows-me"]);
    refuses_with_target(&["--user", "root"], &["--user"]);
}

#[test]
fn a_command_that_is_not_there() {
    for command in ["no-such-command-here", "/nowhere/at-all"] {
        is_refused(Outcome::of(&["--", command]), 127, &[command]);
        is_refused(Outcome::of(&["-c", command]), 127, &[command]);
    }
}

#[test]
fn a_command_that_is_no_program() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("text");
    fs::write(&path, "no program").expect("a file can be written");
    let path = path.to_str().expect("the path is text");
    is_refused(Outcome::of(&["--", path]), 126, &[path]);
}

/// Run by somebody who may not trace: the line names the missing capability.
#[test]
fn not_permitted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let copy = directory.path().join("memleak");
    fs::copy(binary(), &copy).expect("the tool can be copied");
    let all_may = fs::Permissions::from_mode(0o755);
    for path in [directory.path(), &copy] {
        fs::set_permissions(path, all_may.clone()).expect("it is our file");
    }
    let workload = Workload::start("basic", NO_ARGS);
    let mut command = Command::new(&copy);
    command
        .args(["-p", &workload.pid().to_string()])
        .uid(65534)
        .gid(65534)
        .current_dir("/");
    is_refused(Memleak::spawn(command).outcome(), FAILURE, &["cap_"]);
    workload.quit();
}
