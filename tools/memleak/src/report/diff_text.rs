//! What grew between two states, for people.

use std::fmt::Write as _;

use memtools::output::{counted, grouped, human_bytes_signed, human_duration, rfc3339};

use super::text::{amount, frame_text, line};
use crate::diff::{Change, ChangeKind, Diff, DiffRow, State};
use crate::snapshot::{Class, Loss};

/// What grew from one state to another, in the shape of a report: so many stacks that grew, and as many
/// that shrank.
pub fn diff_text(diff: &Diff, before: State, after: State, top: usize) -> String {
    let mut out = String::new();
    head(&mut out, diff, before, after);
    let leakable = || diff.rows.iter().filter(|row| row.class.can_leak());
    let grew =
        leakable().filter(|row| matches!(row.change.kind(), ChangeKind::New | ChangeKind::Grew));
    list(&mut out, "grew", &grew.collect::<Vec<_>>(), top);
    let shrank = leakable().rev();
    let shrank =
        shrank.filter(|row| matches!(row.change.kind(), ChangeKind::Gone | ChangeKind::Shrank));
    list(&mut out, "shrank", &shrank.collect::<Vec<_>>(), top);
    out
}

fn head(out: &mut String, diff: &Diff, before: State, after: State) {
    line(out, &format!("{} outstanding", signed_amount(&diff.total)));
    state(out, "before", before, &amount(diff.total.before));
    state(out, "after", after, &amount(diff.total.after));
    let others = diff.classes.iter().filter(|(class, _)| !class.can_leak());
    let others: Vec<String> = others
        .map(|(class, change)| format!("{} {}", class.name(), human_bytes_signed(change.bytes())))
        .collect();
    if !others.is_empty() {
        let others = others.join(", ");
        line(
            out,
            &format!("  not leaks, reserved as address space: {others}"),
        );
    }
}

fn state(out: &mut String, which: &str, state: State, amount: &str) {
    let moment = state.moment;
    let mut text = format!(
        "  {which}: {amount} after {}, {} at {}, {}",
        human_duration(moment.elapsed),
        moment.subject(),
        rfc3339(moment.time),
        state.source,
    );
    if state.sample_rate > 1 {
        let _ = write!(
            text,
            ", estimated from one allocation in {}",
            state.sample_rate
        );
    }
    line(out, &text);
    // A rule that matches too much hides a leak.
    for (rule, hidden) in state.suppressed.used(state.suppressions).0 {
        let hidden = self::amount(hidden);
        line(
            out,
            &format!("  suppressed {which} by {}: {hidden}", rule.pattern),
        );
    }
    if moment.loss != Loss::default() {
        let source = state.source;
        line(
            out,
            &format!("  LOST: figures {which} are incomplete; the report of {source} says how"),
        );
    }
}

/// `+1.5 MiB in +20 blocks`
fn signed_amount(change: &Change) -> String {
    let blocks = counted(change.count().unsigned_abs(), "block");
    format!(
        "{} in {}{blocks}",
        human_bytes_signed(change.bytes()),
        sign(change.count())
    )
}

fn sign(number: i64) -> char {
    if number < 0 { '-' } else { '+' }
}

fn list(out: &mut String, what: &str, rows: &[&DiffRow], top: usize) {
    let (shown, rest) = rows.split_at(top.min(rows.len()));
    if shown.is_empty() {
        line(out, &format!("No stack {what}."));
        return;
    }
    line(out, &format!("Top {} stacks that {what}:", shown.len()));
    for row in shown {
        stack(out, row);
    }
    if !rest.is_empty() {
        let sum = rest.iter().map(|row| row.change.bytes());
        let sum = human_bytes_signed(sum.fold(0, i64::saturating_add));
        let stacks = counted(rest.len() as u64, "more stack");
        line(out, &format!("\t({stacks} with {sum}; -T lists more)"));
    }
}

fn stack(out: &mut String, row: &DiffRow) {
    let class = match row.class {
        Class::Heap => String::new(),
        class => format!(" ({})", class.name()),
    };
    let change = &row.change;
    let (bytes, count) = (change.bytes(), change.count());
    line(
        out,
        &format!("\t{bytes:+} bytes in {count:+} allocations from stack{class}"),
    );
    let kind = match change.kind() {
        kind @ (ChangeKind::New | ChangeKind::Gone) => format!(" ({})", kind.name()),
        _ => String::new(),
    };
    line(
        out,
        &format!(
            "\t\t{} in {} before, {} in {} after{kind}",
            grouped(change.before.bytes),
            grouped(change.before.count),
            grouped(change.after.bytes),
            grouped(change.after.count),
        ),
    );
    for (index, frame) in row.frames.iter().enumerate() {
        line(out, &format!("\t\t{index} {}", frame_text(frame)));
    }
    if row.frames.is_empty() {
        line(out, "\t\t[no stack: there was no room, or none to be read]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::diff_json::tests::{compared, with_example};

    #[test]
    fn a_diff_for_people() {
        with_example(|diff, before, after| {
            insta::assert_snapshot!(diff_text(diff, before, after, 1));
        });
    }

    #[test]
    fn where_nothing_changed_it_says_so() {
        compared(&[], &[], |diff, before, after| {
            let text = diff_text(diff, before, after, 10);
            assert!(text.contains("+0 B in +0 blocks outstanding\n"));
            assert!(text.ends_with("No stack grew.\nNo stack shrank.\n"));
        });
    }

    #[test]
    fn nothing_that_moves_the_cursor_is_printed() {
        with_example(|diff, before, after| {
            let text = diff_text(diff, before, after, 10);
            let is_plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
            assert!(text.chars().all(is_plain));
        });
    }
}
