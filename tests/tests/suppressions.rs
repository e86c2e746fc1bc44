//! `--suppressions`: what LeakSanitizer leaves out by a file of rules, memleak leaves out by the same
//! file.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use memtools_tests::{
    LeakedBy, Memleak, Outcome, Report, Workload, path_of, skip, suppressing_leak_sanitizer, trace,
};
use serde_json::Value;
use tempfile::TempDir;

const NO_ARGS: &[&str] = &[];

/// Parts, anchors, wild cards, comments, spaces, a rule that is never used, one that an earlier one
/// leaves nothing to.
const RULES: &str = "\
# Known for long.
leak:leak_sm
leak:^leak_calloc$
  leak:leak_realloc*grow

leak:^sizes
leak:nothing_like_this
leak:realloc_shr
leak:leak_realloc_shrink
leak:alig*d_al*c$
";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// A suppression file in a directory of its own.
fn rules(lines: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rules");
    fs::write(&file, lines).expect("the directory is ours");
    (directory, file)
}

/// Bytes and blocks by function, where LeakSanitizer counts a block of no bytes as one byte.
fn leaked_by(report: &Report) -> LeakedBy {
    let mut leaked = LeakedBy::new();
    for stack in report.stacks() {
        let figures = stack.figures;
        let frame = stack.frames.iter().find(|f| f.symbol.starts_with("leak_"));
        if let Some(frame) = frame.filter(|_| figures.count > 0) {
            let sum = leaked.entry(frame.symbol.clone()).or_default();
            sum.0 += figures
                .bytes
                .max(if figures.bytes == 0 { figures.count } else { 0 });
            sum.1 += figures.count;
        }
    }
    leaked
}

/// The field `suppressed`.
fn suppressed(report: &Report) -> LeakedBy {
    let Some(rules) = report.json()["suppressed"].as_array() else {
        return LeakedBy::new();
    };
    let number = |value: &Value| value.as_u64().expect("a number");
    let rules = rules.iter().map(|rule| {
        let name = rule["rule"].as_str().expect("a text").to_owned();
        (name, (number(&rule["bytes"]), number(&rule["count"])))
    });
    rules.collect()
}

#[test]
fn leak_sanitizer_suppresses_the_same() {
    let Some(sanitized) = path_of("exact-lsan") else {
        skip("leak_sanitizer_suppresses_the_same", "no LeakSanitizer");
        return;
    };
    let (_directory, file) = rules(RULES);
    let (left, used) = suppressing_leak_sanitizer(&sanitized, NO_ARGS, &file);
    assert_eq!(used.len(), 5, "{used:?}");
    let session = trace("exact", NO_ARGS, &["--suppressions", text(&file)]);
    let report = session.report();
    assert_eq!(suppressed(&report), used);
    assert_eq!(leaked_by(&report), left);
    let hidden = |part: fn(&(u64, u64)) -> u64| used.values().map(part).sum::<u64>();
    let truth = &session.truth;
    assert_eq!(
        report.total_bytes() + hidden(|used| used.0),
        truth.total_bytes()
    );
    assert_eq!(
        report.total_count() + hidden(|used| used.1),
        truth.total_count()
    );
}

/// Rules may come after the recording, and do to exports and comparisons what they do to reports.
#[test]
fn a_recording_is_suppressed_when_it_is_shown() {
    let (directory, file) = rules("leak:leak_4096\nleak:basic.c*no\nleak:leak_64$\n");
    let recording = directory.path().join("run.leak");
    let recording = text(&recording);
    let mut workload = Workload::start("basic", NO_ARGS);
    let pid = workload.pid().to_string();
    let args = ["record", "-o", recording, "--older", "0", "-p", &pid];
    let mut recorder = Memleak::spawn(Memleak::command(&args));
    recorder.wait_tracing();
    workload.run();
    recorder.interrupt().expect_code(0);
    workload.quit();

    let suppressions = ["--suppressions", text(&file)];
    let shown = |args: &[&str]| {
        let args = [&["show", recording], args, &suppressions].concat();
        Outcome::of(&args).expect_code(0)
    };
    let report = shown(&["--json"]).report();
    assert_eq!((report.total_bytes(), report.total_count()), (8000, 125));
    let expected = [("leak_4096", (8192, 2)), ("leak_64$", (3200, 50))];
    let expected = expected.map(|(rule, amount)| (rule.to_owned(), amount));
    assert_eq!(suppressed(&report), LeakedBy::from(expected));
    let folded = shown(&["--folded", "/dev/stdout"]).stdout.join("\n");
    assert!(folded.contains("leak_256") && !folded.contains("leak_4096"));
    let lines = shown(&["--text"]).stdout.join("\n");
    assert!(lines.contains("suppressed by leak_4096:"), "{lines}");
    assert!(!lines.contains("leak_4096+"), "{lines}");
    let diff =
        Outcome::of(&[&["diff", recording, recording, "--json"], &suppressions[..]].concat());
    let diff: Value = serde_json::from_str(&diff.expect_code(0).stdout[0]).expect("JSON");
    assert_eq!(diff["after"]["total"]["bytes"], 8000);
}

#[test]
fn suppressed_memory_is_not_above_a_limit() {
    let program = path_of("exits").expect("build.rs has built it");
    for (rule, code) in [("leak:*", 7), ("leak:leak_in_main", 23)] {
        let (_directory, file) = rules(rule);
        let flags = ["--fail-above", "0", "-o", "0", "--json", "--suppressions"];
        let args = [&flags[..], &[text(&file), "--", text(&program)]].concat();
        let report = Outcome::of(&args).expect_code(code).report();
        assert_eq!(report.total_bytes() == 0, code == 7);
    }
}

#[test]
fn a_bad_file_is_refused_by_its_line() {
    let program = path_of("exits").expect("build.rs has built it");
    for (lines, number) in [
        ("leak:a\n\nnonsense\n", 3),
        ("race:a\n", 1),
        ("# a\nleak:\n", 2),
    ] {
        let (_directory, file) = rules(lines);
        let place = format!("{}:{number}:", text(&file));
        let outcome = Outcome::of(&["--suppressions", text(&file), "--", text(&program)]);
        let outcome = outcome.expect_code(2);
        assert!(outcome.stdout.is_empty(), "{outcome:#?}");
        assert_eq!(outcome.stderr.len(), 1, "{outcome:#?}");
        assert!(outcome.stderr[0].contains(&place), "{outcome:#?}");
    }
    let missing = "/nowhere/at-all";
    let outcome = Outcome::of(&["--suppressions", missing, "--", text(&program)]);
    let outcome = outcome.expect_code(2);
    assert_eq!(outcome.stderr.len(), 1, "{outcome:#?}");
    assert!(outcome.stderr[0].contains(missing), "{outcome:#?}");
}
