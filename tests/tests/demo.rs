//! What `cargo xtask demo` shows: the three leaks of the bundled program, and nothing else on top.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::process::{Child, Command, Stdio};

use memtools_tests::{Class, Outcome, workloads_dir};

/// Leaks for as long as it lives; dropping it ends it.
struct Demo(Child);

impl Demo {
    fn start() -> Self {
        let child = Command::new(workloads_dir().join("demo"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the demo starts");
        Self(child)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn the_three_leaks_come_first() {
    let demo = Demo::start();
    let pid = demo.0.id().to_string();
    let outcome = Outcome::of(&["-p", &pid, "--json", "-o", "1000", "5", "1"]).expect_code(0);
    let report = outcome.report();
    let suspects = report
        .stacks()
        .into_iter()
        .filter(|stack| stack.class == Class::Heap);
    let first: Vec<String> = suspects
        .take(3)
        .map(|stack| stack.frames[0].symbol.clone())
        .collect();
    assert_eq!(first, ["leak_sessions", "leak_requests", "leak_log_lines"]);
    for function in first {
        let stack = &report.stacks_of(&function)[0];
        assert!(stack.frames[0].file.ends_with("demo.c"), "{stack:?}");
        assert!(stack.frames[0].line > 0, "{stack:?}");
    }
    assert!(report.loss().is_empty(), "{:?}", report.loss());
}
