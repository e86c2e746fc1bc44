use proptest::prelude::*;

use super::*;

fn record(start: u64, end: u64, name: &str) -> Record {
    Record {
        start,
        end,
        file_offset: 0,
        file: FileId::new(0, 0, 0),
        path: name.into(),
    }
}

#[test]
fn only_text_is_read() {
    let line = "7f00-7f10 r-xp 00002000 fd:01 42   /lib/a b.so";
    let parsed = parse_maps_line(line).unwrap();
    assert_eq!(
        (parsed.start, parsed.end, parsed.file_offset),
        (0x7f00, 0x7f10, 0x2000)
    );
    assert_eq!(parsed.file, FileId::new(0xfd, 1, 42));
    assert_eq!(parsed.path, Path::new("/lib/a b.so"));
    assert_eq!(parse_maps_line("7f00-7f10 rw-p 0 00:00 0"), None);
    assert_eq!(parse_maps_line("nonsense"), None);
}

#[test]
fn addresses_mean_what_they_meant_then() {
    let mut mappings = Mappings::default();
    assert!(
        !mappings
            .insert(0, &record(100, 200, "a"), 10)
            .reuses_addresses
    );
    assert!(
        mappings
            .insert(0, &record(150, 250, "b"), 20)
            .reuses_addresses
    );
    assert_eq!(mappings.find(160, 15).unwrap().name.as_ref(), "a");
    assert_eq!(mappings.find(160, 25).unwrap().name.as_ref(), "b");
    assert!(mappings.find(160, 5).is_none());
    assert!(mappings.find(300, 25).is_none());
    mappings.clear(30);
    assert!(mappings.find(160, 35).is_none());
    assert_eq!(mappings.current().count(), 0);
    assert_eq!(mappings.find(160, 25).unwrap().name.as_ref(), "b");
}

/// Text of a file that cannot be opened.
fn of_file(start: u64, end: u64, file_offset: u64, inode: u64) -> Record {
    Record {
        file_offset,
        file: FileId::new(1, 2, inode),
        ..record(start, end, "/no/such/file")
    }
}

/// What is there now, as `(start, end, file_offset, from_ns)`.
fn now(mappings: &Mappings) -> Vec<(u64, u64, u64, u64)> {
    let figures = |m: &Mapping| (m.start, m.end, m.file_offset, m.from_ns);
    mappings.current().map(figures).collect()
}

#[test]
fn a_part_that_is_protected_anew_changes_nothing() {
    let mut mappings = Mappings::default();
    mappings.insert(0, &of_file(100, 200, 1000, 7), 10);
    for (start, end) in [(100, 200), (120, 130), (100, 110), (190, 200)] {
        let part = of_file(start, end, 1000 + start - 100, 7);
        assert_eq!(mappings.insert(0, &part, 20), Change::default());
    }
    assert_eq!(now(&mappings), [(100, 200, 1000, 10)]);
    assert!(mappings.ended.is_empty());
}

#[test]
fn another_file_or_bias_takes_only_its_part() {
    for other in [of_file(120, 130, 0, 8), of_file(120, 130, 0, 7)] {
        let mut mappings = Mappings::default();
        mappings.insert(0, &of_file(100, 200, 1000, 7), 10);
        assert!(mappings.insert(0, &other, 20).reuses_addresses);
        assert_eq!(
            now(&mappings),
            [
                (100, 120, 1000, 10),
                (120, 130, 0, 20),
                (130, 200, 1030, 10)
            ]
        );
        assert_eq!(mappings.find(125, 15).unwrap().offset_of(125), 1025);
        assert_eq!(mappings.find(125, 20).unwrap().offset_of(125), 5);
        assert_eq!(mappings.find(150, 25).unwrap().offset_of(150), 1050);
    }
}

#[test]
fn of_a_mapping_that_grew_only_the_rest_is_new() {
    let mut mappings = Mappings::default();
    mappings.insert(0, &of_file(100, 200, 1000, 7), 10);
    let change = mappings.insert(0, &of_file(50, 300, 950, 7), 20);
    assert!(change.is_new && !change.reuses_addresses);
    assert_eq!(
        now(&mappings),
        [
            (50, 100, 950, 20),
            (100, 200, 1000, 10),
            (200, 300, 1100, 20)
        ]
    );
    assert_eq!(
        mappings.insert(0, &of_file(60, 290, 960, 7), 30),
        Change::default()
    );
}

