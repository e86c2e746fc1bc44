//! The live view: its state, what keys do to it, and its picture.

mod caches;
mod details;
mod head;
mod keys;
mod picture;

use std::sync::mpsc::Sender;
use std::time::Instant;

use memtools::tui::filter::Filter;
use memtools::tui::keys::Common;
use memtools::tui::overlay::{Overlay, Routed};
use memtools::tui::own_cost::{Cost, OwnCost};
use memtools::tui::status::Notice;
use memtools::tui::table::{Change, TableState};
use memtools::tui::theme::{Theme, Tone};
use memtools::tui::{App, Flow, KeyEvent, MouseEvent};

use crate::live::Request;
use crate::model::{Ledger, SortKey};
use caches::{Arrangement, CacheRows};
use keys::{Action, KEYS};

/// What the view is sent: all that there is, in the place of what came before.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// All caches.
    pub ledger: Ledger,
    /// Something a user should know, and how many such words came before.
    pub said: (u64, String),
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
    /// Leaks are looked for.
    leaks: bool,
    theme: Theme,
    filter: Filter,
    /// What the command line asks for, until a key asks for another order.
    first_sort: Option<SortKey>,
    arrangement: Arrangement,
    is_stale: bool,
    table: TableState<String>,
    /// The cache whose details are open.
    opened: Option<String>,
    details_scroll: usize,
    requests: Sender<Request>,
    overlay: Overlay,
    notice: Notice,
    meter: OwnCost,
    cost: Cost,
}

impl View {
    /// Nothing yet. `selection`: whose events are counted, if not all.
    pub fn new(sort: SortKey, selection: Option<String>, requests: Sender<Request>) -> Self {
        Self {
            data: Data::default(),
            held_back: None,
            is_paused: false,
            selection,
            leaks: sort == SortKey::Growth,
            theme: Theme::from_env(),
            filter: Filter::default(),
            first_sort: Some(sort),
            arrangement: Arrangement::default(),
            is_stale: true,
            table: TableState::new(caches::sort_by(sort)),
            opened: None,
            details_scroll: 0,
            requests,
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
        let (ledger, table) = (&self.data.ledger, &mut self.table);
        self.arrangement
            .arrange(ledger, &self.filter, self.first_sort, table.sort);
        table.follow(&rows(&self.data, &self.arrangement, &self.theme));
        self.show_selected();
    }

    fn selected(&self) -> Option<&str> {
        self.arrangement.name(self.table.selected()?)
    }

    fn do_own(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::DetailsDown => self.details_scroll += 1,
            Action::DetailsUp => self.details_scroll = self.details_scroll.saturating_sub(1),
        }
    }

    /// Opens the details of the selected cache, or closes them.
    fn open(&mut self) {
        if self.opened.is_some() {
            self.close();
            return;
        }
        let Some(at) = self.table.selected() else {
            return;
        };
        // Who reads about a cache must not find another one there when figures change.
        self.table
            .select(at, &rows(&self.data, &self.arrangement, &self.theme));
        self.opened = self.selected().map(str::to_owned);
        self.details_scroll = 0;
        self.ask();
    }

    fn close(&mut self) {
        self.opened = None;
        self.details_scroll = 0;
        self.ask();
    }

    /// The details are those of the selected cache, whichever that is now.
    fn show_selected(&mut self) {
        if self.opened.is_none() || self.opened.as_deref() == self.selected() {
            return;
        }
        self.opened = self.selected().map(str::to_owned);
        self.details_scroll = 0;
        self.ask();
    }

    /// Its objects are followed while its details are open.
    fn ask(&self) {
        // It has ended, and its last word is shown.
        let _ = self.requests.send(Request::Show(self.opened.clone()));
    }

    fn do_common(&mut self, common: Common) -> Flow {
        match common {
            Common::Quit => return Flow::Quit,
            Common::Help => self.overlay.help("slabtop", &KEYS, &self.theme),
            Common::Filter => self.overlay.ask_filter(self.filter.text()),
            Common::Clear if !self.filter.is_empty() => self.set_filter(""),
            Common::Clear => {
                if self.opened.is_some() {
                    self.close();
                }
            }
            Common::Pause => self.pause(),
            other => {
                let rows = rows(&self.data, &self.arrangement, &self.theme);
                let change = self
                    .table
                    .on_common(other, caches::columns(self.leaks), &rows);
                self.on_change(change);
            }
        }
        Flow::Continue
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Sorted => {
                self.first_sort = None;
                self.is_stale = true;
            }
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
        if data.said.0 > self.data.said.0 {
            self.notice.say(data.said.1.clone(), Tone::Warn);
        }
        self.cost = self.meter.sample();
        self.data = data;
        self.is_stale = true;
    }
}

/// The caches as the table draws them.
fn rows<'a>(data: &'a Data, arrangement: &'a Arrangement, theme: &Theme) -> CacheRows<'a> {
    CacheRows {
        ledger: &data.ledger,
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
        let rows = rows(&self.data, &self.arrangement, &self.theme);
        let change = self
            .table
            .on_mouse(mouse, caches::columns(self.leaks), &rows);
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
