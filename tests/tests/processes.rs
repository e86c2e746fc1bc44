//! Several processes: chosen by PIDs, by what they have in common, and children that are followed.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;

use memtools_tests::{
    MemoryCgroup, Report, RunningTool, Truth, Workload, altered_code, load, skip, wait_until,
    workloads_dir,
};
use serde_json::Value;

/// Every report, without a hidden block, from a command line's choice on.
fn memleak(choice: &[&str]) -> RunningTool {
    let mut args = vec!["-o", "0", "--json"];
    args.extend(choice);
    args.push("0.2");
    let mut memleak = RunningTool::spawn("memleak", &args);
    memleak.wait_stderr("Ctrl-C ends");
    memleak
}

fn processes(report: &Value) -> &[Value] {
    report["processes"].as_array().map_or(&[], Vec::as_slice)
}

fn process(report: &Value, pid: u64) -> Option<&Value> {
    processes(report)
        .iter()
        .find(|process| process["pid"] == pid)
}

/// What a process has by a function.
fn held(report: &Value, pid: u64, function: &str) -> (u64, u64) {
    let stacks = report["stacks"].as_array().expect("a list").iter();
    let of_it = stacks.filter(|stack| {
        let mut frames = stack["frames"].as_array().expect("a list").iter();
        stack["pid"] == pid && frames.any(|frame| frame["symbol"] == function)
    });
    of_it.fold((0, 0), |(bytes, count), stack| {
        let of = |key: &str| stack[key].as_u64().expect("a number");
        (bytes + of("bytes"), count + of("count"))
    })
}

/// What child `number` of the workload leaks.
fn leaked_by_child(number: u64) -> (u64, u64) {
    ((number + 1) * (100 + number), number + 1)
}

/// The last report of one that is interrupted.
fn last_report(memleak: RunningTool) -> Value {
    let (lines, said, status) = memleak.finish();
    assert!(status.success(), "{status}: {said:#?}");
    let last = lines.last().expect("a report");
    let report: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(report["final"], true);
    report
}

fn pid_of(truth: &Truth, name: &str, number: u64) -> u64 {
    truth.fact(&format!("{name}_{number}"))
}

/// Children that wait until all of them are traced: every one is exact, by fork or by exec, and so are
/// theirs.
#[test]
fn every_child_of_a_tree_is_accounted() {
    let children: u64 = load(50, 6);
    let mut workload = Workload::start("tree", &["held", &children.to_string()]);
    let pid = workload.pid();
    let mut memleak = memleak(&["-p", &pid.to_string(), "--follow"]);
    let truth = workload.run();
    let all = 1 + children + children / 4;
    memleak.record(|report| processes(report).len() as u64 == all);
    let parents = workload.run();
    let is_there = |report: &Value| {
        let (bytes, _) = held(
            report,
            pid_of(&truth, "child", children - 1),
            "allocate_as_child",
        );
        bytes > 0
    };
    memleak.record(is_there);
    let report = last_report(memleak);
    for number in 0..children {
        let mut pids = vec![pid_of(&truth, "child", number)];
        if number % 4 == 3 {
            pids.push(pid_of(&truth, "grandchild", number));
        }
        for pid in pids {
            let wanted = leaked_by_child(number);
            assert_eq!(
                held(&report, pid, "allocate_as_child"),
                wanted,
                "child {number}"
            );
            let process = process(&report, pid).expect("it is listed");
            assert_eq!(
                (&process["bytes"], &process["count"]),
                (&wanted.0.into(), &wanted.1.into())
            );
        }
    }
    // What children free of their parent's is their copy.
    let inherited = held(&report, u64::from(pid), "allocate_in_parent");
    assert_eq!(inherited, (parents.total_bytes(), parents.total_count()));
    let loss = report["loss"].as_object().expect("an object");
    assert!(loss.keys().all(|key| key == "late_processes"), "{loss:?}");
    let late = processes(&report)
        .iter()
        .filter(|process| process.get("late_ms").is_some());
    assert_eq!(
        late.count() as u64,
        loss.get("late_processes")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    );
    workload.run();
    workload.quit();
}

/// Children that do not wait are accounted, or what is missing is said: of each, or of how many.
#[test]
fn what_is_missed_of_hasty_children_is_said() {
    let children: u64 = load(50, 6);
    let mut workload = Workload::start("tree", &["hasty", &children.to_string()]);
    let memleak = memleak(&["-p", &workload.pid().to_string(), "--follow"]);
    let truth = workload.run();
    let report = last_report(memleak);
    let mut listed = 0;
    for number in 0..children {
        let pid = pid_of(&truth, "child", number);
        let Some(process) = process(&report, pid) else {
            continue;
        };
        listed += 1;
        let is_exact = held(&report, pid, "allocate_as_child") == leaked_by_child(number);
        assert!(is_exact || process.get("late_ms").is_some(), "{process}");
    }
    let unseen = report["loss"]["unseen_processes"].as_u64().unwrap_or(0);
    assert_eq!(listed + unseen, children, "{}", report["loss"]);
    assert_eq!(processes(&report).len() as u64, listed + 1);
    workload.quit();
}

