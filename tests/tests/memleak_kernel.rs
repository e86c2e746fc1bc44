//! memleak without a process: what it says of the kernel's memory is what the workload has made the
//! kernel hold.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::process::Command;

use memtools_tests::{
    Class, Figures, MemoryCgroup, Report, RunningTool, Stack, Truth, Workload, load, one_at_a_time,
    skip, tool, wait_until,
};

/// The workload's own name, which its memory is charged to.
const HOLDER: &str = "hold";

struct Kind {
    what: &'static str,
    class: Class,
    /// One of its functions; those that begin so are it as well.
    functions: &'static [&'static str],
    /// And one of these, if there are any.
    within: &'static [&'static str],
}

const FILES: Kind = Kind {
    what: "files",
    class: Class::Slab,
    functions: &["alloc_empty_file", "__alloc_file"],
    within: &["path_openat"],
};
/// The pipe itself, and its buffers.
const PIPES: Kind = Kind {
    what: "pipes",
    class: Class::Slab,
    functions: &["alloc_pipe_info"],
    within: &[],
};
const SOCKETS: Kind = Kind {
    what: "sockets",
    class: Class::Slab,
    functions: &["sock_alloc_inode"],
    within: &[],
};
const KEYS: Kind = Kind {
    what: "keys",
    class: Class::Slab,
    functions: &["user_preparse"],
    within: &[],
};
const MAPS: Kind = Kind {
    what: "map_bytes",
    class: Class::Vmalloc,
    functions: &["array_map_alloc", "bpf_map_area_alloc"],
    within: &[],
};
const CPU_VALUES: Kind = Kind {
    what: "cpu_values",
    class: Class::Percpu,
    functions: &[
        "array_map_alloc",
        "bpf_array_alloc_percpu",
        "bpf_map_alloc_percpu",
    ],
    within: &[],
};
const FILE_PAGES: Kind = Kind {
    what: "file_bytes",
    class: Class::Pages,
    functions: &["shmem_"],
    within: &[],
};
const HUGE_PAGES: Kind = Kind {
    what: "huge_bytes",
    class: Class::Pages,
    functions: &["do_huge_pmd_anonymous_page", "vma_alloc_anon_folio_pmd"],
    within: &[],
};

/// What the kernel allocates for its own books on the way to an object, or page.
const BESIDE: &[&str] = &[
    "alloc_slab_obj_exts",
    "alloc_slab_page",
    "allocate_slab",
    "new_slab",
    "memcg_",
    "security_",
    "pte_alloc",
    "__pte_alloc",
];

impl Kind {
    fn has(&self, stack: &Stack) -> bool {
        let any = |names: &[&str]| {
            let mut frames = stack.frames.iter();
            frames.any(|frame| names.iter().any(|name| frame.symbol.starts_with(name)))
        };
        stack.class == self.class
            && any(self.functions)
            && !any(BESIDE)
            && (self.within.is_empty() || any(self.within))
    }
}

/// What a kind holds for a process.
fn held(report: &Report, kind: &Kind, process: &str) -> Figures {
    let mut sum = Figures::default();
    for stack in report.stacks() {
        let owner = stack.frames.last().map(|frame| frame.symbol.as_str());
        if owner == Some(process) && kind.has(&stack) {
            sum.bytes += stack.figures.bytes;
            sum.count += stack.figures.count;
        }
    }
    sum
}

/// Within a hundredth, and never off by nothing but a rounding.
fn is_close(figure: u64, truth: u64) -> bool {
    figure.abs_diff(truth) <= truth / 100
}

fn spawn(args: &[&str]) -> RunningTool {
    let mut tool = RunningTool::spawn("memleak", args);
    tool.wait_stderr("tracing the kernel's memory");
    tool
}

fn next(tool: &mut RunningTool) -> Report {
    let line = tool.next_line().expect("memleak runs");
    Report::parse(&line).expect("a report")
}

/// The first report that is as it should be; else the last word is what was wrong.
#[track_caller]
fn report_until(
    tool: &mut RunningTool,
    what: &str,
    wrong: impl Fn(&Report) -> Vec<String>,
) -> Report {
    let mut found = None;
    let mut last = Vec::new();
    let mut tries = 0;
    wait_until(what, || {
        let report = next(tool);
        last = wrong(&report);
        tries += 1;
        if last.is_empty() {
            found = Some(report);
        } else if tries % 20 == 0 {
            println!("{what}: not yet: {last:?} loss {:?}", report.loss());
        }
        found.is_some()
    });
    found.expect("it was found")
}

fn has_kprobes() -> bool {
    memtools::attach::silence_libbpf();
    memtools::attach::has_kprobe()
}

/// How much of each kind there has to be, in the unit of its figure.
fn expected(truth: &Truth) -> Vec<(Kind, u64)> {
    let mut expected = vec![
        (FILES, truth.fact("files")),
        (PIPES, 2 * truth.fact("pipes")),
        (SOCKETS, truth.fact("sockets")),
        (KEYS, truth.fact("keys")),
        (CPU_VALUES, truth.fact("cpu_values")),
        (FILE_PAGES, truth.fact("file_bytes")),
        (HUGE_PAGES, truth.fact("huge_bytes")),
    ];
    if has_kprobes() {
        // Each has a page more, for what is not its value.
        let bytes = truth.fact("map_bytes");
        expected.push((MAPS, bytes + bytes / (64 << 10) * 4096));
    }
    expected
}

fn figure(report: &Report, kind: &Kind, process: &str) -> u64 {
    let held = held(report, kind, process);
    if kind.what.ends_with("_bytes") {
        held.bytes
    } else {
        held.count
    }
}

