//! syscount: what it counts is what the workload did.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use memtools_tests::{
    MemoryCgroup, RunningTool, Screen, Syscount, Workload, load, one_at_a_time, skip, tool,
};
use serde_json::Value;

/// Twice as many threads as any CPU can run, all at full speed: nothing is lost.
#[test]
fn threads_at_full_speed_are_counted_exactly() {
    let _turn = one_at_a_time();
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = 4 * cpus as u64;
    let each: u64 = load(200_000, 20_000);
    let args = ["hammer", &threads.to_string(), &each.to_string()];
    for options in [&["-L"][..], &["-L", "-P"]] {
        let mut workload = Workload::start("calls", &args);
        let pid = workload.pid().to_string();
        let mut options = options.to_vec();
        options.extend(["-p", &pid]);
        let mut syscount = Syscount::start(&options);
        let truth = workload.run().fact("getppid");
        assert_eq!(truth, threads * each);
        syscount.until_count("getppid", truth);
        syscount.go_on();
        let row = syscount.row("getppid");
        let what = options.join(" ");
        syscount.assert_is(&what, row.count, truth);
        syscount.assert_is(&what, row.timed, row.count);
        assert_eq!(row.errors, 0);
        syscount.assert_nothing_lost();
        workload.quit();
    }
}

/// The same where calls are only counted, as text.
#[test]
fn counting_alone_is_exact() {
    let _turn = one_at_a_time();
    let each: u64 = load(200_000, 20_000);
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = (4 * cpus).to_string();
    let mut workload = Workload::start("calls", &["hammer", &threads, &each.to_string()]);
    let pid = workload.pid().to_string();
    let mut syscount = RunningTool::spawn("syscount", &["-p", &pid, "-T", "0"]);
    let first = syscount.next_line().expect("a line");
    assert!(first.starts_with("Tracing syscalls of PID"), "{first}");
    let truth = workload.run().fact("getppid");
    let (out, said, status) = syscount.finish();
    assert!(status.success(), "{said:?}");
    let line = out.iter().find(|line| line.starts_with("getppid "));
    let count = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    // `WARNING: lost: 12 events, missed by the kernel`
    let mut lost = out
        .iter()
        .filter(|line| line.contains("missed by the kernel"));
    let missed = lost.next().and_then(|line| line.split_whitespace().nth(2));
    let missed: u64 = missed.map_or(0, |text| text.replace(',', "").parse().expect("a number"));
    let count: u64 = count.expect("a row");
    assert!(
        count <= truth && count + missed >= truth,
        "{count} for {truth}: {out:#?}"
    );
    workload.quit();
}

#[test]
fn short_lived_threads_are_all_counted() {
    let _turn = one_at_a_time();
    let threads: u64 = load(20_000, 2_000);
    let mut workload = Workload::start("calls", &["threads", &threads.to_string()]);
    let pid = workload.pid().to_string();
    let mut syscount = Syscount::start(&["-L", "-p", &pid]);
    workload.run();
    syscount.until_count("getppid", threads);
    syscount.go_on();
    let made = syscount.row("clone").count + syscount.row("clone3").count;
    syscount.assert_is("made", made, threads);
    let row = syscount.row("getppid");
    syscount.assert_is("getppid", row.count, threads);
    syscount.assert_is("timed", row.timed, threads);
    // They never return from it, and are not inside it either.
    let exits = syscount.row("exit");
    syscount.assert_is("exit", exits.count, threads);
    assert_eq!(exits.timed, 0);
    let is_inside = |row: &Value| row["syscall"] == "exit" && row["in_flight"] != 0;
    let rows = syscount.last()["rows"].as_array().expect("a list");
    assert!(!rows.iter().any(is_inside), "{rows:#?}");
    syscount.assert_nothing_lost();
    workload.quit();
}

fn row_of(record: &Value, tid: u64) -> Option<Value> {
    let rows = record["rows"].as_array().expect("a list");
    let mut own = rows.iter().filter(|row| row["tid"] == tid);
    own.find(|row| row["in_flight"] == 1).cloned()
}

