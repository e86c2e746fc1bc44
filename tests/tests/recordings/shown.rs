//! What is recorded is what is shown, as far as it is whole.

use std::fs;
use std::time::Duration;

use memtools_tests::{Memleak, Outcome, Workload, assert_no_probe_left, wait_until};

use super::{
    NO_ARGS, diff_json, directory, is_refused, lasting, record, recorder, show, show_json, text,
    workload_path,
};

#[test]
fn a_recording_shows_what_a_report_says() {
    let directory = directory();
    let file = directory.path().join("run.leak");
    let mut workload = Workload::start("exact", NO_ARGS);
    let reporter = Memleak::attach(workload.pid(), &["-o", "0", "--json"]);
    let recorder = recorder(&file, workload.pid(), &[]);
    let truth = workload.run();
    recorder.interrupt().expect_code(0);
    let live = reporter.interrupt().expect_code(0).report();
    assert_no_probe_left(workload.pid());
    workload.quit();

    let outcome = show(&file, &["--json"]);
    assert_eq!(outcome.stderr, NO_ARGS);
    let shown = outcome.report();
    shown.agrees_with(&truth);
    assert_eq!(shown.total_bytes(), truth.total_bytes());
    assert_eq!(shown.total_count(), truth.total_count());
    assert_eq!(lasting(&shown), lasting(&live));
    for field in [
        "v",
        "target",
        "total",
        "young",
        "sample_rate",
        "mappings",
        "loss",
    ] {
        assert_eq!(shown.json()[field], live.json()[field], "{field}");
    }
    for field in ["events", "untracked"] {
        assert_eq!(shown.json()[field], live.json()[field], "{field}");
    }
    assert_eq!(shown.json()["final"], true);
}

#[test]
fn what_is_recorded_depends_on_flags_as_reports_do() {
    let directory = directory();
    let file = directory.path().join("flags.leak");
    for flags in [&["-C"][..], &["-a"], &["-z", "257"], &["-s", "1"]] {
        let mut workload = Workload::start("basic", NO_ARGS);
        let recorder = recorder(&file, workload.pid(), flags);
        let truth = workload.run();
        recorder.interrupt().expect_code(0);
        workload.quit();
        let report = show_json(&file);
        if flags[0] == "-z" {
            assert_eq!(report.total_bytes(), 8192);
            continue;
        }
        report.agrees_with(&truth);
        let stacks = report.json()["stacks"].as_array().expect("an array").iter();
        let blocks = stacks.filter_map(|stack| stack["blocks"].as_array());
        let blocks: usize = blocks.map(Vec::len).sum();
        let expected = if flags[0] == "-a" {
            truth.total_count()
        } else {
            0
        };
        assert_eq!(blocks as u64, expected, "{flags:?}");
    }
}

/// The binary and its library are gone when somebody looks.
#[test]
fn names_outlive_their_binaries() {
    let directory = directory();
    let file = directory.path().join("run.leak");
    let place = directory.path().join("place");
    fs::create_dir(&place).expect("the directory is ours");
    for name in ["own", "libown.so"] {
        fs::copy(workload_path(name), place.join(name)).expect("a workload can be copied");
    }
    let mut workload = Workload::start_at(&place.join("own"), &["plain"]);
    let flags = ["-S", "own_", "-O", "libown"];
    let recorder = recorder(&file, workload.pid(), &flags);
    let truth = workload.run();
    recorder.interrupt().expect_code(0);
    workload.quit();
    fs::remove_dir_all(&place).expect("the directory is ours");

    let report = show_json(&file);
    assert!(!truth.functions.is_empty());
    report.agrees_with(&truth);
    for stack in report.stacks_of("leak_own") {
        let frame = stack.caller_in("own").expect("a frame of the program");
        assert!(frame.file.ends_with("own.c") && frame.line > 0, "{frame:?}");
    }
}

/// The first numbers of `\t123 bytes in 4 allocations from stack`.
fn stack_lines(outcome: &Outcome) -> Vec<(u64, u64)> {
    let lines = outcome.stdout.iter();
    let figures = lines.filter_map(|line| {
        let (bytes, rest) = line.trim_start().split_once(" bytes in ")?;
        let count = rest.strip_suffix(" allocations from stack")?;
        Some((bytes.parse().ok()?, count.parse().ok()?))
    });
    figures.collect()
}

#[test]
fn show_prints_as_asked() {
    const BY_BYTES: [(u64, u64); 4] = [(8192, 2), (6400, 25), (3200, 50), (1600, 100)];
    let directory = directory();
    let file = directory.path().join("basic.leak");
    record(&file, "basic", NO_ARGS);
    let shown = |args: &[&str]| stack_lines(&show(&file, args));
    assert_eq!(shown(&[]), BY_BYTES);
    assert_eq!(shown(&["--text"]), BY_BYTES);
    assert_eq!(shown(&["--text", "-T", "2"]), BY_BYTES[..2]);
    let by_count: Vec<_> = BY_BYTES.into_iter().rev().collect();
    assert_eq!(shown(&["--sort", "count"]), by_count);
    let report = show(&file, &["--json", "--sort", "count"]).report();
    let stacks = report.stacks();
    let live = stacks.iter().filter(|stack| stack.figures.count > 0);
    let live: Vec<_> = live.map(|s| (s.figures.bytes, s.figures.count)).collect();
    assert_eq!(live, by_count);
}

