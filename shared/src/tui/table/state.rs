//! What a table remembers from picture to picture.

use std::cmp::Reverse;
use std::ops::Range;

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::layout::Place;
use super::{Column, Rows};
use crate::tui::keys::{Common, Move};

/// One turn of the wheel.
const WHEEL: usize = 3;

/// By which column rows are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Its index.
    pub column: usize,
    /// The largest first.
    pub is_descending: bool,
}

impl Sort {
    /// The smallest first.
    pub const fn ascending(column: usize) -> Self {
        Self {
            column,
            is_descending: false,
        }
    }

    /// The largest first.
    pub const fn descending(column: usize) -> Self {
        Self {
            column,
            is_descending: true,
        }
    }

    /// Puts items in order. Equal ones stay as they were, so that rows do not jump about.
    pub fn apply<T, K: Ord>(self, items: &mut [T], key: impl Fn(&T) -> K) {
        if self.is_descending {
            items.sort_by_key(|item| Reverse(key(item)));
        } else {
            items.sort_by_key(key);
        }
    }

    /// By the next column that there is an order of; `forward` is to the right.
    fn step(self, columns: &[Column], forward: bool) -> Self {
        let count = columns.len();
        let stride = if forward { 1 } else { count.saturating_sub(1) };
        (1..=count)
            .map(|step| (self.column + step * stride) % count)
            .find(|&column| columns[column].is_sortable)
            .map_or(self, |column| Self::first(columns, column))
    }

    /// By a column; the other way round when it is the same one.
    fn choose(self, columns: &[Column], column: usize) -> Self {
        match columns.get(column) {
            Some(chosen) if chosen.is_sortable && column == self.column => self.reversed(),
            Some(chosen) if chosen.is_sortable => Self::first(columns, column),
            _ => self,
        }
    }

    /// As one wants to see it first: large figures, but the alphabet from its beginning.
    fn first(columns: &[Column], column: usize) -> Self {
        Self {
            column,
            is_descending: columns[column].is_right,
        }
    }

    fn reversed(self) -> Self {
        Self {
            is_descending: !self.is_descending,
            ..self
        }
    }
}

/// What an event did to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Change {
    /// Nothing: it is not the table's.
    None,
    /// Another row is selected.
    Moved,
    /// The order is another: the tool has to sort its rows and to call [`TableState::follow`].
    Sorted,
    /// The selected row was clicked again.
    Opened,
}

impl Change {
    /// Whether the tool has to sort.
    pub fn is_sorted(self) -> bool {
        self == Self::Sorted
    }
}

/// Selection, scrolling and order.
///
/// Until the user moves, the first row is selected, whichever that is; then a row is, wherever it
/// goes. `Home` lets go of it.
#[derive(Clone, Debug)]
pub struct TableState<Id> {
    /// By which column rows are in order.
    pub sort: Sort,
    selected: Option<Id>,
    /// The selected row's position; below `count`, or 0.
    at: usize,
    /// The first visible row's position.
    top: usize,
    /// How many rows there were.
    count: usize,
    /// Where the table was drawn, its head included.
    area: Rect,
    heads: Vec<(usize, Range<u16>)>,
}

impl<Id: Clone + PartialEq> TableState<Id> {
    /// At the top.
    pub fn new(sort: Sort) -> Self {
        Self {
            sort,
            selected: None,
            at: 0,
            top: 0,
            count: 0,
            area: Rect::ZERO,
            heads: Vec::new(),
        }
    }

    /// The selected row's position, if there is any row.
    pub fn selected(&self) -> Option<usize> {
        (self.count > 0).then_some(self.at)
    }

    /// To be called when rows were added, removed or put in another order: finds the selected row
    /// again. Where it has gone, the one in its place is selected.
    pub fn follow(&mut self, rows: &impl Rows<Id = Id>) {
        self.count = rows.len();
        self.clamp();
        let Some(id) = &self.selected else {
            return;
        };
        if self.count == 0 {
            return;
        }
        // It has mostly stayed where it was.
        if rows.id(self.at) != *id {
            match (0..self.count).find(|&position| rows.id(position) == *id) {
                Some(position) => self.at = position,
                None => self.selected = Some(rows.id(self.at)),
            }
        }
        self.scroll_to_selected();
    }