/// A thread that blocks is seen while it does so, and for how long.
#[test]
fn a_thread_that_blocks_is_in_flight() {
    let _turn = one_at_a_time();
    for (mode, is_old) in [("block", false), ("blocked", true)] {
        let mut workload = Workload::start("calls", &[mode]);
        let pid = workload.pid().to_string();
        let mut syscount = Syscount::start(&["-p", &pid, "--by", "thread"]);
        workload.go();
        let thread = workload.truth().fact("thread");
        let long = Duration::from_secs(load(3, 1));
        let long = long.as_nanos() as u64;
        let longest = |syscount: &Syscount| {
            let row = row_of(syscount.last(), thread)?;
            assert_eq!(
                (&row["syscall"], &row["count"]),
                (&"read".into(), &Value::from(0))
            );
            row["in_flight_longest_ns"].as_u64()
        };
        let began = Instant::now();
        syscount.until(|syscount| {
            let row = row_of(syscount.last(), thread);
            row.is_some_and(|row| {
                row["in_flight_longest_ns"].as_u64() >= Some(long) && row["count"] == 0
            })
        });
        let seen = longest(&syscount).expect("it blocks");
        assert!(began.elapsed() + Duration::from_secs(2) >= Duration::from_nanos(seen) || is_old);
        let row = row_of(syscount.last(), thread).expect("it blocks");
        assert_eq!(row["in_flight_at_least"], is_old, "{row}");
        assert_eq!(row["comm"], "calls");
        workload.quit();
    }
}

/// Errors go by their names, calls that no table has by their numbers.
#[test]
fn errors_are_told_by_errno() {
    let _turn = one_at_a_time();
    let n: u64 = 500;
    let mut workload = Workload::start("calls", &["errors", &n.to_string()]);
    let pid = workload.pid().to_string();
    let mut all = Syscount::start(&["-p", &pid]);
    let mut failed = Syscount::start(&["-p", &pid, "-x"]);
    let mut missing = Syscount::start(&["-p", &pid, "-e", "enoent"]);
    let mut of_read = Syscount::start(&["-p", &pid, "--syscall", "read,#99999"]);
    let mut by_errno = RunningTool::spawn("syscount", &["-p", &pid, "--by", "errno"]);
    by_errno.next_line().expect("a line");
    workload.run();
    for (name, errno) in [
        ("openat", "ENOENT"),
        ("read", "EBADF"),
        ("#99999", "ENOSYS"),
    ] {
        all.until(|all| all.row(name).errors >= n);
        let row = all.row(name);
        assert_eq!((row.errors, row.errnos.get(errno)), (n, Some(&n)), "{name}");
        assert!(row.count >= n && row.timed >= n);
        failed.until_count(name, n);
        let row = failed.row(name);
        assert_eq!((row.count, row.errors), (n, n), "{name}");
    }
    missing.until_count("openat", n);
    missing.go_on();
    assert_eq!(missing.row("openat").count, n);
    assert_eq!(missing.row("read").count, 0);
    of_read.until_count("#99999", n);
    assert!(of_read.row("read").count >= n);
    assert_eq!(of_read.row("openat").count, 0);
    let (out, _, _) = by_errno.finish();
    for errno in ["ENOENT", "EBADF", "ENOSYS"] {
        let wanted = format!("{errno:<22} {n:>8}");
        assert!(out.contains(&wanted), "{out:#?}");
    }
    workload.quit();
}

/// What seccomp answers is seen only where it returns.
#[test]
fn refused_calls_are_counted() {
    let _turn = one_at_a_time();
    let n = 500;
    let mut workload = Workload::start("calls", &["refused", &n.to_string()]);
    let pid = workload.pid().to_string();
    let mut timed = Syscount::start(&["-p", &pid]);
    let mut failed = RunningTool::spawn("syscount", &["-p", &pid, "-x", "-T", "0"]);
    failed.next_line().expect("a line");
    assert_eq!(workload.run().fact("refused"), n);
    timed.until_count("getppid", n);
    let row = timed.row("getppid");
    assert_eq!((row.count, row.errors, row.timed), (n, n, 0));
    assert_eq!(row.errnos.get("EPERM"), Some(&n));
    let (out, _, _) = failed.finish();
    assert!(
        out.contains(&format!("{:<22} {n:>8}", "getppid")),
        "{out:#?}"
    );
    timed.assert_nothing_lost();
    workload.quit();
}

