//! oomkill: what it says of a kill is what the kernel's log says of it, and none is missing.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use memtools_tests::{
    KernelLog, MemoryCgroup, OomReport, Oomkill, Workload, is_disposable, load, one_at_a_time,
    skip, wait_until, workloads_dir,
};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// The kernel writes ten reports in five seconds (DEFAULT_RATELIMIT_INTERVAL).
fn wait_for_a_fresh_window() {
    let end = Instant::now() + Duration::from_secs(6);
    wait_until("the kernel logs again", || Instant::now() >= end);
}

/// A workload in a cgroup of its own, killed there, with what both say of it.
struct Kill {
    pid: u32,
    cgroup: MemoryCgroup,
    event: Value,
    logged: OomReport,
}

impl Kill {
    /// `oom ARGS…` in `megabytes`, seen by `oomkill --json FLAGS…`.
    #[track_caller]
    fn of(args: &[&str], megabytes: u64, flags: &[&str]) -> (Self, Oomkill) {
        let mut oomkill = Oomkill::start(&[&["--json"], flags].concat());
        let mut log = KernelLog::follow();
        let cgroup = MemoryCgroup::new(megabytes * MIB);
        let mut workload = Workload::start("oom", args);
        let pid = workload.pid();
        cgroup.add(pid);
        workload.go();
        let event = oomkill.event_of(pid);
        let logged = log.oom_report(pid);
        let kill = Self {
            pid,
            cgroup,
            event,
            logged,
        };
        (kill, oomkill)
    }

    #[track_caller]
    fn agrees(&self) {
        agrees(&self.event, &self.logged);
    }
}

/// Before 6.2 a thread keeps up to 64 pages that it has not yet counted for its process
/// (TASK_RSS_EVENTS_THRESH). A victim that is not the trigger is woken by its SIGKILL, and may count
/// them between the mark and the line in the log.
fn slack(event: &Value) -> u64 {
    if event["trigger"]["is_victim"] == true {
        0
    } else {
        64 * 4096
    }
}

/// Every number of the kernel's report on the victim, and of its summary.
#[track_caller]
fn agrees(event: &Value, logged: &OomReport) {
    let victim = &event["victim"];
    for (field, name, unit) in [
        ("total_vm_bytes", "total-vm", 1024),
        ("anon_rss_bytes", "anon-rss", 1024),
        ("file_rss_bytes", "file-rss", 1024),
        ("shmem_rss_bytes", "shmem-rss", 1024),
        ("pgtables_bytes", "pgtables", 1024),
        ("uid", "UID", 1),
    ] {
        let said = logged.killed[name] * unit;
        let seen = victim[field].as_u64().expect("it is known");
        let may_move = if name.ends_with("-rss") {
            slack(event)
        } else {
            0
        };
        assert!(
            seen.abs_diff(said) <= may_move,
            "{name}: {seen}, {said} in the log: {event:#}"
        );
    }
    let adj = logged.killed["oom_score_adj"] as i64;
    assert_eq!(victim["oom_score_adj"].as_i64(), Some(adj));
    assert!(!logged.summary.is_empty(), "the kernel wrote no summary");
    assert_eq!(event["domain"]["constraint"], logged.summary["constraint"]);
    assert_eq!(victim["cgroup"], logged.summary["task_memcg"]);
    if let Some(path) = logged.summary.get("oom_memcg") {
        assert_eq!(event["domain"]["memcg"], path[..]);
    }
    let gfp = &event["gfp"];
    let flags = gfp["flags"].as_u64().expect("it is known");
    let names = gfp["names"].as_str().expect("it is known");
    let (mask, rest) = logged.request.split_once('(').expect("a mask");
    let (its_names, rest) = rest.split_once(')').expect("names");
    assert_eq!(mask, format!("gfp_mask={flags:#x}"));
    // Their order is not the same on all kernels.
    let set = |names: &str| names.split('|').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(set(names), set(its_names));
    let order = format!(", order={},", event["order"]);
    assert!(rest.starts_with(&order), "{rest}");
}

