//! `--folded`, `--flamegraph` and `--pprof`: what other programs read from these files is what the
//! workload says.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use memtools_tests::{
    Memleak, Outcome, Truth, Workload, assert_no_probe_left, path_of, skip, trace,
};
use tempfile::TempDir;

const NO_ARGS: &[&str] = &[];
const FAILURE: i32 = 1;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// The three files in a directory of their own.
struct Files {
    directory: TempDir,
    folded: PathBuf,
    flamegraph: PathBuf,
    pprof: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = |name| directory.path().join(name);
        Self {
            folded: file("folded"),
            flamegraph: file("svg"),
            pprof: file("pb.gz"),
            directory,
        }
    }

    fn flags(&self) -> [&str; 6] {
        [
            "--folded",
            text(&self.folded),
            "--flamegraph",
            text(&self.flamegraph),
            "--pprof",
            text(&self.pprof),
        ]
    }

    /// All of them say what the workload says of its functions. Returns the bytes of all together.
    #[track_caller]
    fn agree_with(&self, truth: &Truth) -> u64 {
        let folded = fs::read_to_string(&self.folded).expect("it was written");
        let folded = Folded::parse(&folded);
        let flames = flames(&fs::read_to_string(&self.flamegraph).expect("it was written"));
        assert_eq!(flames.get("all"), Some(&folded.total));
        for function in &truth.functions {
            let bytes = function.bytes.filter(|bytes| *bytes > 0);
            let name = &function.function;
            assert_eq!(folded.by_function.get(name).copied(), bytes, "{name}");
            assert_eq!(flames.get(name).copied(), bytes, "{name}");
        }
        let pprof = fs::read(&self.pprof).expect("it was written");
        assert!(pprof.starts_with(b"\x1f\x8b"), "it is packed by gzip");
        let files = self.directory.path().read_dir().expect("it is ours");
        let left = files.flatten().map(|file| file.file_name());
        let left = left.filter(|name| name.to_string_lossy().ends_with(".tmp"));
        assert_eq!(left.count(), 0);
        folded.total
    }
}

/// `outermost;…;innermost BYTES`, a line for each stack.
#[derive(Default)]
struct Folded {
    total: u64,
    by_function: BTreeMap<String, u64>,
}

impl Folded {
    #[track_caller]
    fn parse(text: &str) -> Self {
        let mut folded = Self::default();
        for line in text.lines() {
            let (stack, bytes) = line.rsplit_once(' ').expect("a stack and a figure");
            let bytes: u64 = bytes.parse().expect("a number");
            folded.total += bytes;
            for frame in stack.split(';') {
                *folded.by_function.entry(frame.to_owned()).or_default() += bytes;
            }
        }
        folded
    }
}

/// The bytes of each name in the picture.
#[track_caller]
fn flames(picture: &str) -> BTreeMap<String, u64> {
    let document = roxmltree::Document::parse(picture).expect("it is XML");
    assert_eq!(document.root_element().tag_name().name(), "svg");
    let mut flames = BTreeMap::new();
    for node in document.descendants() {
        let Some(bytes) = node.attribute("data-v") else {
            continue;
        };
        let mut children = node.children();
        let title = children.find(|child| child.has_tag_name("title"));
        let title = title.and_then(|title| title.text()).expect("a title");
        let name = title.lines().next().expect("a name");
        *flames.entry(name.to_owned()).or_default() += bytes.parse::<u64>().expect("a number");
    }
    assert!(document.descendants().any(|node| node.has_tag_name("rect")));
    flames
}

#[test]
fn a_process_is_exported_at_the_end() {
    let files = Files::new();
    let session = trace("basic", NO_ARGS, &files.flags()).agrees();
    let total = files.agree_with(&session.truth);
    assert_eq!(total, session.truth.total_bytes());
    assert_eq!(session.report().total_bytes(), session.truth.total_bytes());
}

