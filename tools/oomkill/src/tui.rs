//! The live view: its state, what keys do to it, and its picture.

mod details;
mod head;
mod keys;
mod kills;
mod log;
mod pace;
mod picture;
mod recent;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use memtools::tui::filter::Filter;
use memtools::tui::keys::Common;
use memtools::tui::overlay::{Overlay, Routed};
use memtools::tui::status::Notice;
use memtools::tui::table::{Change, TableState};
use memtools::tui::theme::{Theme, Tone};
use memtools::tui::{App, Flow, KeyEvent, MouseEvent};

use crate::model::{Event, Loss, Reaped};
use keys::{Action, KEYS};
use kills::{Arrangement, FIRST_SORT, KillRows, Selection};
use log::{EntryId, Log};
use pace::Pace;

/// What the view is sent.
#[derive(Debug)]
pub enum Data {
    /// A victim was marked.
    Event(Box<Event>),
    /// A victim's memory was back.
    Reaped(Reaped),
    /// What is missing by now.
    Loss(Loss),
    /// Something a user should know.
    Said(String),
    /// There will be no more events; why, if there is a reason to name.
    Ended(Option<String>),
}

/// The state of the view.
pub struct View {
    log: Log,
    loss: Loss,
    started: Timestamp,
    /// Tells the time: a log grows old while nothing happens.
    clock: fn() -> Timestamp,
    theme: Theme,
    selection: Selection,
    arrangement: Arrangement,
    /// Something came, or is to be shown otherwise, since the arrangement was made.
    is_stale: bool,
    table: TableState<EntryId>,
    has_details: bool,
    details_scroll: usize,
    ended_at: Option<Timestamp>,
    why_ended: Option<String>,
    overlay: Overlay,
    notice: Notice,
    pace: Pace,
}

impl View {
    /// An empty log.
    pub fn new(started: Timestamp) -> Self {
        Self {
            log: Log::default(),
            loss: Loss::default(),
            started,
            clock: Timestamp::now,
            theme: Theme::from_env(),
            selection: Selection::default(),
            arrangement: Arrangement::default(),
            is_stale: false,
            table: TableState::new(FIRST_SORT),
            has_details: false,
            details_scroll: 0,
            ended_at: None,
            why_ended: None,
            overlay: Overlay::default(),
            notice: Notice::default(),
            pace: Pace::new(Duration::ZERO),
        }
    }

    /// Nothing grows older when there is nothing more to come.
    fn now(&self) -> Timestamp {
        self.ended_at.unwrap_or_else(self.clock)
    }

    fn elapsed(&self) -> Duration {
        let elapsed = self.now().duration_since(self.started);
        // A clock that was set back.
        Duration::try_from(elapsed).unwrap_or_default()
    }

    /// Puts the rows in order if anything changed: once for all that came together.
    fn refresh(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.arrangement
            .arrange(&self.log, &self.selection, self.table.sort);
        let rows = rows(&self.log, &self.arrangement, &self.theme);
        self.table.follow(&rows);
    }

    fn selected(&self) -> Option<EntryId> {
        let at = self.table.selected()?;
        self.arrangement.order().get(at).copied()
    }

    fn do_own(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::DetailsDown => self.details_scroll += 1,
            Action::DetailsUp => self.details_scroll = self.details_scroll.saturating_sub(1),
        }
    }

    fn open(&mut self) {
        self.has_details = !self.has_details;
        self.details_scroll = 0;
        // Who reads about a kill must not find another one there when it comes.
        if let Some(at) = self.table.selected().filter(|_| self.has_details) {
            let rows = rows(&self.log, &self.arrangement, &self.theme);
            self.table.select(at, &rows);
        }
    }

    fn do_common(&mut self, common: Common) -> Flow {
        match common {
            Common::Quit => return Flow::Quit,
            Common::Help => self.overlay.help("oomkill", &KEYS, &self.theme),
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
            other => {
                let rows = rows(&self.log, &self.arrangement, &self.theme);
                let change = self.table.on_common(other, kills::COLUMNS, &rows);
                self.on_change(change);
            }
        }
        Flow::Continue
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Sorted => self.is_stale = true,
            Change::Opened => self.open(),
            Change::Moved => self.details_scroll = 0,
            Change::None => {}
        }
    }

    fn pause(&mut self) {
        if self.ended_at.is_some() {
            return;
        }
        self.selection.paused_at = match self.selection.paused_at {
            Some(_) => None,
            None => Some(self.log.next_id()),
        };
        self.is_stale = true;
    }

    fn filter(&mut self, text: &str) {
        self.selection.filter = Filter::new(text);
        self.is_stale = true;
    }

    /// An event that was held back knows less than what came meanwhile.
    fn note_loss(&mut self, loss: Loss) {
        if loss.total() > self.loss.total() {
            self.loss = loss;
        }
    }

    fn end(&mut self, why: Option<String>) {
        self.ended_at = Some(self.now());
        self.why_ended = why;
        self.selection.paused_at = None;
    }
}

/// The events as the table draws them.
fn rows<'a>(log: &'a Log, arrangement: &'a Arrangement, theme: &Theme) -> KillRows<'a> {
    KillRows {
        log,
        arrangement,
        glyphs: theme.glyphs,
    }
}

impl App for View {
    type Data = Data;

    fn on_data(&mut self, data: Data) -> Flow {
        match data {
            Data::Event(event) => {
                self.note_loss(event.loss);
                self.log.push(&event);
            }
            Data::Reaped(reaped) => self.log.end(reaped),
            Data::Loss(loss) => self.note_loss(loss),
            Data::Said(text) => self.notice.say(text, Tone::Warn),
            Data::Ended(why) => self.end(why),
        }
        self.is_stale = true;
        Flow::Continue
    }

    fn on_key(&mut self, key: KeyEvent) -> Flow {
        self.refresh();
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
        self.refresh();
        let rows = rows(&self.log, &self.arrangement, &self.theme);
        let change = self.table.on_mouse(mouse, kills::COLUMNS, &rows);
        self.on_change(change);
        Flow::Continue
    }

    fn on_paste(&mut self, text: &str) -> Flow {
        if let Some(text) = self.overlay.on_paste(text) {
            self.filter(&text);
        }
        Flow::Continue
    }

    fn wake_at(&self) -> Option<Instant> {
        let step = self.ended_at.is_none().then(|| self.pace.next());
        step.into_iter().chain(self.notice.wake_at()).min()
    }

    fn draw(&mut self, frame: &mut ratatui::Frame<'_>) {
        self.refresh();
        self.pace.step();
        picture::draw(self, frame);
    }
}

#[cfg(test)]
mod tests;
