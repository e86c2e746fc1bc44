//! `--json`: every line keeps to the schema.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use memtools_tests::{Class, Memleak, Report, Workload, assert_no_probe_left, load, trace};
use serde_json::Value;

const NO_ARGS: &[&str] = &[];

#[track_caller]
fn has_only(value: &Value, required: &[&str], optional: &[&str]) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{value} is no object"));
    for name in required {
        assert!(object.contains_key(*name), "{name} is missing in {value}");
    }
    for name in object.keys() {
        let known = required.contains(&name.as_str()) || optional.contains(&name.as_str());
        assert!(known, "{name} is not in the schema: {value}");
    }
}

#[track_caller]
fn are_counts(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value[*name].is_u64(), "{name} is no count in {value}");
    }
}

/// `2024-05-06T07:08:09Z`, with or without a fraction.
fn is_utc_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let fraction = |rest: &str| {
        let digits = rest
            .strip_prefix('.')
            .and_then(|rest| rest.strip_suffix('Z'));
        rest == "Z" || digits.is_some_and(|digits| !digits.is_empty())
    };
    shape
        .strip_prefix("0000-00-00T00:00:00")
        .is_some_and(fraction)
}

#[track_caller]
fn is_frame(frame: &Value) {
    let names = [
        "addr", "symbol", "offset", "module", "file", "line", "inlined",
    ];
    has_only(frame, &names[..1], &names[1..]);
    let address = frame["addr"].as_str().unwrap_or_default();
    let digits = address.strip_prefix("0x").unwrap_or_default();
    assert!(u64::from_str_radix(digits, 16).is_ok(), "{frame}");
    for name in ["symbol", "module", "file"] {
        let value = frame.get(name).unwrap_or(&Value::Null);
        assert!(value.is_string() || value.is_null(), "{name} in {frame}");
    }
    for name in ["offset", "line"] {
        let value = frame.get(name).unwrap_or(&Value::Null);
        assert!(value.is_u64() || value.is_null(), "{name} in {frame}");
    }
}

#[track_caller]
fn is_stack(stack: &Value) {
    let counts = ["bytes", "count", "allocs", "frees", "pid"];
    let names = [&counts[..], &["oldest_ms", "class", "frames"]].concat();
    has_only(stack, &names, &["growth_bytes", "incomplete", "blocks"]);
    are_counts(stack, &counts);
    let class = stack["class"].as_str().unwrap_or_default();
    assert!(Class::parse(class).is_some(), "class {class:?}");
    let frames = stack["frames"].as_array().expect("frames are an array");
    assert!(!frames.is_empty(), "{stack}");
    frames.iter().for_each(is_frame);
}

#[track_caller]
fn is_report(line: &str) {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    for name in [
        "v",
        "tool",
        "type",
        "time",
        "target",
        "total",
        "events",
        "untracked",
        "stacks",
        "loss",
    ] {
        assert!(value.get(name).is_some(), "{name} is missing in {value}");
    }
    assert_eq!(value["v"], 1);
    assert_eq!(value["tool"], "memleak");
    assert_eq!(value["type"], "report");
    let time = value["time"].as_str().unwrap_or_default();
    assert!(is_utc_time(time), "time {time:?}");
    assert!(value["target"]["pid"].is_u64() && value["target"]["comm"].is_string());
    are_counts(&value["total"], &["bytes", "count"]);
    are_counts(&value["events"], &["allocs", "frees", "failed"]);
    are_counts(&value["untracked"], &["frees"]);
    assert!(value["loss"].is_object());
    let stacks = value["stacks"].as_array().expect("stacks are an array");
    stacks.iter().for_each(is_stack);
}

#[test]
fn every_line_is_a_report() {
    let mut workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), &["--json", "-o", "0", "1", "3"]);
    workload.run();
    let outcome = memleak.outcome().expect_code(0);
    assert_eq!(outcome.stdout.len(), 3, "{outcome:?}");
    for line in &outcome.stdout {
        is_report(line);
    }
    let report = outcome.report();
    assert_eq!(report.json()["target"]["pid"], workload.pid());
    assert_eq!(report.json()["target"]["comm"], "basic");
    for stack in report.stacks() {
        assert_eq!(stack.pid, u64::from(workload.pid()));
    }
    assert_no_probe_left(workload.pid());
    workload.quit();
}

/// Figures grow from report to report, for they count from the attach on.
#[test]
fn figures_are_cumulative() {
    let mut workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), &["--json", "-o", "0", "1", "3"]);
    let truth = workload.run();
    let reports = memleak.outcome().expect_code(0).reports();
    let allocs: Vec<u64> = reports.iter().map(Report::allocs).collect();
    assert!(allocs.is_sorted(), "{allocs:?}");
    assert_eq!(allocs.last(), Some(&truth.fact("allocs")));
    workload.quit();
}

#[test]
fn the_top_limits_text_only() {
    trace("basic", NO_ARGS, &["-T", "1"]).agrees();
}

#[test]
fn sizes_are_filtered() {
    let report = trace("basic", NO_ARGS, &["-z", "64", "-Z", "256"]).report();
    assert_eq!(report.total_bytes(), 3200 + 6400);
    assert_eq!(report.total_count(), 75);
    assert_eq!(report.figures("leak_16").count, 0);
    assert_eq!(report.figures("leak_256").count, 25);
    assert_eq!(report.figures("leak_4096").count, 0);
}

#[test]
fn stacks_are_sorted_by_age() {
    let report = trace("basic", NO_ARGS, &["--sort", "age"]).report();
    let mut stacks = report.stacks();
    stacks.retain(|stack| stack.figures.count > 0);
    let ages: Vec<u64> = stacks.iter().map(|stack| stack.oldest_ms).collect();
    assert!(ages.iter().rev().is_sorted(), "{ages:?}");
}

#[test]
fn stacks_are_sorted_by_bytes() {
    let stacks = trace("basic", NO_ARGS, &[]).report().stacks();
    let bytes: Vec<u64> = stacks.iter().map(|stack| stack.figures.bytes).collect();
    assert!(bytes.iter().rev().is_sorted(), "{bytes:?}");
}

/// A report is taken while blocks change: none of them is half of one and half of the next.
#[test]
fn no_block_is_shown_with_another_ones_size() {
    // How many turns take long enough for a report to come in between depends on the machine.
    let seen = [load("50000", "5000"), "200000", "1000000"]
        .into_iter()
        .map(blocks_seen_while_they_change)
        .find(|seen| *seen > 0);
    assert!(seen.is_some(), "no report came at the right moment");
}

/// How many blocks the reports had, each of which was checked.
fn blocks_seen_while_they_change(turns: &str) -> u64 {
    let mut workload = Workload::start("swap", &[turns]);
    let memleak = Memleak::attach(workload.pid(), &["-o", "0", "--json", "0.01"]);
    let truth = workload.run();
    let outcome = memleak.interrupt().expect_code(0);
    workload.quit();
    let mut seen = 0;
    for report in outcome.reports() {
        for (function, size) in [("hold_26", 26), ("hold_40", 40)] {
            let figures = report.figures(function);
            assert_eq!(figures.bytes, size * figures.count, "{function}");
            seen += figures.count;
        }
    }
    let last = outcome.reports().pop().expect("there is a last report");
    assert_eq!(last.total_count(), 0);
    assert_eq!(
        (last.allocs(), last.frees()),
        (truth.fact("allocs"), truth.fact("frees"))
    );
    seen
}