#[test]
fn a_command_is_exported_at_its_end() {
    let files = Files::new();
    let program = path_of("exits").expect("build.rs has built it");
    let args = [&["-o", "0"], &files.flags()[..], &["--", text(&program)]].concat();
    let outcome = Outcome::of(&args).expect_code(7);
    let truth = outcome.truth();
    let total = files.agree_with(&truth);
    // Where libc has no debug symbols, its thread's thread-local storage counts too.
    let others = total - truth.total_bytes();
    assert!(others <= 1024, "{others}");
}

/// A recording of the workload `basic`.
#[track_caller]
fn record(file: &Path) -> Truth {
    let mut workload = Workload::start("basic", NO_ARGS);
    let pid = workload.pid().to_string();
    let args = ["record", "-o", text(file), "--older", "0", "-p", &pid];
    let mut recorder = Memleak::spawn(Memleak::command(&args));
    recorder.wait_tracing();
    let truth = workload.run();
    recorder.interrupt().expect_code(0);
    workload.quit();
    truth
}

#[test]
fn a_recording_is_exported() {
    let files = Files::new();
    let file = files.directory.path().join("run.leak");
    let truth = record(&file);
    let args = [&["show", text(&file)], &files.flags()[..]].concat();
    let outcome = Outcome::of(&args).expect_code(0);
    assert!(outcome.stdout.is_empty(), "{outcome:#?}");
    files.agree_with(&truth);
    // A report as well, if it is asked for.
    let args = [&args[..], &["--json"]].concat();
    let report = Outcome::of(&args).expect_code(0).report();
    report.agrees_with(&truth);
    files.agree_with(&truth);
}

/// Figures by function as `go tool pprof -top` lists them, in its order.
#[track_caller]
fn top(profile: &Path, flags: &[&str]) -> Vec<(String, u64)> {
    let home = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("go")
        .args(["tool", "pprof", "-top", "-unit=B"])
        .args(flags)
        .arg(profile)
        .env("HOME", home.path())
        .env("PPROF_TMPDIR", home.path())
        .stdin(Stdio::null())
        .output()
        .expect("go runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {said}{wrong}");
    //       flat  flat%   sum%        cum   cum%
    //      8192B 42.25% 42.25%      8192B 42.25%  leak_4096
    let rows = said.lines().skip_while(|line| !line.contains("flat%"));
    let rows = rows.skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [flat, _, _, _, _, name, ..] = words[..] else {
            return None;
        };
        let flat = flat.trim_end_matches('B').parse().ok()?;
        Some((name.to_owned(), flat))
    });
    rows.filter(|(_, flat)| *flat > 0).collect()
}

#[test]
fn go_reads_the_profile() {
    if Command::new("go").arg("version").output().is_err() {
        skip("go_reads_the_profile", "no go");
        return;
    }
    let files = Files::new();
    trace("basic", NO_ARGS, &files.flags()).agrees();
    let expected = |figures: &[(&str, u64)]| {
        let rows = figures.iter();
        rows.map(|(name, flat)| ((*name).to_owned(), *flat))
            .collect::<Vec<_>>()
    };
    let live_bytes = expected(&[
        ("leak_4096", 8192),
        ("leak_256", 6400),
        ("leak_64", 3200),
        ("leak_16", 1600),
    ]);
    assert_eq!(top(&files.pprof, &[]), live_bytes);
    let by = |index: &str| top(&files.pprof, &[&format!("-sample_index={index}")]);
    assert_eq!(by("inuse_space"), live_bytes);
    let live_count = [
        ("leak_16", 100),
        ("leak_64", 50),
        ("leak_256", 25),
        ("leak_4096", 2),
    ];
    assert_eq!(by("inuse_objects"), expected(&live_count));
    let all_bytes = [
        ("leak_4096", 8192),
        ("leak_256", 6400),
        ("borrow_512", 5120),
        ("leak_64", 3200),
        ("leak_16", 1600),
    ];
    assert_eq!(by("alloc_space"), expected(&all_bytes));
    let all_count = [
        ("leak_16", 100),
        ("leak_64", 50),
        ("leak_256", 25),
        ("borrow_512", 10),
        ("leak_4096", 2),
    ];
    assert_eq!(by("alloc_objects"), expected(&all_count));
}

