//! slabtop: what it says of slab caches is what the kernel and the workload say of them.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output};

use memtools_tests::{
    MemoryCgroup, RunningTool, Screen, Slab, SmallDisk, Workload, load, one_at_a_time, skip,
    slabinfo, tool, wait_until,
};
use serde_json::Value;

/// A cache in a record, under its own name or another one.
#[track_caller]
fn cache<'a>(record: &'a Value, name: &str) -> &'a Value {
    let caches = record["caches"].as_array().expect("a list");
    let is_alias = |cache: &Value| {
        let aliases = cache["aliases"].as_array().expect("a list");
        aliases.iter().any(|alias| alias == name)
    };
    let found = caches.iter().find(|cache| cache["name"] == name);
    found
        .or_else(|| caches.iter().find(|cache| is_alias(cache)))
        .unwrap_or_else(|| panic!("no cache {name}"))
}

fn number(cache: &Value, field: &str) -> i64 {
    cache[field]
        .as_i64()
        .unwrap_or_else(|| panic!("{field} in {cache}"))
}

/// By how much a field grew from one record to another.
fn growth(before: &Value, after: &Value, name: &str, field: &str) -> i64 {
    number(cache(after, name), field) - number(cache(before, name), field)
}

/// What moves is between what was read before and after; what does not is equal.
fn agrees(cache: &Value, before: &Slab, after: &Slab) -> bool {
    let is_between = |field: &str, a: u64, b: u64| {
        let value = cache[field].as_u64();
        value.is_some_and(|value| (a.min(b)..=a.max(b)).contains(&value))
    };
    is_between("active", before.active, after.active)
        && is_between("objects", before.objects, after.objects)
        && is_between("slabs", before.slabs, after.slabs)
        && cache["object_bytes"] == before.object_bytes
}

#[test]
fn sizes_are_slabinfos() {
    let _turn = one_at_a_time();
    let mut agreed: BTreeSet<String> = BTreeSet::new();
    let mut disagreed: BTreeMap<String, String> = BTreeMap::new();
    // One that runs all along: what it has itself does not come and go in between.
    let mut slabtop = RunningTool::spawn("slabtop", &["--json", "0.2"]);
    slabtop.next_record().expect("a record");
    wait_until("every cache agrees", || {
        let before = slabinfo();
        let record = slabtop.next_record().expect("a record");
        let after = slabinfo();
        let caches = record["caches"].as_array().expect("a list");
        let names: BTreeSet<&str> = caches.iter().filter_map(|c| c["name"].as_str()).collect();
        assert!(
            before
                .keys()
                .all(|name| names.contains(name.as_str()) || !after.contains_key(name))
        );
        for cache in caches {
            let name = cache["name"].as_str().expect("a text").to_owned();
            let (Some(before), Some(after)) = (before.get(&name), after.get(&name)) else {
                continue;
            };
            if before == after {
                // What came and went in between is little.
                let active = number(cache, "active") - before.active as i64;
                let allowed = slack(before);
                assert!(active.abs() <= allowed, "{before:?} {cache}");
            }
            if agrees(cache, before, after) {
                agreed.insert(name);
            } else if !agreed.contains(&name) {
                disagreed.insert(name, format!("{before:?} {after:?} {cache}"));
            }
        }
        disagreed.retain(|name, _| !agreed.contains(name));
        disagreed.is_empty()
    });
    assert!(agreed.len() > 50, "{agreed:?}");
}

const KEPT: i64 = 4000;

/// Objects that a cache may count otherwise: CPUs keep slabs for themselves.
fn slack(slab: &Slab) -> i64 {
    let cpus = std::thread::available_parallelism()
        .expect("there is one")
        .get();
    (slab.objects_per_slab.max(16) * 16) as i64 * cpus as i64
}

