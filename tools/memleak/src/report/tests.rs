use super::*;
use crate::cli::SortKey;
use crate::fixture::{LAST, account, ledger, snapshot};
use crate::model::ReportOptions;
use crate::snapshot::{Class, Loss, Snapshot, StackAccount};

const STYLE: TextStyle = TextStyle {
    top: 10,
    lists_blocks: false,
};

fn accounts() -> Vec<StackAccount> {
    let mut cut = account(&[30, 7, 9], Class::Heap, (4096, 2));
    cut.young.add_block(100);
    let mut deep = (*cut.stack).clone();
    deep.is_cut = true;
    cut.stack = deep.into();
    vec![
        cut,
        account(&[], Class::Heap, (16, 1)),
        account(&[40], Class::Mmap, (1 << 20, 1)),
        account(&[50, 1], Class::Mmap, (8 << 20, 1)),
    ]
}

fn text_of(snapshots: Vec<Snapshot>, options: ReportOptions, style: TextStyle) -> String {
    let ledger = ledger(snapshots, options.scale);
    text(&ledger.report(options).unwrap(), style)
}

fn first() -> String {
    text_of(vec![snapshot(accounts())], LAST, STYLE)
}

#[test]
fn a_second_report_says_what_came_since_the_first() {
    let mut grown = accounts();
    grown[0].live.bytes += 2048;
    let options = ReportOptions {
        sort: SortKey::Growth,
        ..LAST
    };
    let second = text_of(vec![snapshot(accounts()), snapshot(grown)], options, STYLE);
    assert!(!first().contains("since the last report"));
    assert!(second.contains("+2.0 KiB since the last report"));
    assert!(second.contains("+0 B since the last report"));
}

/// The wall clock depends on the machine's time zone.
fn without_clock(text: &str) -> String {
    text.lines()
        .map(|line| match line.split_once("] Top") {
            Some((_, rest)) => format!("[HH:MM:SS] Top{rest}\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn a_report_for_people() {
    insta::assert_snapshot!(without_clock(&first()));
}

#[test]
fn a_report_with_losses_blocks_and_few_stacks() {
    let mut lossy = snapshot(accounts());
    let moment = &mut lossy.moment;
    moment.has_ended = true;
    moment.loss = Loss {
        allocs: 1,
        alloc_bytes: 2048,
        missed_frees: 3,
        missed_returns: 4,
        stacks: 5,
        truncated_stacks: 6,
        threads: 7,
        mapping_events: 8,
        trace_events: 9,
        blind_ms: 10,
        skipped_execs: 11,
        text_mappings: 12,
        skipped_events: 13,
    };
    moment.mappings.maps = 5;
    moment.load.cpu_percent = None;
    let style = TextStyle {
        top: 2,
        lists_blocks: true,
    };
    let options = ReportOptions { scale: 10, ..LAST };
    insta::assert_snapshot!(without_clock(&text_of(vec![lossy], options, style)));
}

#[test]
fn nothing_that_moves_the_cursor_is_printed() {
    let text = first();
    assert!(
        text.chars()
            .all(|c| c == '\n' || c == '\t' || !c.is_control())
    );
}

#[test]
fn a_report_as_json_is_one_line() {
    let ledger = ledger(vec![snapshot(accounts())], 1);
    let line = json(&ledger.report(LAST).unwrap()).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["loss"], serde_json::json!({}));
    assert_eq!(value["target"]["comm"], "app\u{1b}[31m");
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}
