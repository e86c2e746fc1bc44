//! Threads and processes that come, go, turn into others and are killed.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use memtools_tests::{
    Memleak, Outcome, Workload, altered_code, assert_no_probe_left, load, trace, wait_until,
};

const NO_ARGS: &[&str] = &[];
const EXACT_JSON: &[&str] = &["-o", "0", "--json"];

#[test]
fn threads_that_free_for_each_other_are_exact() {
    trace("threads", &["pass", load("20000", "4000")], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn short_lived_threads_are_exact() {
    trace("threads", &["short", load("500", "100")], &[])
        .agrees()
        .lost_nothing();
}

#[test]
fn a_block_that_realloc_let_go_may_be_anothers_at_once() {
    trace("realloc_race", &[load("20000", "4000")], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn what_a_forked_child_does_is_not_the_parents() {
    trace("fork", &["fork"], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn spawned_children_run_and_are_not_the_parents() {
    trace("fork", &["spawn"], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn exec_begins_anew() {
    trace("exec", NO_ARGS, &[]).agrees();
}

/// The table of blocks keeps a byte of the image's number: here it comes round.
#[test]
fn many_execs_leave_nothing_behind() {
    trace("exec", &["256"], &[]).agrees();
}

#[test]
fn a_process_whose_leader_has_exited_is_traced() {
    trace("deadleader", NO_ARGS, &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn a_target_that_ends_leaves_its_report() {
    let mut workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), EXACT_JSON);
    let truth = workload.run();
    workload.quit();
    let outcome = memleak.outcome().expect_code(0);
    outcome.report().agrees_with(&truth);
}

#[test]
fn a_target_that_is_killed_leaves_its_report() {
    let mut workload = Workload::start("busy", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), EXACT_JSON);
    let truth = workload.run();
    workload.kill();
    let outcome = memleak.outcome().expect_code(0);
    outcome.report().agrees_with(&truth);
}

/// Breakpoints do exist while the tool runs: else their absence would prove nothing.
#[test]
fn a_killed_tool_leaves_no_breakpoint() {
    let mut workload = Workload::start("busy", NO_ARGS);
    let mut memleak = Memleak::attach(workload.pid(), EXACT_JSON);
    workload.run();
    assert!(!altered_code(workload.pid()).is_empty());
    memleak.kill();
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn a_busy_target_survives_attaching_and_detaching() {
    let mut workload = Workload::start("busy", NO_ARGS);
    workload.run();
    for _ in 0..load(10, 3) {
        let memleak = Memleak::attach(workload.pid(), EXACT_JSON);
        memleak.interrupt().expect_code(0);
        assert_no_probe_left(workload.pid());
    }
    workload.quit();
}

#[test]
fn two_tools_on_one_target_are_both_exact() {
    let mut workload = Workload::start("exact", NO_ARGS);
    let one = Memleak::attach(workload.pid(), EXACT_JSON);
    let other = Memleak::attach(workload.pid(), EXACT_JSON);
    let truth = workload.run();
    let outcomes: [Outcome; 2] = [one.interrupt(), other.interrupt()];
    for outcome in outcomes {
        let report = outcome.expect_code(0).report();
        report.agrees_with(&truth);
        assert_eq!(report.allocs(), truth.fact("allocs"));
    }
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn sigterm_ends_like_ctrl_c() {
    let mut workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), EXACT_JSON);
    let truth = workload.run();
    memleak.signal(libc::SIGTERM);
    memleak
        .outcome()
        .expect_code(0)
        .report()
        .agrees_with(&truth);
    assert_no_probe_left(workload.pid());
    workload.quit();
}

/// The program is stopped when the tool comes, and does not notice it.
#[test]
fn a_stopped_target_stays_stopped() {
    let workload = Workload::start("basic", NO_ARGS);
    let pid = i32::try_from(workload.pid()).expect("a PID is positive");
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next())
    };
    // SAFETY: kill takes numbers, and the child has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    wait_until("it stops", || state() == Some('T'));
    Memleak::attach(workload.pid(), EXACT_JSON)
        .interrupt()
        .expect_code(0);
    assert_eq!(state(), Some('T'));
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    let mut workload = workload;
    workload.run();
    workload.quit();
}
