//! syscount beside strace: the same deterministic command under each, every call counted.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use memtools_tests::{path_of, skip, tool};
use serde_json::Value;

/// Programs, and no scripts that stand before them: what those do depends on where they are called.
const PATH: &str = "/usr/bin:/bin";

type Counts = BTreeMap<String, u64>;

/// What `strace -f` logged, every call by its table and name.
fn strace(command: &[String], directory: &Path) -> Counts {
    let log = directory.join("strace.log");
    let output = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg("--")
        .args(command)
        .env_clear()
        .env("PATH", PATH)
        .current_dir(directory)
        .stdin(Stdio::null())
        // Pipes, as under syscount: many a command asks what it writes to.
        .output()
        .expect("strace runs");
    assert!(output.status.code().is_some(), "{command:?}: {output:?}");
    let is_32_bit = is_32_bit_program(Path::new(&command[0]));
    counted(&fs::read_to_string(log).expect("its log"), is_32_bit)
}

/// By its header.
fn is_32_bit_program(path: &Path) -> bool {
    const CLASS: usize = 4;
    fs::read(path).is_ok_and(|bytes| bytes.get(CLASS) == Some(&1))
}

/// `PID NAME(ARGUMENTS…`; the end of a call that was interrupted is `PID <... NAME resumed>`. Of a
/// 32-bit program all calls after the first exec are 32-bit ones.
fn counted(log: &str, is_32_bit: bool) -> Counts {
    let mut counts = Counts::new();
    let mut turned: BTreeSet<&str> = BTreeSet::new();
    for line in log.lines() {
        let (pid, rest) = line.split_once(' ').expect("a PID");
        let rest = rest.trim_start();
        let Some((name, _)) = rest.split_once('(') else {
            continue;
        };
        if !name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_') {
            continue;
        }
        let prefix = if turned.contains(pid) { "i386:" } else { "" };
        *counts.entry(format!("{prefix}{name}")).or_default() += 1;
        if name == "execve" && is_32_bit {
            turned.insert(pid);
        }
    }
    counts
}

fn syscount(command: &[String], directory: &Path) -> (Counts, Value) {
    let output = Command::new(tool("syscount"))
        .args(["--json", "--follow", "--"])
        .args(command)
        .env_clear()
        .env("PATH", PATH)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    // The command writes to the same standard output.
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find(|line| line.contains("\"type\":\"syscalls\""));
    let line = line.expect("a record");
    let at = line
        .find("{\"v\":1,\"tool\":\"syscount\"")
        .expect("a record");
    let record: Value = serde_json::from_str(&line[at..]).expect("JSON");
    let mut counts = Counts::new();
    for row in record["rows"].as_array().expect("a list") {
        let name = row["syscall"].as_str().expect("a text");
        let prefix = if row["abi"] == "i386" { "i386:" } else { "" };
        let count = row["count"].as_u64().expect("a number");
        *counts.entry(format!("{prefix}{name}")).or_default() += count;
    }
    (counts, record["loss"].clone())
}

/// A 32-bit program without a libc: three calls to write, and the end.
const PROGRAM_32: &str = "
.globl _start
_start: mov $3, %esi
1:      mov $20, %eax
        int $0x80
        dec %esi
        jnz 1b
        mov $1, %eax
        xor %ebx, %ebx
        int $0x80
";

/// Assembled and linked by what compiles the workloads; `None`: this machine cannot.
fn program_32(directory: &Path) -> Option<String> {
    let source = directory.join("program32.s");
    let program = directory.join("program32");
    fs::write(&source, PROGRAM_32).ok()?;
    let built = Command::new("cc")
        .args(["-m32", "-nostdlib", "-static", "-o"])
        .args([&program, &source])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let runs = Command::new(&program)
        .status()
        .is_ok_and(|status| status.success());
    (built && runs).then(|| program.display().to_string())
}

/// Files for commands to read.
fn make_files(directory: &Path) {
    let tree = directory.join("tree");
    for name in ["a", "b/c", "b/d"] {
        fs::create_dir_all(tree.join(name)).expect("a directory");
        for file in 0..20 {
            let text = format!("{name} {file}\n").repeat(50 + file);
            fs::write(tree.join(name).join(format!("file{file}")), text).expect("a file");
        }
    }
    let source = "int twice(int x) { return 2 * x; }\nint main(void) { return twice(0); }\n";
    fs::write(directory.join("program.c"), source).expect("a file");
}

