//! The pane of details: what a cache is, and who makes and frees its objects.

use memtools::output::{counted, grouped, human_bytes_signed};
use memtools::tui::details::{self, wrapped};
use memtools::tui::theme::{Theme, Tone};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::model::{Ledger, Place, Row};
use crate::report::{place_line, summary};

/// Draws the details of a cache; returns how far they are scrolled then.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: &Theme,
    (ledger, cache): (&Ledger, &str),
    scroll: usize,
) -> usize {
    let columns = usize::from(area.width);
    let lines = lines(ledger, cache, theme);
    let lines = lines.into_iter().flat_map(|(text, tone)| {
        let parts = wrapped(&text, columns, theme).into_iter();
        parts.map(move |part| Line::styled(part, theme.tone(tone)))
    });
    details::draw(frame, area, theme, lines.collect(), scroll)
}

fn lines(ledger: &Ledger, cache: &str, theme: &Theme) -> Vec<(String, Tone)> {
    let mut lines = Vec::new();
    if let Some(row) = ledger.row(cache) {
        lines.extend(facts(row));
    }
    let is_followed = ledger.followed.iter().any(|name| name == cache);
    let places: Vec<&Place> = ledger.places_of(cache).collect();
    let words = if is_followed {
        summary(&places)
    } else {
        format!("beginning to follow its objects{}", theme.glyphs.ellipsis())
    };
    lines.push((words, Tone::Plain));
    for place in places {
        lines.push((place_line(place), Tone::Strong));
        let frames = place.frames.iter();
        lines.extend(frames.map(|frame| (format!("    {frame}"), Tone::Plain)));
    }
    lines
}

fn facts(row: &Row) -> Vec<(String, Tone)> {
    let sizes = &row.sizes;
    let mut lines = vec![(
        format!(
            "{}: {} of {} bytes, {} in a slab of {}; {}",
            sizes.name,
            counted(sizes.objects, "object"),
            grouped(sizes.object_bytes),
            sizes.objects_per_slab,
            counted(sizes.pages_per_slab, "page"),
            row.score.verdict,
        ),
        Tone::Strong,
    )];
    if !row.aliases.is_empty() {
        let text = format!("also called {}", row.aliases.join(", "));
        lines.push((text, Tone::Plain));
    }
    lines.push((
        format!(
            "since the start {} allocated, {} freed; the cache has {}",
            grouped(row.moved.allocs),
            grouped(row.moved.frees),
            row.net_bytes()
                .map_or("an unknown rest".to_owned(), human_bytes_signed),
        ),
        Tone::Plain,
    ));
    let hidden = match (row.hides_allocs, row.hides_frees) {
        (_, true) => "not every free is visible as an event here (bulks, RCU)",
        (true, _) => "not every allocation is visible as an event here (bulks)",
        _ => return lines,
    };
    lines.push((hidden.to_owned(), Tone::Warn));
    lines
}
