//! The live view: its state, what keys do to it, and its picture.

mod details;
mod head;
mod keys;
mod picture;
mod stacks;
mod trees;

use std::time::Instant;

use memtools::tui::filter::Filter;
use memtools::tui::keys::Common;
use memtools::tui::overlay::{Overlay, Routed};
use memtools::tui::own_cost::{Cost, OwnCost};
use memtools::tui::status::Notice;
use memtools::tui::table::{Change, TableState};
use memtools::tui::theme::{Theme, Tone};
use memtools::tui::{App, Flow, KeyEvent, MouseEvent};

use crate::cli::{Exports, SortKey};
use crate::exports;
use crate::model::Ledger;
use crate::tree::Direction;
use crate::update::{RowId, Update};
use keys::{Action, KEYS, Pane};
use stacks::{Arrangement, FIRST_SORT, Selection, StackRows};
use trees::TreePane;

/// What the view is sent.
#[derive(Debug)]
pub enum Data {
    /// What changed.
    Update(Box<Update>),
    /// Another moment of a recording.
    Ledger(Box<Ledger>),
    /// Something a user should know.
    Said(String),
    /// From the next update on there is a base line, or none any more.
    BaseLine(bool),
    /// There will be no more updates; why, if the process is not the reason.
    Ended(Option<String>),
}

/// What the view asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No updates for a while, or again.
    Pause(bool),
    /// A base line is set, or taken away.
    BaseLine(bool),
    /// So many moments on in a recording, or back.
    Step(i64),
}

/// What the view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process that is traced.
    Live {
        /// The times at which blocks were made are known (not with `-C`).
        has_ages: bool,
    },
    /// A recording.
    Recording,
}

/// The state of the view.
#[allow(clippy::struct_excessive_bools)] // switches that have nothing to do with each other
pub struct View {
    pub ledger: Ledger,
    origin: Origin,
    exports: Exports,
    /// Takes orders.
    orders: Box<dyn Fn(Order)>,
    pub theme: Theme,
    pane: Pane,
    selection: Selection,
    arrangement: Arrangement,
    table: TableState<RowId>,
    callers: TreePane,
    allocators: TreePane,
    has_details: bool,
    details_scroll: usize,
    is_paused: bool,
    has_ended: bool,
    /// Why, if the process is not the reason.
    why_ended: Option<String>,
    /// A base line was asked for.
    wants_base_line: bool,
    /// The next figures heed it.
    awaits_base_line: Option<bool>,
    overlay: Overlay,
    pub notice: Notice,
    meter: OwnCost,
    pub cost: Cost,
}

impl View {
    /// Opens on the pane of stacks.
    pub fn new(
        ledger: Ledger,
        origin: Origin,
        exports: Exports,
        orders: impl Fn(Order) + 'static,
    ) -> Self {
        let mut view = Self {
            ledger,
            origin,
            exports,
            orders: Box::new(orders),
            theme: Theme::from_env(),
            pane: Pane::default(),
            selection: Selection {
                filter: Filter::new(""),
                shows_all: false,
                only_fresh: false,
            },
            arrangement: Arrangement::default(),
            table: TableState::new(FIRST_SORT),
            callers: TreePane::new(Direction::TopDown),
            allocators: TreePane::new(Direction::BottomUp),
            has_details: false,
            details_scroll: 0,
            is_paused: false,
            has_ended: false,
            why_ended: None,
            wants_base_line: false,
            awaits_base_line: None,
            overlay: Overlay::default(),
            notice: Notice::default(),
            meter: OwnCost::default(),
            cost: Cost::default(),
        };
        view.refresh();
        view
    }

    /// After an update.
    fn refresh(&mut self) {
        self.arrangement.score(&self.ledger);
        self.arrange();
    }

    /// After an update, or with another order or selection.
    fn arrange(&mut self) {
        self.arrangement
            .arrange(&self.ledger, &self.selection, self.table.sort);
        let rows = StackRows {
            ledger: &self.ledger,
            arrangement: &self.arrangement,
            selection: &self.selection,
        };
        self.table.follow(&rows);
        // Only a tree that is looked at is built.
        let (ledger, theme) = (&self.ledger, &self.theme);
        if let Some(tree) = pane_tree(self.pane, &mut self.callers, &mut self.allocators) {
            tree.rebuild(ledger, &self.arrangement, &self.selection);
            tree.follow(ledger, theme.glyphs);
        }
    }