/// What the workload makes of each kind, in caches that all kernels have.
fn expected(n: i64) -> [(&'static str, i64); 5] {
    [
        ("filp", 4 * n + KEPT),
        ("dentry", 3 * n),
        ("shmem_inode_cache", n),
        ("inode_cache", n),
        ("sock_inode_cache", n),
    ]
}

fn is_close(figure: i64, truth: i64) -> bool {
    (figure - truth).abs() * 100 <= truth
}

/// The first record in which all files but those that are kept are freed: an RCU grace period later.
/// Nothing: what is missing was missed, as when RCU frees very many at a time in an interrupt of a
/// program.
#[track_caller]
fn when_freed(slabtop: &mut RunningTool, before: &Value, n: i64) -> Option<Value> {
    let wanted = [("filp", 4 * n), ("dentry", 3 * n)];
    let freed = |record: &Value, name: &str| growth(before, record, name, "frees");
    let is_near =
        |record: &Value, (name, made): &(&str, i64)| freed(record, name) * 100 >= made * 99;
    let is_over = |record: &Value| {
        let is_told = |of: &(&str, i64)| freed(record, of.0) + missed(record) >= of.1;
        wanted.iter().all(|of| is_near(record, of) || is_told(of))
    };
    let record = slabtop.record(is_over);
    let is_measure = wanted.iter().all(|of| is_near(&record, of));
    is_measure.then_some(record)
}

/// An event in an interrupt that comes while a program runs is missed, and counted: the kernel lets no
/// program run inside itself.
#[track_caller]
fn assert_next_to_nothing_is_lost(record: &Value) {
    let mut loss = record["loss"].as_object().expect("an object").clone();
    let missed = loss.remove("missed").and_then(|missed| missed.as_i64());
    let caches = record["caches"].as_array().expect("a list").iter();
    let events: i64 = caches
        .map(|c| number(c, "allocs") + number(c, "frees"))
        .sum();
    // Programs that follow objects take longer than those that count, the more so on a machine that is
    // emulated.
    let one_of = load(100, 20);
    assert!(
        missed.unwrap_or(0) * one_of <= events,
        "{missed:?} missed of {events}"
    );
    assert!(loss.is_empty(), "{loss:?}");
}

/// Where one process is counted: what is missed is anybody's.
fn assert_nothing_else_is_lost(record: &Value) {
    let loss = record["loss"].as_object().expect("an object");
    assert!(loss.keys().all(|kind| kind == "missed"), "{loss:?}");
}

#[test]
fn motion_is_the_workloads() {
    /// A run in which the kernel skipped programs for whole batches is no measure, nor one in which others
    /// opened files by the thousand.
    const TRIES: usize = 6;
    let _turn = one_at_a_time();
    let mut runs = Vec::new();
    while runs.len() < TRIES && runs.last() != Some(&Run::Measured) {
        runs.push(motion_of_one_run());
    }
    let is_measured = runs.last() == Some(&Run::Measured);
    match why_not_exact() {
        // Each time it was said how much.
        Some(why) if runs.iter().all(|run| *run == Run::Missed) => {
            skip("motion_is_the_workloads", why);
        }
        _ => assert!(is_measured, "{runs:?}"),
    }
}

/// What a run was good for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Run {
    Measured,
    /// Too much was missed, and said to be, for a measure.
    Missed,
    /// There was more than the workload's.
    Crowded,
}