    /// Selects the row at a position.
    pub fn select(&mut self, position: usize, rows: &impl Rows<Id = Id>) {
        self.count = rows.len();
        self.at = position;
        self.clamp();
        self.selected = (self.count > 0).then(|| rows.id(self.at));
        self.scroll_to_selected();
    }

    /// Moves the selection.
    pub fn step(&mut self, step: Move, rows: &impl Rows<Id = Id>) {
        let page = self.page().max(1);
        let position = match step {
            Move::Up => self.at.saturating_sub(1),
            Move::Down => self.at + 1,
            Move::PageUp => self.at.saturating_sub(page),
            Move::PageDown => self.at + page,
            Move::Home => 0,
            Move::End => rows.len().saturating_sub(1),
        };
        self.select(position, rows);
        if step == Move::Home {
            self.selected = None;
        }
    }

    /// What a common key does to a table.
    pub fn on_common(
        &mut self,
        common: Common,
        columns: &[Column],
        rows: &impl Rows<Id = Id>,
    ) -> Change {
        match common {
            Common::Move(step) => {
                self.step(step, rows);
                return Change::Moved;
            }
            Common::SortPrevious => self.sort = self.sort.step(columns, false),
            Common::SortNext => self.sort = self.sort.step(columns, true),
            Common::Reverse => self.sort = self.sort.reversed(),
            _ => return Change::None,
        }
        Change::Sorted
    }

    /// The wheel moves the selection, a click selects a row or sorts by a column.
    pub fn on_mouse(
        &mut self,
        mouse: MouseEvent,
        columns: &[Column],
        rows: &impl Rows<Id = Id>,
    ) -> Change {
        if !self.area.contains(Position::new(mouse.column, mouse.row)) {
            return Change::None;
        }
        match mouse.kind {
            MouseEventKind::ScrollUp => self.select(self.at.saturating_sub(WHEEL), rows),
            MouseEventKind::ScrollDown => self.select(self.at + WHEEL, rows),
            MouseEventKind::Down(MouseButton::Left) if mouse.row == self.area.y => {
                return self.click_head(mouse.column, columns);
            }
            MouseEventKind::Down(MouseButton::Left) => {
                let position = self.top + usize::from(mouse.row - self.area.y - 1);
                if position >= rows.len() {
                    return Change::None;
                }
                let is_again = self.selected() == Some(position);
                self.select(position, rows);
                if is_again {
                    return Change::Opened;
                }
            }
            _ => return Change::None,
        }
        Change::Moved
    }

    fn click_head(&mut self, x: u16, columns: &[Column]) -> Change {
        let head = self.heads.iter().find(|(_, range)| range.contains(&x));
        let sort = head.map_or(self.sort, |(column, _)| self.sort.choose(columns, *column));
        if sort == self.sort {
            return Change::None;
        }
        self.sort = sort;
        Change::Sorted
    }

    /// The positions that are drawn.
    pub fn visible(&self) -> Range<usize> {
        self.top..self.count.min(self.top + self.page())
    }

    /// Notes where the table is drawn, and scrolls so that the selected row is on it.
    pub(super) fn place(&mut self, area: Rect, places: &[Place], count: usize) {
        self.area = area;
        self.count = count;
        self.heads.clear();
        // A click on the gap behind a title is meant for the title.
        self.heads
            .extend(places.iter().map(|p| (p.column, p.x..p.x + p.width + 1)));
        self.clamp();
        self.scroll_to_selected();
    }

    /// How many rows fit below the head.
    fn page(&self) -> usize {
        usize::from(self.area.height.saturating_sub(1))
    }

    fn clamp(&mut self) {
        self.at = self.at.min(self.count.saturating_sub(1));
    }

    fn scroll_to_selected(&mut self) {
        let page = self.page().max(1);
        let last = self.count.saturating_sub(page);
        // Rather a full page than empty lines at its end.
        self.top = self
            .top
            .min(last)
            .min(self.at)
            .max((self.at + 1).saturating_sub(page));
    }
}
