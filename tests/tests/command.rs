//! `memleak -- COMMAND`: traced from its first instruction to its last.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use memtools_tests::{Memleak, Outcome, Report, path_of, skip, wait_until};

const EXACT_JSON: &[&str] = &["-o", "0", "--json"];

/// `memleak -o 0 --json FLAGS… -- WORKLOAD ARGS…`
fn args_of(flags: &[&str], workload: &str, args: &[&str]) -> Vec<String> {
    let path = path_of(workload).expect("build.rs has built it");
    let path = path.to_str().expect("the path is text");
    let words = [EXACT_JSON, flags, &["--", path], args].concat();
    words.into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn run(flags: &[&str], workload: &str, args: &[&str]) -> Outcome {
    Outcome::of(&args_of(flags, workload, args))
}

/// Constructor, thread, main and atexit: nothing is too early or too late.
#[test]
fn a_program_that_ends_at_once_has_all_its_names() {
    let outcome = run(&[], "exits", &[]).expect_code(7);
    let truth = outcome.truth();
    assert_eq!(truth.functions.len(), 4);
    outcome.report().agrees_with(&truth);
}

/// The report has a file of its own, and the command has standard output to itself.
#[test]
fn a_report_in_a_file_leaves_standard_output_to_the_command() {
    let file = std::env::temp_dir().join(format!("memleak-output-{}", std::process::id()));
    let path = file.to_str().expect("the path is text");
    let outcome = run(&["--output", path], "exits", &[]).expect_code(7);
    let truth = outcome.truth();
    assert_eq!(outcome.reports().len(), 0);
    let lines = fs::read_to_string(&file).expect("the report is there");
    let _ = fs::remove_file(&file);
    let report = Report::parse(lines.trim_end()).expect("one report");
    report.agrees_with(&truth);
}

/// Before anything is started: the command would else have run in vain.
#[test]
fn a_file_that_cannot_be_written_is_said_first() {
    let path = "/proc/no/such/place";
    let outcome = run(&["--output", path], "exits", &[]).expect_code(2);
    assert!(outcome.stderr.iter().any(|line| line.contains(path)));
    assert_eq!(outcome.truth().functions.len(), 0);
}

/// Nobody frees a block after the end: none is too young to be shown then.
#[test]
fn what_was_allocated_last_counts_at_the_end() {
    let program = memtools_tests::workloads_dir().join("exits");
    let program = program.to_str().expect("a path of letters");
    let outcome = Outcome::of(&["--json", "--", program]).expect_code(7);
    outcome.report().agrees_with(&outcome.truth());
}

#[test]
fn a_signal_that_ends_the_command_is_passed_on() {
    for (mode, signal) in [
        ("signal", libc::SIGTERM),
        ("kill", libc::SIGKILL),
        ("abort", libc::SIGABRT),
    ] {
        let outcome = run(&[], "exits", &[mode]).expect_code(128 + signal);
        outcome.report().agrees_with(&outcome.truth());
    }
}

#[test]
fn the_command_can_be_one_word_of_dash_c() {
    let path = path_of("exits").expect("build.rs has built it");
    let path = path.to_str().expect("the path is text");
    let outcome = Outcome::of(&["-o", "0", "--json", "-c", path]).expect_code(7);
    outcome.report().agrees_with(&outcome.truth());
}

#[test]
fn dash_c_takes_arguments_and_looks_in_path() {
    let outcome = Outcome::of(&["-o", "0", "--json", "-c", "sh -c true"]).expect_code(0);
    outcome.report();
}

#[test]
fn fail_above_has_an_exit_code_of_its_own() {
    run(&["--fail-above", "1000"], "exits", &[]).expect_code(23);
    run(&["--fail-above", "100000000"], "exits", &[]).expect_code(7);
}

#[test]
fn a_command_that_execs_is_followed() {
    let mut memleak = Memleak::spawn(Memleak::command(&args_of(&[], "exec", &[])));
    memleak.wait_tracing();
    memleak.tell("go");
    memleak.wait_stdout("done");
    memleak.tell("quit");
    let outcome = memleak.outcome().expect_code(0);
    outcome.report().agrees_with(&outcome.truth());
}

/// Ctrl-C ends the child, then comes the report.
#[test]
fn ctrl_c_ends_the_command_and_reports() {
    let mut memleak = Memleak::spawn(Memleak::command(&args_of(&[], "busy", &[])));
    memleak.wait_tracing();
    let child = children_of(memleak.pid());
    memleak.tell("go");
    memleak.wait_stdout("done");
    let outcome = memleak.interrupt();
    let codes = [0, 128 + libc::SIGINT, 128 + libc::SIGTERM];
    assert!(codes.contains(&outcome.code()), "{outcome:?}");
    outcome.report().agrees_with(&outcome.truth());
    assert_eq!(child.len(), 1);
    assert!(!lives(child[0]));
}

#[test]
fn the_command_runs_as_another_user() {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let nobody = passwd.lines().find(|line| line.starts_with("nobody:"));
    let Some(uid) = nobody.and_then(|line| line.split(':').nth(2)) else {
        skip("the_command_runs_as_another_user", "no user nobody");
        return;
    };
    let outcome = Outcome::of(&["--json", "--user", "nobody", "--", "id", "-u"]).expect_code(0);
    assert!(outcome.stdout.iter().any(|line| line == uid), "{outcome:?}");
}

/// A file with these bytes that everybody may execute.
fn executable(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("the directory is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    path
}

/// The linker that a program names is the program's choice, and would run as root.
#[test]
fn a_programs_own_linker_is_not_run() {
    const NAME: &str = "a_programs_own_linker_is_not_run";
    const LINKER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";
    let program = fs::read(path_of("exits").expect("build.rs has built it")).expect("it is there");
    let Some(place) = program.windows(LINKER.len()).position(|b| b == LINKER) else {
        skip(NAME, "another dynamic linker");
        return;
    };
    let directory = tempfile::tempdir_in("/tmp").expect("a temporary directory");
    let directory = directory.path();
    let mark = directory.join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", mark.display());
    let hostile = executable(directory, "ld", script.as_bytes());
    let mut name = hostile.into_os_string().into_encoded_bytes();
    assert!(name.len() < LINKER.len());
    name.resize(LINKER.len(), 0);
    let mut image = program;
    image[place..place + LINKER.len()].copy_from_slice(&name);
    let image = executable(directory, "hostile", &image);
    let outcome = Outcome::of(&["--explain", "--", image.to_str().expect("it is text")]);
    assert!(!mark.exists(), "{outcome:?}");
}

#[test]
fn what_cannot_run_has_the_exit_code_of_shells() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = executable(directory.path(), "text", b"echo hello\n");
    let outcome = Outcome::of(&["--", text.to_str().expect("it is text")]).expect_code(126);
    let said = outcome.stderr.join("\n");
    assert!(said.contains("no ELF header and no #! line"), "{said}");
    let missing = directory.path().join("missing");
    Outcome::of(&["--", missing.to_str().expect("it is text")]).expect_code(127);
}

/// Only root may execute it, which shows when the child has become somebody else.
#[test]
fn what_the_user_may_not_run_is_said_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = executable(directory.path(), "script", b"#!/bin/sh\n");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let script = script.to_str().expect("it is text");
    Outcome::of(&["--", script]).expect_code(0);
    let outcome = Outcome::of(&["--user", "nobody", "--", script]).expect_code(126);
    let said = outcome.stderr.join("\n");
    assert!(said.contains("Permission denied"), "{said}");
}

