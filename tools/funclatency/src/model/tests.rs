use super::*;

/// So many calls of so many nanoseconds.
fn figures(calls: &[(u64, u64)], slots: &[(u32, u64)]) -> Figures {
    let ended = calls.iter().map(|(count, _)| count).sum();
    let mut figures = Figures {
        calls: ended,
        ended,
        total_ns: calls.iter().map(|(count, ns)| count * ns).sum(),
        min_ns: calls.iter().map(|(_, ns)| *ns).min().unwrap_or(0),
        max_ns: calls.iter().map(|(_, ns)| *ns).max().unwrap_or(0),
        ..Figures::default()
    };
    for (slot, count) in slots {
        figures.histogram.add(*slot, *count);
    }
    figures.rows = figures.histogram.rows();
    figures
}

#[test]
fn an_interval_is_the_difference() {
    let earlier = figures(&[(2, 10)], &[(10, 2)]);
    let mut later = figures(&[(2, 10), (1, 20)], &[(10, 2), (20, 1)]);
    // Of the interval alone.
    (later.min_ns, later.max_ns) = (20, 20);
    let more = later.since(&earlier);
    assert_eq!((more.calls, more.ended, more.total_ns), (1, 1, 20));
    assert_eq!((more.min_ns, more.max_ns), (20, 20));
    assert_eq!(more.rows, [0, 0, 0, 0, 1]);
    assert_eq!(more.quantile_ns(0.5), Some(20));
    let none = later.since(&later);
    assert_eq!((none.min_ns, none.max_ns, none.average_ns()), (0, 0, None));
}

/// Two programs that write at once can lose an extreme.
#[test]
fn extremes_are_no_less_than_the_histogram_says() {
    let mut found = figures(&[(1, 15), (1, 30)], &[(10, 1), (31, 1)]);
    (found.min_ns, found.max_ns) = (15, 15);
    let found = found.since(&Figures::default());
    assert_eq!((found.min_ns, found.max_ns), (10, 31));
    let mut found = figures(&[(1, 10)], &[(10, 1)]);
    (found.min_ns, found.max_ns) = (0, 0);
    let found = found.since(&Figures::default());
    assert_eq!((found.min_ns, found.max_ns), (10, 10));
}

#[test]
fn what_goes_on_is_what_has_not_ended() {
    let mut now = figures(&[(5, 10)], &[(10, 5)]);
    now.calls = 12;
    now.unwound = 2;
    now.missed = 3;
    let mut ledger = Ledger::default();
    let snapshot = Snapshot {
        functions: vec![now.clone()],
        ..Snapshot::default()
    };
    ledger.update(snapshot.clone());
    assert_eq!((ledger.inside[0], ledger.inside_all()), (2, 2));
    // They still go on, though nothing has happened.
    ledger.update(snapshot);
    assert_eq!(ledger.inside, [2]);
    assert!(ledger.functions[0].is_empty());
}

#[test]
fn rows_that_did_nothing_are_left_out() {
    let key = |key| SplitKey { function: 0, key };
    let row = |calls| SplitRow {
        name: None,
        figures: figures(&[(calls, 10)], &[(10, calls)]),
    };
    let mut ledger = Ledger::default();
    let mut snapshot = Snapshot::default();
    snapshot.split.insert(key(1), row(3));
    snapshot.split.insert(key(2), row(4));
    ledger.update(snapshot.clone());
    let keys = |ledger: &Ledger| -> Vec<u64> {
        ledger.split_of(0).iter().map(|(key, _)| key.key).collect()
    };
    assert_eq!(keys(&ledger), [2, 1]);
    snapshot.split.insert(key(1), row(5));
    ledger.update(snapshot);
    assert_eq!(keys(&ledger), [1]);
    assert_eq!(ledger.split_of(0)[0].1.figures.ended, 2);
    assert!(ledger.split_of(1).is_empty());
}
