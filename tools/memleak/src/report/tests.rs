use std::time::Duration;

use memtools::stacks::Frame;
use memtools::symbols::Location;

use super::*;
use crate::cli::SortKey;
use crate::fixture::{ByAddress, LAST, account, ledger, snapshot};
use crate::model::{Ledger, ReportOptions};
use crate::namer::{Namer, Naming};
use crate::snapshot::{
    Class, Loss, ProcessFigures, Processes, Snapshot, StackAccount, process_label,
};

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
        late_processes: 14,
        unseen_processes: 15,
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

/// Two processes with a stack each, of which one has ended.
fn of_several() -> Snapshot {
    let mut several = snapshot(vec![
        account(&[3, 4, 40], Class::Heap, (300, 3)),
        account(&[3, 4, 50], Class::Heap, (500, 5)),
        account(&[4, 50], Class::Heap, (50, 1)),
    ]);
    let process = |pid, has_ended| ProcessFigures {
        pid,
        // As the frames of the fixture are called.
        comm: format!("f{pid}<\u{1b}T>"),
        has_ended,
        was_detached: !has_ended,
        allocs: 20,
        frees: 10,
        late: has_ended.then_some(Duration::from_millis(35)),
    };
    several.moment.processes = Some(Processes {
        chosen_by: "PID 40 and children".to_owned(),
        list: vec![process(50, true), process(40, false)],
    });
    several
}

/// Frames of the fixture have no PIDs in their names: these have.
struct WithOwners;

impl Naming for WithOwners {
    fn names(&mut self, locations: &[&Location]) -> Vec<Vec<Frame>> {
        let mut named = ByAddress.names(locations);
        for (frames, location) in named.iter_mut().zip(locations) {
            if location.address >= 40 {
                let name = frames[0].symbol.take().unwrap_or_default();
                frames[0].symbol = Some(process_label(&name, location.address as u32));
                frames[0].module = "process".to_owned();
            }
        }
        named
    }
}

#[test]
fn a_report_of_several_processes() {
    let mut ledger = Ledger::default();
    let mut namer = Namer::new(WithOwners, 1);
    ledger.apply(namer.update(of_several())).unwrap();
    let report = ledger.report(LAST).unwrap();
    let style = TextStyle {
        top: 1,
        lists_blocks: false,
    };
    let value: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
    let pids: Vec<_> = value["stacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["pid"])
        .collect();
    assert_eq!(pids, [50, 40, 50]);
    let first = &value["processes"][0];
    assert_eq!((&first["pid"], &first["bytes"]), (&50.into(), &550.into()));
    insta::assert_snapshot!(without_clock(&text(&report, style)));
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