/// Counts the SIGINTs that it gets, and ends by itself at the word `end`.
fn counting_command() -> std::process::Command {
    let path = path_of("interrupts").expect("build.rs has built it");
    Memleak::command(&["-o".as_ref(), "0".as_ref(), "--".as_ref(), path.as_os_str()])
}

fn counting() -> Memleak {
    let mut memleak = Memleak::spawn(counting_command());
    memleak.wait_tracing();
    memleak.wait_stdout("ready");
    memleak
}

/// `kill -INT` reaches only the tool: the command gets it from there.
#[test]
fn an_interrupt_from_elsewhere_is_passed_on() {
    let mut memleak = counting();
    memleak.signal(libc::SIGINT);
    memleak.wait_stderr("waiting for the command");
    memleak.wait_stdout("interrupted");
    memleak.tell("end");
    memleak.outcome().expect_code(5);
}

#[test]
fn the_second_interrupt_kills_the_command() {
    let mut memleak = counting();
    memleak.signal(libc::SIGINT);
    memleak.wait_stdout("interrupted");
    // Together with the first it would be none of its own.
    std::thread::sleep(std::time::Duration::from_millis(600));
    memleak.signal(libc::SIGINT);
    memleak.outcome().expect_code(128 + libc::SIGKILL);
}