#[test]
fn every_number_is_the_kernel_logs() {
    let _turn = one_at_a_time();
    let (kill, mut oomkill) = Kill::of(&["eat"], 32, &[]);
    kill.agrees();
    let event = &kill.event;
    let victim = &event["victim"];
    assert!(
        victim["shmem_rss_bytes"].as_u64() >= Some(MIB),
        "{victim:#}"
    );
    assert_eq!(victim["comm"], "oom");
    let path = workloads_dir().join("oom");
    let command_line = format!("{} eat", path.display());
    assert_eq!(victim["cmdline"], command_line[..]);
    assert_eq!(victim["cmdline_after_event"], false);
    assert_eq!(event["trigger"]["is_victim"], true);
    assert_eq!(event["trigger"]["during"], "page fault");
    assert_eq!(event["already_exiting"], false);
    let domain = &event["domain"];
    assert_eq!(domain["limit_bytes"], 32 * MIB);
    assert_eq!(domain["total_pages"], 32 * MIB / 4096);
    assert!(
        domain["usage_bytes"].as_u64() > Some(31 * MIB),
        "{domain:#}"
    );
    assert!(domain["peak_bytes"].as_u64() >= domain["usage_bytes"].as_u64());
    // From 6.18 on version 2 does not count them, and nobody knows.
    if let Some(failures) = domain["failcnt"].as_u64() {
        assert!(failures > 0);
    }
    if kill.cgroup.is_v1() {
        let failures = kill.cgroup.read("memory.failcnt");
        let failures: u64 = failures.parse().expect("a number");
        assert!(domain["failcnt"].as_u64() <= Some(failures));
    }
    let top = event["top"].as_array().expect("it is known");
    assert_eq!(top[0]["pid"], kill.pid);
    assert_eq!(top[0]["is_victim"], true);
    assert_eq!(event["loss"], serde_json::json!({}));
    // Its memory came back.
    let end = oomkill.end_of(kill.pid);
    assert!(end["after_ns"].as_u64() > Some(0), "{end}");
}

/// The one that asks for memory is not the one that has most of it.
#[test]
fn a_victim_that_sleeps_is_told_from_its_trigger() {
    let _turn = one_at_a_time();
    let mut oomkill = Oomkill::start(&["--json"]);
    let mut log = KernelLog::follow();
    let cgroup = MemoryCgroup::new(64 * MIB);
    let (mut big, mut small) = (
        Workload::start("oom", &["hold", "40"]),
        Workload::start("oom", &["eat"]),
    );
    cgroup.add(big.pid());
    big.run();
    cgroup.add(small.pid());
    small.go();
    let event = oomkill.event_of(big.pid());
    agrees(&event, &log.oom_report(big.pid()));
    assert_eq!(event["victim"]["oom_score_adj"], 1000);
    assert_eq!(event["trigger"]["pid"], small.pid());
    assert_eq!(event["trigger"]["is_victim"], false);
    assert_eq!(event["trigger"]["cgroup"], cgroup.path());
    let named: Vec<_> = event["top"].as_array().expect("it is known").clone();
    assert_eq!(named[0]["pid"], big.pid());
    // With the big one gone, the other is next.
    let event = oomkill.event_of(small.pid());
    agrees(&event, &log.oom_report(small.pid()));
}

#[test]
fn two_hundred_kills_in_a_row() {
    const KILLS: u64 = 200;
    let _turn = one_at_a_time();
    let mut oomkill = Oomkill::start(&["--json"]);
    let mut log = KernelLog::follow();
    let cgroup = MemoryCgroup::new(8 * MIB);
    let mut workload = Workload::start("oom", &["burst", &KILLS.to_string()]);
    cgroup.add(workload.pid());
    workload.go();
    let mut pids = Vec::new();
    for _ in 0..KILLS {
        pids.push(workload.next_truth().fact("killed") as u32);
        // The kernel's log holds no more than some dozens.
        log.killed();
    }
    assert_eq!(workload.truth().fact("kills"), KILLS);
    let mut seen = BTreeSet::new();
    while seen.len() < pids.len() {
        let line = oomkill.next_line().expect("it goes on");
        let event: Value = serde_json::from_str(&line).expect("it is JSON");
        if event["type"] != "oom" {
            continue;
        }
        let pid = event["victim"]["pid"].as_u64().expect("a PID") as u32;
        assert!(pids.contains(&pid) && seen.insert(pid), "{pid} twice");
        assert_eq!(event["already_exiting"], false);
        assert_eq!(event["victim"]["cgroup"], cgroup.path());
        assert_eq!(event["domain"]["memcg"], cgroup.path());
    }
    let logged: BTreeSet<u32> = log.killed().into_iter().collect();
    assert!(pids.iter().all(|pid| logged.contains(pid)));
    workload.quit();
    let (rest, said, status) = oomkill.finish();
    assert!(
        rest.iter().all(|line| line.contains("\"reaped\"")),
        "{rest:?}"
    );
    assert!(status.success() && !said.iter().any(|line| line.contains("lost")));
    wait_for_a_fresh_window();
}

