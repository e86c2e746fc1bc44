//! The lines above the panes: what the process has, and which pane is open.

use memtools::output::{counted, human_bytes, human_bytes_signed};
use memtools::tui::text::width;
use memtools::tui::theme::{Theme, Tone};
use memtools::tui::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::text::{Line, Span};

use super::keys::Pane;
use super::stacks::Selection;
use crate::model::Ledger;

/// The line of the screen that holds the tabs.
pub const TABS_LINE: u16 = 2;

/// What is live, with its peak.
pub fn live(ledger: &Ledger, selection: &Selection, theme: &Theme) -> Line<'static> {
    let total = ledger.total();
    let mut spans = vec![
        Span::styled("memleak ", theme.title()),
        Span::styled(
            format!(
                "{} in {}",
                human_bytes(total.bytes),
                counted(total.count, "block")
            ),
            theme.tone(Tone::Strong),
        ),
        Span::raw(format!(" live, peak {}", human_bytes(ledger.peak()))),
    ];
    let young = ledger.young();
    if young.count > 0 {
        spans.push(Span::raw(format!(
            ", and {} young",
            human_bytes(young.bytes)
        )));
    }
    let suppressed = ledger.suppressed().total();
    if suppressed.count > 0 {
        spans.push(Span::raw(format!(
            ", {} suppressed",
            human_bytes(suppressed.bytes)
        )));
    }
    if selection.only_fresh {
        spans.push(Span::styled(
            "  shown: only what came after the base line",
            theme.tone(Tone::Warn),
        ));
    }
    Line::from(spans)
}

/// What the kernel counts, and what the probes cost.
pub fn process(ledger: &Ledger) -> Line<'static> {
    let Some(moment) = ledger.moment() else {
        return Line::raw("waiting for the first figures");
    };
    let mut parts = Vec::new();
    if let (Some(before), Some(now)) = (moment.resident.at_attach, moment.resident.now) {
        let grown = now.total as i64 - before.total as i64;
        parts.push(format!(
            "RSS {} ({} since the attach)",
            human_bytes(now.total),
            human_bytes_signed(grown)
        ));
    }
    let mut whose = "its CPU time";
    if let Some(processes) = &moment.processes {
        whose = "the CPU time of the one that pays most";
        let all = &processes.list;
        parts.push(counted(all.len() as u64, "process"));
        let ended = all.iter().filter(|process| process.has_ended).count();
        let detached = all.iter().filter(|process| process.was_detached).count();
        for (count, what) in [(ended, "ended"), (detached, "detached")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
    }
    if let Some(percent) = moment.load.cpu_percent {
        parts.push(format!("probes take {percent:.1} % of {whose}"));
    }
    Line::raw(parts.join(", "))
}

/// The panes, and which one is open.
pub fn tabs(open: Pane, theme: &Theme) -> Line<'static> {
    let tab = |pane: Pane| {
        let style = if pane == open {
            theme.selected()
        } else {
            theme.key()
        };
        [
            Span::styled(format!(" {} ", pane.title()), style),
            Span::raw(" "),
        ]
    };
    Line::from(Pane::ALL.into_iter().flat_map(tab).collect::<Vec<_>>())
}

/// The pane whose tab was clicked.
pub fn clicked_tab(mouse: MouseEvent) -> Option<Pane> {
    if mouse.kind != MouseEventKind::Down(MouseButton::Left) || mouse.row != TABS_LINE {
        return None;
    }
    let mut x = 0;
    Pane::ALL.into_iter().find(|pane| {
        let columns = width(pane.title()) as u16 + 2;
        let is_inside = (x..x + columns).contains(&mouse.column);
        x += columns + 1;
        is_inside
    })
}

#[cfg(test)]
mod tests {
    use crate::fixture;
    use crate::snapshot::{ProcessFigures, Processes, ResidentChange};

    #[test]
    fn several_processes_are_counted() {
        let process = |has_ended, was_detached| ProcessFigures {
            has_ended,
            was_detached,
            ..ProcessFigures::default()
        };
        let head = |list| {
            let mut snapshot = fixture::snapshot(Vec::new());
            snapshot.moment.resident = ResidentChange::default();
            snapshot.moment.load.cpu_percent = Some(1.5);
            snapshot.moment.processes = Some(Processes {
                chosen_by: String::new(),
                list,
            });
            super::process(&fixture::ledger(vec![snapshot], 1)).to_string()
        };
        let load = "probes take 1.5 % of the CPU time of the one that pays most";
        let one = head(vec![process(false, false)]);
        assert_eq!(one, format!("1 process, {load}"));
        let three = [(false, true), (true, false), (true, false)];
        let three = head(three.map(|(ended, left)| process(ended, left)).to_vec());
        assert_eq!(three, format!("3 processes, 2 ended, 1 detached, {load}"));
    }
}