fn motion_of_one_run() -> Run {
    let n: i64 = load(100_000, 20_000);
    let disk = SmallDisk::new(16 << 20).expect("a tmpfs can be mounted");
    let path = disk.path().to_str().expect("text");
    let args = ["churn", path, &n.to_string(), &KEPT.to_string()];
    let mut workload = Workload::start("slab", &args);
    let mut slabtop = RunningTool::spawn("slabtop", &["--json", "0.25"]);
    let before = slabtop.next_record().expect("a record");
    let slabs_before = slabinfo();
    let truth = workload.run();
    assert_eq!(truth.fact("files") as i64, n);
    let Some(after) = when_freed(&mut slabtop, &before, n) else {
        workload.quit();
        return Run::Missed;
    };
    // All of it is counted now; what the cache says of itself is read once more.
    let settled = slabtop.next_record().unwrap_or_else(|| after.clone());
    let slabs_after = slabinfo();
    for (name, made) in expected(n) {
        let allocs = growth(&before, &settled, name, "allocs");
        let run = match allocs {
            _ if is_close(allocs, made) => continue,
            _ if allocs > made => Run::Crowded,
            _ if allocs + missed(&settled) >= made => Run::Missed,
            _ => panic!("{name}: {allocs} for {made}"),
        };
        workload.quit();
        return run;
    }
    let frees = growth(&before, &settled, "filp", "frees");
    assert!(is_close(frees, 4 * n), "{frees} files freed of {}", 4 * n);
    let filp = cache(&settled, "filp")["name"].as_str().expect("a text");
    let (was, is) = (slabs_before[filp], slabs_after[filp]);
    let grown = is.active as i64 - was.active as i64;
    let net = growth(&before, &settled, "filp", "net_objects");
    assert!(
        (net - grown).abs() <= slack(&is),
        "{net} by slabtop, {grown} by slabinfo"
    );
    assert!(
        (net - KEPT).abs() <= slack(&is),
        "{net} for {KEPT} files kept"
    );
    assert_eq!(cache(&settled, "filp")["frees_at_least"], false);
    assert_next_to_nothing_is_lost(&settled);
    let (_, _, status) = slabtop.finish();
    assert!(status.success());
    workload.quit();
    Run::Measured
}

/// A cgroup of version 2 beside the memory controller's of version 1.
struct UnifiedCgroup(PathBuf);

impl UnifiedCgroup {
    /// Nothing where there is only one hierarchy.
    fn with(pid: u32) -> Option<Self> {
        let mounts = memtools::cgroup::Mounts::find();
        let point = mounts.memory.and(mounts.unified)?.point;
        let cgroup = Self(point.join(format!("memtools-{pid}")));
        std::fs::create_dir(&cgroup.0).expect("a cgroup can be made");
        let procs = cgroup.0.join("cgroup.procs");
        std::fs::write(procs, pid.to_string()).expect("a process can be moved");
        Some(cgroup)
    }
}

