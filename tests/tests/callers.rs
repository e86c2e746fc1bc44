//! Who called: the frames of a stack are those of the program, through libraries that have no
//! frame pointers, through inlining, recursion and unloading.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;

use memtools_tests::{Report, trace, workloads_dir};

const NO_ARGS: &[&str] = &[];

/// The first frame of the program itself, but for what a header inlined into it, is the function
/// that called into the library.
#[track_caller]
fn is_called_by(report: &Report, function: &str, object: &str) {
    let stacks = report.stacks_of(function);
    assert!(!stacks.is_empty(), "{function} is in no stack");
    for stack in stacks {
        let caller = stack.caller_in(object);
        assert!(
            caller.is_some_and(|frame| frame.is(function)),
            "{function} is not the caller in {:#?}",
            stack.frames
        );
    }
}

#[test]
fn functions_of_libc_that_allocate_show_their_caller() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let lines = directory.path().join("lines");
    fs::write(lines, "one line\ntwo;three\n").expect("a file can be written");
    let session = trace("wrappers", &[directory.path()], &[]).agrees();
    let report = session.report();
    for function in &session.truth.functions {
        is_called_by(&report, &function.function, "wrappers");
    }
}

#[test]
fn every_operator_new_shows_its_caller() {
    let report = trace("exceptions", &["10"], &[]).agrees().report();
    for function in [
        "leak_new",
        "leak_new_array",
        "leak_new_aligned",
        "leak_new_nothrow",
    ] {
        is_called_by(&report, function, "exceptions");
    }
    for stack in report.stacks_of("leak_new") {
        let symbols: Vec<&str> = stack.frames.iter().map(|f| f.symbol.as_str()).collect();
        assert!(symbols[0].starts_with("operator new"), "{symbols:?}");
        assert!(stack.frames[1].is("leak_new"), "{symbols:?}");
        assert!(stack.has("main"), "{symbols:?}");
    }
}

/// The functions of a container are templates in the program: inlined or not, they lie between.
#[test]
fn containers_show_who_uses_them() {
    let report = trace("exceptions", &["10"], &[]).agrees().report();
    for function in ["leak_vector", "leak_map"] {
        for stack in report.stacks_of(function) {
            assert!(stack.has("main"), "{:#?}", stack.frames);
            assert!(stack.frames[0].symbol.starts_with("operator new"));
        }
    }
}

/// libstdc++ uses rbp for something else while it makes a string, so that a walk by frame
/// pointers ends there. It has to end in what is true: no byte is lost, no frame made up.
#[test]
fn a_string_made_inside_libstdcpp_is_not_lost() {
    let session = trace("exceptions", &["10"], &[]);
    let characters = session.truth.fact("string_characters");
    let report = session.report();
    let stacks = report.stacks();
    let found = stacks.iter().find(|stack| {
        let mut symbols = stack.frames.iter().map(|frame| &frame.symbol);
        symbols.any(|symbol| symbol.contains("basic_string")) && stack.figures.bytes == characters
    });
    let stack = found.expect("a stack through basic_string holds the characters");
    for frame in &stack.frames {
        assert!(!frame.module.is_empty(), "{:#?}", stack.frames);
    }
}

#[test]
fn inlined_frames_are_shown() {
    let report = trace("inlined", NO_ARGS, &[]).agrees().report();
    for function in ["leak_inlined_twice", "leak_inlined_once"] {
        let stacks = report.stacks_of(function);
        assert!(!stacks.is_empty(), "{function} is not shown");
        for stack in stacks {
            let frame = stack.frames.iter().find(|frame| frame.is(function));
            assert!(frame.is_some_and(|frame| frame.inlined), "{function}");
        }
    }
    let stacks = report.stacks_of("leak_outer");
    let names: Vec<&str> = stacks[0].frames.iter().map(|f| f.symbol.as_str()).collect();
    let expected = [
        "leak_inlined_twice",
        "leak_inlined_once",
        "leak_outer",
        "main",
    ];
    assert_eq!(names[..4], expected);
    assert!(!stacks[0].frames[2].inlined);
}

#[test]
fn frames_have_file_and_line() {
    let report = trace("basic", NO_ARGS, &[]).report();
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/basic.c"))
        .expect("the workload's source");
    let is_call = |line: &str| line.contains("malloc(256)");
    let line = 1 + source.lines().position(is_call).expect("it calls malloc");
    let stacks = report.stacks_of("leak_256");
    let frame = &stacks[0].frames[0];
    assert!(frame.is("leak_256"), "{frame:?}");
    assert!(frame.file.ends_with("basic.c"), "{frame:?}");
    assert_eq!(frame.line, line as u64, "{frame:?}");
    assert_eq!(frame.object(), "basic", "{frame:?}");
}

/// Another library at the same addresses is another stack.
#[test]
fn unloaded_libraries_keep_their_names() {
    let session = trace("dlopen", &[workloads_dir()], &[]).agrees();
    let report = session.report();
    for name in ["one", "two", "three"] {
        let object = format!("libplugin_{name}.so");
        is_called_by(&report, &format!("leak_in_{name}"), &object);
    }
}

#[test]
fn recursion_is_walked_to_the_end_and_truncation_counted() {
    let report = trace("deep", NO_ARGS, &[])
        .agrees()
        .agrees_in_events()
        .report();
    for depth in [30, 100] {
        let stacks = report.stacks_of(&format!("leak_at_{depth}"));
        let descents = stacks[0].frames.iter().filter(|f| f.is("descend"));
        assert_eq!(descents.count(), depth);
        assert!(stacks[0].has("main"));
    }
    let deepest = &report.stacks_of("leak_at_300")[0];
    assert!(deepest.frames.len() >= 100, "{}", deepest.frames.len());
    let loss = report.loss();
    assert!(loss.keys().any(|key| key.contains("trunc")), "{loss:?}");
}

#[test]
fn stacks_can_be_made_shorter() {
    let flags = ["--perf-max-stack-depth", "10"];
    let report = trace("deep", NO_ARGS, &flags).agrees().report();
    for stack in report.stacks() {
        assert!(stack.frames.len() <= 10, "{}", stack.frames.len());
    }
}

/// A record of a mapping is also made for mprotect: it takes no name away.
#[test]
fn names_survive_mprotect_of_text() {
    let report = trace("mprotect", NO_ARGS, &[])
        .agrees()
        .lost_nothing()
        .report();
    for function in ["leak_before", "leak_after", "leak_copies"] {
        for stack in report.stacks_of(function) {
            assert!(stack.has("main"), "{:#?}", stack.frames);
        }
    }
}
