//! The picture as a whole.

use memtools::tui::details::split;
use memtools::tui::status::Status;
use memtools::tui::table::Table;
use memtools::tui::text::{Cut, fit};
use memtools::tui::theme::Tone;
use memtools::tui::timeline::Timeline;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::keys::Pane;
use super::stacks::StackRows;
use super::{Origin, View, details, head, pane_tree, stacks, trees};

/// Draws the view.
pub fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let [live, process, tabs, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head::live(&view.ledger, &view.selection, &view.theme), live);
    frame.render_widget(head::process(&view.ledger), process);
    frame.render_widget(head::tabs(view.pane, &view.theme), tabs);
    filter_hint(view, frame, tabs);
    pane(view, frame, body);
    if !view.overlay.draw(frame, body, bottom, &view.theme) {
        status(view, frame, bottom);
    }
}

/// A filter that is forgotten would hide a leak.
fn filter_hint(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let text = if view.selection.filter.is_empty() {
        "? help".to_owned()
    } else {
        format!("filter: {}", view.selection.filter.text())
    };
    let tabs = head::tabs(view.pane, &view.theme).width() as u16;
    let left = area.width.saturating_sub(tabs);
    let text = fit(&text, usize::from(left), Cut::End, view.theme.glyphs);
    let tone = if view.selection.filter.is_empty() {
        Tone::Dim
    } else {
        Tone::Warn
    };
    let line = Line::styled(text, view.theme.tone(tone)).right_aligned();
    let area = Rect {
        x: area.x + tabs.min(area.width),
        width: left,
        ..area
    };
    frame.render_widget(line, area);
}

fn pane(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    match view.pane {
        Pane::Stacks => stacks_pane(view, frame, area),
        Pane::Callers | Pane::Allocators => {
            let table = Table::new(trees::COLUMNS, &view.theme);
            let tree = pane_tree(view.pane, &mut view.callers, &mut view.allocators);
            if let Some(tree) = tree {
                tree.draw(&table, frame, area, &view.ledger, view.theme.glyphs);
            }
        }
        Pane::Timeline => {
            let figures = view.ledger.timeline(usize::from(area.width));
            let timeline = Timeline {
                figures: &figures,
                title: "live bytes since the attach",
                show: memtools::output::human_bytes,
                theme: &view.theme,
            };
            frame.render_widget(timeline, area);
        }
    }
}

fn stacks_pane(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let selected = view.selected().filter(|_| view.has_details);
    let [above, below] = split(area, selected.is_some());
    let rows = StackRows {
        ledger: &view.ledger,
        arrangement: &view.arrangement,
        selection: &view.selection,
    };
    let table = Table::new(stacks::columns(&view.ledger), &view.theme);
    table.draw(frame, above, &rows, &mut view.table);
    if view.arrangement.order().is_empty() && above.height > 2 {
        empty(view, frame, above);
    }
    if let Some(row) = selected {
        let row = view.ledger.row(row);
        view.details_scroll = details::draw(
            frame,
            below,
            &view.theme,
            (&view.ledger, row),
            view.details_scroll,
        );
    }
}

/// Why there is nothing to see.
fn empty(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let text = if !view.selection.filter.is_empty() {
        "  nothing matches the filter; Esc clears it"
    } else if view.selection.only_fresh {
        "  nothing was allocated and kept since the base line"
    } else {
        "  nothing is outstanding (blocks younger than -o are hidden)"
    };
    let line = Rect {
        y: area.y + 1,
        height: 1,
        ..area
    };
    frame.render_widget(Line::styled(text, view.theme.tone(Tone::Dim)), line);
}

fn status(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let moment = view.ledger.moment();
    let target = moment.map_or_else(String::new, |moment| {
        let state = match view.origin {
            Origin::Recording => ", recorded",
            Origin::Live { .. } if moment.has_ended => ", ended",
            // It runs, but its probes are out.
            Origin::Live { .. } if view.has_ended => ", not traced any more",
            Origin::Live { .. } => "",
        };
        let why = view.why_ended.as_ref().map(|why| format!(": {why}"));
        let why = why.unwrap_or_default();
        if moment.is_of_kernel() || moment.processes.is_some() {
            return format!("{}{state}{why}", moment.subject());
        }
        format!("{} (PID {}{state}){why}", moment.comm, moment.pid)
    });
    let status = Status {
        target: &target,
        is_paused: view.is_paused,
        lost: moment.map_or(0, |moment| moment.loss.events()),
        elapsed: moment.map(|moment| moment.elapsed).unwrap_or_default(),
        events_per_s: moment
            .filter(|_| !view.has_ended)
            .map(|moment| moment.load.hits_per_s),
        cost: view.cost,
        notice: &view.notice,
        theme: &view.theme,
    };
    frame.render_widget(status, area);
}
