//! The picture as a whole.

use memtools::output::{counted, grouped};
use memtools::tui::hint;
use memtools::tui::status::Status;
use memtools::tui::table::Table;
use memtools::tui::text::{Cut, fit};
use memtools::tui::theme::Tone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::{View, functions};

/// Draws the view.
pub fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let has_loss = lost(view) > 0;
    let [totals, notes, losses, body, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(has_loss.into()),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    view.columns = usize::from(body.width);
    frame.render_widget(head(view, usize::from(totals.width)), totals);
    let left = hint::draw(frame, notes, &view.filter, &view.theme);
    frame.render_widget(notes_line(view, usize::from(left.width)), left);
    if has_loss {
        frame.render_widget(losses_line(view, usize::from(losses.width)), losses);
    }
    match view.opened {
        Some(function) => draw_function(view, function, frame, body),
        None => draw_table(view, frame, body),
    }
    if !view.overlay.draw(frame, body, bottom, &view.theme) {
        status(view, frame, bottom);
    }
}

/// What there is in all.
fn head(view: &View, columns: usize) -> Line<'static> {
    let record = view.record();
    let text = if record.is_empty() {
        "counting".to_owned()
    } else {
        let calls = record.ledger.functions.iter().map(|last| last.calls).sum();
        let slowest = record
            .ledger
            .functions
            .iter()
            .map(|figures| figures.max_ns)
            .max();
        let slowest = match slowest.unwrap_or(0) {
            0 => String::new(),
            ns => format!(", slowest {}", view.times.text(ns)),
        };
        format!(
            "{} calls/s, {} inside{slowest}",
            grouped(record.rate(calls).round() as u64),
            grouped(record.ledger.inside_all())
        )
    };
    let room = columns.saturating_sub("funclatency ".len());
    Line::from(vec![
        Span::styled("funclatency ", view.theme.title()),
        Span::raw(fit(&text, room, Cut::End, view.theme.glyphs)),
    ])
}

/// What is traced, and what is shown of it.
fn notes_line(view: &View, columns: usize) -> Line<'static> {
    let about = &view.about;
    let record = view.record();
    let mut notes = Vec::new();
    if view.has_news {
        notes.push("newer figures wait: p goes on".to_owned());
    }
    let traced = match &about.selection {
        Some(selection) if record.ledger.has_ended => {
            format!("{} of {selection}, ended", about.patterns)
        }
        Some(selection) => format!("{} of {selection}", about.patterns),
        None => about.patterns.clone(),
    };
    // What stands behind has to be seen, too.
    notes.push(fit(&traced, columns / 2, Cut::End, view.theme.glyphs));
    let scope = if view.is_last_interval {
        "last interval (i)"
    } else {
        "whole run (i)"
    };
    notes.push(scope.to_owned());
    notes.push(format!("{} (u)", view.times.name()));
    if view.opened.is_none() && !view.filter.is_empty() {
        let shown = view.arrangement.len() as u64;
        notes.push(format!("{} shown", counted(shown, "function")));
    }
    let text = fit(&notes.join(", "), columns, Cut::End, view.theme.glyphs);
    Line::styled(text, view.theme.tone(Tone::Dim))
}

/// What makes figures wrong.
fn losses_line(view: &View, columns: usize) -> Line<'static> {
    let text = view.record().ledger.loss.lines().join("; ");
    let text = fit(&text, columns, Cut::End, view.theme.glyphs);
    Line::styled(text, view.theme.tone(Tone::Warn))
}

fn draw_function(view: &mut View, function: usize, frame: &mut Frame<'_>, area: Rect) {
    let scroll = view
        .page(function)
        .map(|page| page.draw(frame, area, view.scroll));
    view.scroll = scroll.unwrap_or(0);
}

fn draw_table(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let rows = super::rows(&view.arrangement, view.times, &view.theme);
    let table = Table::new(functions::columns(view.times), &view.theme);
    table.draw(frame, area, &rows, &mut view.table);
    if view.arrangement.len() > 0 || area.height < 2 {
        return;
    }
    let text = if view.filter.is_empty() {
        "  no function is traced"
    } else {
        "  nothing matches the filter; Esc clears it"
    };
    let line = Rect {
        y: area.y + 1,
        height: 1,
        ..area
    };
    frame.render_widget(Line::styled(text, view.theme.tone(Tone::Dim)), line);
}

fn status(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let record = view.record();
    let target = match &record.ended {
        None => &view.about.way,
        Some(why) => why,
    };
    let last = record.ledger.functions.iter();
    let calls: u64 = last.map(|figures| figures.calls).sum();
    let status = Status {
        target,
        is_paused: view.frozen.is_some(),
        lost: lost(view),
        elapsed: record.elapsed,
        events_per_s: (!record.is_empty()).then(|| record.rate(calls)),
        cost: view.cost,
        notice: &view.notice,
        theme: &view.theme,
    };
    frame.render_widget(status, area);
}

fn lost(view: &View) -> u64 {
    let named = view.record().ledger.loss.named();
    named.iter().map(|(_, lost)| lost).sum()
}
