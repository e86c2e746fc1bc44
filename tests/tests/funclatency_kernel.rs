//! funclatency on functions of the kernel: they are called as often as a program makes them be.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::process::Command;
use std::time::Instant;

use memtools_tests::{Funclatency, Workload, load, one_at_a_time, skip, tool};

/// Why this kernel's functions cannot be traced, if they cannot.
fn why_not() -> Option<String> {
    let output = Command::new(tool("funclatency"))
        .args(["-d", "0.01", "vfs_read"])
        .output()
        .expect("funclatency runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.contains("functions of the kernel cannot be traced here")
        .then_some(said)
}

/// Says why, if it skips the test.
fn is_skipped(test: &str) -> bool {
    let why_not = why_not();
    if let Some(why_not) = &why_not {
        skip(test, why_not.trim_end());
    }
    why_not.is_some()
}

/// The program reads "go" byte by byte, of which the first read goes on already, makes its calls, and
/// waits in a last read.
#[test]
fn functions_are_called_as_often_as_a_program_makes_them_be() {
    if is_skipped("functions_are_called_as_often_as_a_program_makes_them_be") {
        return;
    }
    let _turn = one_at_a_time();
    let reads: u64 = load(20_000, 3_000);
    let work = ["read_zero", &reads.to_string(), "sleep_1ms", "50"];
    for how in [&[][..], &["-k"]] {
        let mut workload = Workload::start("latency", &work);
        let pid = workload.pid().to_string();
        let mut args = how.to_vec();
        args.extend(["-p", &pid, "vfs_read", "do_nanosleep"]);
        let funclatency = Funclatency::start(&args);
        let truth = workload.run();
        let found = funclatency.finish();
        println!("{how:?}: {:?}", found.said);
        let function = found.function("vfs_read");
        let [calls, count, inside, unwound, missed] = function.account();
        println!("{how:?}: {:?}", function.account());
        assert_eq!((calls, inside, unwound), (reads + 3, 1, 0), "{how:?}");
        // Without preemption 5.10 holds as many returns of a kretprobe as there are CPUs, for all
        // threads: some that wait for a pipe take them all.
        assert_eq!(count + missed, reads + 2, "{how:?}");
        if how.is_empty() {
            assert_eq!(missed, 0);
        }
        assert_eq!(function.get("began_before"), 0);
        let function = found.function("do_nanosleep");
        assert_eq!(function.account(), [50, 50, 0, 0, 0], "{how:?}");
        let p50 = truth.fact("sleep_1ms.p50");
        function.assert_near("p50_ns", p50, 10, load(50_000, 2_000_000));
        assert_eq!(function.0["module"], "vmlinux");
        assert_eq!(found.events_lost(), 0);
        workload.quit();
    }
}

/// Many threads sleep at once: more than the kernel holds returns for, if it holds few.
#[test]
fn many_threads_sleep_at_once() {
    if is_skipped("many_threads_sleep_at_once") {
        return;
    }
    let _turn = one_at_a_time();
    for how in [&[][..], &["-k"]] {
        let mut workload = Workload::start("latency", &["sleep_in_threads", "100"]);
        let pid = workload.pid().to_string();
        let mut args = how.to_vec();
        args.extend(["-p", &pid, "do_nanosleep"]);
        let funclatency = Funclatency::start(&args);
        workload.run();
        let found = funclatency.finish();
        let function = found.function("do_nanosleep");
        let [calls, count, inside, unwound, missed] = function.account();
        println!("{how:?}: {:?}", function.account());
        // What was not seen is said: entries, or returns. What is missed may be another process's.
        let lost = found.events_lost();
        assert!(calls <= 100 && calls + lost >= 100, "{calls}, {lost} lost");
        assert_eq!(count + inside + missed, calls);
        assert_eq!(unwound, 0);
        workload.quit();
    }
}

#[test]
fn two_hundred_functions_are_traced() {
    if is_skipped("two_hundred_functions_are_traced") {
        return;
    }
    let _turn = one_at_a_time();
    let reads: u64 = load(5_000, 1_000);
    let mut workload = Workload::start("latency", &["read_zero", &reads.to_string()]);
    let pid = workload.pid().to_string();
    let began = Instant::now();
    let patterns = ["vfs_*", "__x64_sys_[a-m]*"];
    let funclatency = Funclatency::start(&[&["-p", &pid, "-F"], &patterns[..]].concat());
    println!("attached in {:?}", began.elapsed());
    workload.run();
    let found = funclatency.finish();
    let functions = found.record["functions"].as_array().expect("a list");
    println!("{} functions, {:?}", functions.len(), found.said);
    assert!(functions.len() >= 200, "{}", functions.len());
    let read = found.function("vfs_read");
    let [calls, count, inside, unwound, missed] = read.account();
    println!("{:?}", read.account());
    assert_eq!((calls, inside, unwound), (reads + 3, 1, 0));
    assert_eq!(count + missed, reads + 2);
    if !found.is_by_kretprobes() {
        assert_eq!(missed, 0);
    }
    let idle = functions.iter().filter(|function| function["calls"] == 0);
    assert!(idle.count() > 100);
    assert_eq!(found.events_lost(), 0);
    workload.quit();
}

/// Interrupts call functions in the middle of those of threads.
#[test]
fn interrupts_disturb_no_thread() {
    if is_skipped("interrupts_disturb_no_thread") {
        return;
    }
    let _turn = one_at_a_time();
    let reads: u64 = load(20_000, 3_000);
    let mut workload = Workload::start("latency", &["read_zero", &reads.to_string()]);
    let pid = workload.pid().to_string();
    // The second is called from timers' interrupts.
    let args = [
        "-p",
        &pid,
        "vfs_read",
        "hrtimer_interrupt",
        "ktime_get_update_offsets_now",
    ];
    let funclatency = Funclatency::start(&args);
    workload.run();
    let found = funclatency.finish();
    let read = found.function("vfs_read");
    let [calls, count, inside, _, missed] = read.account();
    assert_eq!(calls + found.events_lost(), reads + 3 + found.events_lost());
    assert_eq!(count + inside + missed, calls);
    assert!(missed <= found.events_lost(), "{}", read.0);
    workload.quit();
}

#[test]
fn slow_calls_have_their_stacks() {
    if is_skipped("slow_calls_have_their_stacks") {
        return;
    }
    let _turn = one_at_a_time();
    let mut workload = Workload::start("latency", &["sleep_50ms", "3"]);
    let pid = workload.pid().to_string();
    let args = ["-p", &pid, "--outliers", "2", "--stack", "do_nanosleep"];
    let funclatency = Funclatency::start(&args);
    workload.run();
    let found = funclatency.finish();
    let outliers = found.record["outliers"].as_array().expect("a list");
    assert_eq!(outliers.len(), 2);
    for call in outliers {
        assert!(call["ns"].as_u64() >= Some(50_000_000), "{call}");
        assert_eq!(call["comm"], "latency");
        let stack = call["stack"].as_array().expect("a stack");
        let has = |name: &str| {
            stack
                .iter()
                .any(|frame| frame.as_str().is_some_and(|f| f.contains(name)))
        };
        assert!(has("nanosleep"), "{call}");
    }
    workload.quit();
}
