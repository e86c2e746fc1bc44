//! funclatency on functions of programs: what it measures is what the program measured.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use memtools::target::elf::ElfObject;
use memtools_tests::{
    Funclatency, FunctionLatency, Latencies, RunningTool, Truth, Workload, assert_no_probe_left,
    load, one_at_a_time, path_of, skip, tool, workloads_dir,
};

/// One workload under funclatency, from the beginning to the end; the program survives, and no probe is
/// left.
#[track_caller]
fn traced(path: &Path, work: &[&str], args: &[&str]) -> (Truth, Latencies) {
    let mut workload = Workload::start_at(path, work);
    let pid = workload.pid().to_string();
    let args: Vec<&str> = ["-p", &pid]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let funclatency = Funclatency::start(&args);
    let truth = workload.run();
    let found = funclatency.finish();
    assert_no_probe_left(workload.pid());
    workload.quit();
    (truth, found)
}

#[track_caller]
fn traced_here(work: &[&str], args: &[&str]) -> (Truth, Latencies) {
    traced(&workloads_dir().join("latency"), work, args)
}

#[test]
fn times_are_the_programs_own() {
    let _turn = one_at_a_time();
    let work = ["sleep_1ms", "300", "sleep_50ms", "10", "sleep_3s", "1"];
    let functions = [":sleep_1ms", ":sleep_50ms", ":sleep_3s"];
    let (truth, found) = traced_here(&work, &functions);
    for (name, ns) in [
        ("sleep_1ms", load(0, 200_000)),
        ("sleep_50ms", 0),
        ("sleep_3s", 0),
    ] {
        let function = found.function(name);
        let fact = |what: &str| truth.fact(&format!("{name}.{what}"));
        let calls = fact("calls");
        assert_eq!(function.account(), [calls, calls, 0, 0, 0], "{name}");
        function.assert_near("p50_ns", fact("p50"), 5, ns);
        function.assert_near("p90_ns", fact("p90"), 5, 2 * ns);
        function.assert_near("total_ns", fact("total"), 5, 2 * calls * ns);
    }
    found.assert_nothing_lost();
}

/// What the probes add is as much as that. It is taken off, as far as it is the same each time, which
/// depends on what else the machine does.
#[test]
fn a_microsecond_is_the_programs_own() {
    const ATTEMPTS: usize = 5;
    let _turn = one_at_a_time();
    let mut medians = Vec::new();
    for _ in 0..ATTEMPTS {
        let calls: u64 = load(20_000, 2_000);
        let (truth, found) = traced_here(&["busy_1us", &calls.to_string()], &[":busy_1us"]);
        let function = found.function("busy_1us");
        assert_eq!(function.account(), [calls, calls, 0, 0, 0]);
        found.assert_nothing_lost();
        let (own, median) = (truth.fact("busy_1us.p50"), function.get("p50_ns"));
        // Its clock is read inside of what it measures: once more than it sees.
        if median.abs_diff(own) <= own / 20 + load(60, 20_000) {
            return;
        }
        medians.push((own, median));
    }
    panic!("the program's and ours: {medians:?}");
}

/// Nanoseconds for which the program may have to wait between its reading of the clock and the probe: of a
/// single call nothing evens that out.
fn preempted() -> u64 {
    load(4_000_000, 60_000_000)
}

#[test]
fn latencies_are_exact_to_sixty_four_nested_calls() {
    let _turn = one_at_a_time();
    let (truth, found) = traced_here(&["recurse", "60"], &[":recurse"]);
    let function = found.function("recurse");
    assert_eq!(function.account(), [60, 60, 0, 0, 0]);
    function.assert_near(
        "max_ns",
        truth.fact("recurse.max"),
        load(5, 15),
        preempted(),
    );
    let shortest = truth.fact("recurse.min");
    function.assert_near("min_ns", shortest, load(5, 15), preempted());
    found.assert_nothing_lost();

    let (truth, found) = traced_here(&["recurse", "100"], &[":recurse"]);
    let function = found.function("recurse");
    assert_eq!(function.account(), [100, 64, 0, 0, 36]);
    function.assert_near(
        "max_ns",
        truth.fact("recurse.max"),
        load(5, 15),
        preempted(),
    );
    assert_eq!(found.record["loss"]["missed_returns"], 36);
}

