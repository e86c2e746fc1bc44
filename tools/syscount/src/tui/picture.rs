//! The picture as a whole.

use memtools::output::{counted, grouped};
use memtools::tui::details::split;
use memtools::tui::hint;
use memtools::tui::status::Status;
use memtools::tui::table::Table;
use memtools::tui::text::{Cut, fit, short_ns};
use memtools::tui::theme::Tone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::{View, details, groups, rows};
use crate::model::By;

/// Draws the view.
pub fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let [totals, notes, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head(view, usize::from(totals.width)), totals);
    let left = hint::draw(frame, notes, &view.filter, &view.theme);
    frame.render_widget(notes_line(view, usize::from(left.width)), left);
    body_panes(view, frame, body);
    if !view.overlay.draw(frame, body, bottom, &view.theme) {
        status(view, frame, bottom);
    }
}

/// What there is in all.
fn head(view: &View, columns: usize) -> Line<'static> {
    let theme = &view.theme;
    let ledger = &view.data.ledger;
    let seconds = ledger.interval.as_secs_f64().max(1e-3);
    let rows = || ledger.rows.values();
    let calls: u64 = rows().map(|row| row.figures.count).sum();
    let errors: u64 = rows().map(|row| row.figures.errors).sum();
    let inside: u64 = rows().map(|row| row.in_flight).sum();
    let longest = rows().map(|row| (row.longest_at_least, row.longest_ns));
    let (is_older, longest) = longest.max().unwrap_or_default();
    let text = if ledger.interval.is_zero() {
        "counting".to_owned()
    } else {
        let rate = |count: u64| grouped((count as f64 / seconds).round() as u64);
        let sign = if is_older {
            theme.glyphs.at_least()
        } else {
            ""
        };
        let longest = match inside {
            0 => String::new(),
            _ => format!(", longest {sign}{}", short_ns(longest)),
        };
        format!(
            "{} calls/s, {} errors/s, {inside} in flight{longest}",
            rate(calls),
            rate(errors)
        )
    };
    let room = columns.saturating_sub("syscount ".len());
    Line::from(vec![
        Span::styled("syscount ", theme.title()),
        Span::raw(fit(&text, room, Cut::End, theme.glyphs)),
    ])
}

/// What is not shown, or not counted.
fn notes_line(view: &View, columns: usize) -> Line<'static> {
    let theme = &view.theme;
    let mut notes = vec![format!(
        "by {} (Tab)",
        match view.by {
            By::Call => "call",
            By::Process => "process",
            By::Thread => "thread",
            By::Cgroup => "cgroup",
            By::Errno => "errno",
        }
    )];
    if let Some(selection) = &view.selection {
        let end = if view.data.ledger.has_ended {
            ", which has ended"
        } else {
            ""
        };
        notes.push(format!("{selection}{end}"));
    }
    if view.held_back.is_some() {
        notes.push("newer figures wait: p goes on".to_owned());
    }
    if !view.filter.is_empty() {
        let shown = view.arrangement.groups().len() as u64;
        notes.push(format!("{} shown", counted(shown, "row")));
    }
    let text = fit(&notes.join(", "), columns, Cut::End, theme.glyphs);
    Line::styled(text, theme.tone(Tone::Dim))
}

fn body_panes(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let [above, below] = split(area, view.opened.is_some());
    let rows = rows(&view.arrangement, &view.theme);
    let table = Table::new(groups::columns(view.by), &view.theme);
    table.draw(frame, above, &rows, &mut view.table);
    if view.arrangement.groups().is_empty() && above.height > 2 {
        let text = if view.data.ledger.interval.is_zero() {
            "  counting"
        } else if view.filter.is_empty() {
            "  no call in the last second"
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
    if let Some(id) = view.opened {
        let of = (&view.data.ledger, id, view.by_owner);
        view.details_scroll = details::draw(frame, below, &view.theme, of, view.details_scroll);
    }
}

fn status(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let target = match &view.data.ended {
        None => "system calls".to_owned(),
        Some(why) => format!("ended: {why}"),
    };
    let ledger = &view.data.ledger;
    let calls: u64 = ledger.rows.values().map(|row| row.figures.count).sum();
    let lost = ledger.loss.named().iter().map(|(_, lost)| lost).sum();
    let status = Status {
        target: &target,
        is_paused: view.is_paused,
        lost,
        elapsed: ledger.elapsed,
        events_per_s: (!ledger.interval.is_zero())
            .then(|| calls as f64 / ledger.interval.as_secs_f64()),
        cost: view.cost,
        notice: &view.notice,
        theme: &view.theme,
    };
    frame.render_widget(status, area);
}
