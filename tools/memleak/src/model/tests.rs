use super::*;
use crate::fixture::{LAST, account, births, ledger, snapshot};
use crate::snapshot::StackAccount;

fn first_frames(report: &Report<'_>) -> Vec<u64> {
    let rows = report.rows.iter();
    rows.map(|row| {
        report
            .ledger
            .frames(row)
            .next()
            .map_or(0, |frame| frame.addr)
    })
    .collect()
}

fn sorted_by(sort: SortKey) -> ReportOptions {
    ReportOptions { sort, ..LAST }
}

fn three() -> Vec<StackAccount> {
    let mut many = account(&[11], Class::Heap, (100, 50));
    many.births = Some(births(Duration::from_secs(4)));
    vec![
        many,
        account(&[10], Class::Heap, (300, 1)),
        account(&[12], Class::Mmap, (200, 2)),
        account(&[13], Class::Arena, (1 << 30, 1)),
    ]
}

#[test]
fn rows_are_sorted_and_what_cannot_leak_comes_last() {
    let ledger = ledger(vec![snapshot(three())], 1);
    let order = |key| first_frames(&ledger.report(sorted_by(key)).unwrap());
    assert_eq!(order(SortKey::Bytes), [10, 12, 11, 13]);
    assert_eq!(order(SortKey::Count), [11, 12, 10, 13]);
    assert_eq!(order(SortKey::Age), [11, 10, 12, 13]);
}

#[test]
fn the_total_is_what_can_leak() {
    let ledger = ledger(vec![snapshot(three())], 1);
    let report = ledger.report(LAST).unwrap();
    assert_eq!(
        report.total,
        Amount {
            bytes: 600,
            count: 53
        }
    );
    let classes: Vec<Class> = report.classes.iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, [Class::Heap, Class::Mmap, Class::Arena]);
}

#[test]
fn growth_is_since_the_last_report() {
    let mut later = three();
    later[0].live.bytes += 50;
    later[1].live.bytes -= 10;
    let ledger = ledger(vec![snapshot(three()), snapshot(later)], 1);
    let report = ledger.report(sorted_by(SortKey::Growth)).unwrap();
    assert_eq!(first_frames(&report), [11, 12, 10, 13]);
    let growth: Vec<i64> = report.rows.iter().map(|row| row.growth).collect();
    assert_eq!(growth, [50, 0, -10, 0]);
}

#[test]
fn stacks_with_the_same_frames_are_one_row() {
    let accounts = vec![
        account(&[10, 20], Class::Heap, (30, 3)),
        account(&[10, 20], Class::Heap, (12, 1)),
        account(&[10, 20], Class::Mmap, (4096, 1)),
    ];
    let ledger = ledger(vec![snapshot(accounts)], 1);
    let report = ledger.report(LAST).unwrap();
    assert_eq!(report.rows.len(), 2);
    assert_eq!(
        report.rows[1].figures.live,
        Amount {
            bytes: 42,
            count: 4
        }
    );
    let row = report.rows[1];
    assert_eq!((row.figures.allocs, row.figures.frees), (6, 2));
    assert_eq!(row.oldest(report.moment), Some(Duration::from_millis(30)));
    assert_eq!(row.figures.blocks.len(), 2);
}

#[test]
fn only_the_heap_is_scaled() {
    let mut accounts = three();
    accounts[0].young.add_block(5);
    let ledger = ledger(vec![snapshot(accounts)], 10);
    let report = ledger.report(LAST).unwrap();
    assert_eq!(
        report.rows[0].figures.live,
        Amount {
            bytes: 3000,
            count: 10
        }
    );
    assert_eq!(report.total.bytes, 3000 + 1000 + 200);
    assert_eq!(
        report.young,
        Amount {
            bytes: 50,
            count: 10
        }
    );
}

#[test]
fn names_tell_thread_stacks_and_thread_local_storage() {
    let accounts = vec![
        account(&[10, 1], Class::Mmap, (8 << 20, 1)),
        account(&[10, 2], Class::Heap, (272, 1)),
    ];
    let ledger = ledger(vec![snapshot(accounts)], 1);
    let report = ledger.report(LAST).unwrap();
    let classes: Vec<Class> = report.rows.iter().map(|row| row.class).collect();
    assert_eq!(classes, [Class::ThreadStack, Class::Tls]);
    assert_eq!(report.total, Amount::default());
}

#[test]
fn a_pause_is_filled_in_evenly() {
    let grown = |second: u64| {
        let mut snapshot = snapshot(vec![account(&[10], Class::Heap, (second * 1000, second))]);
        snapshot.moment.elapsed = Duration::from_secs(second);
        snapshot
    };
    let looked_on = ledger((1..=40).map(grown).collect(), 1);
    let paused = ledger((1..=12).chain(32..=40).map(grown).collect(), 1);
    let score = |ledger: &Ledger| ledger.score(&ledger.rows()[0]).total;
    assert!(score(&looked_on) > 30.0, "{}", score(&looked_on));
    assert!(
        (score(&looked_on) - score(&paused)).abs() < 10.0,
        "{}",
        score(&paused)
    );
    let growth = paused.growth_per_second(&paused.rows()[0]);
    assert!((growth - 1000.0).abs() < 200.0, "{growth}");
}
