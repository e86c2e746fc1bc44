use super::*;

/// A cache of objects of 64 bytes, in slabs of a page.
pub fn cache(name: &str, active: u64) -> Sizes {
    Sizes {
        name: name.to_owned(),
        object_bytes: 64,
        objects: active.next_multiple_of(64),
        active: Some(active),
        slabs: active.div_ceil(64),
        objects_per_slab: 64,
        pages_per_slab: 1,
    }
}

pub fn snapshot(second: u64, caches: &[(&str, u64, Moved)]) -> Snapshot {
    let moved = |(name, _, moved): &(&str, u64, Moved)| ((*name).to_owned(), *moved);
    Snapshot {
        time: Timestamp::from_second(second as i64).unwrap(),
        elapsed: Duration::from_secs(second),
        sizes: caches
            .iter()
            .map(|(name, active, _)| cache(name, *active))
            .collect(),
        moved: caches.iter().map(moved).collect(),
        ..Snapshot::default()
    }
}

pub fn moved(allocs: u64, frees: u64) -> Moved {
    Moved { allocs, frees }
}

fn ledger(snapshots: impl IntoIterator<Item = Snapshot>) -> Ledger {
    let mut ledger = Ledger::new(2, false);
    for snapshot in snapshots {
        ledger.update(snapshot);
    }
    ledger
}

#[test]
fn rates_are_of_the_last_interval_and_growth_of_the_run() {
    let ledger = ledger([
        snapshot(0, &[("filp", 1000, moved(0, 0))]),
        snapshot(2, &[("filp", 1500, moved(600, 100))]),
        snapshot(4, &[("filp", 1400, moved(700, 300))]),
    ]);
    let row = ledger.row("filp").unwrap();
    assert!((row.allocs_per_s - 50.0).abs() < 1e-9);
    assert!((row.frees_per_s - 100.0).abs() < 1e-9);
    assert_eq!(row.net_objects(), Some(400));
    assert_eq!(row.net_bytes(), Some(400 * 64));
    assert!(!row.hides_frees && !row.hides_allocs);
}

#[test]
fn a_cache_that_comes_later_began_with_nothing() {
    let ledger = ledger([
        snapshot(0, &[("a", 10, moved(0, 0))]),
        snapshot(1, &[("a", 10, moved(0, 0)), ("b", 7, moved(7, 0))]),
        snapshot(2, &[("b", 8, moved(8, 0))]),
    ]);
    assert!(ledger.row("a").is_none());
    assert_eq!(ledger.row("b").unwrap().net_objects(), Some(8));
    assert_eq!(ledger.rows().len(), 1);
}

#[test]
fn what_events_do_not_show_is_noticed() {
    let two = |allocs, frees, net: u64| {
        ledger([
            snapshot(0, &[("x", 10_000, moved(0, 0))]),
            snapshot(1, &[("x", 10_000 + net, moved(allocs, frees))]),
        ])
    };
    let hidden = two(211_399, 0, 18);
    assert!(hidden.row("x").unwrap().hides_frees);
    assert!(!hidden.row("x").unwrap().hides_allocs);
    // CPUs keep some slabs for themselves.
    assert!(!two(1000, 0, 18).row("x").unwrap().hides_frees);
    assert!(two(0, 0, 50_000).row("x").unwrap().hides_allocs);
    assert!(!two(500_000, 499_000, 5_000).row("x").unwrap().hides_allocs);
}

#[test]
fn caches_of_one_name_are_one_row() {
    let mut doubled = snapshot(0, &[("x", 64, moved(1, 1)), ("x", 64, moved(1, 1))]);
    doubled.sizes[1].active = None;
    let ledger = ledger([doubled]);
    assert_eq!(ledger.rows().len(), 1);
    let sizes = &ledger.rows()[0].sizes;
    assert_eq!((sizes.objects, sizes.slabs, sizes.active), (128, 2, None));
    assert_eq!(sizes.use_percent(), None);
}

#[test]
fn a_cache_that_grows_all_the_time_comes_first() {
    let ledger = ledger((0..60_u64).map(|second| {
        let burst = if second > 5 { 90_000 } else { 10 };
        let saw = 20_000 + second % 10 * 2000;
        let caches = [
            ("steady", 1000 + second * 40, moved(second * 40, 0)),
            ("burst", burst, moved(burst, 0)),
            ("saw", saw, moved(second * 5000, second * 5000)),
            ("still", 500_000, moved(0, 0)),
        ];
        snapshot(second, &caches)
    }));
    let growing: Vec<&str> = ledger
        .growing()
        .iter()
        .map(|row| row.sizes.name.as_str())
        .collect();
    assert_eq!(growing, ["steady"]);
    assert_eq!(ledger.sorted(SortKey::Growth)[0].sizes.name, "steady");
    assert_eq!(ledger.sorted(SortKey::Objects)[0].sizes.name, "still");
    assert_eq!(ledger.sorted(SortKey::Name)[0].sizes.name, "burst");
}

#[test]
fn places_that_keep_most_come_first() {
    let place = |id, allocs, freed| Place {
        id,
        cache: "x".to_owned(),
        allocs,
        freed,
        ..Place::default()
    };
    let mut one = snapshot(0, &[]);
    one.places = vec![place(1, 100, 100), place(2, 10, 1), place(3, 5, 9)];
    let ledger = ledger([one]);
    let ids: Vec<u64> = ledger.places_of("x").map(|place| place.id).collect();
    assert_eq!(ids, [2, 1, 3]);
    assert_eq!(ledger.places_of("y").count(), 0);
}

#[test]
fn what_cannot_be_told_for_a_moment_makes_no_growth() {
    let unknown = |second, active: u64| {
        let mut one = snapshot(second, &[("x", active, moved(0, 0))]);
        one.sizes[0].active = None;
        one
    };
    let known = |second, active| snapshot(second, &[("x", active, moved(0, 0))]);
    let ledger = ledger([unknown(0, 500)]);
    assert_eq!(ledger.row("x").unwrap().net_objects(), None);
    let mut ledger = ledger;
    for (next, net) in [
        (known(1, 100), 0),
        (unknown(2, 100), 0),
        (known(3, 90), -10),
    ] {
        ledger.update(next);
        assert_eq!(ledger.row("x").unwrap().net_objects(), Some(net));
    }
}

#[test]
fn the_last_minute_is_one_of_time() {
    let mut ledger = Ledger::new(1, false);
    for second in (0..=200).step_by(5) {
        ledger.update(snapshot(second, &[("x", second * 64, moved(0, 0))]));
    }
    let last = ledger.row("x").unwrap().last_minute(6);
    let pages: Vec<u64> = last.iter().map(|bytes| bytes / page_bytes()).collect();
    assert_eq!(pages, [150, 160, 170, 180, 190, 200]);
}
