//! The lines above the table.

use memtools::output::{counted, grouped, human_bytes, human_bytes_signed};
use memtools::tui::text::{Cut, fit, width};
use memtools::tui::theme::{Theme, Tone};
use ratatui::text::{Line, Span};

use super::View;
use crate::model::Ledger;

/// What there is.
pub fn totals(ledger: &Ledger, columns: usize, theme: &Theme) -> Line<'static> {
    let rows = ledger.rows();
    let sum = |figure: fn(&crate::model::Row) -> u64| rows.iter().map(figure).sum::<u64>();
    let objects = sum(|row| row.sizes.objects);
    let active = sum(|row| row.sizes.active.unwrap_or(0));
    let bytes = sum(|row| row.sizes.bytes());
    let percent = 100.0 * active as f64 / objects.max(1) as f64;
    let parts = [
        format!(
            "{} in {}",
            human_bytes(bytes),
            counted(rows.len() as u64, "cache")
        ),
        format!("{} objects", grouped(objects)),
        format!("{percent:.0} % active"),
    ];
    let mut line = Line::from(Span::styled("slabtop ", theme.title()));
    join(&mut line, &parts, columns);
    line
}

/// What moves.
pub fn motion(ledger: &Ledger, columns: usize) -> Line<'static> {
    if !ledger.has_motion() {
        return Line::raw("counting");
    }
    let rows = ledger.rows();
    let allocs: f64 = rows.iter().map(|row| row.allocs_per_s).sum();
    let frees: f64 = rows.iter().map(|row| row.frees_per_s).sum();
    let net: i64 = rows.iter().filter_map(crate::model::Row::net_bytes).sum();
    let growing = ledger.growing();
    let parts = [
        format!("{} allocs/s", grouped(allocs as u64)),
        format!("{} frees/s", grouped(frees as u64)),
        format!("{} since the start", human_bytes_signed(net)),
        match growing.first() {
            Some(row) => format!("grows steadily: {}", row.sizes.name),
            None => "none grows steadily".to_owned(),
        },
    ];
    let mut line = Line::default();
    join(&mut line, &parts, columns);
    line
}

/// What is not shown, or not counted.
pub fn notes(view: &View, columns: usize) -> Line<'static> {
    let theme = &view.theme;
    let mut notes = Vec::new();
    if let Some(selection) = &view.selection {
        let end = if view.data.ledger.has_ended {
            ", which has ended"
        } else {
            ""
        };
        notes.push((format!("rates of {selection} only{end}"), Tone::Warn));
    }
    if view.held_back.is_some() {
        notes.push(("newer figures wait: p goes on".to_owned(), Tone::Warn));
    }
    if !view.filter.is_empty() {
        notes.push((format!("{} shown", view.arrangement.len()), Tone::Plain));
    }
    let rows = view.data.ledger.rows();
    let hidden = rows
        .iter()
        .filter(|row| row.hides_frees || row.hides_allocs);
    let hidden = hidden.count() as u64;
    if hidden > 0 {
        let text = format!(
            "{}: events do not show all in {}",
            theme.glyphs.at_least(),
            counted(hidden, "cache")
        );
        notes.push((text, Tone::Dim));
    }
    let mut line = Line::default();
    for (text, tone) in notes {
        let separator = if line.spans.is_empty() { "" } else { ", " };
        let room = columns.saturating_sub(line.width() + separator.len());
        let text = fit(&text, room, Cut::End, theme.glyphs);
        line.push_span(separator);
        line.push_span(Span::styled(text, theme.tone(tone)));
    }
    line
}

/// As many parts as fit: half of a number is another one.
fn join(line: &mut Line<'static>, parts: &[String], columns: usize) {
    let mut separator = "";
    for part in parts {
        if line.width() + width(separator) + width(part) > columns {
            return;
        }
        line.push_span(format!("{separator}{part}"));
        separator = ", ";
    }
}
