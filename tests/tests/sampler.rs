//! A process that samples its allocations itself (USDT, provider otel_memory): its samples are used, with
//! what they stand for, until another program takes its place.

use memtools::attach::has_attach_cookie;
use memtools_tests::{Outcome, Report, Session, path_of, trace};
use serde_json::Value;

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

/// Between the probe and operator new, or strdup, lies a function of the allocator's: their callers are named
/// all the same.
#[test]
fn samples_by_operator_new_and_strdup_have_their_callers() {
    trace("sampler_new", NO_ARGS, &[]).agrees().lost_nothing();
}

/// A function that is named is traced, and nobody listens to the samples.
#[test]
fn a_named_object_is_traced_instead_of_samples() {
    let session = trace("sampler", NO_ARGS, &["-O", "libc.so.6"]).lost_nothing();
    assert_eq!(session.truth.fact("listeners"), 0);
    let report = session.report();
    assert!(!is_sampled(&report));
    let untold = report.figures("leak_untold");
    assert_eq!(untold.bytes, session.truth.fact("untold"));
}

/// The next program's are the allocator's functions, as soon as they have their probes; until when is said.
#[test]
fn after_samples_another_program_is_traced_by_its_functions() {
    let session = trace("sampler", &["exec"], &[]).agrees();
    let loss = session.report().loss();
    let blind = loss.get("blind_ms").and_then(Value::as_u64);
    assert!(blind.is_some_and(|ms| ms < 30_000), "{loss:?}");
    assert_eq!(loss.len(), 1, "{loss:?}");
    assert_eq!(session.truth.fact("listeners"), 0);
    assert!(!is_sampled(&session.report()));
}

/// A command's samples are told from its first instruction on. Where probes have no cookies, what it tells
/// before its objects are known is counted as lost.
#[test]
fn a_commands_samples_are_used() {
    let path = path_of("sampler").expect("build.rs has built it");
    let path = path.to_str().expect("text");
    let outcome = Outcome::of(&["-o", "0", "--json", "--", path, "now"]).expect_code(0);
    let report = outcome.report();
    assert!(is_sampled(&report));
    let said = outcome.stdout.iter().any(|line| line == "2 listen");
    assert!(said, "{:#?}", outcome.stdout);
    let figures = report.figures("leak_small");
    let leaked = [
        figures.bytes,
        figures.count,
        report.figures("leak_pool").count,
    ];
    if has_attach_cookie() {
        assert_eq!(leaked, [64 * 1000, 1000, 60]);
        assert_eq!(report.loss(), serde_json::Map::new());
    } else {
        let lost = report.loss().get("allocs").and_then(Value::as_u64);
        assert!(leaked[1] <= 1000 && leaked[2] <= 60, "{leaked:?}");
        assert!(
            lost.is_some() || leaked == [64 * 1000, 1000, 60],
            "{leaked:?}"
        );
    }
}

/// Events are samples: each with the size of its own block.
#[test]
fn each_sample_is_an_event() {
    let path = path_of("sampler").expect("build.rs has built it");
    let session = Session::at(&path, NO_ARGS, &["-t", "-o", "0"]);
    let lines = session.outcome.stdout.iter();
    let large = lines.filter(|line| line.contains(" 2097152 ") || line.ends_with(" 2097152"));
    assert_eq!(large.count(), 3, "{:#?}", session.outcome.stdout);
}