#[test]
fn recursion_counts_as_asked() {
    let _turn = one_at_a_time();
    for (which, calls) in [("all", 30), ("outermost", 1), ("innermost", 1)] {
        let args = ["--recursion", which, ":recurse"];
        let (truth, found) = traced_here(&["recurse", "30"], &args);
        let function = found.function("recurse");
        assert_eq!(function.account(), [calls, calls, 0, 0, 0], "{which}");
        let (longest, shortest) = (truth.fact("recurse.max"), truth.fact("recurse.min"));
        if which == "outermost" {
            function.assert_near("min_ns", longest, load(5, 15), preempted());
        }
        if which == "innermost" {
            function.assert_near("max_ns", shortest, load(5, 15), preempted());
        }
    }
    let (_, found) = traced_here(&["recurse", "30"], &["-l", "10", ":recurse"]);
    assert_eq!(found.function("recurse").account(), [10, 10, 0, 0, 0]);
}

#[test]
fn functions_that_call_each_other_are_told_apart() {
    let _turn = one_at_a_time();
    let work = ["outer", "20", "by_tail", "20", "conditional_tail", "20"];
    let args = [":outer", ":inner", ":by_tail", ":conditional_tail"];
    let (truth, found) = traced_here(&work, &args);
    assert_eq!(found.function("outer").account(), [20, 20, 0, 0, 0]);
    // Twice by outer, once by by_tail, by every second conditional_tail.
    assert_eq!(found.function("inner").account(), [70, 70, 0, 0, 0]);
    let near = |name: &str| {
        let function = found.function(name);
        function.assert_near(
            "max_ns",
            truth.fact(&format!("{name}.max")),
            10,
            preempted(),
        );
        assert_eq!(function.account(), [20, 20, 0, 0, 0]);
    };
    near("outer");
    // A tail call is a part of its caller.
    near("by_tail");
    near("conditional_tail");
    found.assert_nothing_lost();
}

#[test]
fn what_jumps_out_is_counted() {
    let _turn = one_at_a_time();
    let args = [":calls_jumper", ":jumps_out", ":recurse"];
    let (_, found) = traced_here(&["calls_jumper", "50", "recurse", "5"], &args);
    assert_eq!(found.function("calls_jumper").account(), [50, 0, 0, 50, 0]);
    assert_eq!(found.function("jumps_out").account(), [50, 0, 0, 50, 0]);
    assert_eq!(found.function("recurse").account(), [5, 5, 0, 0, 0]);
    found.assert_nothing_lost();

    // The kernel holds 64 returns that will never come, and takes no more.
    let work = ["recurse_and_jump", "100", "recurse", "5"];
    let (_, found) = traced_here(&work, &[":recurse_and_jump", ":recurse"]);
    let [calls, count, inside, unwound, missed] = found.function("recurse_and_jump").account();
    assert_eq!((calls, count, missed), (100, 0, 36));
    assert_eq!(inside + unwound, 64);
    let [calls, count, .., missed] = found.function("recurse").account();
    assert_eq!((calls, count + missed), (5, 5));
}

#[test]
fn handlers_of_signals_disturb_nothing() {
    let _turn = one_at_a_time();
    let (_, found) = traced_here(&["signalled", "30"], &[":signalled", ":busy_1us"]);
    assert_eq!(found.function("signalled").account(), [30, 30, 0, 0, 0]);
    assert_eq!(found.function("busy_1us").account(), [30, 30, 0, 0, 0]);
    found.assert_nothing_lost();
}

#[test]
fn what_never_returns_is_inside() {
    let _turn = one_at_a_time();
    let (_, found) = traced_here(&["never_returns", "3"], &[":never_returns"]);
    assert_eq!(found.function("never_returns").account(), [3, 0, 3, 0, 0]);
}

/// Every second call of each of these is left by an exception.
#[test]
fn exceptions_pass_through_traced_functions() {
    let _turn = one_at_a_time();
    let throws = workloads_dir().join("throws");
    let count: u64 = load(500, 100);
    let args = [
        ":thrower",
        ":passes",
        ":cleans",
        ":plain_passes",
        ":catches",
        ":sorts",
        "c:qsort",
    ];
    let patterns: Vec<String> = args.iter().map(|name| by_source(name)).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let (truth, found) = traced(&throws, &[&count.to_string()], &patterns);
    assert_eq!(truth.fact("thrown"), truth.fact("caught"));
    let half = count / 2;
    for name in ["passes(int)", "cleans(int)", "plain_passes"] {
        let account = found.function(name).account();
        assert_eq!(account, [count, half, 0, half, 0], "{name}");
    }
    assert_eq!(
        found.function("thrower(int)").account(),
        [2 * count, count, 0, count, 0]
    );
    for name in ["catches(int)", "sorts(int)"] {
        assert_eq!(
            found.function(name).account(),
            [count, count, 0, 0, 0],
            "{name}"
        );
    }
    assert_eq!(found.function("qsort").get("calls"), count);
    found.assert_nothing_lost();
}

