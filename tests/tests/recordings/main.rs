//! `memleak record`, `show` and `diff`: what was recorded is what a report would have said, wherever
//! and however the recording ended.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memtools_tests::{
    Memleak, Outcome, Report, Truth, Workload, assert_no_probe_left, path_of, wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

mod diffs;
mod recorders;
mod shown;

const NO_ARGS: &[&str] = &[];
const FAILED: i32 = 1;
const BAD_INPUT: i32 = 2;
const LEAKED: i32 = 23;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

fn workload_path(name: &str) -> PathBuf {
    path_of(name).expect("build.rs has built it")
}

/// `memleak record -o FILE --older 0 ARGS…`
fn record_command(file: &Path, args: &[&str]) -> std::process::Command {
    let mut command = Memleak::command(&["record", "-o", text(file), "--older", "0"]);
    command.args(args);
    command
}

/// The same for a process, and waits until it records.
#[track_caller]
fn recorder(file: &Path, pid: u32, args: &[&str]) -> Memleak {
    let pid = pid.to_string();
    let args = [&["-p", &pid], args].concat();
    let mut recorder = Memleak::spawn(record_command(file, &args));
    recorder.wait_tracing();
    recorder
}

/// Records the whole work of a workload.
#[track_caller]
fn record(file: &Path, workload: &str, args: &[&str]) -> Truth {
    let mut workload = Workload::start(workload, args);
    let recorder = recorder(file, workload.pid(), &[]);
    let truth = workload.run();
    let outcome = recorder.interrupt().expect_code(0);
    assert_eq!(outcome.stdout, NO_ARGS);
    assert_no_probe_left(workload.pid());
    workload.quit();
    truth
}

/// More than the header, which is there when the recorder is.
#[track_caller]
fn wait_until_recorded(file: &Path) {
    wait_until("something is recorded", || {
        Outcome::of(&["show", text(file), "--json"]).code() == 0
    });
}

#[track_caller]
fn show(file: &Path, args: &[&str]) -> Outcome {
    Outcome::of(&[&["show", text(file)], args].concat()).expect_code(0)
}

#[track_caller]
fn show_json(file: &Path) -> Report {
    show(file, &["--json"]).report()
}

/// The line that `memleak diff … --json` prints.
#[track_caller]
fn diff_json(old: &str, new: &str) -> Value {
    let outcome = Outcome::of(&["diff", old, new, "--json"]).expect_code(0);
    assert_eq!(outcome.stdout.len(), 1, "{outcome:#?}");
    let value: Value = serde_json::from_str(&outcome.stdout[0]).expect("JSON");
    assert_eq!(value["type"], "diff");
    value
}

/// What a report says of each stack that does not depend on when it was made.
fn lasting(report: &Report) -> BTreeMap<String, Value> {
    let stacks = report.json()["stacks"].as_array().expect("an array");
    let mut lasting = BTreeMap::new();
    for stack in stacks {
        let mut stack = stack.clone();
        let fields = stack.as_object_mut().expect("an object");
        fields.retain(|name, _| !["oldest_ms", "growth_bytes"].contains(&name.as_str()));
        let key = stack["frames"].to_string() + &stack["class"].to_string();
        assert!(lasting.insert(key, stack).is_none(), "one stack twice");
    }
    lasting
}

/// One line, which names the file, and the exit code of bad input.
#[track_caller]
fn is_refused(args: &[&str], file: &Path) {
    let outcome = Outcome::of(args).expect_code(BAD_INPUT);
    assert!(outcome.stdout.is_empty(), "{outcome:#?}");
    assert_eq!(outcome.stderr.len(), 1, "{outcome:#?}");
    assert!(outcome.stderr[0].contains(text(file)), "{outcome:#?}");
}
