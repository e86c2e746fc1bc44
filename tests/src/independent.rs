//! What other tools say that a workload leaks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::report::plain_name;

/// Bytes and blocks by the leaking function.
pub type LeakedBy = BTreeMap<String, (u64, u64)>;

/// The workload's leaks by LeakSanitizer, which it has to be built with.
pub fn leak_sanitizer(workload: &Path, args: &[&str]) -> LeakedBy {
    sanitized_leaks(&sanitized(workload, args, ""))
}

/// The same with a suppression file: what is left, and what each pattern took of it.
pub fn suppressing_leak_sanitizer(
    workload: &Path,
    args: &[&str],
    suppressions: &Path,
) -> (LeakedBy, LeakedBy) {
    let options = format!(
        ":print_suppressions=1:suppressions={}",
        suppressions.display()
    );
    let text = sanitized(workload, args, &options);
    // Suppressions used:
    //   count      bytes template
    //     100       5050 leak_small
    let table = text
        .lines()
        .skip_while(|line| *line != "Suppressions used:");
    let used = table.skip(2).map_while(|line| {
        let mut words = line.split_whitespace();
        let count = words.next()?.parse().ok()?;
        let bytes = words.next()?.parse().ok()?;
        Some((words.next()?.to_owned(), (bytes, count)))
    });
    (sanitized_leaks(&text), used.collect())
}

/// What LeakSanitizer prints.
fn sanitized(workload: &Path, args: &[&str], options: &str) -> String {
    let mut command = Command::new(workload);
    command.args(args).env(
        "LSAN_OPTIONS",
        format!("allocator_may_return_null=1:exitcode=0{options}"),
    );
    last_words(command)
}

fn sanitized_leaks(text: &str) -> LeakedBy {
    // Direct leak of 5050 byte(s) in 100 object(s) allocated from:
    //     #1 0x55c1d52fc54f in leak_small exact.c:46
    by_function(text, |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "leak", "of", bytes, "byte(s)", "in", count, ..] => Line::leak(bytes, count),
            [frame, _, "in", function, ..] if frame.starts_with('#') => Line::Frame(function),
            _ => Line::Other,
        }
    })
}

/// The most that was resident of a process, and what its BPF maps take, in bytes, as the kernel counts
/// them; maps that are mapped into it count twice.
pub fn memory_with_tables(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it is there");
    let tables = files.filter_map(|file| {
        let text = fs::read_to_string(file.ok()?.path()).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        line?.trim().parse::<u64>().ok()
    });
    peak.expect("it has a peak") * 1024 + tables.sum::<u64>()
}

/// The workload's leaks by valgrind. Nothing where that is not installed.
pub fn valgrind(workload: &Path, args: &[&str]) -> Option<LeakedBy> {
    Command::new("valgrind").arg("--version").output().ok()?;
    let mut command = Command::new("valgrind");
    command
        .args(["--leak-check=full", "--show-leak-kinds=all", "--"])
        .arg(workload)
        .args(args);
    // ==7== 4,848 (48 direct, 4,800 indirect) bytes in 1 blocks are definitely lost in loss record
    // ==7==    by 0x109A75: leak_map() (exceptions.cpp:76)
    Some(by_function(&last_words(command), |line| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        match words[..] {
            [bytes, "bytes", "in", count, "blocks", "are", ..]
            | [
                _,
                bytes,
                "direct,",
                _,
                "indirect)",
                "bytes",
                "in",
                count,
                ..,
            ] => Line::leak(bytes, count),
            ["at" | "by", _, function, ..] => Line::Frame(function),
            _ => Line::Other,
        }
    }))
}

enum Line<'a> {
    Leak(u64, u64),
    Frame(&'a str),
    Other,
}

impl Line<'_> {
    fn leak(bytes: &str, count: &str) -> Self {
        let number = |text: &str| text.replace([',', '('], "").parse().ok();
        match (number(bytes), number(count)) {
            (Some(bytes), Some(count)) => Self::Leak(bytes, count),
            _ => Self::Other,
        }
    }
}

/// Runs a workload from "go" to "quit" and returns its standard error.
fn last_words(mut command: Command) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(b"go\nquit\n").expect("the workload reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it is our child");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Adds each leak to every function in its stack whose name says that it leaks.
fn by_function(text: &str, parse: impl Fn(&str) -> Line<'_>) -> LeakedBy {
    let mut leaked = LeakedBy::new();
    let mut figures = (0, 0);
    for line in text.lines() {
        match parse(line) {
            Line::Leak(bytes, count) => figures = (bytes, count),
            Line::Frame(symbol) => {
                let function = plain_name(symbol);
                if function.starts_with("leak_") {
                    let sum = leaked.entry(function.to_owned()).or_default();
                    sum.0 += figures.0;
                    sum.1 += figures.1;
                }
            }
            Line::Other => {}
        }
    }
    leaked
}
