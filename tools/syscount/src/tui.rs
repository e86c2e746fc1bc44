//! The live view: its state, what keys do to it, and its picture.

mod details;
mod groups;
mod keys;
mod picture;

use std::time::Instant;

use memtools::tui::filter::Filter;
use memtools::tui::keys::Common;
use memtools::tui::overlay::{Overlay, Routed};
use memtools::tui::own_cost::{Cost, OwnCost};
use memtools::tui::status::Notice;
use memtools::tui::table::{Change, TableState};
use memtools::tui::theme::Theme;
use memtools::tui::{App, Flow, KeyEvent, MouseEvent};

use crate::model::{By, GroupId, Ledger, SortKey};
use groups::{Arrangement, GroupRows};
use keys::{Action, KEYS};

/// What the view is sent: all that there is, in the place of what came before.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// All rows.
    pub ledger: Ledger,
    /// There will be no more; why.
    pub ended: Option<String>,
}

/// The state of the view.
pub struct View {
    data: Data,
    /// What came while the view is paused.
    held_back: Option<Data>,
    is_paused: bool,
    selection: Option<String>,
    by: By,
    /// What the key for it goes back to.
    by_owner: By,
    theme: Theme,
    filter: Filter,
    arrangement: Arrangement,
    is_stale: bool,
    table: TableState<GroupId>,
    /// Whose details are open.
    opened: Option<GroupId>,
    details_scroll: usize,
    overlay: Overlay,
    notice: Notice,
    meter: OwnCost,
    cost: Cost,
}

impl View {
    /// Nothing yet. `selection`: whose calls count, if not everybody's.
    pub fn new(by: By, selection: Option<String>) -> Self {
        let by_owner = match by {
            By::Thread | By::Cgroup => by,
            By::Call | By::Process | By::Errno => By::Process,
        };
        Self {
            data: Data::default(),
            held_back: None,
            is_paused: false,
            selection,
            by,
            by_owner,
            theme: Theme::from_env(),
            filter: Filter::default(),
            arrangement: Arrangement::default(),
            is_stale: true,
            table: TableState::new(groups::sort_by(SortKey::Total)),
            opened: None,
            details_scroll: 0,
            overlay: Overlay::default(),
            notice: Notice::default(),
            meter: OwnCost::default(),
            cost: Cost::default(),
        }
    }

    /// Puts the rows in order if anything changed: once for all that came together.
    fn refresh(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.arrangement
            .arrange(&self.data.ledger, self.by, &self.filter, self.table.sort);
        self.table.follow(&rows(&self.arrangement, &self.theme));
        self.show_selected();
    }

    fn selected(&self) -> Option<GroupId> {
        self.arrangement.id(self.table.selected()?)
    }

    fn do_own(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::Turn => self.turn(),
            Action::DetailsDown => self.details_scroll += 1,
            Action::DetailsUp => self.details_scroll = self.details_scroll.saturating_sub(1),
        }
    }

    /// From calls to whoever makes them, to errors, and back.
    fn turn(&mut self) {
        self.by = match self.by {
            By::Call => self.by_owner,
            By::Errno => By::Call,
            By::Process | By::Thread | By::Cgroup => By::Errno,
        };
        self.opened = None;
        self.is_stale = true;
    }

    /// Opens the details of the selected row, or closes them.
    fn open(&mut self) {
        if self.opened.take().is_some() {
            return;
        }
        let Some(at) = self.table.selected() else {
            return;
        };
        // Who reads about a row must not find another one there when figures change.
        self.table.select(at, &rows(&self.arrangement, &self.theme));
        self.opened = self.selected();
        self.details_scroll = 0;
    }

    /// The details are those of the selected row, whichever that is now.
    fn show_selected(&mut self) {
        if self.opened.is_some() && self.opened != self.selected() {
            self.opened = self.selected();
            self.details_scroll = 0;
        }
    }

    fn do_common(&mut self, common: Common) -> Flow {
        match common {
            Common::Quit => return Flow::Quit,
            Common::Help => self.overlay.help("syscount", &KEYS, &self.theme),
            Common::Filter => self.overlay.ask_filter(self.filter.text()),
            Common::Clear if !self.filter.is_empty() => self.set_filter(""),
            Common::Clear => self.opened = None,
            Common::Pause => self.pause(),
            other => {
                let rows = rows(&self.arrangement, &self.theme);
                let change = self.table.on_common(other, groups::columns(self.by), &rows);
                self.on_change(change);
            }
        }
        Flow::Continue
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Sorted => self.is_stale = true,
            Change::Opened => self.open(),
            Change::Moved => self.show_selected(),
            Change::None => {}
        }
    }

    fn pause(&mut self) {
        if self.data.ended.is_some() {
            return;
        }
        self.is_paused = !self.is_paused;
        if let Some(data) = self.held_back.take() {
            self.take(data);
        }
    }

    fn set_filter(&mut self, text: &str) {
        self.filter = Filter::new(text);
        self.is_stale = true;
    }

    fn take(&mut self, data: Data) {
        self.cost = self.meter.sample();
        self.data = data;
        self.is_stale = true;
    }
}

/// The rows as the table draws them.
fn rows<'a>(arrangement: &'a Arrangement, theme: &Theme) -> GroupRows<'a> {
    GroupRows {
        arrangement,
        glyphs: theme.glyphs,
    }
}

impl App for View {
    type Data = Box<Data>;

    fn on_data(&mut self, data: Box<Data>) -> Flow {
        if data.ended.is_some() {
            self.is_paused = false;
            self.held_back = None;
        }
        if self.is_paused {
            self.held_back = Some(*data);
        } else {
            self.take(*data);
        }
        Flow::Continue
    }

    fn on_key(&mut self, key: KeyEvent) -> Flow {
        self.refresh();
        match self.overlay.route(key, &KEYS) {
            Routed::Done => {}
            Routed::Filter(text) => self.set_filter(&text),
            Routed::Own(action) => self.do_own(action),
            Routed::Common(common) => return self.do_common(common),
        }
        Flow::Continue
    }

    fn on_mouse(&mut self, mouse: MouseEvent) -> Flow {
        if self.overlay.is_open() {
            return Flow::Continue;
        }
        self.refresh();
        let rows = rows(&self.arrangement, &self.theme);
        let change = self.table.on_mouse(mouse, groups::columns(self.by), &rows);
        self.on_change(change);
        Flow::Continue
    }

    fn on_paste(&mut self, text: &str) -> Flow {
        if let Some(text) = self.overlay.on_paste(text) {
            self.set_filter(&text);
        }
        Flow::Continue
    }

    fn wake_at(&self) -> Option<Instant> {
        self.notice.wake_at()
    }

    fn draw(&mut self, frame: &mut ratatui::Frame<'_>) {
        self.refresh();
        picture::draw(self, frame);
    }
}

#[cfg(test)]
mod tests;
