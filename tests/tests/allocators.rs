//! Whatever the process allocates with: one source, by the functions of C and of C++, is exact with
//! each allocator.

use memtools_tests::{Session, path_of, skip, trace};

const EXACT_JSON: &[&str] = &["-o", "0", "--json"];
const NO_ARGS: &[&str] = &[];
/// bad_alloc leaves operator new.
const REFUSE: &[&str] = &["refuse"];

/// Of the workload, if it could be linked with its allocator.
#[track_caller]
fn is_exact(test: &str, workload: &str, args: &[&str]) {
    let Some(path) = path_of(workload) else {
        skip(
            test,
            &format!("{workload} is not built: its allocator is not installed"),
        );
        return;
    };
    let session = Session::at(&path, args, EXACT_JSON).agrees().lost_nothing();
    // What an exception takes on its way out of operator new is a part of that call.
    let untracked = session.report().untracked_frees();
    let refused = session.truth.fact("refused");
    assert!(untracked == 0 || untracked == refused, "{untracked}");
}

#[test]
fn the_c_librarys() {
    is_exact("the_c_librarys", "allocators", REFUSE);
    is_exact("the_c_librarys", "allocators-static", REFUSE);
}

#[test]
fn jemalloc() {
    is_exact("jemalloc", "allocators-jemalloc", REFUSE);
}

#[test]
fn jemallocs_own_functions() {
    is_exact("jemallocs_own_functions", "jemalloc", NO_ARGS);
}

#[test]
fn tcmalloc() {
    is_exact("tcmalloc", "allocators-tcmalloc", REFUSE);
}

/// Its operator new ends a process rather than throw.
#[test]
fn mimalloc() {
    is_exact("mimalloc", "allocators-mimalloc", NO_ARGS);
}

#[test]
fn mimallocs_own_functions() {
    is_exact("mimallocs_own_functions", "mimalloc", NO_ARGS);
}

#[test]
fn rust_with_jemalloc() {
    match path_of("leak-jemalloc") {
        Some(path) => {
            Session::at(&path, NO_ARGS, EXACT_JSON)
                .agrees()
                .lost_nothing();
        }
        None => skip("rust_with_jemalloc", "jemalloc is not installed"),
    }
}

/// What Rust's own functions for memory go to is known to nobody, or to everybody.
#[test]
fn rust_with_an_allocator_of_its_own() {
    for workload in [
        "leak-pool",
        "leak-pool-release",
        "leak-inlined_pool",
        "leak-counting",
        "leak-counting-release",
    ] {
        trace(workload, NO_ARGS, &[]).agrees().lost_nothing();
    }
}

/// Where the compiler has put the allocator into its callers, half of it would be seen: blocks that come, and
/// do not go. None is, and that is said.
#[test]
fn an_allocator_within_its_callers_is_left_alone() {
    let session = trace("leak-inlined_pool-release", NO_ARGS, &[]).lost_nothing();
    let mut said = session.outcome.stderr.iter();
    let is_said = said.any(|line| line.contains("is compiled into functions that call it"));
    assert!(is_said, "{:#?}", session.outcome.stderr);
    let report = session.report();
    assert_eq!(report.figures("hold_and_panic").count, 0);
    assert_eq!(report.figures("leak_box").count, 0);
}
