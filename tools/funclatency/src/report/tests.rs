use memtools::histogram::Histogram;
use serde_json::Value;

use super::*;
use crate::model::outliers::SlowCall;
use crate::model::{Figures, Function, Ledger, Loss, Snapshot, SplitBy, SplitKey, SplitRow, Unit};

fn figures(slots: &[(u32, u64)]) -> Figures {
    let mut histogram = Histogram::default();
    for (slot, count) in slots {
        histogram.add(*slot, *count);
    }
    let ended = histogram.count();
    Figures {
        calls: ended + 3,
        ended,
        total_ns: ended * 1100,
        unwound: 1,
        min_ns: 1000,
        max_ns: 1_000_000,
        rows: histogram.rows(),
        histogram,
        ..Figures::default()
    }
}

fn functions() -> Vec<Function> {
    let function = |name: &str, module: &str| Function {
        name: name.to_owned(),
        shown: name.to_owned(),
        module: module.to_owned(),
        arguments: None,
    };
    vec![
        function("evil\x1b[2Jname", "/usr/bin/evil"),
        function("vfs_read", "vmlinux"),
    ]
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let split = [(7, "comm"), (8, "other\x1b[1m")].map(|(key, name)| {
        let row = SplitRow {
            name: Some(name.to_owned()),
            figures: figures(&[(200, key)]),
        };
        (SplitKey { function: 1, key }, row)
    });
    ledger.update(Snapshot {
        functions: vec![figures(&[(190, 4)]), figures(&[(160, 10), (400, 1)])],
        split: split.into_iter().collect(),
        loss: Loss {
            slow_calls: 5,
            ..Loss::default()
        },
        ..Snapshot::default()
    });
    ledger
}

fn shown(by_function: bool, split: Option<SplitBy>) -> Shown {
    Shown {
        unit: Unit::Nanoseconds,
        by_function,
        split,
        timestamp: false,
    }
}

#[test]
fn all_functions_have_one_histogram() {
    insta::assert_snapshot!(report(&functions(), &ledger(), shown(false, None)));
}

#[test]
fn each_function_has_its_own() {
    let text = report(&functions(), &ledger(), shown(true, None));
    assert!(!text.contains('\x1b'));
    assert_eq!(text.matches("Function = ").count(), 2, "{text}");
    assert_eq!(text.matches("distribution").count(), 2, "{text}");
}

#[test]
fn each_key_has_its_own() {
    let text = report(&functions(), &ledger(), shown(false, Some(SplitBy::Pid)));
    assert!(!text.contains('\x1b'));
    assert!(text.contains("PID = 8 other"), "{text}");
    assert!(text.contains("PID = 7 comm"), "{text}");
}

fn slow() -> SlowCall {
    SlowCall {
        ns: 2_500_000,
        pid: 12,
        tid: 13,
        function: 1,
        arguments: [3, 0xffff_ffff, 0x7fff_1234_5678, u64::MAX, 0, 0],
        result: (-4_i64) as u64,
        comm: "a\x1b[31m".to_owned(),
        stack: vec!["main+0x1 [evil\x1b]".to_owned()],
        ..SlowCall::default()
    }
}

#[test]
fn a_slow_call_is_a_line_and_its_stack() {
    let text = slow_call_line(&functions(), &slow(), "12:00:00.000001", Unit::Milliseconds);
    assert!(!text.contains('\x1b'));
    assert!(text.contains(" 2.500 12      13 "), "{text}");
    assert!(
        text.contains("vfs_read(3, -1, 0x7fff12345678, -1, 0, 0) = -4"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_record_has_all_figures() {
    let calls = [(slow(), "2026-01-01T00:00:00Z".to_owned())];
    let functions = functions();
    let text = json(
        &ledger(),
        About {
            functions: &functions,
            selection: Some("PID 7"),
            split: Some(SplitBy::Pid),
            outliers: Some(&calls),
        },
    );
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["loss"], serde_json::json!({ "slow_calls": 5 }));
    let function = &record["functions"][1];
    assert_eq!(
        (&function["function"], &function["module"]),
        (&"vfs_read".into(), &"vmlinux".into())
    );
    assert_eq!(
        (&function["count"], &function["inside"]),
        (&11.into(), &2.into())
    );
    assert_eq!(function["hist"][0]["count"], 10);
    assert_eq!(function["split"][0]["name"], "other\u{1b}[1m");
    assert_eq!(record["outliers"][0]["arguments"][1], "0xffffffff");
    for field in [
        "avg_ns", "min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns",
    ] {
        assert!(function[field].is_u64(), "{field}");
    }
}

#[test]
fn what_nobody_called_has_no_times() {
    let mut ledger = Ledger::default();
    ledger.update(Snapshot {
        functions: vec![Figures::default(); 2],
        ..Snapshot::default()
    });
    let text = report(&functions(), &ledger, shown(false, None));
    assert!(text.contains("no call has returned"), "{text}");
}
