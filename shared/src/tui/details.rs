//! A pane of details below a table: lines that scroll, under a line that says so.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph};

use super::text::{Cut, fit, width};
use super::theme::{Theme, Tone};

/// The table's part of a pane, and that of the details below it; the latter is empty unless they are
/// open.
pub fn split(area: Rect, is_open: bool) -> [Rect; 2] {
    let below = if is_open { area.height * 3 / 5 } else { 0 };
    Layout::vertical([Constraint::Min(1), Constraint::Length(below)]).areas(area)
}

/// Draws lines that J and K scroll and Enter puts away; returns how far they are scrolled then.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: &Theme,
    lines: Vec<Line<'_>>,
    scroll: usize,
) -> usize {
    let width = usize::from(area.width);
    let page = usize::from(area.height.saturating_sub(1));
    let scroll = scroll.min(lines.len().saturating_sub(page));
    let more = if lines.len() > page {
        let last = (scroll + page).min(lines.len());
        format!(" details {last}/{}, J K scroll, Enter closes ", lines.len())
    } else {
        " details, Enter closes ".to_owned()
    };
    let block = Block::new()
        .borders(Borders::TOP)
        .border_set(theme.glyphs.border())
        .border_style(theme.tone(Tone::Dim))
        .title(Line::styled(
            fit(&more, width, Cut::End, theme.glyphs),
            theme.title(),
        ));
    let shown: Vec<Line<'_>> = lines.into_iter().skip(scroll).take(page).collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
    scroll
}

/// A text in as many lines as it needs, each with the indentation of the first: nothing is cut, for
/// details are what one opens to read all.
pub fn wrapped(text: &str, columns: usize, theme: &Theme) -> Vec<String> {
    let text = fit(text, usize::MAX, Cut::End, theme.glyphs);
    let body = text.trim_start_matches(' ');
    // Where there is hardly room, it goes to the text.
    let indent = (text.len() - body.len()).min(columns / 4);
    let indent = " ".repeat(indent);
    let room = columns.saturating_sub(indent.len()).max(1);
    let mut lines = Vec::new();
    let mut rest = body;
    loop {
        let (line, after) = split_line(rest, room);
        lines.push(format!("{indent}{line}"));
        if after.is_empty() {
            return lines;
        }
        rest = after;
    }
}

/// What fits in one line, and what is left: between words, or else inside of one.
fn split_line(text: &str, columns: usize) -> (&str, &str) {
    let mut left = columns;
    let mut blank = None;
    let mut buffer = [0; 4];
    for (at, character) in text.char_indices() {
        let wide = width(character.encode_utf8(&mut buffer));
        if character == ' ' {
            blank = Some(at);
        }
        // A blank may stand beyond the end: it goes.
        if wide > left && at > 0 {
            let end = blank.filter(|&blank| blank > 0).unwrap_or(at);
            return (&text[..end], text[end..].trim_start_matches(' '));
        }
        left = left.saturating_sub(wide);
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::super::theme::Glyphs;
    use super::*;

    #[test]
    fn long_lines_go_on_below() {
        let wrapped = |text, columns| {
            let theme = Theme::new(false, Glyphs::Unicode);
            wrapped(text, columns, &theme)
        };
        assert_eq!(wrapped("  one two three", 10), ["  one two", "  three"]);
        assert_eq!(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
        assert_eq!(wrapped("日本", 1), ["日", "本"]);
        assert_eq!(wrapped("", 10), [""]);
        assert_eq!(wrapped("a\x1b", 80), ["a\\u{1b}"]);
    }
}
