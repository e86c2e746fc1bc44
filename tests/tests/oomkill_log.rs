//! oomkill: where its events go, which of them, and what comes of bad luck.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use memtools_tests::{
    MemoryCgroup, Oomkill, Screen, SmallDisk, Workload, one_at_a_time, skip, tool, wait_until,
};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A process that is killed in a cgroup of its own; returns its PID.
#[track_caller]
fn kill_one() -> u32 {
    kill_in(&MemoryCgroup::new(16 * MIB))
}

#[track_caller]
fn kill_in(cgroup: &MemoryCgroup) -> u32 {
    let mut workload = Workload::start("oom", &["eat"]);
    let pid = workload.pid();
    cgroup.add(pid);
    workload.go();
    workload.wait_killed();
    pid
}

/// The victims that a log names.
fn victims(log: &Path) -> Vec<u64> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let records = text.lines().map(|line| {
        let record: Value = serde_json::from_str(line).expect("whole lines of JSON");
        record
    });
    let kills = records.filter(|record| record["type"] == "oom");
    kills
        .filter_map(|record| record["victim"]["pid"].as_u64())
        .collect()
}

#[test]
fn only_what_was_asked_for_is_shown() {
    let _turn = one_at_a_time();
    let cgroup = MemoryCgroup::new(16 * MIB);
    let path = cgroup.path().to_owned();
    let outside = ["--json", "--cgroup", "/no/such/group"];
    let (mut inside, other, name, not_the_name) = (
        Oomkill::start(&["--json", "--cgroup", &path]),
        Oomkill::start(&outside),
        Oomkill::start(&["--json", "--comm", "oom"]),
        Oomkill::start(&["--json", "--comm", "oo"]),
    );
    let workload = kill_in(&cgroup);
    inside.event_of(workload);
    let second = kill_one();
    let names = |oomkill: Oomkill| {
        let (lines, said, status) = oomkill.finish();
        assert!(status.success(), "{said:?}");
        let records = lines.iter().map(|line| {
            let record: Value = serde_json::from_str(line).expect("it is JSON");
            record
        });
        let kills = records.filter(|record| record["type"] == "oom");
        let pids = kills.filter_map(|record| record["victim"]["pid"].as_u64());
        pids.collect::<Vec<u64>>()
    };
    let none: Vec<u64> = Vec::new();
    assert_eq!(names(inside), none);
    assert_eq!(names(other), none);
    assert_eq!(names(not_the_name), none);
    assert_eq!(names(name), [u64::from(workload), u64::from(second)]);
}

