//! Calls that do not return: exceptions, panics, longjmp and cancelled threads pass through traced
//! functions as if nothing were there, and their threads are traced on.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use memtools_tests::{Session, load, trace, workloads_dir};

const NO_ARGS: &[&str] = &[];

#[track_caller]
fn trace_own(mode: &str) -> Session {
    let library = workloads_dir().join("libown.so");
    let library = library.to_str().expect("the path is text");
    trace("own", &[mode], &["-O", library, "-S", "own_"])
}

#[test]
fn a_million_exceptions_pass() {
    trace("exceptions", &[load("1000000", "20000")], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}

#[test]
fn bad_alloc_inside_nothrow_new_passes() {
    let session = trace("exceptions", &["nothrow", "1000"], &[]).lost_nothing();
    assert_eq!(session.report().failed(), session.truth.fact("failed"));
}

#[test]
fn panics_pass() {
    trace("leak", NO_ARGS, &[]).agrees().lost_nothing();
}

/// `-O` and `-S` choose another allocator, here one that can be made to misbehave.
#[test]
fn an_allocator_of_ones_own_is_exact() {
    trace_own("plain").agrees().lost_nothing();
}

#[test]
fn a_thread_is_traced_on_after_longjmp_out_of_malloc() {
    trace_own("longjmp").agrees();
}

#[test]
fn threads_can_be_cancelled_inside_malloc() {
    trace_own("cancel").agrees();
}

#[test]
fn an_address_given_again_without_a_free_is_a_missed_free() {
    let session = trace_own("forget").agrees();
    let loss = session.report().loss();
    assert_eq!(loss["missed_frees"], session.truth.fact("missed_frees"));
}

#[test]
fn signals_and_stacks_of_the_programs_own_are_exact() {
    trace("signals", &[load("100000", "5000")], &[])
        .agrees()
        .agrees_in_events()
        .lost_nothing();
}
