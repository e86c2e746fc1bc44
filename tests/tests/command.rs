//! `memleak -- COMMAND`: traced from its first instruction to its last.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;

use memtools_tests::{Memleak, Outcome, path_of, skip, wait_until};

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