    fn do_own(&mut self, action: Action) {
        match action {
            Action::Show(pane) => self.show(pane),
            Action::NextPane => self.show(self.pane.next()),
            Action::Open => self.open(None),
            Action::Unfold => self.open(Some(true)),
            Action::Fold => self.open(Some(false)),
            Action::DetailsDown => self.details_scroll += 1,
            Action::DetailsUp => self.details_scroll = self.details_scroll.saturating_sub(1),
            Action::BaseLine => self.toggle_base_line(),
            Action::ShowAll => {
                self.selection.shows_all = !self.selection.shows_all;
                self.arrange();
            }
            Action::Write => self.write(),
            Action::Step(moments) => self.step(moments),
        }
    }

    fn show(&mut self, pane: Pane) {
        self.pane = pane;
        self.arrange();
    }

    fn open(&mut self, is_open: Option<bool>) {
        let (ledger, theme) = (&self.ledger, &self.theme);
        if let Some(tree) = pane_tree(self.pane, &mut self.callers, &mut self.allocators) {
            tree.fold(is_open);
            tree.follow(ledger, theme.glyphs);
        } else if self.pane == Pane::Stacks {
            self.has_details = is_open.unwrap_or(!self.has_details);
            self.details_scroll = 0;
        }
    }

    fn toggle_base_line(&mut self) {
        let why_not = match self.origin {
            Origin::Recording => Some(
                "a recording has no base line: memleak diff FILE@SECONDS FILE compares two moments",
            ),
            Origin::Live { has_ages: false } => Some("no base line with -C: nobody counts ages"),
            Origin::Live { .. } if self.has_ended => {
                Some("no base line any more: it is not traced any more")
            }
            Origin::Live { .. } => None,
        };
        if let Some(text) = why_not {
            self.notice.say(text, Tone::Warn);
            return;
        }
        self.wants_base_line = !self.wants_base_line;
        (self.orders)(Order::BaseLine(self.wants_base_line));
    }

    /// The figures that come with the update now heed it.
    fn take_base_line(&mut self, is_set: bool) {
        self.selection.only_fresh = is_set;
        let text = if is_set {
            "LIVE and COUNT: only what was allocated after this; r shows all again"
        } else {
            "all that was allocated since the attach is shown"
        };
        self.notice.say(text, Tone::Good);
    }

    /// Sorts by what the command line names; otherwise the score decides.
    pub fn sort_by(&mut self, key: SortKey) {
        if let Some(sort) = stacks::sort_by(key) {
            self.table.sort = sort;
            self.arrange();
        }
    }

    fn write(&mut self) {
        let exports = if self.exports.any() {
            self.exports.clone()
        } else {
            exports::named_after(&self.ledger)
        };
        let (text, tone) = match exports::write_beside_view(&exports, &self.ledger) {
            Ok(names) if names.is_empty() => ("nothing to write yet".to_owned(), Tone::Warn),
            Ok(names) => (format!("wrote {}", names.join(", ")), Tone::Good),
            Err(error) => (format!("{error:#}"), Tone::Bad),
        };
        self.notice.say(text, tone);
    }

    fn step(&mut self, moments: i64) {
        if self.origin == Origin::Recording {
            (self.orders)(Order::Step(moments));
        } else {
            self.notice.say("[ and ] are for recordings", Tone::Warn);
        }
    }

    fn do_common(&mut self, common: Common) -> Flow {
        match common {
            Common::Quit => return Flow::Quit,
            Common::Help => {
                self.overlay.help("memleak", &KEYS, &self.theme);
            }
            Common::Filter => {
                self.overlay.ask_filter(self.selection.filter.text());
            }
            Common::Clear => {
                if self.selection.filter.is_empty() {
                    self.has_details = false;
                } else {
                    self.filter("");
                }
            }
            Common::Pause => self.pause(),
            other => self.do_table(other),
        }
        Flow::Continue
    }

