//! The pane of details: all that is known of one event.

use memtools::output::human_duration;
use memtools::tui::details::{self, wrapped};
use memtools::tui::theme::{Theme, Tone};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::log::Entry;
use crate::model::EndedBy;
use crate::report;

/// Draws the details of an event; returns how far they are scrolled then.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: &Theme,
    entry: &Entry,
    scroll: usize,
) -> usize {
    let lines = lines(entry, theme, usize::from(area.width));
    details::draw(frame, area, theme, lines, scroll)
}

fn lines(entry: &Entry, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let head = wrapped(&report::headline(&entry.event), columns, theme);
    let strong = theme.tone(Tone::Strong);
    let mut lines: Vec<Line<'static>> = head
        .into_iter()
        .map(|part| Line::styled(part, strong))
        .collect();
    let facts = report::details(&entry.event);
    let indent = facts.len() - facts.trim_start_matches(' ').len();
    let end = format!("{:indent$}{}", "", end(entry));
    for fact in facts.lines().chain([end.as_str()]) {
        lines.extend(wrapped(fact, columns, theme).into_iter().map(Line::raw));
    }
    lines
}

/// What became of the victim's memory.
fn end(entry: &Entry) -> String {
    let Some(reaped) = entry.reaped else {
        return "its memory is not known to be back".to_owned();
    };
    let by = match reaped.by {
        EndedBy::Reaper => "the OOM reaper took it",
        EndedBy::Exit => "it was freed at its exit",
    };
    let after = human_duration(reaped.after);
    format!("its memory was back after {after}: {by}")
}
