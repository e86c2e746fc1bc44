use proptest::prelude::*;

use super::*;

fn frame(addr: u64, symbol: Option<&str>, module: &str) -> Frame {
    Frame {
        addr,
        symbol: symbol.map(str::to_owned),
        module: module.to_owned(),
        ..Frame::default()
    }
}

fn amount((bytes, count): (u64, u64)) -> Amount {
    Amount { bytes, count }
}

fn holding<'a>(class: Class, frames: &[&'a Frame], live: (u64, u64)) -> Holding<'a> {
    Holding {
        class,
        frames: frames.to_vec(),
        live: amount(live),
    }
}

#[test]
fn stacks_are_known_by_names_and_not_by_addresses() {
    let mut before = frame(0x5500_0123, Some("leak"), "app");
    before.line = Some(10);
    let mut after = frame(0x7f00_9456, Some("leak"), "app");
    after.line = Some(12);
    let diff = diff(
        [holding(Class::Heap, &[&before], (100, 1))],
        [holding(Class::Heap, &[&after], (300, 2))],
    );
    assert_eq!(diff.rows.len(), 1);
    let row = &diff.rows[0];
    assert_eq!((row.change.bytes(), row.change.count()), (200, 1));
    assert_eq!(row.change.kind(), ChangeKind::Grew);
    assert_eq!(row.frames, [&after]);
    assert_eq!(diff.total, row.change);
}

#[test]
fn frames_without_symbols_are_known_by_their_place_in_a_page() {
    let at = |addr| frame(addr, None, "lib.so");
    let (before, same, other) = (at(0x5500_1234), at(0x7f00_0234), at(0x7f00_0235));
    let diff = diff(
        [holding(Class::Heap, &[&before], (8, 1))],
        [
            holding(Class::Heap, &[&same], (8, 1)),
            holding(Class::Heap, &[&other], (8, 1)),
        ],
    );
    let kinds = diff.rows.iter().map(|row| row.change.kind());
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [ChangeKind::New, ChangeKind::Same]
    );
}

#[test]
fn class_module_inlining_and_depth_tell_stacks_apart() {
    let leak = frame(1, Some("leak"), "app");
    let inlined = Frame {
        inlined: true,
        ..leak.clone()
    };
    let elsewhere = frame(1, Some("leak"), "lib.so");
    let after = [
        holding(Class::Heap, &[&leak], (1, 1)),
        holding(Class::Mmap, &[&leak], (1, 1)),
        holding(Class::Heap, &[&inlined], (1, 1)),
        holding(Class::Heap, &[&elsewhere], (1, 1)),
        holding(Class::Heap, &[&leak, &leak], (1, 1)),
        holding(Class::Heap, &[], (1, 1)),
    ];
    assert_eq!(diff([], after).rows.len(), 6);
}

#[test]
fn what_cannot_be_told_apart_is_one() {
    let (first, second) = (frame(1, Some("leak"), "app"), frame(2, Some("leak"), "app"));
    let both = [
        holding(Class::Heap, &[&first], (10, 1)),
        holding(Class::Heap, &[&second], (20, 2)),
    ];
    let diff = diff(both.clone(), both);
    assert_eq!(diff.rows.len(), 1);
    assert_eq!(diff.rows[0].change.before, amount((30, 3)));
    assert_eq!(diff.rows[0].change.kind(), ChangeKind::Same);
}

#[test]
fn each_change_has_its_kind() {
    use ChangeKind::{Gone, Grew, New, Same, Shrank};
    let cases = [
        ((0, 0), (1, 1), New),
        ((0, 0), (0, 1), New),
        ((1, 1), (0, 0), Gone),
        ((1, 1), (2, 1), Grew),
        ((2, 1), (1, 2), Shrank),
        ((1, 1), (1, 2), Grew),
        ((1, 2), (1, 1), Shrank),
        ((1, 1), (1, 1), Same),
    ];
    for (before, after, kind) in cases {
        let change = Change {
            before: amount(before),
            after: amount(after),
        };
        assert_eq!(change.kind(), kind, "{before:?} {after:?}");
    }
}

#[test]
fn threads_memory_comes_last_and_is_no_part_of_the_total() {
    let names = ["a", "b", "c", "d"].map(|name| frame(1, Some(name), "app"));
    let [a, b, c, d] = &names;
    let before = [
        holding(Class::Heap, &[a], (500, 1)),
        holding(Class::Heap, &[d], (0, 0)),
    ];
    let after = [
        holding(Class::ThreadStack, &[c], (1 << 20, 1)),
        holding(Class::Heap, &[a], (100, 1)),
        holding(Class::Mmap, &[b], (50, 1)),
    ];
    let diff = diff(before, after);
    let order = diff.rows.iter().map(|row| (row.class, row.change.bytes()));
    let expected = [
        (Class::Mmap, 50),
        (Class::Heap, -400),
        (Class::ThreadStack, 1 << 20),
    ];
    assert_eq!(order.collect::<Vec<_>>(), expected);
    assert_eq!(diff.total.bytes(), -350);
    assert_eq!(diff.classes.len(), 3);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_the_other_way_round_is_the_opposite(
        before in prop::collection::vec((0..6_usize, (0..1_u64 << 40, 0..100_u64)), 0..12),
        after in prop::collection::vec((0..6_usize, (0..1_u64 << 40, 0..100_u64)), 0..12),
    ) {
        let frames: Vec<Frame> = (0..6).map(|n| frame(n, Some(&format!("f{n}")), "app")).collect();
        let holdings = |all: &[(usize, (u64, u64))]| -> Vec<Holding> {
            all.iter().map(|(n, live)| holding(Class::Heap, &[&frames[*n]], *live)).collect()
        };
        let forth = diff(holdings(&before), holdings(&after));
        let back = diff(holdings(&after), holdings(&before));
        let sum = |all: &[(usize, (u64, u64))]| all.iter().map(|(_, live)| live.0).sum::<u64>();
        prop_assert_eq!(forth.total.before.bytes, sum(&before));
        prop_assert_eq!(forth.total.after.bytes, sum(&after));
        prop_assert_eq!(forth.total.bytes(), -back.total.bytes());
        prop_assert_eq!(forth.rows.len(), back.rows.len());
        prop_assert!(forth.rows.is_sorted_by_key(|row| -row.change.bytes()));
    }
}
