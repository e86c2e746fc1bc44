//! The pane of details: how long calls took, and who makes them.

use memtools::output::{clean, counted};
use memtools::tui::bars::bars;
use memtools::tui::details::{self, wrapped};
use memtools::tui::text::short_ns;
use memtools::tui::theme::{Glyphs, Theme, Tone};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::model::{By, Group, GroupId, Ledger, SortKey, sort};
use crate::report::figures_words;

/// So many parts are listed.
const PARTS: usize = 20;

/// Draws the details of a row; returns how far they are scrolled then.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: &Theme,
    (ledger, id, by_owner): (&Ledger, GroupId, By),
    scroll: usize,
) -> usize {
    let columns = usize::from(area.width);
    let lines = lines(ledger, id, by_owner, (columns, theme.glyphs));
    let lines = lines.into_iter().flat_map(|(text, tone)| {
        let parts = wrapped(&text, columns, theme).into_iter();
        parts.map(move |part| Line::styled(part, theme.tone(tone)))
    });
    details::draw(frame, area, theme, lines.collect(), scroll)
}

fn lines(
    ledger: &Ledger,
    id: GroupId,
    by_owner: By,
    (columns, glyphs): (usize, Glyphs),
) -> Vec<(String, Tone)> {
    let (by, others) = match id {
        GroupId::Call(_) => (By::Call, by_owner),
        GroupId::Owner(_) => (by_owner, By::Call),
        GroupId::Errno(_) => (By::Errno, By::Call),
    };
    let mut lines = Vec::new();
    let whole = ledger
        .parts(id, by)
        .into_iter()
        .find(|group| group.id == id);
    if let Some(group) = &whole {
        let words = if by == By::Errno {
            counted(group.figures.count, "call")
        } else {
            figures_words(group)
        };
        lines.push((
            format!("{} since the start: {words}", clean(&group.name)),
            Tone::Strong,
        ));
        lines.extend(histogram(group, columns, glyphs));
    }
    let mut parts = ledger.parts(id, others);
    if let GroupId::Errno(errno) = id {
        for part in &mut parts {
            part.figures.count = part.figures.errnos.get(&errno).copied().unwrap_or(0);
        }
        sort(&mut parts, SortKey::Count);
    } else {
        sort(&mut parts, SortKey::Total);
    }
    parts.truncate(PARTS);
    for part in &parts {
        lines.push((
            part_line(part, by == By::Errno, glyphs.at_least()),
            Tone::Plain,
        ));
    }
    lines
}

fn part_line(part: &Group, counts_only: bool, at_least: &str) -> String {
    let owner = part
        .owner()
        .map_or_else(String::new, |owner| format!(" {owner}"));
    let name = clean(&part.name);
    if counts_only {
        return format!("  {name}{owner}: {}", part.figures.count);
    }
    let inside = match part.in_flight {
        0 => String::new(),
        count => {
            let sign = if part.longest_at_least { at_least } else { "" };
            format!(
                ", {count} in flight, longest {sign}{}",
                short_ns(part.longest_ns)
            )
        }
    };
    format!(
        "  {name}{owner}: {}, {}{inside}",
        figures_words(part),
        short_ns(part.figures.total_ns)
    )
}

fn histogram(group: &Group, columns: usize, glyphs: Glyphs) -> Vec<(String, Tone)> {
    let rows = group.figures.histogram.powers_of_two();
    let label = |low, high| format!("  {:>8} to {:>8}", short_ns(low), short_ns(high));
    let rows: Vec<(String, u64)> = rows
        .iter()
        .map(|row| (label(row.low_ns, row.high_ns), row.count))
        .collect();
    let lines = bars(&rows, columns, glyphs).into_iter();
    lines
        .map(|(head, bar)| (format!("{head} {bar}"), Tone::Plain))
        .collect()
}