#[test]
fn a_group_is_killed_as_a_whole() {
    let _turn = one_at_a_time();
    let mut oomkill = Oomkill::start(&["--json"]);
    let mut log = KernelLog::follow();
    let cgroup = MemoryCgroup::new(32 * MIB);
    if cgroup.is_v1() {
        return skip(
            "a_group_is_killed_as_a_whole",
            "memory cgroups of version 1",
        );
    }
    cgroup.write("memory.oom.group", "1");
    let mut workload = Workload::start("oom", &["group", "2"]);
    cgroup.add(workload.pid());
    workload.go();
    let children: Vec<u32> = (0..2)
        .map(|_| workload.next_truth().fact("killed") as u32)
        .collect();
    let all = BTreeSet::from([workload.pid(), children[0], children[1]]);
    let mut seen = BTreeSet::new();
    for _ in 0..all.len() {
        let event = loop {
            let line = oomkill.next_line().expect("it goes on");
            let event: Value = serde_json::from_str(&line).expect("it is JSON");
            if event["type"] == "oom" {
                break event;
            }
        };
        let pid = event["victim"]["pid"].as_u64().expect("a PID") as u32;
        let siblings = event["siblings"].as_array().expect("there are some");
        let mut together: BTreeSet<u32> = siblings
            .iter()
            .map(|sibling| sibling["pid"].as_u64().expect("a PID") as u32)
            .collect();
        assert_eq!(event["sibling_count"], 2);
        assert!(together.insert(pid), "{event:#}");
        assert_eq!(together, all);
        assert_eq!(event["domain"]["memcg"], cgroup.path());
        assert!(seen.insert(pid), "PID {pid} was told twice");
        let logged = log.oom_report(pid);
        let anon = event["victim"]["anon_rss_bytes"].as_u64();
        let said = logged.killed["anon-rss"] * 1024;
        let difference = anon.expect("it is known").abs_diff(said);
        assert!(difference <= slack(&event), "{event:#}");
    }
    assert_eq!(seen, all);
}

/// Not on a machine that somebody still needs.
#[test]
fn a_machine_that_runs_out() {
    let _turn = one_at_a_time();
    if !is_disposable() {
        return skip("a_machine_that_runs_out", "this machine is needed");
    }
    let mut oomkill = Oomkill::start(&["--json"]);
    let mut log = KernelLog::follow();
    // More than there is, by one that is the first to go.
    let mut workload = Workload::start("oom", &["hold", "1000000"]);
    let pid = workload.pid();
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").expect("it is ours");
    let overcommit = "/proc/sys/vm/overcommit_memory";
    let before = fs::read_to_string(overcommit).expect("it is there");
    fs::write(overcommit, "1").expect("we are root");
    workload.go();
    let event = oomkill.event_of(pid);
    fs::write(overcommit, before.trim()).expect("we are root");
    agrees(&event, &log.oom_report(pid));
    assert_eq!(event["domain"]["constraint"], "CONSTRAINT_NONE");
    assert_eq!(event["domain"]["memcg"], Value::Null);
    assert!(event["domain"]["total_pages"].as_u64() > Some(100 * MIB / 4096));
}

#[test]
fn hostile_names_are_shown_and_not_obeyed() {
    let _turn = one_at_a_time();
    // A newline, an escape sequence and a byte that is no text.
    let name = b"a\nb\x1b[31m\xffc";
    let digits: Vec<String> = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.concat();
    let (kill, _oomkill) = Kill::of(&["eat", &digits], 16, &[]);
    assert_eq!(kill.event["victim"]["comm"], "a\nb\u{1b}[31m\u{fffd}c");

    let mut oomkill = Oomkill::start(&["--brief"]);
    let cgroup = MemoryCgroup::new(16 * MIB);
    let mut workload = Workload::start("oom", &["eat", &digits]);
    let pid = workload.pid();
    cgroup.add(pid);
    workload.go();
    let line = loop {
        let line = oomkill.next_line().expect("it goes on");
        if line.contains(&pid.to_string()) {
            break line;
        }
    };
    let shown = "(\"a\\u{a}b\\u{1b}[31m\u{fffd}c\")";
    let expected = format!(
        " Triggered by PID {pid} {shown}, OOM kill of PID {pid} {shown}, {} pages, loadavg: ",
        16 * MIB / 4096
    );
    assert!(line.contains(&expected), "{line}");
}

