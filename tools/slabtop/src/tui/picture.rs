//! The picture as a whole.

use memtools::tui::details::split;
use memtools::tui::hint;
use memtools::tui::status::Status;
use memtools::tui::table::Table;
use memtools::tui::theme::Tone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::{View, caches, details, head, rows};

/// Draws the view.
pub fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let [totals, motion, notes, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let columns = usize::from(frame.area().width);
    let ledger = &view.data.ledger;
    frame.render_widget(head::totals(ledger, columns, &view.theme), totals);
    frame.render_widget(head::motion(ledger, columns), motion);
    let left = hint::draw(frame, notes, &view.filter, &view.theme);
    frame.render_widget(head::notes(view, usize::from(left.width)), left);
    body_panes(view, frame, body);
    if !view.overlay.draw(frame, body, bottom, &view.theme) {
        status(view, frame, bottom);
    }
}

fn body_panes(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let [above, below] = split(area, view.opened.is_some());
    let rows = rows(&view.data, &view.arrangement, &view.theme);
    let table = Table::new(caches::columns(view.leaks), &view.theme);
    table.draw(frame, above, &rows, &mut view.table);
    if view.arrangement.len() == 0 && above.height > 2 {
        let text = if view.filter.is_empty() {
            "  counting"
        } else {
            "  nothing matches the filter; Esc clears it"
        };
        let line = Rect {
            y: above.y + 1,
            height: 1,
            ..above
        };
        frame.render_widget(Line::styled(text, view.theme.tone(Tone::Dim)), line);
    }
    if let Some(cache) = &view.opened {
        let of = (&view.data.ledger, cache.as_str());
        view.details_scroll = details::draw(frame, below, &view.theme, of, view.details_scroll);
    }
}

fn status(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let target = match &view.data.ended {
        None => "kernel slab caches".to_owned(),
        Some(why) => format!("ended: {why}"),
    };
    let ledger = &view.data.ledger;
    let rate = |row: &crate::model::Row| row.allocs_per_s + row.frees_per_s;
    let events: f64 = ledger.rows().iter().map(rate).sum();
    let status = Status {
        target: &target,
        is_paused: view.is_paused,
        lost: ledger.loss.total(),
        elapsed: ledger.elapsed,
        events_per_s: ledger.has_motion().then_some(events),
        cost: view.cost,
        notice: &view.notice,
        theme: &view.theme,
    };
    frame.render_widget(status, area);
}