/// `timeout` signals a process and then its group: that is one wish to end, and no lost patience. Held
/// meanwhile, the tool finds both at one moment, on the slowest machine.
#[test]
fn two_signals_at_once_are_one() {
    let script = "trap '' TERM HUP; echo ready; read line; exit 5";
    let args = ["-o", "0", "--", "sh", "-c", script];
    let mut memleak = Memleak::spawn(Memleak::command(&args));
    memleak.wait_tracing();
    memleak.wait_stdout("ready");
    for signal in [libc::SIGSTOP, libc::SIGTERM, libc::SIGHUP, libc::SIGCONT] {
        memleak.signal(signal);
    }
    memleak.wait_stderr("waiting for the command");
    memleak.tell("end");
    memleak.outcome().expect_code(5);
}

/// The two ends of a new terminal.
fn terminal() -> (std::fs::File, std::fs::File) {
    use std::os::fd::FromRawFd;
    let (mut ours, mut its) = (0, 0);
    // SAFETY: writes two descriptors into our variables.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut its,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(opened, 0);
    // SAFETY: just opened, and nobody else's.
    unsafe { (fs::File::from_raw_fd(ours), fs::File::from_raw_fd(its)) }
}

/// Ctrl-C is for the whole group, and passing it on would double it.
#[test]
fn an_interrupt_from_the_terminal_comes_once() {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let (mut ours, its) = terminal();
    let mut command = counting_command();
    let fd = its.as_raw_fd();
    // SAFETY: two system calls.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 || libc::ioctl(fd, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut memleak = Memleak::spawn(command);
    memleak.wait_tracing();
    memleak.wait_stdout("ready");
    ours.write_all(b"\x03").expect("the terminal is open");
    memleak.wait_stderr("waiting for the command");
    memleak.wait_stdout("interrupted");
    memleak.tell("end");
    let outcome = memleak.outcome().expect_code(5);
    let more = outcome.stdout.iter().filter(|line| *line == "interrupted");
    assert_eq!(more.count(), 1, "{outcome:?}");
}

#[test]
fn what_it_waits_for_after_its_end_is_said() {
    let args = ["--duration", "0.2", "--", "sh", "-c", "read word; exit 5"];
    let mut memleak = Memleak::spawn(Memleak::command(&args));
    memleak.wait_stderr("detached; waiting for the command to end");
    assert!(!memleak.has_ended());
    memleak.tell("end");
    memleak.outcome().expect_code(5);
}

/// A check that passes because it saw too little would be worse than none.
#[test]
fn fail_above_warns_when_something_was_lost() {
    const WARNING: &str = "may be too low";
    let warns = |flags: &[&str]| {
        let outcome = run(&[flags, &["--fail-above", "1G"]].concat(), "exits", &[]).expect_code(7);
        outcome.stderr.iter().any(|line| line.contains(WARNING))
    };
    assert!(warns(&["--max-allocs", "1"]));
    assert!(!warns(&[]));
}

/// However early the tool is killed, the child runs on or ends, and is not left waiting.
#[test]
fn a_tool_that_is_killed_leaves_no_stopped_child() {
    for _ in 0..5 {
        let mut memleak = Memleak::spawn(Memleak::command(&args_of(&[], "exits", &[])));
        let mut children = Vec::new();
        let mut ended = false;
        wait_until("the tool starts its child", || {
            children = children_of(memleak.pid());
            ended = memleak.has_ended();
            ended || !children.is_empty()
        });
        // It may be too fast for us, once.
        if ended {
            continue;
        }
        memleak.kill();
        for child in children {
            wait_until("the child ends", || !lives(child));
        }
    }
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, its)| its == parent))
        .collect()
}

/// A zombie that nobody waits for does no harm.
fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}