/// Who has ended makes room for others: there are more processes than rows, but not at a time.
#[test]
fn processes_that_end_make_room() {
    const ROUNDS: u64 = 6;
    let _turn = one_at_a_time();
    let cgroup = MemoryCgroup::new(512 << 20);
    let path = cgroup.path();
    let args = ["-c", path, "-P", "--syscall", "getppid", "--max-rows", "64"];
    let mut syscount = Syscount::start(&args);
    for round in 1..=ROUNDS {
        let mut workloads: Vec<Workload> = (0..20)
            .map(|_| Workload::start("calls", &["hammer", "1", "10"]))
            .collect();
        for workload in &mut workloads {
            cgroup.add(workload.pid());
            workload.run();
        }
        syscount.until_count("getppid", round * 200);
        for workload in workloads {
            workload.quit();
        }
        // They are told of once more, and forgotten.
        syscount.go_on();
        syscount.go_on();
    }
    syscount.assert_is("getppid", syscount.row("getppid").count, ROUNDS * 200);
    syscount.assert_nothing_lost();
}

/// A 32-bit call is named by its own table: the number is another call's in the 64-bit one.
#[test]
fn calls_of_32_bit_are_told_apart() {
    let _turn = one_at_a_time();
    if cfg!(not(target_arch = "x86_64")) {
        return skip("calls_of_32_bit_are_told_apart", "needs int $0x80");
    }
    let n = 1000;
    let mut workload = Workload::start("calls", &["compat", &n.to_string()]);
    let pid = workload.pid().to_string();
    let mut syscount = Syscount::start(&["-p", &pid]);
    if workload.run().fact("compat") < n {
        workload.quit();
        return skip(
            "calls_of_32_bit_are_told_apart",
            "this kernel runs no 32-bit calls",
        );
    }
    syscount.until_count("i386:getppid", n);
    syscount.until_count("getppid", n);
    assert_eq!(syscount.row("i386:getppid").timed, n);
    assert_eq!(syscount.row("getppid").count, n);
    assert_eq!(syscount.row("semget").count, 0);
    workload.quit();
}

/// Children count with --follow, and their children; without it they do not.
#[test]
fn children_are_followed() {
    let _turn = one_at_a_time();
    let children = 50;
    let mut workload = Workload::start("calls", &["family", &children.to_string()]);
    let pid = workload.pid().to_string();
    let mut alone = Syscount::start(&["-p", &pid]);
    let mut family = Syscount::start(&["-p", &pid, "--follow"]);
    let mut by_process = Syscount::start(&["-p", &pid, "--follow", "-P"]);
    let mut of_parent = Syscount::start(&["--ppid", &pid]);
    let truth = workload.run().fact("getppid");
    family.until_count("getppid", truth);
    by_process.until_count("getppid", truth);
    family.go_on();
    family.assert_is("family", family.row("getppid").count, truth);
    assert_eq!(alone.row("getppid").count, 0);
    alone.until(|alone| alone.row("wait4").count >= children);
    of_parent.until_count("getppid", children);
    of_parent.assert_is("parent", of_parent.row("getppid").count, children);
    family.assert_nothing_lost();
    workload.quit();
}

/// By thread, by name and by cgroup it is the same calls.
#[test]
fn whoever_is_selected_is_counted() {
    let _turn = one_at_a_time();
    let n = 1000;
    let mut workload = Workload::start("calls", &["errors", &n.to_string()]);
    let mut other = Workload::start("basic", &[] as &[&str]);
    let cgroup = MemoryCgroup::new(512 << 20);
    cgroup.add(workload.pid());
    let pid = workload.pid().to_string();
    let mut tools = [
        Syscount::start(&["-t", &pid]),
        Syscount::start(&["--comm", "calls", "--syscall", "openat", "-p", &pid]),
        Syscount::start(&["-c", cgroup.path()]),
        Syscount::start(&["-c", cgroup.path(), "--by", "cgroup"]),
    ];
    other.go();
    workload.run();
    for syscount in &mut tools {
        syscount.until_count("openat", n);
        assert_eq!(syscount.row("openat").count, n);
    }
    let by_cgroup = &tools[3];
    let rows = by_cgroup.last()["rows"].as_array().expect("a list");
    assert!(
        rows.iter()
            .all(|row| row["cgroup"]["path"].as_str().is_some()),
        "{rows:#?}"
    );
    drop(tools);
    workload.quit();
    other.kill();
}

