use serde_json::Value;

use super::*;
use crate::model::tests::{figures, in_flight, key, snapshot};
use crate::model::{By, Ledger, Loss};

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let mut one = snapshot(
        2,
        vec![
            (key(7, libc::SYS_read), figures(3, 1)),
            (key(8, libc::SYS_write), figures(5, 0)),
            (key(8, 9999), figures(1, 1)),
        ],
    );
    one.in_flight = vec![in_flight(7, libc::SYS_read, 1_500_000_000, true)];
    one.loss = Loss {
        rows: 12,
        ..Loss::default()
    };
    ledger.update(one);
    ledger
}

fn shown(by: By, times: bool) -> Shown {
    Shown {
        by,
        times,
        milliseconds: false,
        hist: times,
        top: 10,
    }
}

/// Without the time of day, which is that of the machine's zone.
fn body(text: &str) -> &str {
    text.split_once('\n').unwrap().1
}

#[test]
fn counts_are_a_table_as_bccs() {
    insta::assert_snapshot!(body(&table(&ledger(), shown(By::Call, false))));
    insta::assert_snapshot!(body(&table(&ledger(), shown(By::Process, false))));
    insta::assert_snapshot!(body(&table(&ledger(), shown(By::Errno, false))));
}

#[test]
fn times_stand_behind_them() {
    insta::assert_snapshot!(body(&table(&ledger(), shown(By::Call, true))));
}

#[test]
fn a_row_of_json_has_all_figures() {
    let target = Target {
        pid: Some(7),
        ended: false,
        cgroup: None,
        selection: "PID 7".to_owned(),
    };
    let text = json(&ledger(), By::Process, Some(&target));
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["loss"], serde_json::json!({ "rows": 12 }));
    assert_eq!(record["interval_s"], 2.0);
    let row = &record["rows"][0];
    assert_eq!((&row["syscall"], &row["pid"]), (&"read".into(), &7.into()));
    assert_eq!((&row["count"], &row["in_flight"]), (&3.into(), &1.into()));
    assert_eq!(row["in_flight_at_least"], true);
    assert_eq!(row["errnos"], serde_json::json!({ "ENOENT": 1 }));
    assert_eq!(row["hist"][0]["low_ns"], 1024);
    let last = &record["rows"][2];
    assert_eq!(
        (&last["syscall"], &last["max_ns"]),
        (&"#9999".into(), &1040.into())
    );
}

#[test]
fn calls_are_listed_with_their_numbers() {
    let text = list();
    assert!(
        text.lines()
            .any(|line| line == format!("{:3}: read", libc::SYS_read))
    );
}