/// One process after another is traced by the same programs: what one of them had is nothing of the next
/// one's.
#[test]
fn children_that_take_turns_have_their_own_figures() {
    let children: u64 = load(20, 6);
    let wait_ms: u64 = load(250, 3000);
    let words = [children, wait_ms].map(|word| word.to_string());
    let mut workload = Workload::start("tree", &["turns", &words[0], &words[1]]);
    let memleak = memleak(&["-p", &workload.pid().to_string(), "--follow"]);
    let truth = workload.run();
    let report = last_report(memleak);
    let mut listed = 0;
    for number in 0..children {
        let mut pids = vec![pid_of(&truth, "child", number)];
        if number % 4 == 3 {
            pids.push(pid_of(&truth, "grandchild", number));
        }
        for pid in pids {
            let Some(process) = process(&report, pid) else {
                continue;
            };
            listed += 1;
            let late = process.get("late_ms").and_then(Value::as_f64);
            if late.is_none_or(|late| late < wait_ms as f64) {
                let (bytes, count) = leaked_by_child(number);
                assert_eq!(held(&report, pid, "allocate_as_child"), (bytes, count));
                assert_eq!(
                    (&process["bytes"], &process["count"]),
                    (&bytes.into(), &count.into()),
                    "nothing else: {process}"
                );
            }
        }
    }
    let unseen = report["loss"]["unseen_processes"].as_u64().unwrap_or(0);
    assert_eq!(
        listed + unseen,
        children + children / 4,
        "{}",
        report["loss"]
    );
    // More than there were programs for, had each only served once.
    assert!(listed > load(12, 0), "{listed}");
    workload.quit();
}

/// A command, and what it starts.
#[test]
fn a_commands_children_are_followed() {
    let path = workloads_dir().join("tree");
    // As long as it may take until the last one is traced.
    let seconds = load(2, 25);
    let tree = path.display();
    let script = format!("(echo go; sleep {seconds}; echo quit) | {tree} hasty 2");
    let args = ["-o", "0", "--json", "--follow", "--", "sh", "-c", &script];
    let mut memleak = RunningTool::spawn("memleak", &args);
    let (lines, said, status) = memleak.wait_end();
    assert!(status.success(), "{said:#?}");
    let report = lines.iter().rev().find_map(|line| Report::parse(line));
    let report = report.expect("a report");
    let names: Vec<&str> = processes(report.json())
        .iter()
        .filter_map(|process| process["comm"].as_str())
        .collect();
    assert!(
        names.contains(&"sh") && names.contains(&"tree"),
        "{names:?}"
    );
    assert_eq!(report.json()["target"]["ended"], true);
}

/// Each of several processes has its own blocks, though addresses may be the same.
#[test]
fn several_pids_are_each_exact() {
    let mut workloads: Vec<Workload> = (0..3)
        .map(|_| Workload::start::<&str>("exact", &[]))
        .collect();
    let pids: Vec<String> = workloads.iter().map(|w| w.pid().to_string()).collect();
    let first = format!("{},{}", pids[0], pids[1]);
    let memleak = memleak(&["-p", &first, "-p", &pids[2]]);
    let truths: Vec<Truth> = workloads.iter_mut().map(Workload::run).collect();
    let report = last_report(memleak);
    assert_eq!(processes(&report).len(), 3);
    assert_eq!(report["loss"], serde_json::json!({}));
    for (workload, truth) in workloads.into_iter().zip(truths) {
        let process = process(&report, workload.pid().into()).expect("it is listed");
        let got = (process["bytes"].as_u64(), process["count"].as_u64());
        assert_eq!(got, (Some(truth.total_bytes()), Some(truth.total_count())));
        workload.quit();
    }
}

/// One that pays too much is left, and says so at its figures; the other goes on to be exact.
#[test]
fn only_the_one_that_pays_too_much_is_left() {
    let mut busy = Workload::start::<&str>("busy", &[]);
    let mut quiet = Workload::start::<&str>("basic", &[]);
    let [first, second] = [&busy, &quiet].map(Workload::pid);
    let pids = format!("{first},{second}");
    let mut memleak = memleak(&["-p", &pids, "--max-overhead", "1"]);
    busy.run();
    let is_left = |report: &Value, pid: u32| {
        process(report, pid.into()).expect("it is listed")["detached"] == true
    };
    memleak.record(|report| is_left(report, first));
    wait_until("its probes are taken out", || {
        altered_code(first).is_empty()
    });
    busy.quit();
    memleak.record(|report| process(report, first.into()).expect("it is listed")["ended"] == true);
    let truth = quiet.run();
    let report = last_report(memleak);
    assert!(is_left(&report, first) && !is_left(&report, second));
    assert_eq!(report["loss"]["unseen_processes"], 1);
    let process = process(&report, second.into()).expect("it is listed");
    assert_eq!(process["bytes"], truth.total_bytes());
    assert_eq!(process["count"], truth.total_count());
    quiet.quit();
}