    fn pause(&mut self) {
        if self.origin == Origin::Recording || self.has_ended {
            return;
        }
        self.is_paused = !self.is_paused;
        (self.orders)(Order::Pause(self.is_paused));
    }

    fn do_table(&mut self, common: Common) {
        let (ledger, theme) = (&self.ledger, &self.theme);
        if let Some(tree) = pane_tree(self.pane, &mut self.callers, &mut self.allocators) {
            tree.on_common(common, ledger, theme.glyphs);
            return;
        }
        let rows = StackRows {
            ledger,
            arrangement: &self.arrangement,
            selection: &self.selection,
        };
        match self.table.on_common(common, stacks::columns(ledger), &rows) {
            Change::Sorted => self.arrange(),
            Change::Moved => self.details_scroll = 0,
            Change::None | Change::Opened => {}
        }
    }

    fn filter(&mut self, text: &str) {
        self.selection.filter = Filter::new(text);
        self.arrange();
    }

    fn selected(&self) -> Option<RowId> {
        let at = self.table.selected()?;
        self.arrangement.order().get(at).copied()
    }
}

/// The tree that a pane shows.
fn pane_tree<'a>(
    pane: Pane,
    callers: &'a mut TreePane,
    allocators: &'a mut TreePane,
) -> Option<&'a mut TreePane> {
    match pane {
        Pane::Callers => Some(callers),
        Pane::Allocators => Some(allocators),
        Pane::Stacks | Pane::Timeline => None,
    }
}

impl App for View {
    type Data = Data;

    fn on_data(&mut self, data: Data) -> Flow {
        match data {
            Data::Update(update) => {
                self.cost = self.meter.sample();
                if let Err(error) = self.ledger.apply(*update) {
                    self.notice.say(error.to_string(), Tone::Bad);
                }
                if let Some(is_set) = self.awaits_base_line.take() {
                    self.take_base_line(is_set);
                }
                self.refresh();
            }
            Data::Ledger(ledger) => {
                self.ledger = *ledger;
                self.arrangement.forget();
                self.refresh();
            }
            Data::Said(text) => self.notice.say(text, Tone::Warn),
            Data::BaseLine(is_set) => self.awaits_base_line = Some(is_set),
            Data::Ended(why) => {
                self.has_ended = true;
                self.why_ended = why;
                self.is_paused = false;
                // Nothing is drawn by itself any more, and an old word would hide this for ever.
                if self.ledger.moment().is_some_and(|moment| moment.has_ended) {
                    self.notice = Notice::default();
                }
            }
        }
        Flow::Continue
    }

    fn on_key(&mut self, key: KeyEvent) -> Flow {
        match self.overlay.route(key, &KEYS) {
            Routed::Done => {}
            Routed::Filter(text) => self.filter(&text),
            Routed::Own(action) => self.do_own(action),
            Routed::Common(common) => return self.do_common(common),
        }
        Flow::Continue
    }

    fn on_mouse(&mut self, mouse: MouseEvent) -> Flow {
        if self.overlay.is_open() {
            return Flow::Continue;
        }
        if let Some(action) = head::clicked_tab(mouse) {
            self.show(action);
            return Flow::Continue;
        }
        let (ledger, theme) = (&self.ledger, &self.theme);
        if let Some(tree) = pane_tree(self.pane, &mut self.callers, &mut self.allocators) {
            tree.on_mouse(mouse, ledger, theme.glyphs);
            return Flow::Continue;
        }
        let rows = StackRows {
            ledger,
            arrangement: &self.arrangement,
            selection: &self.selection,
        };
        match self.table.on_mouse(mouse, stacks::columns(ledger), &rows) {
            Change::Sorted => self.arrange(),
            Change::Opened => self.open(None),
            Change::Moved => self.details_scroll = 0,
            Change::None => {}
        }
        Flow::Continue
    }

    fn on_paste(&mut self, text: &str) -> Flow {
        if let Some(text) = self.overlay.on_paste(text) {
            self.filter(&text);
        }
        Flow::Continue
    }

    fn wake_at(&self) -> Option<Instant> {
        self.notice.wake_at()
    }

    fn draw(&mut self, frame: &mut ratatui::Frame<'_>) {
        picture::draw(self, frame);
    }
}

#[cfg(test)]
mod tests;