/// Half of the calls throw, from a cold part that has no symbol where the library is stripped.
#[test]
fn exceptions_pass_through_operator_new() {
    let _turn = one_at_a_time();
    let throws = workloads_dir().join("throws");
    let count: u64 = load(1000, 100);
    let args = ["stdc++:_Znwm", "stdc++:_Znam"];
    let (truth, found) = traced(&throws, &[&count.to_string()], &args);
    assert_eq!(truth.fact("thrown"), truth.fact("caught"));
    let new = found.function("operator new(unsigned long)");
    let [calls, returned, inside, unwound, missed] = new.account();
    // The text of each other exception is allocated too, or is not.
    let texts = truth.fact("thrown") - count / 2;
    assert!((count..=count + texts).contains(&calls), "{}", new.0);
    assert_eq!((calls - returned, missed), (count / 2, 0), "{}", new.0);
    // Of the last one nothing tells that it is over.
    assert_eq!(inside + unwound, count / 2, "{}", new.0);
    assert!(inside <= 1, "{}", new.0);
    let array = found.function("operator new[](unsigned long)");
    assert_eq!(array.get("calls"), count, "{}", array.0);
    found.assert_nothing_lost();
}

/// `:name` → `:*name*`, as C++ has it.
fn by_source(pattern: &str) -> String {
    match pattern {
        ":plain_passes" | "c:qsort" => pattern.to_owned(),
        _ => format!(":_Z*{}i", pattern.trim_start_matches(':')),
    }
}

/// Functions that keep where they return to, and what is deeper than is remembered.
#[test]
fn functions_that_look_at_their_callers_go_on_working() {
    let _turn = one_at_a_time();
    let patterns = ["c:_setjmp", "c:dlsym", "c:getcontext", ":set_and_jump"];
    let (_, found) = traced_here(&["set_and_jump", "50"], &patterns);
    assert_eq!(found.function("_setjmp").get("calls"), 50);
    assert_eq!(found.function("set_and_jump").account(), [50, 50, 0, 0, 0]);
    let refused_text = refused(&[&format!(
        "{}:_start",
        workloads_dir().join("latency").display()
    )])
    .0;
    assert!(refused_text.contains("nobody calls it"), "{refused_text}");
}

#[test]
fn what_is_deeper_than_is_remembered_is_said() {
    let _turn = one_at_a_time();
    let throws = workloads_dir().join("throws");
    let (_, found) = traced(&throws, &["2"], &[":_Z4deepi"]);
    let function = found.function("deep(int)");
    assert_eq!(function.account(), [200, 128, 0, 0, 72]);
    assert_eq!(function.get("began_before"), 0);
    assert_eq!(found.record["loss"]["missed_returns"], 72);
}

/// Whatever the functions of the C library are called that call back: also those that only a debug file
/// names.
#[test]
fn exceptions_pass_through_whole_families_of_functions() {
    let _turn = one_at_a_time();
    let throws = workloads_dir().join("throws");
    let count: u64 = load(200, 40);
    for pattern in ["c:*sort*", ":*"] {
        let (truth, found) = traced(&throws, &[&count.to_string()], &[pattern]);
        assert_eq!(truth.fact("thrown"), truth.fact("caught"));
        let functions = found.record["functions"].as_array().expect("a list");
        assert!(
            functions
                .iter()
                .any(|function| function["calls"].as_u64() >= Some(count))
        );
    }
}

/// No symbol says that anything throws there; the unwind table does.
#[test]
fn exceptions_pass_in_a_stripped_program() {
    let _turn = one_at_a_time();
    let count: u64 = load(200, 50);
    let twin = ElfObject::open(&workloads_dir().join("throws-static")).expect("an object");
    let functions = twin.functions(&["plain_passes"]).expect("symbols");
    let pattern = format!(":0x{:x}", functions[0].address);
    let path = workloads_dir().join("throws-stripped");
    let everybody = format!("{}{pattern}", path.display());
    for (args, is_pid) in [(pattern.as_str(), true), (everybody.as_str(), false)] {
        let mut workload = Workload::start_at(&path, &[&count.to_string()]);
        let pid = workload.pid().to_string();
        let mut all = vec![args];
        if is_pid {
            all.extend(["-p", &pid]);
        }
        let funclatency = Funclatency::start(&all);
        workload.run();
        let found = funclatency.finish();
        let function = FunctionLatency(&found.record["functions"][0]);
        let half = count / 2;
        let [calls, timed, inside, unwound, missed] = function.account();
        assert_eq!((calls, timed, missed), (count, half, 0), "{all:?}");
        // That the last one is over shows with the next.
        assert_eq!((inside, unwound), (1, half - 1), "{all:?}");
        workload.quit();
    }
}

