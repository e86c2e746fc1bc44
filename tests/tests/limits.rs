//! What is left out on purpose or for want of room is said, and the rest stays right.

use memtools_tests::{
    Memleak, Workload, altered_code, load, memory_with_tables, trace, wait_until,
};

const NO_ARGS: &[&str] = &[];

/// One in ten of 100,000 blocks: the standard deviation is one percent, and of 10,000 three.
#[test]
fn sampled_figures_are_scaled_and_marked() {
    let session = trace("basic", &["many", load("100000", "10000")], &["-s", "10"]);
    let report = session.report();
    let near = |found: u64, said: u64| found.abs_diff(said) * 5 <= said;
    assert!(near(report.total_bytes(), session.truth.total_bytes()));
    assert!(near(report.total_count(), session.truth.total_count()));
    let figures = report.figures("leak_many");
    assert!(near(figures.bytes, session.truth.total_bytes()));
    assert!(report.json().to_string().contains("sampl"));
}

/// Blocks that find no room are lost, and counted as lost. Events are counted all the same.
#[test]
fn a_full_table_is_said() {
    let flags = ["--max-allocs", "100"];
    let session = trace("basic", &["many", "1000"], &flags).agrees_in_events();
    let report = session.report();
    assert!(!report.loss().is_empty());
    assert!(report.total_count() < 1000);
}

#[test]
fn a_table_that_is_just_large_enough_loses_nothing() {
    let flags = ["--max-allocs", "1000"];
    trace("basic", &["many", "1000"], &flags)
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

/// Both tables of blocks, the small fast one in front too: whatever finds no room is counted.
#[test]
fn what_a_large_table_has_no_room_for_is_counted() {
    let flags = ["--max-allocs", "131072"];
    let args = ["refill", load("400000", "280000")];
    let session = trace("basic", &args, &flags).agrees_in_events();
    let report = session.report();
    let loss = report.loss();
    assert!(report.loss().keys().all(|kind| kind.starts_with("alloc")));
    let missing = |what: &str| loss.get(what).and_then(serde_json::Value::as_u64);
    // The one in front takes some 100,000 of them, if all of it is free again.
    assert!(report.total_count() >= 131_072 + 80_000);
    assert_eq!(
        report.total_count() + missing("allocs").unwrap_or(0),
        session.truth.total_count()
    );
    assert_eq!(
        report.total_bytes() + missing("alloc_bytes").unwrap_or(0),
        session.truth.total_bytes()
    );
}

/// Blocks move between the two tables as their addresses are given out again.
#[test]
fn many_blocks_that_come_and_go_are_counted() {
    let session = trace("turnover", &["500000", load("600000", "60000")], &[]).agrees_in_events();
    let report = session.report();
    assert_eq!(report.total_count(), session.truth.total_count());
    assert_eq!(report.total_bytes(), session.truth.total_bytes());
    session.lost_nothing();
}

/// A block without a stack is still a block: the total stays right.
#[test]
fn a_full_stack_storage_is_said() {
    let flags = ["--stack-storage-size", "1"];
    let session = trace("basic", NO_ARGS, &flags).agrees_in_events();
    let report = session.report();
    assert!(!report.loss().is_empty());
    assert_eq!(report.total_bytes(), session.truth.total_bytes());
    assert_eq!(report.total_count(), session.truth.total_count());
}

/// The target is freed of its probes while it runs, and the tool says why.
#[test]
fn too_much_overhead_detaches() {
    let mut workload = Workload::start("busy", NO_ARGS);
    let mut memleak = Memleak::attach(workload.pid(), &["--max-overhead", "1", "1"]);
    workload.run();
    memleak.wait_stderr("overhead");
    wait_until("the probes are taken out", || {
        altered_code(workload.pid()).is_empty()
    });
    if !memleak.has_ended() {
        memleak.signal(libc::SIGINT);
    }
    let outcome = memleak.outcome();
    assert!([0, 1].contains(&outcome.code()), "{outcome:?}");
    workload.quit();
}

#[test]
fn enough_room_for_overhead_keeps_it_attached() {
    trace("basic", NO_ARGS, &["--max-overhead", "100"])
        .agrees()
        .lost_nothing();
}

/// Whatever the program does; and what does not fit is counted as lost.
#[test]
fn memory_stays_below_its_limit() {
    const LIMIT: u64 = 64 << 20;
    let stacks = load("60000", "10000");
    let mut workload = Workload::start("manystacks", &[stacks, "10", "100"]);
    let flags = [
        "--json",
        "-o",
        "0",
        "--max-memory",
        "64M",
        "--stack-storage-size",
        "65536",
        "1",
    ];
    let mut memleak = Memleak::attach(workload.pid(), &flags);
    let truth = workload.run();
    memleak.wait_report(truth.fact("allocs"));
    let used = memory_with_tables(memleak.pid());
    assert!(used <= LIMIT, "{used} bytes");
    let report = memleak.interrupt().expect_code(0).report();
    let loss = report.loss();
    let missing = |what: &str| loss.get(what).and_then(serde_json::Value::as_u64);
    assert!(
        missing("stacks").is_some_and(|stacks| stacks > 0),
        "{loss:?}"
    );
    assert!(report.total_count() + missing("allocs").unwrap_or(0) >= truth.total_count());
    workload.quit();
}