impl Drop for UnifiedCgroup {
    fn drop(&mut self) {
        // Its process has ended by then, or the test has failed.
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn missed(record: &Value) -> i64 {
    record["loss"]["missed"].as_i64().unwrap_or(0)
}

/// Why single events cannot be told here: classic tracepoints miss those that come while a map is
/// read, and where they are used raw ones miss more.
fn why_not_exact() -> Option<&'static str> {
    let said = run(&["-v", "-o"]).stderr;
    let is_classic = String::from_utf8_lossy(&said).contains("events by tracepoint");
    is_classic.then_some("raw tracepoints are preempted here, and classic ones miss events")
}

/// Of a process nothing is missed, and nothing of others is counted.
#[test]
fn a_process_is_counted_by_itself() {
    let _turn = one_at_a_time();
    if let Some(why) = why_not_exact() {
        return skip("a_process_is_counted_by_itself", why);
    }
    let n: i64 = load(5000, 1000);
    let disk = SmallDisk::new(16 << 20).expect("a tmpfs can be mounted");
    let path = disk.path().to_str().expect("text");
    let n_text = n.to_string();
    let mut other = Workload::start("slab", &["churn", path, &n_text, "0"]);
    let disk = SmallDisk::new(16 << 20).expect("a tmpfs can be mounted");
    let path = disk.path().to_str().expect("text");
    let mut workload = Workload::start("slab", &["churn", path, &n_text, "10"]);
    let cgroup = MemoryCgroup::new(512 << 20);
    cgroup.add(workload.pid());
    let pid = workload.pid().to_string();
    let unified = UnifiedCgroup::with(workload.pid());
    let mut selections = vec![["-p", &pid], ["--cgroup", cgroup.path()]];
    if let Some(unified) = &unified {
        selections.push(["--cgroup", unified.0.to_str().expect("text")]);
    }
    // One after the other: two that begin at once disturb each other's trials.
    let tools = selections.into_iter().map(|[option, value]| {
        let args = ["--json", "0.2", option, value];
        let mut slabtop = RunningTool::spawn("slabtop", &args);
        let before = slabtop.next_record().expect("a record");
        (slabtop, before)
    });
    let mut tools: Vec<(RunningTool, Value)> = tools.collect();
    other.go();
    workload.run();
    other.truth();
    for (slabtop, before) in &mut tools {
        let made = 4 * n + 10;
        let seen = |record: &Value| growth(before, record, "filp", "allocs");
        let after = slabtop.record(|record| seen(record) + missed(record) >= made);
        let (allocs, missed) = (seen(&after), missed(&after));
        // It opens nothing else.
        assert!(
            (made - missed..made + 5).contains(&allocs),
            "{allocs} for {made}, {missed} missed"
        );
        let inodes = growth(before, &after, "sock_inode_cache", "allocs");
        assert!(
            (n - missed..=n).contains(&inodes),
            "{inodes} for {n}, {missed} missed"
        );
        assert_nothing_else_is_lost(&after);
    }
    drop(tools);
    workload.quit();
    other.quit();
}

/// Files that stay open: the cache that leaks comes first, with the stack that opened them.
#[test]
fn a_leak_is_found() {
    let _turn = one_at_a_time();
    let per_second = load("800", "200");
    let mut workload = Workload::start("slab", &["leak", "/proc/self/exe", per_second]);
    workload.go();
    let mut slabtop = RunningTool::spawn("slabtop", &["--leaks", "--json", "0.5"]);
    let record = slabtop.record(|record| {
        let first = &record["caches"][0];
        let is_first = first["name"] == cache(record, "filp")["name"];
        let mut stacks = record["stacks"].as_array().into_iter().flatten();
        let stack = stacks.find(|stack| stack["cache"] == first["name"]);
        is_first && stack.is_some_and(|stack| stack["net_objects"].as_u64() >= Some(100))
    });
    let mut stacks = record["stacks"].as_array().into_iter().flatten();
    let stack = stacks
        .find(|stack| stack["cache"] == record["caches"][0]["name"])
        .expect("it has a stack");
    assert_eq!(stack["comm"], "slab");
    let frames: Vec<&str> = stack["frames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert!(frames[0].starts_with("kmem_cache_alloc"), "{frames:?}");
    let has = |name: &str| frames.iter().any(|frame| frame.starts_with(name));
    assert!(has("alloc_empty_file") && has("path_openat"), "{frames:?}");
    assert!(!has("bpf_"), "{frames:?}");
    drop(slabtop);
    let opened = workload.stop().fact("opened");
    assert!(opened >= stack["net_objects"].as_u64().expect("a number"));
    workload.quit();
}

/// Each object that is made and freed is followed, and those that are kept are told from the others.
#[test]
fn objects_of_a_cache_are_followed() {
    let _turn = one_at_a_time();
    if let Some(why) = why_not_exact() {
        return skip("objects_of_a_cache_are_followed", why);
    }
    let n: i64 = load(5000, 1000);
    let disk = SmallDisk::new(16 << 20).expect("a tmpfs can be mounted");
    let path = disk.path().to_str().expect("text");
    let args = ["churn", path, &n.to_string(), "500"];
    let mut workload = Workload::start("slab", &args);
    let mut slabtop = RunningTool::spawn("slabtop", &["--json", "0.2", "--follow", "filp"]);
    // One without an event does not tell where the cache is on kernels without the iterator.
    let before = slabtop.record(|record| !record["stacks"].as_array().is_none_or(Vec::is_empty));
    assert_eq!(before["followed"].as_array().map(Vec::len), Some(1));
    workload.run();
    let of_workload = |record: &Value, field: &str| -> i64 {
        let stacks = record["stacks"].as_array().into_iter().flatten();
        let own = stacks.filter(|stack| stack["comm"] == "slab");
        own.map(|stack| number(stack, field)).sum()
    };
    let is_near =
        |figure: i64, truth: i64, record: &Value| (figure - truth).abs() <= missed(record);
    let record = slabtop.record(|record| {
        let truths = [
            ("allocs", 4 * n + 500),
            ("freed", 4 * n),
            ("net_objects", 500),
        ];
        let mut truths = truths.iter();
        truths.all(|(field, truth)| is_near(of_workload(record, field), *truth, record))
    });
    assert_next_to_nothing_is_lost(&record);
    let stacks = record["stacks"].as_array().expect("a list").iter();
    let own: Vec<&Value> = stacks.filter(|stack| stack["comm"] == "slab").collect();
    assert!(
        own.iter().all(|stack| stack["pid"] == workload.pid()),
        "{own:#?}"
    );
    workload.quit();
}

/// A table of objects that is full: what is made is counted all the same, and what is missing is said.
#[test]
fn a_full_table_is_said() {
    let _turn = one_at_a_time();
    if let Some(why) = why_not_exact() {
        return skip("a_full_table_is_said", why);
    }
    let disk = SmallDisk::new(16 << 20).expect("a tmpfs can be mounted");
    let path = disk.path().to_str().expect("text");
    let mut workload = Workload::start("slab", &["churn", path, "10", "2000"]);
    let args = ["--json", "0.2", "--follow", "filp", "--max-objects", "100"];
    let mut slabtop = RunningTool::spawn("slabtop", &args);
    slabtop.record(|record| !record["stacks"].as_array().is_none_or(Vec::is_empty));
    workload.run();
    let of_workload = |record: &Value, field: &str| -> i64 {
        let stacks = record["stacks"].as_array().into_iter().flatten();
        let own = stacks.filter(|stack| stack["comm"] == "slab");
        own.map(|stack| number(stack, field)).sum()
    };
    let record =
        slabtop.record(|record| of_workload(record, "allocs") + missed(record) >= 4 * 10 + 2000);
    let lost = of_workload(&record, "not_followed");
    assert!(lost >= 1900 - missed(&record), "{lost}");
    assert!(record["loss"]["objects"].as_i64() >= Some(lost), "{record}");
    assert!(of_workload(&record, "net_objects") <= 100);
    workload.quit();
}

#[test]
fn a_process_that_ends_is_said_to_have_ended() {
    let _turn = one_at_a_time();
    let mut workload = Workload::start("slab", &["leak", "/proc/self/exe", "100"]);
    let pid = workload.pid().to_string();
    let mut slabtop = RunningTool::spawn("slabtop", &["--json", "0.2", "-p", &pid]);
    let record = slabtop.next_record().expect("a record");
    assert_eq!(record["target"]["pid"], workload.pid());
    assert_eq!(record["target"]["ended"], false);
    workload.kill();
    slabtop.record(|record| record["target"]["ended"] == true);
}

#[track_caller]
fn run(args: &[&str]) -> Output {
    let output = Command::new(tool("slabtop")).args(args).output();
    output.expect("slabtop runs")
}

#[track_caller]
fn fails(args: &[&str], code: i32, text: &str) {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    assert!(said.contains(text), "{args:?}: {said}");
}

#[test]
fn bad_input_gets_a_line() {
    fails(&["-p", "4194304000"], 2, "PID");
    fails(&["-p", "4000000", "-o"], 2, "no process has PID 4000000");
    let mounts = memtools::cgroup::Mounts::find();
    let mount = mounts.of_memory().expect("there are cgroups");
    let file = mount.point.join("cgroup.procs");
    let file = file.to_str().expect("text");
    fails(&["--cgroup", file, "-o"], 2, "there is no cgroup");
    fails(&["--cgroup", "/no/such/group"], 2, "there is no cgroup");
    fails(
        &["--follow", "no-such-cache", "1", "1"],
        2,
        "no slab cache no-such-cache",
    );
    fails(&["-s", "x"], 2, "one of a, b, c");
    fails(&["0"], 2, "seconds");
}

#[test]
fn tables_have_an_end() {
    let _turn = one_at_a_time();
    let output = run(&["-C", "-r", "5", "0.1", "3"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert_eq!(text.matches("loadavg:").count(), 3);
    assert_eq!(text.matches("CACHE ").count(), 3);
    let first = text.split("\n\n").next().expect("a table");
    let lines = first.lines().filter(|line| !line.starts_with("LOST"));
    assert_eq!(lines.count(), 3 + 5, "{first}");
    assert!(!text.contains('\x1b'));
    let once = run(&["-o", "-s", "o", "-r", "0"]);
    let text = String::from_utf8(once.stdout).expect("it is text");
    assert!(text.lines().count() > 50);
    let objects = text
        .lines()
        .skip(3)
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    let objects: Vec<u64> = objects.collect();
    assert!(objects.is_sorted_by(|a, b| a >= b), "{objects:?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let _turn = one_at_a_time();
    let line = format!("{} 0.1 | head -n 1", tool("slabtop").display());
    let output = Command::new("sh")
        .args(["-c", &line])
        .output()
        .expect("sh runs");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn whoever_may_not_is_told_what_is_missing() {
    let line = format!(
        "setpriv --reuid 65534 --clear-groups {} -o",
        tool("slabtop").display()
    );
    if run_in("setpriv", &["--version"]).is_none() {
        return skip("whoever_may_not_is_told_what_is_missing", "no setpriv");
    }
    let output = Command::new("sh")
        .args(["-c", &line])
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("run as root"), "{said}");
}

fn run_in(program: &str, args: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then_some(output)
}

/// Whether programs of slabtop's are loaded, whoever has loaded them.
fn has_programs() -> bool {
    let mut programs = libbpf_rs::query::ProgInfoIter::default();
    programs.any(|program| matches!(program.name.to_str(), Some("on_kfree" | "on_kfree_record")))
}

/// SIGTERM and Ctrl-C end it as a user wants it, and nothing stays attached.
#[test]
fn signals_end_it() {
    let _turn = one_at_a_time();
    wait_until("no other slabtop runs", || !has_programs());
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut slabtop = RunningTool::spawn("slabtop", &["--json", "0.1"]);
        slabtop.next_record();
        assert!(has_programs());
        slabtop.signal(signal);
        let (_, said, status) = slabtop.wait_end();
        assert_eq!((status.code(), said.len()), (Some(0), 0), "{said:?}");
        wait_until("its programs are gone", || !has_programs());
    }
}

#[test]
fn the_view_shows_who_opens_files() {
    const NAME: &str = "the_view_shows_who_opens_files";
    let _turn = one_at_a_time();
    let Some(screen) = Screen::start(120, 40) else {
        return skip(NAME, "no tmux");
    };
    let mut workload = Workload::start("slab", &["leak", "/proc/self/exe", "100"]);
    workload.go();
    let slabtop = tool("slabtop");
    screen.line(&format!("{} 0.5; echo code=$?", slabtop.display()));
    screen.wait_for("ALLOC/s");
    screen.keys(&["/"]);
    screen.raw("filp");
    screen.keys(&["Enter"]);
    screen.wait_for(" shown");
    screen.keys(&["Home"]);
    screen.keys(&["Enter"]);
    screen.wait_for("made here by slab");
    screen.wait_for("alloc_empty_file");
    screen.keys(&["p"]);
    screen.wait_for("paused");
    screen.keys(&["p", "Enter"]);
    screen.keys(&["?"]);
    screen.wait_for("stacks of a cache");
    screen.keys(&["q", "q"]);
    screen.wait_for("code=0");
    workload.stop();
    workload.quit();
}