fn is_there(program: &str) -> bool {
    let mut places = PATH.split(':').map(Path::new);
    let is_there = places.any(|bin| bin.join(program).is_file());
    if !is_there {
        skip(&format!("counts_are_straces: {program}"), "not installed");
    }
    is_there
}

fn commands(directory: &Path) -> Vec<Vec<String>> {
    let shell = "for i in 1 2 3; do /bin/true; done; test -d tree && echo yes";
    let mut commands: Vec<Vec<String>> = [
        &["ls", "-lR", "tree"][..],
        &["tar", "cf", "tree.tar", "tree"],
        &["gcc", "-O1", "-o", "program", "program.c"],
        &["python3", "-I", "-S", "-c", "print(sum(range(1000)))"],
        &["find", "tree", "-name", "file1*"],
        &["sh", "-c", shell],
        &["sort", "-r", "tree/a/file1"],
        &["grep", "-rc", "b", "tree"],
        &["perl", "-e", "print join ',', map { $_ * 2 } 1..100"],
        &["sed", "s/a/b/", "tree/a/file3"],
        &["cp", "-r", "tree", "copy"],
    ]
    .iter()
    .filter(|command| is_there(command[0]))
    .map(|command| command.iter().map(|&word| word.to_owned()).collect())
    .collect();
    match program_32(directory) {
        Some(program) => commands.push(vec![program]),
        None => skip(
            "counts_are_straces: a 32-bit program",
            "none can be built and run",
        ),
    }
    if let Some(calls) = path_of("calls") {
        // Threads one after the other: none waits for another by chance.
        commands.push(vec![calls.display().to_string(), "once".to_owned()]);
    }
    commands
}

/// What differs from one run of the same command to the next, whoever looks on: whether a thread has to
/// wait for another, and how often a name for a temporary file is drawn (gcc).
fn without_chance(mut counts: Counts) -> Counts {
    const BY_CHANCE: [&str; 5] = [
        "futex",
        "getrandom",
        "restart_syscall",
        "rt_sigreturn",
        "sched_yield",
    ];
    counts.retain(|name, _| !BY_CHANCE.contains(&name.as_str()));
    counts
}

/// By call: how often here, and how often by strace.
fn differences(counts: &Counts, truth: &Counts) -> BTreeMap<String, (u64, u64)> {
    let of = |counts: &Counts, name: &str| counts.get(name).copied().unwrap_or(0);
    let names = counts.keys().chain(truth.keys());
    let pairs = names.map(|name| (name.clone(), (of(counts, name), of(truth, name))));
    pairs.filter(|(_, (one, other))| one != other).collect()
}

#[test]
fn counts_are_straces() {
    /// Where memory lies differs from run to run, and with it now and then a call to brk.
    const TRIES: usize = 4;
    if !memtools_tests::is_installed("strace") {
        return skip("counts_are_straces", "strace is not installed");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    make_files(directory);
    let commands = commands(directory);
    for command in &commands {
        // What a first run leaves behind (a copy, a cache) is there for both then.
        syscount(command, directory);
        let mut wrong = BTreeMap::new();
        for _ in 0..TRIES {
            let truth = without_chance(strace(command, directory));
            let (counts, loss) = syscount(command, directory);
            let kinds = loss.as_object().map(serde_json::Map::len);
            assert_eq!(kinds, Some(0), "{command:?}: {loss}");
            wrong = differences(&without_chance(counts), &truth);
            if wrong.is_empty() {
                let calls: u64 = truth.values().sum();
                println!("{command:?}: {calls} calls");
                break;
            }
            println!("{command:?}: {wrong:?}");
        }
        assert!(wrong.is_empty(), "{command:?}: {wrong:?}");
    }
}

#[test]
fn straces_log_is_understood() {
    let log = "7 execve(\"/bin/ls\", [\"ls\"], 0x7ff /* 3 vars */) = 0\n\
               7 getpid() = 7\n8 read(0,  <unfinished ...>\n8 <... read resumed>\"\", 1) = 0\n\
               7 exit(0) = ?\n7 +++ exited with 0 +++\n8 --- SIGCHLD {si_signo=SIGCHLD} ---\n";
    let counts = counted(log, true);
    let wanted = [
        ("execve", 1),
        ("i386:exit", 1),
        ("i386:getpid", 1),
        ("read", 1),
    ];
    let wanted = wanted.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts, Counts::from(wanted));
}