/// The same with return probes: the program dies of it, as is said.
#[test]
fn return_probes_where_exceptions_pass_have_to_be_asked_for() {
    let _turn = one_at_a_time();
    let mut workload = Workload::start("throws", &["10"]);
    let pid = workload.pid().to_string();
    let mut funclatency = RunningTool::spawn(
        "funclatency",
        &["--force-uretprobe", "-v", "-p", &pid, ":plain_passes"],
    );
    funclatency.wait_stderr("an exception that passes through a traced function kills its program");
    funclatency.finish();
    workload.run();
    workload.quit();
}

#[test]
fn programs_of_all_kinds_can_be_traced() {
    let _turn = one_at_a_time();
    for name in [
        "latency-cet",
        "latency-fixed",
        "latency-stripped",
        "latency-static",
    ] {
        let Some(path) = path_of(name) else {
            skip("programs_of_all_kinds_can_be_traced", &format!("no {name}"));
            continue;
        };
        let work = ["busy_1us", "100", "recurse", "5"];
        let (_, found) = traced(&path, &work, &[":busy_1us", ":recurse"]);
        assert_eq!(
            found.function("busy_1us").account(),
            [100, 100, 0, 0, 0],
            "{name}"
        );
        assert_eq!(
            found.function("recurse").account(),
            [5, 5, 0, 0, 0],
            "{name}"
        );
        found.assert_nothing_lost();
    }
}

/// A program in a mount namespace of its own, at a path that is not there outside.
#[test]
fn a_program_in_another_mount_namespace_can_be_traced() {
    let _turn = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory");
    let script = format!(
        "mount -t tmpfs tmpfs {dir} && cp {workload} {dir}/inside && exec {dir}/inside busy_1us 50 read_zero 20",
        dir = directory.path().display(),
        workload = workloads_dir().join("latency").display(),
    );
    let unshare = Path::new("/usr/bin/unshare");
    let unshare = if unshare.exists() {
        unshare
    } else {
        Path::new("/bin/unshare")
    };
    if !unshare.exists() {
        skip(
            "a_program_in_another_mount_namespace_can_be_traced",
            "no unshare",
        );
        return;
    }
    let mut workload = Workload::start_at(unshare, &["-m", "sh", "-c", &script]);
    let pid = workload.pid().to_string();
    let inside = directory.path().join("inside");
    assert!(!inside.exists());
    let by_path = format!("{}:read_zero", inside.display());
    let funclatency = Funclatency::start(&["-p", &pid, ":busy_1us", &by_path, "c:read"]);
    workload.run();
    let found = funclatency.finish();
    assert_eq!(found.function("busy_1us").account(), [50, 50, 0, 0, 0]);
    assert_eq!(found.function("read_zero").account(), [20, 20, 0, 0, 0]);
    assert!(found.function("read").get("count") >= 20);
    workload.quit();
}

/// Without a PID: whoever runs it.
#[test]
fn every_process_counts_without_a_pid() {
    let _turn = one_at_a_time();
    let path = workloads_dir().join("latency");
    let pattern = format!("{}:busy_1us", path.display());
    let funclatency = Funclatency::start(&["--split", "pid", &pattern]);
    let mut workloads: Vec<Workload> = (0..3)
        .map(|_| Workload::start_at(&path, &["busy_1us", "40"]))
        .collect();
    for workload in &mut workloads {
        workload.run();
    }
    let found = funclatency.finish();
    let function = found.function("busy_1us");
    assert_eq!(function.account(), [120, 120, 0, 0, 0]);
    let rows = function.0["split"].as_array().expect("a list");
    for workload in workloads {
        let row = rows.iter().find(|row| row["key"] == workload.pid());
        let row = row.expect("a row for each process");
        assert_eq!(
            (&row["count"], &row["name"]),
            (&40.into(), &"latency".into())
        );
        workload.quit();
    }
}

