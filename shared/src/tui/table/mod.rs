//! A table of many rows, of which only the visible ones are formatted.
//!
//! The tool keeps its rows, and a list of indices that says which ones are shown in which order; the
//! table asks through [`Rows`] for what it draws. [`TableState`] remembers what is selected, by the
//! row's identity.

mod layout;
mod state;

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::sparkline::sparkline;
use super::text::{Cut, fit, width};
use super::theme::{Theme, Tone};
use layout::{Place, layout};

pub use state::{Change, Sort, TableState};

/// One column. Which one is which is the tool's affair: [`Rows::cell`] gets its index.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Column {
    title: &'static str,
    width: u16,
    fills: bool,
    is_right: bool,
    is_sortable: bool,
    cut: Cut,
    rank: u8,
}

impl Column {
    /// Figures: on the right, and the largest first.
    pub const fn number(title: &'static str, width: u16) -> Self {
        Self {
            is_right: true,
            ..Self::text(title, width)
        }
    }

    /// Names: on the left, and in the alphabet's order.
    pub const fn text(title: &'static str, width: u16) -> Self {
        Self {
            title,
            width,
            fills: false,
            is_right: false,
            is_sortable: true,
            cut: Cut::End,
            rank: 0,
        }
    }

    /// A small picture of a series.
    pub const fn sparkline(title: &'static str, width: u16) -> Self {
        Self {
            is_sortable: false,
            ..Self::text(title, width)
        }
    }

    /// `width` is the least; it takes its share of what is left.
    pub const fn fill(mut self) -> Self {
        self.fills = true;
        self
    }

    /// In a narrow terminal the column of the highest rank goes first. The rank is 0 where it is not
    /// given, and such columns stay as long as possible.
    pub const fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// Text that does not fit loses its beginning.
    pub const fn cut_start(mut self) -> Self {
        self.cut = Cut::Start;
        self
    }

    /// No order is made from it.
    pub const fn unsorted(mut self) -> Self {
        self.is_sortable = false;
        self
    }

    /// What stands over it.
    pub const fn title(&self) -> &'static str {
        self.title
    }
}

/// What is drawn in a cell.
#[derive(Clone, Debug)]
#[must_use]
pub struct Cell<'a> {
    content: Content<'a>,
    tone: Tone,
}

#[derive(Clone, Debug)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Series(Cow<'a, [u64]>),
}

impl<'a> Cell<'a> {
    /// Text, not yet cleaned.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            content: Content::Text(text.into()),
            tone: Tone::Plain,
        }
    }

    /// A series, the oldest first; the newest are shown where not all fit.
    pub fn series(figures: impl Into<Cow<'a, [u64]>>) -> Self {
        Self {
            content: Content::Series(figures.into()),
            tone: Tone::Plain,
        }
    }

    /// How it looks.
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A tool's rows, as they are to be shown: filtered and in order.
pub trait Rows {
    /// What makes a row the same row when figures change.
    type Id: Clone + PartialEq;

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which row stands at a position from the top, counted from 0.
    fn id(&self, position: usize) -> Self::Id;

    /// What it says in a column. Asked for visible rows only.
    fn cell(&self, position: usize, column: usize) -> Cell<'_>;
}

/// Draws rows.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    columns: &'a [Column],
    theme: &'a Theme,
}

impl<'a> Table<'a> {
    /// A table with these columns.
    pub const fn new(columns: &'a [Column], theme: &'a Theme) -> Self {
        Self { columns, theme }
    }

    /// Draws the head and as many rows as fit.
    pub fn draw<R: Rows>(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        rows: &R,
        state: &mut TableState<R::Id>,
    ) {
        self.render(frame.buffer_mut(), area, rows, state);
    }

    /// The same, into a buffer.
    pub fn render<R: Rows>(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        rows: &R,
        state: &mut TableState<R::Id>,
    ) {
        let area = area.intersection(buffer.area);
        let places = layout(self.columns, area.x, area.width);
        state.place(area, &places, rows.len());
        if area.is_empty() {
            return;
        }
        self.head(buffer, area, &places, state.sort);
        for (y, position) in (area.y + 1..area.bottom()).zip(state.visible()) {
            self.row(buffer, y, rows, position, &places);
            if state.selected() == Some(position) {
                let line = Rect {
                    y,
                    height: 1,
                    ..area
                };
                buffer.set_style(line, self.theme.selected());
            }
        }
    }

    fn head(&self, buffer: &mut Buffer, area: Rect, places: &[Place], sort: Sort) {
        let line = Rect { height: 1, ..area };
        buffer.set_style(line, self.theme.header());
        for place in places {
            let column = &self.columns[place.column];
            let mut title = column.title.to_owned();
            if place.column == sort.column {
                title.push_str(self.theme.glyphs.arrow(sort.is_descending));
            }
            self.put(buffer, area.y, place, &title, self.theme.header());
        }
    }

    fn row<R: Rows>(
        &self,
        buffer: &mut Buffer,
        y: u16,
        rows: &R,
        position: usize,
        places: &[Place],
    ) {
        for place in places {
            let cell = rows.cell(position, place.column);
            let style = self.theme.tone(cell.tone);
            match cell.content {
                Content::Text(text) => self.put(buffer, y, place, &text, style),
                Content::Series(figures) => {
                    let hidden = figures.len().saturating_sub(usize::from(place.width));
                    let text = sparkline(&figures[hidden..], self.theme.glyphs);
                    self.put(buffer, y, place, &text, style);
                }
            }
        }
    }

    fn put(&self, buffer: &mut Buffer, y: u16, place: &Place, text: &str, style: Style) {
        let column = &self.columns[place.column];
        let columns = usize::from(place.width);
        let text = fit(text, columns, column.cut, self.theme.glyphs);
        let x = if column.is_right {
            place.x + (columns - width(&text)) as u16
        } else {
            place.x
        };
        let left = usize::from(place.x + place.width - x);
        buffer.set_stringn(x, y, text, left, style);
    }
}