#[test]
fn a_log_is_appended_to_and_rotated() {
    let _turn = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (log, old) = (directory.path().join("log"), directory.path().join("old"));
    fs::write(&log, "{\"type\":\"before\"}\n").expect("it is ours");
    let path = log.to_str().expect("it is text");
    let oomkill = Oomkill::start(&["--json", "--log", path]);
    let first = u64::from(kill_one());
    wait_until("the first kill is logged", || victims(&log) == [first]);
    assert!(
        fs::read_to_string(&log)
            .expect("it is there")
            .starts_with("{\"type\":\"before\"}")
    );
    fs::rename(&log, &old).expect("it is ours");
    let second = u64::from(kill_one());
    wait_until("the old file goes on", || victims(&old) == [first, second]);
    oomkill.signal(libc::SIGHUP);
    wait_until("a new file is there", || log.exists());
    let third = u64::from(kill_one());
    wait_until("the new file is used", || victims(&log) == [third]);
    let (lines, said, status) = oomkill.finish();
    assert!(lines.is_empty() && status.success(), "{lines:?} {said:?}");
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let _turn = one_at_a_time();
    let disk = SmallDisk::new(8192).expect("a disk can be made");
    let log = disk.path().join("log");
    let filler = disk.path().join("filler");
    let path = log.to_str().expect("it is text");
    let mut oomkill = Oomkill::start(&["--json", "--log", path]);
    // The first page is the log's own, so that there is room for half an event.
    fs::write(&log, vec![b'\n'; 3800]).expect("there is room");
    fs::write(&filler, [0; 4096]).expect("there is room");
    kill_one();
    oomkill.wait_stderr("No space left on device");
    fs::remove_file(&filler).expect("it is ours");
    let last = u64::from(kill_one());
    wait_until("it goes on", || {
        let text = fs::read_to_string(&log).expect("it is there");
        let lines = text.lines().filter(|line| !line.is_empty());
        let records = lines.map(|line| serde_json::from_str::<Value>(line).expect("whole lines"));
        let pids: Vec<_> = records
            .filter_map(|r| r["victim"]["pid"].as_u64())
            .collect();
        pids == [last]
    });
    let (_, said, status) = oomkill.finish();
    assert_eq!(status.code(), Some(1), "{said:?}");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let _turn = one_at_a_time();
    let mut child = Command::new(tool("oomkill"))
        .arg("--brief")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("oomkill runs");
    let mut stderr = memtools_tests::Lines::of(child.stderr.take().expect("piped"), "oomkill");
    while !stderr.next_line().expect("it traces").contains("tracing") {}
    drop(child.stdout.take());
    kill_one();
    let mut status = None;
    wait_until("it ends", || {
        status = child.try_wait().expect("it is ours");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert_eq!(stderr.rest(), Vec::<String>::new());
}

#[test]
fn a_command_is_told_of_each_kill() {
    let _turn = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let told = directory.path().join("told");
    let script = script(
        directory.path(),
        &format!(
            "cat >> {0}\necho \"$1\" >> {0}.args\ncat /proc/self/oom_score_adj >> {0}.adj",
            told.display()
        ),
    );
    let oomkill = Oomkill::start(&["--brief", "--exec", &format!("{script} $HOME;id")]);
    let first = u64::from(kill_one());
    wait_until("the command is told", || victims(&told) == [first]);
    let second = u64::from(kill_one());
    wait_until("the command is told", || victims(&told) == [first, second]);
    let adj = told.with_extension("adj");
    wait_until("the command is through", || {
        fs::read_to_string(&adj).is_ok_and(|adj| adj.lines().count() == 2)
    });
    let (_, said, status) = oomkill.finish();
    assert!(status.success(), "{said:?}");
    let arguments = fs::read_to_string(told.with_extension("args")).expect("it is there");
    assert_eq!(arguments, "$HOME;id\n$HOME;id\n");
    let adj = fs::read_to_string(&adj).expect("it is there");
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("it is there");
    assert_eq!(adj, own.repeat(2));
}

#[test]
fn a_command_that_hangs_is_killed_and_one_that_fails_is_said() {
    let _turn = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let hangs = script(directory.path(), "sleep 1000 & sleep 1000");
    for (command, timeout, expected) in [
        (hangs.as_str(), "0.5", "was killed after"),
        ("false", "10", "exit status: 1"),
    ] {
        let mut oomkill = Oomkill::start(&["--json", "--exec", command, "--exec-timeout", timeout]);
        let pid = kill_one();
        // The log does not wait for the command.
        oomkill.event_of(pid);
        oomkill.wait_stderr(expected);
        let (_, _, status) = oomkill.finish();
        assert!(status.success());
    }
}

#[test]
fn a_command_is_run_no_more_often_than_allowed() {
    let _turn = one_at_a_time();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let told = directory.path().join("told");
    let script = script(directory.path(), &format!("cat >> {}", told.display()));
    let mut oomkill = Oomkill::start(&["--json", "--exec", &script, "--exec-rate", "2"]);
    let pids: Vec<u32> = (0..4).map(|_| kill_one()).collect();
    for pid in &pids {
        oomkill.event_of(*pid);
    }
    oomkill.wait_stderr("2 times within a minute");
    let (_, _, status) = oomkill.finish();
    assert!(status.success());
    assert_eq!(victims(&told), [u64::from(pids[0]), u64::from(pids[1])]);
}

fn script(directory: &Path, text: &str) -> String {
    let path = directory.join("command");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("it is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path.to_str().expect("it is text").to_owned()
}

#[test]
fn bad_input_is_one_line() {
    for (args, word) in [
        (&["--comm", "longer-than-15-bytes"][..], "15 bytes"),
        (&["--log", "/no/such/directory/log"], "/no/such/directory"),
        (&["--exec", " "], "needs a command"),
        (&["--exec", "/no/such/command"], "no program"),
        (&["--tui", "--json"], "--json"),
        (&["-p", "0"], "PID"),
        (&["surplus"], "surplus"),
    ] {
        let (lines, said, status) = Oomkill::spawn(args).wait_end();
        assert_eq!(status.code(), Some(2), "{args:?}: {said:?}");
        assert!(lines.is_empty() && said.len() == 1, "{args:?}: {said:?}");
        assert!(said[0].contains(word), "{said:?}");
    }
}

#[test]
fn who_may_not_load_programs_is_told_so() {
    let mut command = Command::new(tool("oomkill"));
    command.uid(65534).gid(65534);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("CAP_BPF") && said.contains("sudo"), "{said}");
}

#[test]
fn the_view_shows_a_kill() {
    const NAME: &str = "the_view_shows_a_kill";
    let _turn = one_at_a_time();
    let Some(screen) = Screen::start(120, 30) else {
        return skip(NAME, "no tmux");
    };
    screen.line(&format!(
        "{} --tui; echo code=$?",
        tool("oomkill").display()
    ));
    screen.wait_for("no OOM kill since");
    let pid = kill_one();
    screen.wait_for(&pid.to_string());
    screen.keys(&["Enter"]);
    screen.wait_for("GFP_KERNEL");
    screen.wait_for("its memory was back after");
    screen.keys(&["q"]);
    screen.wait_for("code=0");
}

/// What the unit for systemd leaves it is enough.
#[test]
fn the_units_capabilities_are_enough() {
    let _turn = one_at_a_time();
    let unit = include_str!("../../dist/oomkill.service");
    let mut lines = unit.lines();
    let line = lines.find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let kept: Vec<u32> = line
        .expect("it has a set")
        .split(' ')
        .map(|name| match name {
            "CAP_IPC_LOCK" => 14,
            "CAP_SYS_RESOURCE" => 24,
            "CAP_SYSLOG" => 34,
            "CAP_PERFMON" => 38,
            "CAP_BPF" => 39,
            other => panic!("{other} is not known here"),
        })
        .collect();
    let mut command = Command::new(tool("oomkill"));
    command.args(["--json", "--stack"]);
    // SAFETY: system calls that only take numbers.
    unsafe {
        command.pre_exec(move || {
            for capability in (0..64_u32).filter(|capability| !kept.contains(capability)) {
                libc::prctl(
                    libc::PR_CAPBSET_DROP,
                    libc::c_ulong::from(capability),
                    0,
                    0,
                    0,
                );
            }
            Ok(())
        });
    }
    let mut oomkill = Oomkill::of(command);
    oomkill.wait_stderr("tracing");
    let pid = kill_one();
    let event = oomkill.event_of(pid);
    let unknown = event["unknown"].as_array().expect("a list");
    let may_be = ["pressure.cgroup", "pressure.system", "domain.failcnt"];
    let is_fine = |name: &Value| name.as_str().is_some_and(|name| may_be.contains(&name));
    assert!(unknown.iter().all(is_fine), "{event:#}");
    assert_eq!(event["domain"]["constraint"], "CONSTRAINT_MEMCG");
    let stack = event["trigger"]["stacks"]["kernel"].to_string();
    assert!(stack.contains("oom_kill_process+"), "{stack}");
}
