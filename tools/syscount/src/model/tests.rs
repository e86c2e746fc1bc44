use super::*;
use crate::calls::Abi;

/// Of a call by the machine's own number.
pub fn key(owner: u64, number: i64) -> Key {
    Key {
        owner,
        call: Call::new(Abi::Native, number as u32),
    }
}

/// So many calls, each of the slot that begins with 1024 ns, the first of them with ENOENT.
pub fn figures(count: u64, errors: u64) -> Figures {
    const SLOT_OF_1024: u32 = 192;
    let mut figures = Figures {
        count,
        ended: count,
        errors,
        total_ns: count * 1030,
        max_ns: 1040,
        ..Figures::default()
    };
    figures.histogram.add(SLOT_OF_1024, count);
    if errors > 0 {
        figures.errnos.insert(2, errors);
    }
    figures
}

/// After so many seconds.
pub fn snapshot(seconds: u64, figures: Vec<(Key, Figures)>) -> Snapshot {
    Snapshot {
        time: Timestamp::from_second(1_700_000_000 + seconds as i64).unwrap(),
        elapsed: Duration::from_secs(seconds),
        figures: figures.into_iter().collect(),
        names: HashMap::from([(7, "server".to_owned()), (8, "evil\x1b[31m".to_owned())]),
        in_flight: Vec::new(),
        loss: Loss::default(),
        has_ended: false,
        gone: Vec::new(),
    }
}

pub fn in_flight(owner: u64, number: i64, elapsed_ns: u64, at_least: bool) -> InFlight {
    InFlight {
        key: key(owner, number),
        thread: 70,
        elapsed_ns,
        at_least,
    }
}

#[test]
fn an_interval_is_the_difference() {
    let mut ledger = Ledger::default();
    let read = key(0, libc::SYS_read);
    ledger.update(snapshot(1, vec![(read, figures(10, 1))]));
    ledger.update(snapshot(3, vec![(read, figures(14, 1))]));
    let row = &ledger.rows[&read];
    assert_eq!((row.figures.count, row.figures.errors), (4, 0));
    assert_eq!(row.figures.histogram.count(), 4);
    assert!(row.figures.errnos.is_empty());
    assert_eq!((row.all.count, row.all.errors), (14, 1));
    assert_eq!(row.history, [10, 2]);
    assert_eq!(row.figures.average_ns(), Some(1030));
    let median = row.figures.quantile_ns(0.5).unwrap();
    assert!((1024..=1040).contains(&median), "{median}");
    ledger.update(snapshot(4, vec![(read, figures(14, 1))]));
    assert_eq!(ledger.active().count(), 0);
}

#[test]
fn a_call_that_goes_on_has_a_row() {
    let mut ledger = Ledger::default();
    let mut one = snapshot(2, vec![(key(7, libc::SYS_write), figures(3, 0))]);
    one.in_flight = vec![
        in_flight(7, libc::SYS_read, 30_000_000_000, true),
        in_flight(7, libc::SYS_read, 1_000_000_000, false),
    ];
    ledger.update(one);
    let row = &ledger.rows[&key(7, libc::SYS_read)];
    assert_eq!((row.in_flight, row.figures.count), (2, 0));
    assert_eq!(
        (row.longest_ns, row.longest_at_least),
        (30_000_000_000, true)
    );
    // Of the first only the interval counts.
    assert_eq!(row.inside_ns, 3_000_000_000);
    assert_eq!(row.name.as_deref(), Some("server"));
    let mut groups = ledger.groups(By::Call);
    sort(&mut groups, SortKey::Total);
    assert_eq!(groups[0].name, "read");
    ledger.update(snapshot(3, Vec::new()));
    assert_eq!(ledger.rows[&key(7, libc::SYS_read)].in_flight, 0);
}

#[test]
fn rows_are_put_together() {
    let mut ledger = Ledger::default();
    ledger.update(snapshot(
        1,
        vec![
            (key(7, libc::SYS_read), figures(3, 1)),
            (key(8, libc::SYS_read), figures(4, 2)),
            (key(7, libc::SYS_write), figures(5, 0)),
        ],
    ));
    let counts = |by: By| -> Vec<(String, u64)> {
        let mut groups = ledger.groups(by);
        sort(&mut groups, SortKey::Count);
        let pairs = groups
            .into_iter()
            .map(|group| (group.name, group.figures.count));
        pairs.collect()
    };
    let of = |name: &str, count| (name.to_owned(), count);
    assert_eq!(counts(By::Call), [of("read", 7), of("write", 5)]);
    assert_eq!(
        counts(By::Process),
        [of("server", 8), of("evil\x1b[31m", 4)]
    );
    assert_eq!(counts(By::Errno), [of("ENOENT", 3)]);
    let parts = ledger.parts(GroupId::Owner(7), By::Call);
    assert_eq!(parts.len(), 2);
}

/// Of an owner that has ended only the sum of what it did since the start is kept.
#[test]
fn who_has_ended_is_forgotten() {
    let mut ledger = Ledger::default();
    let read = key(7, libc::SYS_read);
    let mut one = snapshot(1, vec![(read, figures(10, 1))]);
    one.gone = vec![read];
    ledger.update(one);
    assert_eq!(ledger.rows[&read].figures.count, 10);
    // Another process has its PID.
    ledger.update(snapshot(2, vec![(read, figures(3, 0))]));
    assert_eq!(ledger.rows[&read].figures.count, 3);
    let parts = ledger.parts(GroupId::Call(read.call), By::Process);
    let of = |name: &str| {
        let mut parts = parts.iter().filter(|part| part.name == name);
        parts.next().map(|part| part.figures.count)
    };
    assert_eq!((of("(ended)"), of("server")), (Some(10), Some(3)));
    assert_eq!(ledger.groups(By::Process).len(), 1);
}
