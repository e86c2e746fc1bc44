//! What grew between two states, for programs: docs/json.md.

use memtools::output::rfc3339;
use memtools::stacks::Frame;
use serde::Serialize;

use crate::diff::{Change, Diff, State};
use crate::snapshot::{Amount, Class, Loss};

#[derive(Serialize)]
struct JsonDiff<'a> {
    v: u32,
    tool: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    before: JsonState<'a>,
    after: JsonState<'a>,
    growth: JsonGrowth,
    stacks: Vec<JsonStack<'a>>,
}

#[derive(Serialize)]
struct JsonState<'a> {
    source: &'a str,
    time: String,
    elapsed_ms: u64,
    target: JsonTarget<'a>,
    sample_rate: u64,
    total: Amount,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressed: Vec<JsonSuppressed<'a>>,
    loss: &'a Loss,
}

#[derive(Serialize)]
struct JsonSuppressed<'a> {
    rule: &'a str,
    #[serde(flatten)]
    hidden: Amount,
}

#[derive(Serialize)]
struct JsonTarget<'a> {
    pid: u32,
    comm: &'a str,
    ended: bool,
}

#[derive(Serialize)]
struct JsonGrowth {
    bytes: i64,
    count: i64,
}

#[derive(Serialize)]
struct JsonStack<'a> {
    class: Class,
    kind: &'static str,
    before: Amount,
    after: Amount,
    growth: JsonGrowth,
    frames: &'a [&'a Frame],
}

/// What grew from one state to another as one line of JSON (docs/json.md).
pub fn diff_json(diff: &Diff, before: State, after: State) -> serde_json::Result<String> {
    let stacks = diff.rows.iter().map(|row| JsonStack {
        class: row.class,
        kind: row.change.kind().name(),
        before: row.change.before,
        after: row.change.after,
        growth: growth(&row.change),
        frames: &row.frames,
    });
    let mut line = serde_json::to_string(&JsonDiff {
        v: 1,
        tool: "memleak",
        kind: "diff",
        before: state(before, diff.total.before),
        after: state(after, diff.total.after),
        growth: growth(&diff.total),
        stacks: stacks.collect(),
    })?;
    line.push('\n');
    Ok(line)
}

fn state(state: State<'_>, total: Amount) -> JsonState<'_> {
    let moment = state.moment;
    let used = state.suppressed.used(state.suppressions).0.into_iter();
    let suppressed = used.map(|(rule, hidden)| JsonSuppressed {
        rule: &rule.pattern,
        hidden,
    });
    JsonState {
        source: state.source,
        time: rfc3339(moment.time),
        elapsed_ms: moment.elapsed.as_millis() as u64,
        target: JsonTarget {
            pid: moment.pid,
            comm: &moment.comm,
            ended: moment.has_ended,
        },
        sample_rate: state.sample_rate,
        total,
        suppressed: suppressed.collect(),
        loss: &moment.loss,
    }
}

fn growth(change: &Change) -> JsonGrowth {
    JsonGrowth {
        bytes: change.bytes(),
        count: change.count(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::diff::{Holding, diff};
    use crate::snapshot::{Events, MappingCalls, Moment, ProbeLoad, ResidentChange};
    use crate::suppressions::{Suppressions, Tally};

    fn moment(seconds: u32, pid: u32) -> Moment {
        Moment {
            time: Timestamp::from_second(seconds.into()).unwrap(),
            elapsed: Duration::from_secs(seconds.into()),
            pid,
            comm: "app\u{1b}[31m".to_owned(),
            has_ended: false,
            events: Events::default(),
            mappings: MappingCalls::default(),
            untracked_frees: 0,
            resident: ResidentChange::default(),
            chunk_overhead: 0,
            is_sampled: false,
            load: ProbeLoad::default(),
            loss: Loss::default(),
            processes: None,
        }
    }

    /// Hands over a comparison of these, the second of which lost a stack, and left one out.
    pub fn compared(before: &[Holding], after: &[Holding], show: impl FnOnce(&Diff, State, State)) {
        let first = moment(5, 42);
        let mut second = moment(70, 43);
        second.loss.stacks = 1;
        let suppressions = Suppressions::parse("rules", "leak:never\nleak:known\u{1b}\n").unwrap();
        let (nothing, mut one) = (Tally::default(), Tally::default());
        let known = Amount {
            bytes: 96,
            count: 2,
        };
        one.add(1, known);
        let state = |source, moment, sample_rate, suppressed| State {
            source,
            moment,
            sample_rate,
            suppressed,
            suppressions: &suppressions,
        };
        show(
            &diff(before.to_vec(), after.to_vec()),
            state("old.mleak", &first, 1, &nothing),
            state("new.mleak", &second, 10, &one),
        );
    }

    /// Hands over a comparison in which each kind of change is there.
    pub fn with_example(show: impl FnOnce(&Diff, State, State)) {
        let names = ["grew", "new", "gone", "less", "same", "thread"];
        let frames = names.map(|name| Frame {
            addr: 0x1000,
            symbol: Some(format!("{name}<\u{1b}T>")),
            offset: Some(16),
            module: "app".to_owned(),
            file: Some("src/app.c".to_owned()),
            line: Some(7),
            inlined: name == "less",
        });
        let holding = |index: usize, class, bytes, count| Holding {
            class,
            frames: vec![&frames[index]],
            live: Amount { bytes, count },
        };
        let before = [
            holding(0, Class::Heap, 4096, 2),
            holding(2, Class::Heap, 512, 1),
            holding(3, Class::Heap, 4096, 4),
            holding(4, Class::Heap, 64, 1),
        ];
        let after = [
            holding(0, Class::Heap, 1 << 20, 200),
            holding(1, Class::Mmap, 8192, 1),
            holding(3, Class::Heap, 1024, 1),
            holding(4, Class::Heap, 64, 1),
            holding(5, Class::ThreadStack, 8 << 20, 1),
        ];
        compared(&before, &after, show);
    }

    #[test]
    fn a_diff_as_json_is_one_line() {
        with_example(|diff, before, after| {
            let line = diff_json(diff, before, after).unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["after"]["loss"], serde_json::json!({"stacks": 1}));
            insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
        });
    }
}