#[test]
fn the_slowest_calls_are_told() {
    let _turn = one_at_a_time();
    let work = ["sleep_1ms", "200", "sleep_50ms", "3"];
    let args = [
        "--outliers",
        "5",
        "--stack",
        "--threshold",
        "40ms",
        ":sleep_*ms",
    ];
    let mut workload = Workload::start("latency", &work);
    let pid = workload.pid().to_string();
    let args: Vec<&str> = ["-v", "--json", "-p", &pid]
        .into_iter()
        .chain(args)
        .collect();
    let mut tool = RunningTool::spawn("funclatency", &args);
    tool.wait_stderr(" by ");
    workload.run();
    // Each as it happens.
    for _ in 0..3 {
        let call = tool.record(|record| record["type"] == "call");
        assert_eq!(call["function"], "sleep_50ms");
        assert!(call["ns"].as_u64() >= Some(40_000_000), "{call}");
        assert_eq!(call["pid"], workload.pid());
        let stack = call["stack"].as_array().expect("a stack");
        let has = |name: &str| {
            stack
                .iter()
                .any(|frame| frame.as_str().is_some_and(|f| f.contains(name)))
        };
        assert!(has("main"), "{call}");
    }
    let (out, said, status) = tool.finish();
    assert!(status.success(), "{said:?}");
    let record: serde_json::Value =
        serde_json::from_str(out.last().expect("a line")).expect("JSON");
    let outliers = record["outliers"].as_array().expect("a list");
    assert_eq!(outliers.len(), 5);
    let names: Vec<_> = outliers
        .iter()
        .map(|call| call["function"].as_str())
        .collect();
    assert_eq!(names[..3], [Some("sleep_50ms"); 3]);
    let times: Vec<_> = outliers.iter().map(|call| call["ns"].as_u64()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    // The argument: how many calls came before.
    let arguments: Vec<_> = outliers[..3]
        .iter()
        .map(|call| call["arguments"][0].as_str())
        .collect();
    assert!(arguments.contains(&Some("0x2")), "{arguments:?}");
    workload.quit();
}

#[test]
fn text_is_bccs() {
    let _turn = one_at_a_time();
    let mut workload = Workload::start("latency", &["sleep_1ms", "20", "sleep_50ms", "2"]);
    let pid = workload.pid().to_string();
    let mut tool = RunningTool::spawn("funclatency", &["-u", "-p", &pid, ":sleep_*ms"]);
    let first = tool.next_line().expect("a line");
    assert_eq!(
        first,
        "Tracing 2 functions for \":sleep_*ms\"... Hit Ctrl-C to end."
    );
    workload.run();
    let (out, _, status) = tool.finish();
    assert!(status.success());
    let text = out.join("\n");
    assert!(
        text.contains("     usecs               : count     distribution"),
        "{text}"
    );
    let row = |low: &str| {
        let line = out.iter().find(|line| line.trim_start().starts_with(low));
        let count = line.and_then(|line| line.split(':').nth(1)?.split_whitespace().next());
        count
            .and_then(|count| count.parse::<u64>().ok())
            .unwrap_or(0)
    };
    // Nothing is cut off above 16 milliseconds.
    let long = row("32768 ->") + row("65536 ->") + row("131072 ->") + row("262144 ->");
    assert!((2..5).contains(&long), "{text}");
    let short: u64 = (9..15)
        .map(|power| row(&format!("{} ->", 1 << power)))
        .sum();
    assert_eq!(short + long, 22, "{text}");
    assert!(text.contains("usecs, count: 22"), "{text}");
    workload.quit();
}

fn refused(args: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(tool("funclatency"))
        .args(args)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    (said, output.status.code())
}

#[test]
fn what_cannot_be_traced_is_refused_in_one_line() {
    let _turn = one_at_a_time();
    let latency = workloads_dir().join("latency");
    let of = |function: &str| format!("{}:{function}", latency.display());
    for (args, text) in [
        (vec![of("sleep_1mss")], "did you mean sleep_1ms"),
        (
            vec!["no-such-library:x".to_owned()],
            "there is no library or program",
        ),
        (vec![":x".to_owned()], "with -p, :FUNC"),
        (
            vec!["-p".to_owned(), u32::MAX.to_string(), "c:malloc".to_owned()],
            "PID",
        ),
        (
            vec!["--max-functions".to_owned(), "2".to_owned(), of("sleep_*")],
            "more than --max-functions 2",
        ),
        (vec!["-r".to_owned(), of("[")], "unclosed"),
        (
            vec!["vfs_no_such_function".to_owned()],
            "the kernel has no function",
        ),
        (vec![of("sleep_1ms"), "vfs_read".to_owned()], "in one run"),
        (
            vec!["--stack".to_owned(), of("sleep_1ms")],
            "--stack goes with",
        ),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (said, code) = refused(&args);
        assert!(said.contains(text), "{args:?}: {said}");
        assert_eq!(code, Some(2), "{said}");
    }
    let inlined = workloads_dir().join("inlined");
    let (said, code) = refused(&[&format!("{}:leak_inlined_once", inlined.display())]);
    assert!(said.contains("inlined everywhere"), "{said}");
    assert_eq!(code, Some(2));
}