/// Those that come later are found as soon as they have the name, and go on to be exact.
#[test]
fn processes_are_found_by_name() {
    // No other test has one that is called so.
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("called-so");
    fs::copy(workloads_dir().join("exact"), &program).expect("a copy");
    let mut memleak = memleak(&["--comm", "called-so"]);
    memleak.record(|report| processes(report).is_empty() && report["target"]["pid"] == 0);
    let mut workload = Workload::start_at::<&str>(&program, &[]);
    let pid = u64::from(workload.pid());
    memleak.record(|report| process(report, pid).is_some());
    let truth = workload.run();
    let report = last_report(memleak);
    let process = process(&report, pid).expect("it is listed");
    assert_eq!(
        process["bytes"],
        truth.total_bytes(),
        "{} {} {process}",
        report["loss"],
        report["events"]
    );
    assert_eq!(process["count"], truth.total_count());
    workload.quit();
}

/// A cgroup that a process comes into while it runs; and a container by the beginning of its ID.
#[test]
fn processes_are_found_by_cgroup_and_container() {
    let cgroup = MemoryCgroup::new(512 << 20);
    let id = format!(
        "{:064x}",
        0xfeed_beef_u64 << 16 | u64::from(std::process::id())
    );
    let inner = format!("docker-{id}.scope");
    if cgroup.make_child(&inner).is_err() {
        return skip(
            "processes_are_found_by_cgroup_and_container",
            "no nested cgroup can be made",
        );
    }
    let mut outside = Workload::start::<&str>("exact", &[]);
    let mut first = Workload::start::<&str>("exact", &[]);
    cgroup.add_to_child(&inner, first.pid());
    let by_container = memleak(&["--container", &id[..61]]);
    let mut by_cgroup = memleak(&["--cgroup", cgroup.path()]);
    let mut second = Workload::start::<&str>("exact", &[]);
    cgroup.add_to_child(&inner, second.pid());
    let (one, other) = (u64::from(first.pid()), u64::from(second.pid()));
    by_cgroup.record(|report| process(report, one).is_some() && process(report, other).is_some());
    let mut by_container = by_container;
    by_container.record(|report| process(report, other).is_some());
    let truths = [first.run(), second.run()];
    outside.run();
    for memleak in [by_container, by_cgroup] {
        let report = last_report(memleak);
        assert_eq!(processes(&report).len(), 2);
        for (pid, truth) in [one, other].into_iter().zip(&truths) {
            let process = process(&report, pid).expect("it is listed");
            assert_eq!(process["bytes"], truth.total_bytes());
        }
    }
    for workload in [outside, first, second] {
        workload.quit();
    }
}

/// One line, and the exit code of bad input.
#[test]
fn who_is_not_there_is_said() {
    for (args, part) in [
        (
            &["-p", "4000000,4000001"][..],
            "no process has the PID 4000000",
        ),
        (
            &["--container", "nosuchone"],
            "no process is in a container nosuchone",
        ),
        (
            &["--cgroup", "/no/such/group"],
            "there is no cgroup /no/such/group",
        ),
        (&["--follow"], "--follow is about a process"),
        (&["--comm", ""], "--comm names no process"),
    ] {
        let mut memleak = RunningTool::spawn("memleak", args);
        let (out, said, status) = memleak.wait_end();
        assert_eq!(
            (out.len(), status.code()),
            (0, Some(2)),
            "{args:?}: {said:?}"
        );
        let last = said.last().expect("a line");
        assert!(last.contains(part), "{args:?}: {said:?}");
    }
}

/// A limit is kept, and said.
#[test]
fn too_many_are_said() {
    let mut workload = Workload::start("tree", &["held", "4"]);
    let pid = workload.pid().to_string();
    let mut memleak = memleak(&["-p", &pid, "--follow", "--max-processes", "2"]);
    workload.run();
    let note = memleak.wait_stderr("raise --max-processes");
    assert!(note.contains("2 processes are traced"), "{note}");
    let report = memleak.record(|report| report["loss"]["unseen_processes"] == 4);
    assert_eq!(processes(&report).len(), 2);
    drop(memleak);
    workload.run();
    workload.run();
    workload.quit();
}

/// Descriptors of 50 processes' probes are more than most limits allow.
#[test]
fn the_tools_own_limit_is_raised_and_a_commands_is_not() {
    let args = ["--follow", "--", "sh", "-c", "ulimit -Sn >&2"];
    let mut command = std::process::Command::new("sh");
    let tool = memtools_tests::tool("memleak");
    command
        .arg("-c")
        .arg("ulimit -Sn 200; exec \"$@\"")
        .arg("sh")
        .arg(tool);
    command.args(args);
    let mut memleak = RunningTool::of("memleak", command);
    let (_, said, _) = memleak.wait_end();
    assert!(said.iter().any(|line| line == "200"), "{said:?}");
}
