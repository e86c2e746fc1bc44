use super::*;
use crate::fixture::{ByAddress, account, snapshot};
use crate::snapshot::Amount;

#[test]
fn only_what_changed_is_told() {
    let mut namer = Namer::new(ByAddress, 1);
    let accounts = || {
        vec![
            account(&[10, 20], Class::Heap, (30, 3)),
            account(&[11, 20], Class::Heap, (40, 4)),
        ]
    };
    let first = namer.update(snapshot(accounts()));
    assert_eq!((first.frames.len(), first.rows.len()), (3, 2));
    assert_eq!(first.figures.len(), 2);
    let mut grown = accounts();
    grown[1].live.bytes += 1;
    grown.push(account(&[12, 20], Class::Mmap, (4096, 1)));
    let second = namer.update(snapshot(grown));
    assert_eq!((second.frames.len(), second.rows.len()), (1, 1));
    let rows: Vec<RowId> = second.figures.iter().map(|figures| figures.row).collect();
    assert_eq!(rows, [RowId(1), RowId(2)]);
}

#[test]
fn a_row_that_is_gone_has_nothing_and_may_come_again() {
    let mut namer = Namer::new(ByAddress, 1);
    let accounts = || vec![account(&[10], Class::Heap, (30, 3))];
    namer.update(snapshot(accounts()));
    let gone = namer.update(snapshot(Vec::new()));
    assert_eq!(gone.figures, [RowFigures::none(RowId(0))]);
    assert!(namer.update(snapshot(Vec::new())).figures.is_empty());
    let again = namer.update(snapshot(accounts()));
    assert!(again.rows.is_empty());
    assert_eq!(
        again.figures[0].live,
        Amount {
            bytes: 30,
            count: 3
        }
    );
}

#[test]
fn stacks_that_were_resolved_anew_are_let_go() {
    let mut namer = Namer::new(ByAddress, 1);
    for _ in 0..3000 {
        namer.update(snapshot(vec![account(&[10], Class::Heap, (30, 3))]));
    }
    assert!(namer.known.len() < 2000);
    assert_eq!(namer.rows.len(), 1);
}
