//! Reports as people read them, in the shape that bcc's memleak has.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use memtools_tests::{
    Memleak, Outcome, Session, Workload, assert_no_probe_left, path_of, wait_until, workloads_dir,
};

const NO_ARGS: &[&str] = &[];

/// The output of `memleak -p PID -o 0 FLAGS…` on the workload `basic`.
#[track_caller]
fn trace_basic(flags: &[&str]) -> Outcome {
    let flags = [&["-o", "0"], flags].concat();
    Session::at(&workloads_dir().join("basic"), NO_ARGS, &flags).outcome
}

/// `\t123 bytes in 4 allocations from stack`
fn stack_line(line: &str) -> Option<(u64, u64)> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        [
            bytes,
            "bytes",
            "in",
            count,
            "allocations",
            "from",
            "stack",
            ..,
        ] => Some((bytes.parse().ok()?, count.parse().ok()?)),
        _ => None,
    }
}

fn stack_lines(outcome: &Outcome) -> Vec<(u64, u64)> {
    let lines = outcome.stdout.iter();
    lines.filter_map(|line| stack_line(line)).collect()
}

const BY_BYTES: [(u64, u64); 4] = [(8192, 2), (6400, 25), (3200, 50), (1600, 100)];

#[test]
fn a_report_looks_like_bccs() {
    let outcome = trace_basic(&[]);
    let stacks = stack_lines(&outcome);
    assert_eq!(stacks, BY_BYTES, "{outcome:#?}");
    let head = "stacks with outstanding allocations";
    let has = |text: &str| outcome.stdout.iter().any(|line| line.contains(text));
    assert!(has(head), "{outcome:#?}");
    for function in ["leak_16", "leak_64", "leak_256", "leak_4096", "basic.c:"] {
        assert!(has(function), "{function} is missing in {outcome:#?}");
    }
}

#[test]
fn the_top_is_limited() {
    let stacks = stack_lines(&trace_basic(&["-T", "2"]));
    assert_eq!(stacks, BY_BYTES[..2]);
}

#[test]
fn stacks_are_sorted_as_asked() {
    for order in ["bytes", "size"] {
        let stacks = stack_lines(&trace_basic(&["--sort", order]));
        assert_eq!(stacks, BY_BYTES, "{order}");
    }
    let stacks = stack_lines(&trace_basic(&["--sort", "count"]));
    let by_count: Vec<_> = BY_BYTES.into_iter().rev().collect();
    assert_eq!(stacks, by_count);
    for order in ["age", "growth"] {
        let mut stacks = stack_lines(&trace_basic(&["--sort", order]));
        stacks.sort_unstable();
        assert_eq!(stacks, by_count, "{order}");
    }
}

#[test]
fn sizes_are_filtered_inclusively() {
    let stacks = stack_lines(&trace_basic(&["-z", "64", "-Z", "256"]));
    assert_eq!(stacks, BY_BYTES[1..3]);
    let stacks = stack_lines(&trace_basic(&["-z", "257"]));
    assert_eq!(stacks, BY_BYTES[..1]);
    let stacks = stack_lines(&trace_basic(&["-Z", "16"]));
    assert_eq!(stacks, BY_BYTES[3..]);
}

#[test]
fn young_blocks_are_hidden() {
    let hour = 3_600_000.to_string();
    let stacks = stack_lines(&trace_basic(&["-o", &hour]));
    assert_eq!(stacks, []);
}

