use super::*;
use crate::fixture::{account, named, snapshot};

fn order(key: SortKey) -> Order {
    Order { key, scale: 1 }
}

fn report(accounts: Vec<StackAccount>, key: SortKey) -> Report {
    History::default().report(snapshot(accounts), order(key), true, named)
}

fn first_frames(report: &Report) -> Vec<u64> {
    report
        .rows
        .iter()
        .map(|row| row.frames.first().map_or(0, |frame| frame.addr))
        .collect()
}

fn three() -> Vec<StackAccount> {
    let mut many = account(&[11], Class::Heap, (100, 50));
    many.oldest = Some(Duration::from_secs(9));
    vec![
        many,
        account(&[10], Class::Heap, (300, 1)),
        account(&[12], Class::Mmap, (200, 2)),
        account(&[13], Class::Arena, (1 << 30, 1)),
    ]
}

#[test]
fn rows_are_sorted_and_what_cannot_leak_comes_last() {
    assert_eq!(
        first_frames(&report(three(), SortKey::Bytes)),
        [10, 12, 11, 13]
    );
    assert_eq!(
        first_frames(&report(three(), SortKey::Count)),
        [11, 12, 10, 13]
    );
    assert_eq!(
        first_frames(&report(three(), SortKey::Age)),
        [11, 10, 12, 13]
    );
}

#[test]
fn the_total_is_what_can_leak() {
    let report = report(three(), SortKey::Bytes);
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
    let mut history = History::default();
    history.report(snapshot(three()), order(SortKey::Growth), false, named);
    let mut later = three();
    later[0].live.bytes += 50;
    later[1].live.bytes -= 10;
    let report = history.report(snapshot(later), order(SortKey::Growth), true, named);
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
    let report = report(accounts, SortKey::Bytes);
    assert_eq!(report.rows.len(), 2);
    assert_eq!(
        report.rows[1].live,
        Amount {
            bytes: 42,
            count: 4
        }
    );
    assert_eq!((report.rows[1].allocs, report.rows[1].frees), (6, 2));
    assert_eq!(report.rows[1].oldest, Some(Duration::from_millis(30)));
    assert_eq!(report.rows[1].blocks.len(), 2);
}

#[test]
fn only_the_heap_is_scaled() {
    let sampled = Order {
        key: SortKey::Bytes,
        scale: 10,
    };
    let mut accounts = three();
    accounts[0].young.add_block(5);
    let report = History::default().report(snapshot(accounts), sampled, true, named);
    assert_eq!(
        report.rows[0].live,
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
    let report = report(accounts, SortKey::Bytes);
    let classes: Vec<Class> = report.rows.iter().map(|row| row.class).collect();
    assert_eq!(classes, [Class::ThreadStack, Class::Tls]);
    assert_eq!(report.total, Amount::default());
}