/// The same moment by `--all`, by `--at` and by `diff FILE@SECONDS`.
#[test]
fn a_recording_can_be_seen_at_any_moment() {
    let directory = directory();
    let file = directory.path().join("grow.leak");
    let mut workload = Workload::start("grow", NO_ARGS);
    let recorder = recorder(&file, workload.pid(), &["0.1"]);
    workload.go();
    wait_until("three moments are recorded", || {
        let outcome = Outcome::of(&["show", text(&file), "--all", "--json"]);
        outcome.code() == 0 && outcome.reports().len() >= 3
    });
    let truth = workload.stop();
    recorder.interrupt().expect_code(0);
    workload.quit();

    let outcome = show(&file, &["--all", "--json"]);
    let reports = outcome.reports();
    assert!(reports.len() >= 3, "{} reports", reports.len());
    let [first, .., last] = &reports[..] else {
        panic!("one report");
    };
    for report in &reports {
        let is_last = std::ptr::eq(report, last);
        assert_eq!(report.json()["final"], is_last);
    }
    last.agrees_with(&truth);
    assert_eq!(lasting(last), lasting(&show_json(&file)));
    let heads = show(&file, &["--all", "--text"]).stdout;
    let heads = heads
        .iter()
        .filter(|line| line.contains("outstanding allocations:"));
    assert_eq!(heads.count(), reports.len());

    let middle = &reports[1];
    let elapsed = middle.json()["elapsed_ms"].as_u64().expect("a number") + 1;
    let seconds = Duration::from_millis(elapsed).as_secs_f64().to_string();
    let at = show(&file, &["--json", "--at", &seconds]).report();
    assert_eq!(lasting(&at), lasting(middle));
    // Before the first there is none, after the last no other.
    let early = show(&file, &["--json", "--at", "0"]).report();
    assert_eq!(lasting(&early), lasting(first));
    let late = show(&file, &["--json", "--at", "1000000"]).report();
    assert_eq!(lasting(&late), lasting(last));

    let moment = format!("{}@{seconds}", text(&file));
    let diff = diff_json(&moment, text(&file));
    assert_eq!(diff["before"]["total"], middle.json()["total"]);
    assert_eq!(diff["after"]["total"], last.json()["total"]);
    let grown = last.total_bytes() - middle.total_bytes();
    assert!(grown > 0);
    assert_eq!(diff["growth"]["bytes"], grown);
    assert_eq!(diff["stacks"][0]["growth"]["bytes"], grown);
}

#[test]
fn what_is_no_recording_is_refused() {
    let directory = directory();
    let good = directory.path().join("good.leak");
    record(&good, "basic", NO_ARGS);
    let whole = fs::read(&good).expect("it is there");
    let bad = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("the directory is ours");
        path
    };
    let mut newer = whole.clone();
    newer[8] = 99;
    for file in [
        directory.path().to_owned(),
        directory.path().join("missing"),
        workload_path("basic"),
        bad("empty", b""),
        bad("text", b"not a recording\n"),
        bad("magic", &whole[..8]),
        bad("preamble", &whole[..12]),
        bad("header", &whole[..30]),
        bad("newer", &newer),
        bad("zeros", &[0; 4096]),
    ] {
        for args in [&["show"][..], &["show", "--json"], &["show", "--all"]] {
            is_refused(&[args, &[text(&file)]].concat(), &file);
        }
        is_refused(&["diff", text(&good), text(&file)], &file);
        is_refused(&["diff", text(&file), text(&good)], &file);
    }
    is_refused(
        &["diff", text(&good), &format!("{}@soon", text(&good))],
        &good,
    );
}

/// What is whole is shown, with a word about the rest.
#[test]
fn a_part_of_a_recording_is_shown() {
    let directory = directory();
    let good = directory.path().join("good.leak");
    let truth = record(&good, "basic", NO_ARGS);
    let whole = fs::read(&good).expect("it is there");
    let end = whole.len();
    let mut damaged = whole.clone();
    damaged[end - 1] ^= 1;
    damaged.extend(&whole[end - 20..]);
    let zeros = [&whole[..end - 1], &[0; 100]].concat();
    for (bytes, word) in [
        (&whole[..end - 1], "breaks off"),
        (&zeros, "breaks off"),
        (&damaged, "damaged"),
    ] {
        let file = directory.path().join("part.leak");
        fs::write(&file, bytes).expect("the directory is ours");
        let outcome = show(&file, &["--json"]);
        assert_eq!(outcome.stderr.len(), 1, "{outcome:#?}");
        assert!(outcome.stderr[0].contains(word), "{outcome:#?}");
        outcome.report().agrees_with(&truth);
    }
}

/// `memleak show … | head -0`
#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let directory = directory();
    let file = directory.path().join("basic.leak");
    record(&file, "basic", NO_ARGS);
    let name = text(&file);
    for args in [
        &["show", name][..],
        &["show", name, "--all", "--json"],
        &["show", name, "--folded", "/dev/stdout"],
        &["diff", name, name],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Memleak::command(args);
        command.stdin(std::process::Stdio::null()).stdout(writer);
        let output = command.output().expect("memleak starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        assert!(!said.to_lowercase().contains("pipe"), "{args:?}: {said}");
    }
}