#[test]
fn one_that_is_exiting_already_is_not_killed() {
    const NAME: &str = "one_that_is_exiting_already_is_not_killed";
    let _turn = one_at_a_time();
    let Some(freezer) = Freezer::new() else {
        return skip(NAME, "no freezer of version 1");
    };
    let mut oomkill = Oomkill::start(&["--json"]);
    let mut log = KernelLog::follow();
    let cgroup = MemoryCgroup::new(64 * MIB);
    let mut frozen = Workload::start("oom", &["hold", "40"]);
    let pid = frozen.pid();
    cgroup.add(pid);
    frozen.run();
    freezer.freeze(pid);
    // It is about to exit, but does not get to it.
    // SAFETY: a signal to a process of the test's.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    let mut eater = Workload::start("oom", &["eat"]);
    cgroup.add(eater.pid());
    eater.go();
    let event = oomkill.event_of(pid);
    assert_eq!(event["already_exiting"], true, "{event:#}");
    assert!(!log.killed().contains(&pid));
    let event = oomkill.event_of(eater.pid());
    assert_eq!(event["already_exiting"], false, "{event:#}");
}

/// A cgroup of the version 1 freezer.
struct Freezer {
    mount: tempfile::TempDir,
}

impl Freezer {
    fn new() -> Option<Self> {
        let mount = tempfile::tempdir().expect("a directory can be made");
        let status = Command::new("mount")
            .args(["-t", "cgroup", "-o", "freezer", "none"])
            .arg(mount.path())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return None;
        }
        let freezer = Self { mount };
        fs::create_dir(freezer.directory()).expect("a cgroup can be made");
        Some(freezer)
    }

    fn directory(&self) -> std::path::PathBuf {
        let name = format!("memtools-{}", std::process::id());
        self.mount.path().join(name)
    }

    fn freeze(&self, pid: u32) {
        let write = |file, text: &str| {
            fs::write(self.directory().join(file), text).expect("it is ours");
        };
        write("cgroup.procs", &pid.to_string());
        write("freezer.state", "FROZEN");
        wait_until("it is frozen", || {
            let state = fs::read_to_string(self.directory().join("freezer.state"));
            state.is_ok_and(|state| state.trim() == "FROZEN")
        });
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.directory().join("freezer.state"), "THAWED");
        if !std::thread::panicking() {
            let directory = self.directory();
            wait_until("the freezer is left", || fs::remove_dir(&directory).is_ok());
        }
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.mount.path())
            .status();
    }
}

#[test]
fn the_stacks_of_the_trigger() {
    let _turn = one_at_a_time();
    let (kill, _oomkill) = Kill::of(&["eat"], 16, &["--stack"]);
    let stacks = &kill.event["trigger"]["stacks"];
    let kernel = stacks["kernel"].to_string();
    assert!(kernel.contains("oom_kill_process+"), "{stacks:#}");
    assert!(kernel.contains("mem_cgroup_out_of_memory+"), "{stacks:#}");
    assert!(!stacks["user"].as_array().expect("a list").is_empty());
    kill.agrees();
}

#[test]
fn it_costs_nothing_while_nothing_happens() {
    let _turn = one_at_a_time();
    let watched = Duration::from_secs(load(60, 20));
    let oomkill = Oomkill::start(&["--json"]);
    let ticks = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let rest = stat.rsplit_once(") ").expect("it has a name").1;
        let fields: Vec<&str> = rest.split(' ').collect();
        let tick = |at: usize| fields[at].parse::<u64>().expect("a number");
        tick(11) + tick(12)
    };
    let stat = || fs::read_to_string(format!("/proc/{}/stat", oomkill.pid()));
    wait_until("it sleeps", || {
        stat().is_ok_and(|stat| stat.contains(") S "))
    });
    let before = ticks(oomkill.pid());
    let end = Instant::now() + watched;
    wait_until("the time is over", || Instant::now() >= end);
    assert_eq!(ticks(oomkill.pid()) - before, 0);
    let status = fs::read_to_string(format!("/proc/{}/status", oomkill.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    let kilobytes: u64 = kilobytes.expect("it has memory").parse().expect("a number");
    assert!(kilobytes < 15 << 10, "{kilobytes} kB");
    println!("resident: {kilobytes} kB");
}