/// `addr = 0x… size = 16`, as many as there are blocks.
#[test]
fn outstanding_blocks_are_listed() {
    let outcome = trace_basic(&["-a"]);
    let lines = outcome.stdout.iter();
    let mut sizes: Vec<u64> = lines
        .filter_map(|line| {
            let (address, size) = line.split_once("addr = ")?.1.split_once(" size = ")?;
            assert!(address.starts_with("0x"), "{line:?}");
            size.trim().parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    let expected = [(16, 100), (64, 50), (256, 25), (4096, 2)];
    let expected = expected.map(|(size, count)| vec![size; count]).concat();
    assert_eq!(sizes, expected);
}

#[test]
fn every_event_is_printed() {
    let outcome = trace_basic(&["-t"]);
    let lines = || outcome.stdout.iter().map(|line| line.to_lowercase());
    let allocs = lines().filter(|line| line.contains("alloc") && line.contains("512"));
    let frees = lines().filter(|line| line.contains("free"));
    assert!(allocs.count() >= 10, "{outcome:#?}");
    assert!(frees.count() >= 10, "{outcome:#?}");
}

#[test]
fn every_event_is_an_object_with_json() {
    let outcome = trace_basic(&["-t", "--json"]);
    let lines = outcome.stdout.iter();
    let objects: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}")))
        .collect();
    let of_kind = |kind: &str| objects.iter().filter(|o| o["kind"] == kind).count();
    assert!(of_kind("alloc") >= 10 && of_kind("free") >= 10);
    let events = objects.iter().filter(|o| o["type"] == "event");
    for event in events {
        let time = event["time"].as_str().expect("a text");
        assert_eq!(time.len(), "2000-01-01T00:00:00.000000Z".len(), "{time}");
        assert!(event["addr"].as_str().expect("a text").starts_with("0x"));
        assert!(event["tid"].is_u64() && event["bytes"].is_u64());
    }
}

/// Nobody reads what `-t` prints: the memory that waits is bounded, and a second Ctrl-C ends it.
#[test]
fn a_reader_that_does_not_read_is_left() {
    let mut workload = Workload::start("busy", NO_ARGS);
    let mut command = Memleak::command(&["-p", &workload.pid().to_string(), "-t"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memleak starts");
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let said: Vec<_> = stderr.lines().take(1).collect();
    assert_eq!(said.len(), 1);
    workload.run();
    let pid = child.id();
    // The main thread waits for the pipe.
    let wchan = format!("/proc/{pid}/task/{pid}/syscall");
    wait_until("the pipe is full", || {
        let syscall = std::fs::read_to_string(&wchan).unwrap_or_default();
        syscall.starts_with(&format!("{} ", libc::SYS_write))
    });
    let mut status = None;
    // The first one has it wait for the pipe; those that come together with it are none of their own.
    wait_until("memleak ends", || {
        // SAFETY: our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGINT) }, 0);
        status = child.try_wait().expect("it is our child");
        status.is_some()
    });
    assert_eq!(status.and_then(|s| s.code()), Some(128 + libc::SIGINT));
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn what_it_costs_and_what_else_grew_is_said() {
    let outcome = trace_basic(&[]);
    let text = outcome.stdout.join("\n").to_lowercase();
    assert!(text.contains("rss"), "{text}");
    assert!(text.contains("cpu"), "{text}");
}

#[test]
fn reports_are_counted() {
    let workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), &["1", "2"]);
    let outcome = memleak.outcome().expect_code(0);
    let head = "stacks with outstanding allocations";
    let heads = outcome.stdout.iter().filter(|line| line.contains(head));
    assert_eq!(heads.count(), 2, "{outcome:#?}");
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn a_duration_ends_it() {
    let workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), &["--duration", "1"]);
    memleak.outcome().expect_code(0);
    assert_no_probe_left(workload.pid());
    workload.quit();
}

/// `memleak … | head -3`
#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let mut workload = Workload::start("busy", NO_ARGS);
    workload.run();
    let mut command = Memleak::command(&["-p", &workload.pid().to_string(), "-o", "0", "1"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memleak starts");
    let stdout = child.stdout.take().expect("it is piped");
    let head: Vec<_> = BufReader::new(stdout).lines().take(3).collect();
    assert_eq!(head.len(), 3, "it ended too early");
    wait_until("memleak ends", || {
        child.try_wait().expect("it is our child").is_some()
    });
    let mut stderr = String::new();
    let mut stream = child.stderr.take().expect("it is piped");
    stream.read_to_string(&mut stderr).expect("text");
    for word in ["panic", "pipe", "error", "EPIPE"] {
        assert!(!stderr.contains(word), "{stderr}");
    }
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn a_target_without_events_gets_advice() {
    let workload = Workload::start("basic", NO_ARGS);
    let mut memleak = Memleak::attach(workload.pid(), &[]);
    memleak.wait_stderr("event");
    memleak.interrupt().expect_code(0);
    workload.quit();
}

#[test]
fn explain_attaches_nothing() {
    let workload = Workload::start("basic", NO_ARGS);
    let pid = workload.pid().to_string();
    let outcome = Outcome::of(&["-p", &pid, "--explain"]).expect_code(0);
    let text = outcome.stdout.join("\n");
    for word in ["malloc", "free", "realloc", "libc"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
    let traced = outcome.stderr.iter().find(|line| line.contains("tracing"));
    assert_eq!(traced, None);
    assert_no_probe_left(workload.pid());
    // Not even the trampoline that a return probe would have left.
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    assert!(!maps.contains("[uprobes]"));
    workload.quit();
}

/// Names of other processes cannot write on a terminal.
#[test]
fn no_control_character_reaches_the_output() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ev\u{1b}[31mil\u{7}\nname");
    let workload = path_of("escape").expect("build.rs has built it");
    std::fs::copy(&workload, &path).expect("a workload can be copied");
    for flags in [&["-o", "0"][..], &["-o", "0", "--json"], &["-o", "0", "-a"]] {
        let session = Session::at(&path, NO_ARGS, flags);
        let bytes = session.truth.fact("escaped_bytes").to_string();
        let output = [&session.outcome.stdout[..], &session.outcome.stderr].concat();
        assert!(output.iter().any(|line| line.contains(&bytes)));
        assert!(output.iter().any(|line| line.contains("31mevil")));
        for line in &output {
            let control = line.chars().find(|c| c.is_control() && *c != '\t');
            assert_eq!(control, None, "{line:?}");
        }
    }
}

/// Reports take longer than this, and it listens all the same.
#[test]
fn an_interval_that_is_too_short_ends_by_ctrl_c() {
    let workload = Workload::start("basic", NO_ARGS);
    let memleak = Memleak::attach(workload.pid(), &["--json", "0.001"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let outcome = memleak.interrupt().expect_code(0);
    assert!(!outcome.reports().is_empty());
    workload.quit();
}
