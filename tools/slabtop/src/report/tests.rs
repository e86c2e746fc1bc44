use std::time::Duration;

use super::*;
use memtools::selection::Selection;

use crate::model::tests::{moved, snapshot};
use crate::model::{Ledger, Place, SortKey};

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(2, false);
    for second in 0..=8_u64 {
        let mut one = snapshot(
            second,
            &[
                (
                    "filp",
                    1000 + second * 500,
                    moved(second * 600, second * 100),
                ),
                ("maple_node", 700, moved(second * 20_000, 0)),
                ("evil\x1b[31m", 0, moved(0, 0)),
            ],
        );
        one.sizes[2].active = None;
        one.elapsed = Duration::from_secs(second);
        one.aliases
            .insert("filp".to_owned(), vec!["bfilp".to_owned()]);
        one.followed = vec!["filp".to_owned()];
        one.places = vec![Place {
            id: 1,
            cache: "filp".to_owned(),
            comm: "leak\x07er".to_owned(),
            allocs: second * 600,
            freed: second * 100,
            not_followed: second * 10,
            pid: 4711,
            has_others: true,
            frees: 0,
            frames: vec![
                "alloc_empty_file+0x4e".to_owned(),
                "path_openat+0x38".to_owned(),
            ],
        }];
        one.loss.stacks = second;
        ledger.update(one);
    }
    ledger
}

fn shown() -> Shown {
    Shown {
        sort: SortKey::Bytes,
        rows: 20,
        selection: None,
        loadavg: Some("0.10 0.20 0.30 1/100 1234".to_owned()),
        leaks: false,
        columns: None,
    }
}

#[test]
fn a_table() {
    insta::assert_snapshot!("table", table(&ledger(), &shown()));
}

#[test]
fn leaks() {
    let shown = Shown {
        leaks: true,
        selection: Some("PID 7".to_owned()),
        ..shown()
    };
    insta::assert_snapshot!("leaks", table(&ledger(), &shown));
    assert!(table(&Ledger::new(1, false), &shown).contains("no cache grows steadily"));
}

#[test]
fn the_json_of_it() {
    insta::assert_snapshot!(
        "json",
        json(&ledger(), &Selection::default(), SortKey::Bytes)
    );
}

#[test]
fn rows_are_limited() {
    let count = |rows| {
        let text = table(&ledger(), &Shown { rows, ..shown() });
        let rows = text.lines().skip_while(|line| !line.starts_with("CACHE"));
        rows.skip(1).take_while(|line| !line.is_empty()).count()
    };
    assert_eq!(count(1), 1);
    assert_eq!(count(0), 3);
}

#[test]
fn a_narrow_terminal_has_fewer_columns() {
    let narrow = |columns| {
        let shown = Shown {
            columns: Some(columns),
            ..shown()
        };
        table(&ledger(), &shown)
    };
    insta::assert_snapshot!("table_80", narrow(80));
    for columns in [1, 60, 80, 100, 200] {
        let text = narrow(columns);
        assert!(text.contains("NET"), "{text}");
    }
}