fn run(args: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(tool("syscount"))
        .args(args)
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

#[test]
fn bad_input_gets_a_line() {
    for (args, code, words) in [
        (&["-p", "4000000"][..], 2, "no process has PID 4000000"),
        (&["-t", "4000000"], 2, "no thread has TID 4000000"),
        (&["--ppid", "4000000"], 2, "no process has PID 4000000"),
        (
            &["--syscall", "nonsense"],
            2,
            "there is no system call nonsense",
        ),
        (&["-c", "/no/such/cgroup"], 2, "there is no cgroup"),
        (&["-e", "EBOGUS"], 2, "an errno by its name"),
        (&["--", "no-such-command"], 127, "command not found"),
        (&["--tui"], 2, "terminal"),
    ] {
        let (_, said, status) = run(args);
        assert_eq!(status, Some(code), "{args:?}: {said}");
        assert!(
            said.contains(words) && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
}

/// It ends as its command does, and has counted from the exec on.
#[test]
fn a_command_is_counted_from_its_exec_on() {
    let _turn = one_at_a_time();
    let (_, _, status) = run(&["--exec", "sh", "-c", "exit 6"]);
    assert_eq!(status, Some(6));
    let (out, said, status) = run(&["-T", "0", "--", "sh", "-c", "exit 3"]);
    assert_eq!(status, Some(3), "{said}");
    let execve = format!("{:<22} {:>8}", "execve", 1);
    assert!(out.lines().any(|line| line == execve), "{out}");
    assert!(
        out.lines().any(|line| line.starts_with("exit_group ")),
        "{out}"
    );
}

/// Failures too; and the command runs to its end, whatever becomes of the tables.
#[test]
fn a_commands_failures_are_counted() {
    let _turn = one_at_a_time();
    let script = ": < /no/such/file; exit 4";
    let (out, said, status) = run(&["-x", "-T", "0", "--", "sh", "-c", script]);
    assert_ne!(status, Some(1), "{said}");
    assert!(out.lines().any(|line| line.starts_with("open")), "{out}");
    let script = "sleep 1; exit 5";
    let (_, said, status) = run(&["-d", "0.2", "--", "sh", "-c", script]);
    assert_eq!(status, Some(5), "{said}");
}

#[test]
fn the_end_comes_when_it_should() {
    let _turn = one_at_a_time();
    let (out, _, status) = run(&["-d", "0.3"]);
    assert_eq!(status, Some(0));
    assert_eq!(out.matches("SYSCALL").count(), 1);
    let (out, _, _) = run(&["-i", "0.2", "-d", "0.5"]);
    assert_eq!(out.matches("SYSCALL").count(), 3, "{out}");
    let mut workload = Workload::start("basic", &[] as &[&str]);
    let pid = workload.pid().to_string();
    let mut syscount = RunningTool::spawn("syscount", &["-p", &pid]);
    syscount.next_line().expect("a line");
    workload.kill();
    syscount.wait_stderr("has ended");
    let (_, _, status) = syscount.finish();
    assert!(status.success());
}

#[test]
fn the_view_shows_what_blocks() {
    let _turn = one_at_a_time();
    let Some(screen) = Screen::start(120, 40) else {
        return skip("the_view_shows_what_blocks", "no tmux");
    };
    let mut workload = Workload::start("calls", &["blocked"]);
    let syscount = tool("syscount");
    let pid = workload.pid();
    screen.line(&format!(
        "{} --tui -p {pid}; echo code=$?",
        syscount.display()
    ));
    screen.wait_for("LONGEST");
    screen.wait_for("read");
    workload.go();
    screen.keys(&["Enter"]);
    screen.wait_for("since the start");
    screen.keys(&["Tab"]);
    screen.wait_for("by process");
    screen.wait_for(&pid.to_string());
    screen.keys(&["p"]);
    screen.wait_for("paused");
    screen.keys(&["p", "?"]);
    screen.wait_for("calls, processes, errors");
    screen.keys(&["q", "q"]);
    screen.wait_for("code=0");
    workload.truth();
    workload.quit();
}