#[test]
fn what_is_held_is_accounted_and_comes_back_to_nothing() {
    let _turn = one_at_a_time();
    let n = load(2000, 500).to_string();
    let mut memleak = spawn(&["--by", "comm", "--json", "--older", "0", "1"]);
    let mut holder = Workload::start(HOLDER, &[n]);
    let truth = holder.run();
    let expected = expected(&truth);
    report_until(&mut memleak, "all is accounted", |report| {
        let kinds = expected.iter();
        kinds
            .map(|(kind, truth)| (kind.what, figure(report, kind, HOLDER), *truth))
            .filter(|(_, figure, truth)| !is_close(*figure, *truth))
            .map(|wrong| format!("{wrong:?}"))
            .collect()
    });
    holder.go();
    holder.truth();
    // Grace periods, and the collector of keys, take their time.
    let last = report_until(&mut memleak, "all is gone", |report| {
        let kinds = expected.iter();
        kinds
            .map(|(kind, truth)| (kind.what, figure(report, kind, HOLDER), *truth))
            .filter(|(_, figure, truth)| *figure > truth / 100)
            .map(|wrong| format!("{wrong:?}"))
            .collect()
    });
    for field in ["allocs", "stacks"] {
        assert_eq!(last.loss().get(field), None, "{:?}", last.loss());
    }
    holder.quit();
    let (_, said, status) = memleak.finish();
    assert!(status.success(), "{status}: {said:?}");
}

/// The same by totals alone, of one allocator, and of sampled allocations.
#[test]
fn totals_alone_are_accounted() {
    let _turn = one_at_a_time();
    let n = load(2000_u64, 500);
    let mut memleak = spawn(&["-C", "--slab", "--by", "comm", "--json", "1"]);
    let mut holder = Workload::start(HOLDER, &[n.to_string()]);
    let truth = holder.run();
    let report = report_until(&mut memleak, "pipes are accounted", |report| {
        let held = held(report, &PIPES, HOLDER);
        let is_right = is_close(held.count, 2 * truth.fact("pipes"));
        (!is_right)
            .then(|| format!("{held:?}"))
            .into_iter()
            .collect()
    });
    let others = report.stacks();
    assert!(others.iter().all(|stack| stack.class == Class::Slab));
    holder.go();
    holder.truth();
    report_until(&mut memleak, "pipes are gone", |report| {
        let held = held(report, &PIPES, HOLDER);
        (held.count > n / 50)
            .then(|| format!("{held:?}"))
            .into_iter()
            .collect()
    });
    holder.quit();
}

#[test]
fn its_own_memory_is_not_told_of() {
    let _turn = one_at_a_time();
    // By a name of its own: others may run it too.
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("itself");
    std::fs::copy(tool("memleak"), &program).expect("a copy");
    let mut command = Command::new(program);
    command.args(["--by", "comm", "--json", "--older", "0", "0.5"]);
    let mut memleak = RunningTool::of("memleak", command);
    for _ in 0..6 {
        let report = next(&mut memleak);
        let owners = report.stacks();
        let owners: Vec<&str> = owners
            .iter()
            .filter(|stack| stack.figures.count > 0)
            .filter_map(|stack| stack.frames.last().map(|frame| frame.symbol.as_str()))
            .collect();
        assert!(!owners.contains(&"itself"), "{owners:?}");
    }
}

#[test]
fn memory_is_charged_to_control_groups() {
    let _turn = one_at_a_time();
    let n = load(2000_u64, 500);
    let cgroup = MemoryCgroup::new(1 << 30);
    let mut memleak = spawn(&["--slab", "--by", "cgroup", "--json", "--older", "0", "1"]);
    let mut holder = Workload::start(HOLDER, &[n.to_string()]);
    cgroup.add(holder.pid());
    if cgroup.is_v1() && memtools::cgroup::Mounts::find().unified.is_some() {
        skip(
            "memory_is_charged_to_control_groups",
            "its cgroup is of version 1 beside version 2",
        );
        return;
    }
    holder.run();
    report_until(&mut memleak, "the cgroup has the pipes", |report| {
        let held = held(report, &PIPES, cgroup.path());
        let is_right = is_close(held.count, 2 * n);
        (!is_right)
            .then(|| format!("{held:?} of {}", cgroup.path()))
            .into_iter()
            .collect()
    });
    holder.quit();
}

#[test]
fn bcc_command_lines_trace_the_kernel() {
    let _turn = one_at_a_time();
    for line in [
        "1 2",
        "-a 1 1",
        "-o 60000 1 1",
        "-C 1 1",
        "-F 1 1",
        "-P 1 1",
        "-s 5 1 1",
        "-T 3 -z 16 -Z 4096 1 1",
        "--percpu 1 1",
        "--wa-missing-free --combined-only 1 1",
    ] {
        let output = Command::new(tool("memleak"))
            .args(line.split(' '))
            .output()
            .expect("memleak runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {output:?}");
        assert!(
            text.contains("stacks with outstanding allocations:"),
            "{line}: {text}"
        );
        assert!(text.contains("the kernel: "), "{line}: {text}");
    }
    let output = Command::new(tool("memleak"))
        .args(["-p", "1", "--slab"])
        .output()
        .expect("memleak runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn events_are_traced_one_by_one() {
    let _turn = one_at_a_time();
    let mut memleak = spawn(&["-t", "--percpu", "--json"]);
    let mut holder = Workload::start(HOLDER, &["10"]);
    let truth = holder.run();
    let wanted = truth.fact("cpu_values");
    let mut seen = 0;
    while seen < wanted {
        let record = memleak.next_record().expect("memleak runs");
        if record["type"] == "event" && record["kind"] == "alloc" && record["tid"] == holder.pid() {
            seen += 1;
        }
    }
    holder.quit();
}
