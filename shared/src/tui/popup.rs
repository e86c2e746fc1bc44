//! What lies on top of a view: the help, and other texts to read and put away.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::keys::{KeyTable, Move};
use super::text::{Cut, fit, width};
use super::theme::Theme;

/// Lines of text in a frame in the middle. It scrolls where they do not fit.
#[derive(Clone, Debug)]
pub struct Popup {
    title: String,
    lines: Vec<Line<'static>>,
    scroll: usize,
    /// How many lines were shown last.
    page: usize,
}

impl Popup {
    /// A text to read. Lines are cut where they do not fit.
    pub fn new(title: &str, lines: Vec<Line<'static>>) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            scroll: 0,
            page: 1,
        }
    }

    /// The help: every key of the table.
    pub fn help<A: Copy>(title: &str, keys: &KeyTable<A>, theme: &Theme) -> Self {
        let widest = keys.lines().map(|(name, _)| width(name)).max().unwrap_or(0);
        let lines = keys
            .lines()
            .map(|(name, help)| {
                let name = Span::styled(format!(" {name:<widest$}  "), theme.key());
                Line::from(vec![name, Span::raw(format!("{help} "))])
            })
            .collect();
        Self::new(title, lines)
    }

    /// Scrolls.
    pub fn step(&mut self, step: Move) {
        self.scroll = match step {
            Move::Up => self.scroll.saturating_sub(1),
            Move::Down => self.scroll + 1,
            Move::PageUp => self.scroll.saturating_sub(self.page),
            Move::PageDown => self.scroll + self.page,
            Move::Home => 0,
            Move::End => self.lines.len(),
        };
        self.clamp();
    }

    fn clamp(&mut self) {
        let last = self.lines.len().saturating_sub(self.page);
        self.scroll = self.scroll.min(last);
    }

    /// Draws it over what is there.
    pub fn draw(&mut self, frame: &mut Frame<'_>, area: Rect, theme: &Theme) {
        let widest = self.lines.iter().map(Line::width).max().unwrap_or(0);
        let columns = widest.max(width(&self.title) + 2) + 2;
        let area = area.centered(
            Constraint::Length(u16::try_from(columns).unwrap_or(u16::MAX)),
            Constraint::Length(u16::try_from(self.lines.len() + 2).unwrap_or(u16::MAX)),
        );
        self.page = usize::from(area.height.saturating_sub(2)).max(1);
        self.clamp();
        let inner = usize::from(area.width.saturating_sub(4));
        let title = fit(&self.title, inner, Cut::End, theme.glyphs);
        let mut block = Block::bordered()
            .border_set(theme.glyphs.border())
            .title(Line::styled(format!(" {title} "), theme.title()));
        if self.lines.len() > self.page {
            let last = (self.scroll + self.page).min(self.lines.len());
            block = block.title_bottom(format!(" {last}/{} ", self.lines.len()));
        }
        let end = (self.scroll + self.page).min(self.lines.len());
        let shown = self.lines[self.scroll..end].to_vec();
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(shown).block(block), area);
    }
}