/// The report and the other files are there all the same.
#[test]
fn a_file_that_cannot_be_written_is_said() {
    const NOWHERE: &str = "/dev/full";
    let files = Files::new();
    let file = files.directory.path().join("run.leak");
    let truth = record(&file);
    let exports = ["--flamegraph", NOWHERE, "--folded", text(&files.folded)];
    let is_said = |outcome: Outcome| {
        let outcome = outcome.expect_code(FAILURE);
        let mut said = outcome.stderr.iter().filter(|line| line.contains(NOWHERE));
        assert!(said.next().is_some_and(|line| line.contains("error")));
        assert_eq!(said.next(), None);
        outcome.report().agrees_with(&truth);
        let folded = fs::read_to_string(&files.folded).expect("it was written");
        fs::remove_file(&files.folded).expect("it is ours");
        assert_eq!(Folded::parse(&folded).total, truth.total_bytes());
    };
    is_said(Outcome::of(
        &[&["show", text(&file), "--json"], &exports[..]].concat(),
    ));

    let mut workload = Workload::start("basic", NO_ARGS);
    let flags = [&["-o", "0", "--json"], &exports[..]].concat();
    let memleak = Memleak::attach(workload.pid(), &flags);
    workload.run();
    is_said(memleak.interrupt());
    assert_no_probe_left(workload.pid());
    workload.quit();
}

#[test]
fn a_place_that_cannot_be_is_refused_before_anything_is_traced() {
    for place in ["/proc/no/such/place", "/proc"] {
        let pid = std::process::id().to_string();
        let outcome = Outcome::of(&["-p", &pid, "--pprof", place, "--json"]).expect_code(2);
        assert_eq!(outcome.times_tracing(), 0);
        assert!(outcome.stderr[0].contains(place), "{:?}", outcome.stderr);
        assert_eq!(outcome.stderr.len(), 1);
    }
}

#[test]
fn an_export_may_go_to_standard_output() {
    let files = Files::new();
    let file = files.directory.path().join("run.leak");
    let truth = record(&file);
    let args = ["show", text(&file), "--folded", "/dev/stdout"];
    let outcome = Outcome::of(&args).expect_code(0);
    let total = Folded::parse(&outcome.stdout.join("\n")).total;
    assert_eq!(total, truth.total_bytes());

    // Behind what is in the file already, and the name in /dev stays what it was.
    let before = fs::read_link("/dev/stdout").ok();
    let printed = files.directory.path().join("printed");
    let mut stdout = File::create(&printed).expect("it is ours");
    std::io::Write::write_all(&mut stdout, b"first 1\n").expect("it is ours");
    let mut command = Memleak::command(&args);
    command.stdin(Stdio::null()).stdout(stdout);
    let output = command.output().expect("memleak starts");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_link("/dev/stdout").ok(), before);
    let printed = fs::read_to_string(&printed).expect("it is there");
    assert!(printed.starts_with("first 1\n"), "{printed}");
    assert_eq!(Folded::parse(&printed).total, truth.total_bytes() + 1);
}

#[test]
fn an_export_may_go_to_a_fifo() {
    let files = Files::new();
    let file = files.directory.path().join("run.leak");
    let truth = record(&file);
    let fifo = files.directory.path().join("fifo");
    let name = CString::new(fifo.as_os_str().as_bytes()).expect("a path has no NUL");
    // SAFETY: a text that ends in NUL and outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::read_to_string(fifo).expect("it is text"))
    };
    Outcome::of(&["show", text(&file), "--folded", text(&fifo)]).expect_code(0);
    let read = reader.join().expect("it reads");
    assert_eq!(Folded::parse(&read).total, truth.total_bytes());
    let found = fs::symlink_metadata(&fifo).expect("it is there");
    assert!(!found.is_file(), "the FIFO was replaced");
}
