//! The picture as a whole.

use memtools::output::wall_clock;
use memtools::tui::details::split;
use memtools::tui::hint;
use memtools::tui::status::Status;
use memtools::tui::table::Table;
use memtools::tui::theme::Tone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::{View, details, head, kills};

/// Draws the view.
pub fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let [kills, cgroups, notes, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let (log, theme) = (&view.log, &view.theme);
    let columns = usize::from(frame.area().width);
    let times = (view.started, view.now());
    frame.render_widget(head::kills(log, times, columns, theme), kills);
    frame.render_widget(head::cgroups(log, columns, theme), cgroups);
    notes_line(view, frame, notes);
    events(view, frame, body);
    if !view.overlay.draw(frame, body, bottom, &view.theme) {
        status(view, frame, bottom);
    }
}

fn notes_line(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let left = hint::draw(frame, area, &view.selection.filter, &view.theme);
    let shown = view.arrangement.order().len();
    let room = usize::from(left.width);
    let notes = head::notes(&view.log, &view.selection, shown, room, &view.theme);
    frame.render_widget(notes, left);
}

fn events(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let selected = view.selected().filter(|_| view.has_details);
    let [above, below] = split(area, selected.is_some());
    let rows = kills::KillRows {
        log: &view.log,
        arrangement: &view.arrangement,
        glyphs: view.theme.glyphs,
    };
    let table = Table::new(kills::COLUMNS, &view.theme);
    table.draw(frame, above, &rows, &mut view.table);
    if view.arrangement.order().is_empty() && above.height > 2 {
        empty(view, frame, above);
    }
    if let Some(entry) = selected.and_then(|id| view.log.entry(id)) {
        view.details_scroll = details::draw(frame, below, &view.theme, entry, view.details_scroll);
    }
}

/// Why there is nothing to see.
fn empty(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let text = if view.log.is_empty() {
        format!("  no OOM kill since {}", wall_clock(view.started))
    } else if view.selection.filter.is_empty() {
        "  paused before the first kill; p goes on".to_owned()
    } else {
        "  nothing matches the filter; Esc clears it".to_owned()
    };
    let line = Rect {
        y: area.y + 1,
        height: 1,
        ..area
    };
    frame.render_widget(Line::styled(text, view.theme.tone(Tone::Dim)), line);
}

fn status(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let target = match (&view.ended_at, &view.why_ended) {
        (None, _) => "log of OOM kills".to_owned(),
        (Some(_), None) => "log of OOM kills, ended".to_owned(),
        (Some(_), Some(why)) => format!("log of OOM kills, ended: {why}"),
    };
    let status = Status {
        target: &target,
        is_paused: view.selection.paused_at.is_some(),
        lost: view.loss.total(),
        elapsed: view.elapsed(),
        events_per_s: None,
        cost: view.pace.cost(),
        notice: &view.notice,
        theme: &view.theme,
    };
    frame.render_widget(status, area);
}
