//! A process that samples its allocations itself (USDT, provider otel_memory): its samples are used, with
//! what they stand for, until another program takes its place.

use memtools_tests::{Report, trace};

const NO_ARGS: &[&str] = &[];

fn is_sampled(report: &Report) -> bool {
    report.json()["is_sampled"] == true
}

/// The workload tells of every tenth block, which stands for ten: what it leaks is what it says.
#[test]
fn samples_stand_for_what_they_weigh() {
    let session = trace("sampler", NO_ARGS, &[]).agrees().lost_nothing();
    assert_eq!(session.truth.fact("listeners"), 2);
    let report = session.report();
    assert!(is_sampled(&report));
    assert_eq!(report.untracked_frees(), 0);
    let note = session.outcome.stderr.iter().any(|line| {
        line.contains("the USDT provider otel_memory in") && line.contains("estimates")
    });
    assert!(note, "{:#?}", session.outcome.stderr);
}
