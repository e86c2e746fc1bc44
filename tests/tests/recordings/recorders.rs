//! How recorders begin and end, and what their files hold then.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use memtools_tests::{
    Memleak, Outcome, SmallDisk, Truth, Workload, assert_no_probe_left, load, skip,
};

use super::{
    BAD_INPUT, FAILED, LEAKED, NO_ARGS, directory, is_refused, record, record_command, recorder,
    show, show_json, text, wait_until_recorded, workload_path,
};

#[test]
fn as_many_moments_are_recorded_as_asked() {
    let directory = directory();
    let file = directory.path().join("three.leak");
    let workload = Workload::start("basic", NO_ARGS);
    let recorder = recorder(&file, workload.pid(), &["0.05", "3"]);
    recorder.outcome().expect_code(0);
    workload.quit();
    let outcome = show(&file, &["--all", "--json"]);
    assert_eq!(outcome.stderr, NO_ARGS);
    assert_eq!(outcome.reports().len(), 3);
}

/// What the old image had is gone, what the new one has is named.
#[test]
fn an_exec_is_recorded() {
    let directory = directory();
    let file = directory.path().join("exec.leak");
    let program = workload_path("exec");
    let mut recorder = Memleak::spawn(record_command(&file, &["--", text(&program)]));
    recorder.wait_tracing();
    recorder.tell("go");
    recorder.wait_stdout("done");
    recorder.tell("quit");
    let truth = recorder.outcome().expect_code(0).truth();
    show_json(&file).agrees_with(&truth);
}

/// One that is not finished can be looked at.
#[test]
fn a_recording_can_be_shown_while_it_grows() {
    let directory = directory();
    let file = directory.path().join("grow.leak");
    let mut workload = Workload::start("grow", NO_ARGS);
    let recorder = recorder(&file, workload.pid(), &["0.02"]);
    workload.go();
    wait_until_recorded(&file);
    let early = show(&file, &["--json"]);
    assert!(early.stderr[0].contains("still runs"), "{early:#?}");
    let truth = workload.stop();
    recorder.interrupt().expect_code(0);
    workload.quit();
    assert!(early.report().total_bytes() <= truth.total_bytes());
    show_json(&file).agrees_with(&truth);
}

/// Milliseconds since 1970.
fn wall_clock_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_millis() as u64
}

#[test]
fn a_killed_recorder_loses_its_last_interval() {
    let directory = directory();
    let file = directory.path().join("killed.leak");
    let mut workload = Workload::start("grow", NO_ARGS);
    let mut recorder = recorder(&file, workload.pid(), &["0.2"]);
    workload.go();
    wait_until_recorded(&file);
    let some = wall_clock_ms() % 100;
    let mut times = BTreeMap::new();
    for _ in 0..=some {
        let truth = workload.next_truth();
        times.insert(truth.fact("leaked"), truth.fact("at_ms"));
    }
    let start = wall_clock_ms();
    while times.last_key_value().is_none_or(|(_, at)| *at < start) {
        let truth = workload.next_truth();
        times.insert(truth.fact("leaked"), truth.fact("at_ms"));
    }
    let killed = wall_clock_ms();
    recorder.kill();
    let end = workload.stop();
    assert_no_probe_left(workload.pid());
    workload.quit();

    let outcome = show(&file, &["--json"]);
    assert_eq!(outcome.stderr.len(), 1, "{outcome:#?}");
    assert!(outcome.stderr[0].contains("breaks off"), "{outcome:#?}");
    let report = outcome.report();
    let figures = report.figures("leak_steadily");
    assert_eq!(
        (report.total_bytes(), report.total_count()),
        (figures.bytes, figures.count)
    );
    assert!(figures.bytes < end.total_bytes());
    // The clock of the workload, at what was recorded last.
    if let Some((_, recorded)) = times.range(figures.bytes..).next() {
        let lost = killed.saturating_sub(*recorded);
        assert!(lost < load(1500, 20_000), "{lost} ms are lost");
    }
}

/// What an older one left in the file is not taken for its own.
#[test]
fn a_recorder_killed_at_once_leaves_nothing() {
    let directory = directory();
    let file = directory.path().join("killed.leak");
    record(&file, "basic", NO_ARGS);
    let workload = Workload::start("grow", NO_ARGS);
    let mut recorder = recorder(&file, workload.pid(), &["3600"]);
    let pid = workload.pid().to_string();
    let second = Memleak::spawn(record_command(&file, &["-p", &pid]));
    let second = second.outcome().expect_code(BAD_INPUT);
    assert!(second.stderr[0].contains("another memleak"), "{second:#?}");
    recorder.kill();
    workload.quit();
    for args in [&["show"][..], &["show", "--json"], &["show", "--all"]] {
        is_refused(&[args, &[text(&file)]].concat(), &file);
    }
}

