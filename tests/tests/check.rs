//! memtools-check: what it says of this kernel is so.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::process::{Command, Output};

use memtools_tests::{one_at_a_time, tool};
use serde_json::Value;

fn check(args: &[&str]) -> Output {
    let _turn = one_at_a_time();
    let output = Command::new(tool("memtools-check")).args(args).output();
    output.expect("memtools-check runs")
}

fn as_json() -> Value {
    let output = check(&["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert_eq!(text.matches('\n').count(), 1);
    serde_json::from_str(&text).expect("it is JSON")
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.expect("/proc is there").trim_end().to_owned()
}

/// What the kernels that the suite is tested on have, learnt by reading and trying by hand.
struct Known {
    release: &'static str,
    uprobe: &'static str,
    tracepoint: &'static str,
    has_growing_maps: bool,
    has_attach_cookies: bool,
    /// `None`: that depends on how it was built.
    has_kernel_functions: Option<bool>,
}

const KNOWN: &[Known] = &[
    Known {
        release: "5.10.",
        uprobe: "perf event uprobes",
        tracepoint: "BTF tracepoint",
        has_growing_maps: false,
        has_attach_cookies: false,
        has_kernel_functions: Some(true),
    },
    Known {
        release: "6.1.",
        uprobe: "perf event uprobes",
        tracepoint: "BTF tracepoint",
        has_growing_maps: true,
        has_attach_cookies: true,
        has_kernel_functions: Some(true),
    },
    Known {
        release: "6.12.",
        uprobe: "uprobe.multi",
        tracepoint: "BTF tracepoint",
        has_growing_maps: true,
        has_attach_cookies: true,
        has_kernel_functions: Some(true),
    },
    Known {
        release: "6.18.",
        uprobe: "uprobe.session",
        tracepoint: "BTF tracepoint",
        has_growing_maps: true,
        has_attach_cookies: true,
        has_kernel_functions: None,
    },
    Known {
        release: "7.2.",
        uprobe: "uprobe.session",
        tracepoint: "tracepoint",
        has_growing_maps: true,
        has_attach_cookies: true,
        has_kernel_functions: Some(true),
    },
];

#[test]
fn the_best_ways_are_those_that_this_kernel_has() {
    let release = release();
    let found = as_json();
    assert_eq!(found["kernel"], release.as_str());
    // A machine that was started for a kernel runs that one, and we know it.
    let wanted = std::env::var("MEMTOOLS_KERNEL").ok().map(|name| {
        let number = name.split('-').next().unwrap_or_default();
        format!("{number}.")
    });
    let known = KNOWN.iter().find(|known| match &wanted {
        Some(wanted) => known.release == wanted,
        None => release.starts_with(known.release),
    });
    assert!(
        known.is_some() || wanted.is_none(),
        "nothing is known of {wanted:?}"
    );
    let Some(known) = known else {
        let name = "the_best_ways_are_those_that_this_kernel_has";
        memtools_tests::skip(name, "only what the test kernels have is known");
        return;
    };
    assert!(release.starts_with(known.release), "this is {release}");
    assert_eq!(found["uprobes"]["best"], known.uprobe, "{found:#}");
    assert_eq!(found["tracepoints"]["best"], known.tracepoint, "{found:#}");
    assert_eq!(found["growing_maps"], known.has_growing_maps);
    assert_eq!(found["attach_cookies"], known.has_attach_cookies);
    if let Some(has_any) = known.has_kernel_functions {
        assert_eq!(found["functions"]["best"].is_string(), has_any, "{found:#}");
    }
}

/// The chosen way saw every event, and whatever stands before it did not.
#[test]
fn the_best_way_to_events_loses_none() {
    let found = as_json();
    for group in ["tracepoints", "functions"] {
        let best = &found[group]["best"];
        let ways = found[group]["ways"].as_array().expect("ways are a list");
        assert_eq!(ways.len(), 3);
        for way in ways {
            let is_exact = way["made"].is_u64() && way["made"] == way["seen"];
            assert!(!is_exact || way["made"].as_u64() > Some(1000), "{way:#}");
            assert_eq!(way["works"], is_exact, "{way:#}");
            assert!(
                way["why_not"].is_string() || way["made"].is_u64(),
                "{way:#}"
            );
        }
        let first = ways.iter().find(|way| way["works"] == true);
        assert_eq!(best, first.map_or(&Value::Null, |way| &way["way"]));
    }
    assert!(found["tracepoints"]["best"].is_string(), "{found:#}");
}

#[test]
fn a_tool_that_works_says_by_what() {
    let found = as_json();
    let tools = found["tools"].as_array().expect("tools are a list");
    let memleak = &tools[0];
    assert_eq!(memleak["tool"], "memleak");
    assert_eq!(memleak["works"], true, "{found:#}");
    let by = memleak["by"].as_str().expect("it says by what");
    assert!(by.starts_with(found["uprobes"]["best"].as_str().expect("there is one")));
    let oomkill = &tools[1];
    assert_eq!(oomkill["tool"], "oomkill");
    assert_eq!(oomkill["works"], true, "{found:#}");
    let slabtop = &tools[2];
    assert_eq!(slabtop["tool"], "slabtop");
    assert_eq!(slabtop["works"], true, "{found:#}");
    let syscount = &tools[3];
    assert_eq!(syscount["tool"], "syscount");
    assert_eq!(syscount["works"], true, "{found:#}");
    let funclatency = &tools[4];
    assert_eq!(funclatency["tool"], "funclatency");
    assert_eq!(funclatency["works"], true, "{found:#}");
}

#[test]
fn the_text_has_a_line_for_each_way() {
    let output = check(&[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(text.starts_with(&format!("Linux {}", release())), "{text}");
    for word in [
        "uprobe.session",
        "uprobe.multi",
        "perf event uprobes",
        "BTF tracepoint",
        "raw tracepoint",
        "fentry",
        "kprobe.multi",
        "memleak",
        "oomkill",
        "slabtop",
        "syscount",
        "funclatency",
    ] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert!(text.matches("<- the best here").count() >= 2, "{text}");
}

#[test]
fn bad_input_is_one_line() {
    let output = check(&["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(text.contains("--no-such-flag"));
}

/// Without a permission nothing is said about the kernel.
#[test]
fn a_user_is_told_what_is_missing() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    // A place where anybody may run it.
    let copy = std::env::temp_dir().join(format!("memtools-check-{}", std::process::id()));
    std::fs::copy(tool("memtools-check"), &copy).expect("it can be copied");
    let _turn = one_at_a_time();
    let output = Command::new(&copy).uid(NOBODY).gid(NOBODY).output();
    let _ = std::fs::remove_file(&copy);
    let output = output.expect("memtools-check runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(text.contains("CAP_BPF"), "{text}");
    assert!(!text.contains("the kernel has no"), "{text}");
}