#[test]
fn anonymous_code_is_the_same_whatever_its_offset_and_its_name_in_proc() {
    let mut mappings = Mappings::default();
    mappings.insert(0, &record(100, 200, "[anon:jit]"), 0);
    let flipped = Record {
        file_offset: 120,
        ..record(120, 140, "//anon")
    };
    assert_eq!(mappings.insert(0, &flipped, 10), Change::default());
    let vdso = record(120, 140, "[vdso]");
    assert!(mappings.insert(0, &vdso, 20).reuses_addresses);
}

#[test]
fn what_comes_late_does_not_undo_what_is_younger() {
    let mut mappings = Mappings::default();
    mappings.insert(0, &record(100, 200, "old"), 10);
    mappings.insert(0, &record(300, 400, "new"), 40);
    mappings.clear(30);
    assert_eq!(now(&mappings), [(300, 400, 0, 40)]);
    assert_eq!(
        mappings.insert(0, &record(500, 600, "of the old image"), 20),
        Change::default()
    );
    let late = mappings.insert(0, &record(350, 450, "late"), 35);
    assert!(late.is_new && !late.reuses_addresses);
    assert_eq!(mappings.find(360, 50).unwrap().name.as_ref(), "new");
    assert_eq!(mappings.find(420, 50).unwrap().name.as_ref(), "late");
}

#[test]
fn history_is_bounded() {
    let mut mappings = Mappings::default();
    let mut time = 0;
    for _ in 0..MOST_ENDED {
        for name in ["a", "b"] {
            time += 1;
            mappings.insert(0, &record(100, 200, name), time);
        }
    }
    assert_eq!(mappings.current().count(), 1);
    assert_eq!(mappings.ended.len(), MOST_ENDED);
    assert_eq!(mappings.find(150, time - 1).unwrap().name.as_ref(), "a");
    assert!(mappings.find(150, 1).is_none());
}

#[test]
fn what_went_unseen_is_bounded() {
    let mut mappings = Mappings::default();
    for number in 0..2 * MOST_CURRENT as u64 {
        mappings.insert(0, &record(number * 16, number * 16 + 8, "//anon"), number);
    }
    assert!(mappings.current().count() <= MOST_CURRENT);
    let newest = 2 * MOST_CURRENT as u64 - 1;
    assert!(mappings.find(newest * 16, newest).is_some());
}

proptest! {
    /// Against an array that says of each address what was mapped there last.
    #[test]
    fn each_address_means_what_was_mapped_there_last(
        records in prop::collection::vec((0_u64..64, 1_u64..32, 0_u64..3, 0_u64..2), 0..40)
    ) {
        let mut mappings = Mappings::default();
        let mut truth = [None; 96];
        for (time, (start, length, inode, bias)) in records.into_iter().enumerate() {
            let new = of_file(start, start + length, start + 100 * bias, inode + 1);
            let what = Some((inode + 1, bias));
            let range = start as usize..(start + length) as usize;
            let reuses = truth[range.clone()].iter().any(|old| old.is_some() && *old != what);
            let is_new = truth[range.clone()].iter().any(|old| *old != what);
            let change = mappings.insert(0, &new, time as u64 + 1);
            prop_assert_eq!(change, Change { is_new, reuses_addresses: reuses });
            truth[range].fill(what);
            for (address, what) in truth.iter().enumerate() {
                let found = mappings.find(address as u64, time as u64 + 1);
                let bias = |m: &Mapping| (m.offset_of(address as u64) - address as u64) / 100;
                prop_assert_eq!(found.map(|m| (m.file.inode, bias(m))), *what);
            }
        }
    }
}

#[test]
fn own_mappings_hold_this_function() {
    let records = read_text_mappings(std::process::id()).unwrap();
    let mut mappings = Mappings::default();
    for record in &records {
        mappings.insert(std::process::id(), record, 0);
    }
    let here = own_mappings_hold_this_function as *const () as u64;
    let mapping = mappings.find(here, 1).unwrap();
    assert!(mapping.object.is_some());
    assert!(!mappings.current_objects().is_empty());
}