#[test]
fn the_status_of_a_recorded_command_is_passed_on() {
    let directory = directory();
    let file = directory.path().join("command.leak");
    let program = workload_path("exits");
    for (mode, code) in [(None, 7), (Some("signal"), 128 + libc::SIGTERM)] {
        let mut args = vec!["--", text(&program)];
        args.extend(mode);
        let outcome = Memleak::spawn(record_command(&file, &args))
            .outcome()
            .expect_code(code);
        let truth = outcome.truth();
        assert_eq!(outcome.stdout.len(), truth.functions.len(), "{outcome:#?}");
        let report = show_json(&file);
        report.agrees_with(&truth);
        assert_eq!(report.json()["target"]["ended"], true);
    }
}

#[test]
fn a_file_that_cannot_be_recorded_to_is_said_first() {
    let directory = directory();
    let program = workload_path("exits");
    let fifo = directory.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo is there").success());
    let nowhere = Path::new("/proc/no/such/place");
    for file in [nowhere, directory.path(), &fifo] {
        let command = record_command(file, &["--", text(&program)]);
        let outcome = Memleak::spawn(command).outcome().expect_code(BAD_INPUT);
        assert!(outcome.stdout.is_empty(), "{outcome:#?}");
        assert_eq!(outcome.stderr.len(), 1, "{outcome:#?}");
    }
    // Nor is a file made where there is nothing to record.
    let file = directory.path().join("nothing.leak");
    let command = record_command(&file, &["--", "/nowhere/at-all"]);
    Memleak::spawn(command).outcome().expect_code(127);
    assert!(!file.exists());
}

#[test]
fn fail_above_counts_what_is_recorded() {
    let directory = directory();
    let file = directory.path().join("limit.leak");
    let program = workload_path("exits");
    for (limit, code) in [("1000", LEAKED), ("100000000", 7)] {
        let args = ["--fail-above", limit, "--", text(&program)];
        let recorder = Memleak::spawn(record_command(&file, &args));
        let truth = recorder.outcome().expect_code(code).truth();
        show_json(&file).agrees_with(&truth);
    }
}

/// A disk with room for little more than the first updates.
fn nearly_full_disk(test: &str) -> Option<SmallDisk> {
    SmallDisk::new(8192)
        .inspect_err(|error| skip(test, &format!("nothing can be mounted: {error}")))
        .ok()
}

/// The file has what there was room for.
#[track_caller]
fn has_a_part(file: &Path, outcome: &Outcome, truth: &Truth) {
    let said = outcome.stderr.iter();
    let said = said.filter(|line| line.contains("recording has ended"));
    assert_eq!(said.count(), 1, "{outcome:#?}");
    let outcome = show(file, &["--json"]);
    assert!(outcome.stderr[0].contains("breaks off"), "{outcome:#?}");
    let kept = outcome.report().total_bytes();
    assert!(kept > 0 && kept < truth.total_bytes(), "{kept}");
}

#[test]
fn a_full_disk_ends_the_recorder() {
    let Some(disk) = nearly_full_disk("a_full_disk_ends_the_recorder") else {
        return;
    };
    let elsewhere = directory();
    let folded = elsewhere.path().join("folded");
    let file = disk.path().join("full.leak");
    let mut workload = Workload::start("grow", NO_ARGS);
    let recorder = recorder(&file, workload.pid(), &["0.01", "--folded", text(&folded)]);
    workload.go();
    let outcome = recorder.outcome().expect_code(FAILED);
    assert_no_probe_left(workload.pid());
    let truth = workload.stop();
    workload.quit();
    has_a_part(&file, &outcome, &truth);
    assert!(folded.exists());
}

#[test]
fn a_full_disk_leaves_the_command_alone() {
    let Some(disk) = nearly_full_disk("a_full_disk_leaves_the_command_alone") else {
        return;
    };
    let file = disk.path().join("full.leak");
    let program = workload_path("grow");
    let args = ["0.01", "--", text(&program)];
    let mut recorder = Memleak::spawn(record_command(&file, &args));
    recorder.wait_tracing();
    recorder.tell("go");
    recorder.wait_stderr("waiting for the command");
    recorder.tell("stop");
    recorder.wait_stdout("done");
    recorder.tell("quit");
    let outcome = recorder.outcome().expect_code(FAILED);
    has_a_part(&file, &outcome, &outcome.truth());
}
