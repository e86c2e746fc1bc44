//! A series of figures over time, in several lines.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Sparkline, Widget};

use super::sparkline::resample;
use super::text::{Cut, fit};
use super::theme::{Theme, Tone};

/// A chart of columns from zero to the peak, over all the time there is.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    /// The oldest first, at even distances.
    pub figures: &'a [u64],
    /// What they are.
    pub title: &'a str,
    /// How a figure is written.
    pub show: fn(u64) -> String,
    /// Styles and signs.
    pub theme: &'a Theme,
}

impl Widget for Timeline<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        if area.is_empty() {
            return;
        }
        let head = Rect { height: 1, ..area };
        self.head(head, buffer);
        let body = Rect {
            y: area.y + 1,
            height: area.height - 1,
            ..area
        };
        Sparkline::default()
            .data(resample(self.figures, usize::from(body.width)))
            .bar_set(self.theme.glyphs.bars())
            .style(self.theme.chart())
            .render(body, buffer);
    }
}

impl Timeline<'_> {
    /// The title, and the two figures that a chart is read for.
    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let mut text = self.title.to_owned();
        if let (Some(&last), Some(&peak)) = (self.figures.last(), self.figures.iter().max()) {
            text = format!("{text}: {}, peak {}", (self.show)(last), (self.show)(peak));
        }
        let columns = usize::from(area.width);
        let text = fit(&text, columns, Cut::End, self.theme.glyphs);
        let style = self.theme.tone(Tone::Strong);
        buffer.set_stringn(area.x, area.y, text, columns, style);
    }
}
