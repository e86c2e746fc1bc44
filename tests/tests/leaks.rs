//! Exact figures: what the tool reports is what the workload says, to the byte.

use memtools_tests::{Session, load, path_of, skip, trace};

const NO_ARGS: &[&str] = &[];
const EXACT_JSON: &[&str] = &["-o", "0", "--json"];

/// Totals, single events and failures, too.
#[track_caller]
fn agrees_wholly(session: Session) {
    let session = session.agrees().agrees_in_events().lost_nothing();
    let report = session.report();
    assert_eq!(report.total_bytes(), session.truth.total_bytes());
    assert_eq!(report.total_count(), session.truth.total_count());
    assert_eq!(report.failed(), session.truth.fact("failed"));
    assert_eq!(report.untracked_frees(), 0);
}

#[test]
fn every_function_of_the_c_allocator_is_exact() {
    agrees_wholly(trace("exact", NO_ARGS, &[]));
}

#[test]
fn a_static_binary_is_exact() {
    match path_of("exact-static") {
        Some(path) => agrees_wholly(Session::at(&path, NO_ARGS, EXACT_JSON)),
        None => skip("a_static_binary_is_exact", "no static libc to link with"),
    }
}

#[test]
fn a_static_musl_binary_is_exact() {
    match path_of("exact-musl") {
        Some(path) => agrees_wholly(Session::at(&path, NO_ARGS, EXACT_JSON)),
        None => skip("a_static_musl_binary_is_exact", "no musl-gcc"),
    }
}

/// Only totals per stack are kept in the kernel, but of every event.
#[test]
fn combined_only_is_exact() {
    trace("exact", NO_ARGS, &["-C"])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn frees_of_older_blocks_are_untracked_and_no_loss() {
    let session = trace("exact", &["untracked", "123"], &[])
        .agrees_in_events()
        .lost_nothing();
    let report = session.report();
    assert_eq!(report.untracked_frees(), 123);
    assert_eq!((report.total_bytes(), report.total_count()), (0, 0));
}

#[test]
fn cpp_is_exact() {
    let session = trace("exceptions", &["1000"], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
    let report = session.report();
    assert_eq!(report.failed(), session.truth.fact("failed"));
    let characters = session.truth.fact("string_characters");
    assert_eq!(
        report.total_bytes(),
        session.truth.total_bytes() + characters
    );
}

#[test]
fn rust_is_exact() {
    trace("leak", NO_ARGS, &[]).agrees().lost_nothing();
}

#[test]
fn optimized_rust_is_exact() {
    trace("leak-release", NO_ARGS, &[]).agrees().lost_nothing();
}

/// Two million events of two threads, and not one is missed or counted twice.
#[test]
fn a_million_pairs_are_counted_one_by_one() {
    let session = trace("pairs", &["2", "5", "64", load("500000", "20000")], &[])
        .agrees_in_events()
        .lost_nothing();
    let report = session.report();
    assert_eq!((report.total_bytes(), report.total_count()), (0, 0));
}

/// What a function allocated and freed stays with it after all is freed.
#[test]
fn stacks_count_their_allocations_and_frees() {
    let report = trace("basic", NO_ARGS, &[]).agrees().report();
    let figures = report.figures("leak_64");
    assert_eq!((figures.allocs, figures.frees), (50, 0));
    let figures = report.figures("borrow_512");
    assert_eq!((figures.allocs, figures.frees), (10, 10));
}
