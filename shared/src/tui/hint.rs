//! What stands on the right of a line above a table: how to get help, or the filter.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::filter::Filter;
use super::text::{Cut, fit};
use super::theme::{Theme, Tone};

/// Draws it, and returns what is left of the line. A filter that is forgotten would hide rows: it
/// stays, whatever stands on the left.
pub fn draw(frame: &mut Frame<'_>, area: Rect, filter: &Filter, theme: &Theme) -> Rect {
    let (text, tone) = if filter.is_empty() {
        ("? help".to_owned(), Tone::Dim)
    } else {
        (format!("filter: {}", filter.text()), Tone::Warn)
    };
    let columns = usize::from(area.width);
    let hint = fit(&text, columns / 3, Cut::End, theme.glyphs);
    let hint = Line::styled(hint, theme.tone(tone));
    let [left, right] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(hint.width() as u16)])
            .spacing(2)
            .areas(area);
    frame.render_widget(hint, right);
    left
}
