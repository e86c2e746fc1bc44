//! The live view: its state, what keys do to it, and its picture.

mod function;
mod functions;
mod keys;
mod picture;
mod record;
mod slow;
mod split;
mod times;

use std::time::{Duration, Instant};

use memtools::tui::filter::Filter;
use memtools::tui::keys::{Common, Move};
use memtools::tui::overlay::{Overlay, Routed};
use memtools::tui::own_cost::{Cost, OwnCost};
use memtools::tui::status::Notice;
use memtools::tui::table::{Change, TableState};
use memtools::tui::theme::{Theme, Tone};
use memtools::tui::{App, Flow, KeyEvent, MouseEvent, MouseEventKind};

use crate::model::{Function, SplitBy, Unit};
use function::{Page, Pictures};
use functions::{Arrangement, FunctionRows};
use keys::{Action, KEYS};
use record::Record;
use times::Times;

pub use record::Data;

/// From one picture to the next, and from one moment of the heat maps.
pub const STEP: Duration = Duration::from_secs(1);

/// What does not change.
#[derive(Clone, Debug)]
pub struct About {
    /// By number.
    pub functions: Vec<Function>,
    /// What was asked for.
    pub patterns: String,
    /// Whose calls count, if not everybody's.
    pub selection: Option<String>,
    /// How many functions are traced, and how.
    pub way: String,
    /// Rows are powers of two of it.
    pub row_unit: Unit,
    /// What calls are told apart by.
    pub split: Option<SplitBy>,
    /// The slowest calls are kept.
    pub has_outliers: bool,
}

/// The state of the view.
pub struct View {
    about: About,
    live: Record,
    /// What is shown while the view is paused.
    frozen: Option<Box<Record>>,
    /// Something came since.
    has_news: bool,
    is_last_interval: bool,
    times: Times,
    theme: Theme,
    filter: Filter,
    arrangement: Arrangement,
    is_stale: bool,
    table: TableState<usize>,
    /// The function that is shown in the table's place.
    opened: Option<usize>,
    pictures: Pictures,
    /// Of the histogram.
    scroll: usize,
    overlay: Overlay,
    notice: Notice,
    meter: OwnCost,
    cost: Cost,
    /// How wide the last picture was.
    columns: usize,
}

impl View {
    /// Nothing yet.
    pub fn new(about: About) -> Self {
        Self {
            opened: (about.functions.len() == 1).then_some(0),
            times: Times::of(about.row_unit),
            about,
            live: Record::default(),
            frozen: None,
            has_news: false,
            is_last_interval: false,
            theme: Theme::from_env(),
            filter: Filter::default(),
            arrangement: Arrangement::default(),
            is_stale: true,
            table: TableState::new(functions::FIRST_SORT),
            pictures: Pictures::default(),
            scroll: 0,
            overlay: Overlay::default(),
            notice: Notice::default(),
            meter: OwnCost::default(),
            cost: Cost::default(),
            columns: 80,
        }
    }

    /// What is shown.
    fn record(&self) -> &Record {
        self.frozen.as_deref().unwrap_or(&self.live)
    }

    /// A function's own page.
    fn page(&self, at: usize) -> Option<Page<'_>> {
        Some(Page {
            function: self.about.functions.get(at)?,
            at,
            record: self.record(),
            is_last_interval: self.is_last_interval,
            times: self.times,
            row_unit: self.about.row_unit,
            split: self.about.split,
            pictures: self.pictures,
            theme: &self.theme,
        })
    }

    /// Puts the rows in order if anything changed: once for all that came together.
    fn refresh(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.arrangement.arrange(
            &self.about.functions,
            self.frozen.as_deref().unwrap_or(&self.live),
            self.is_last_interval,
            &self.filter,
            self.table.sort,
        );
        self.table
            .follow(&rows(&self.arrangement, self.times, &self.theme));
    }

    fn do_own(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::Back => self.close(),
            Action::Interval => {
                self.is_last_interval = !self.is_last_interval;
                self.is_stale = true;
            }
            Action::Unit => self.times = self.times.next(),
            Action::Slowest => self.show_slowest(),
            Action::Pictures => {
                self.pictures = self.pictures.next(self.about.split.is_some());
                self.scroll = 0;
            }
        }
    }

    /// Opens the selected function.
    fn open(&mut self) {
        if self.opened.is_some() {
            return self.close();
        }
        let Some(at) = self.table.selected() else {
            return;
        };
        // Who comes back must not find another row selected.
        self.table
            .select(at, &rows(&self.arrangement, self.times, &self.theme));
        self.opened = self.arrangement.function(at);
        self.scroll = 0;
    }

    /// Returns to the table, if there is one.
    fn close(&mut self) {
        if self.has_table() {
            self.opened = None;
        }
    }

    fn has_table(&self) -> bool {
        self.about.functions.len() != 1
    }

    fn show_slowest(&mut self) {
        if !self.about.has_outliers {
            let text = "no slow calls are kept: start with --outliers N";
            return self.notice.say(text, Tone::Warn);
        }
        let popup = slow::popup(
            &self.about.functions,
            self.record(),
            self.opened,
            (self.times, self.columns),
            &self.theme,
        );
        self.overlay.read(popup);
    }

    fn do_common(&mut self, common: Common) -> Flow {
        match (common, self.opened) {
            (Common::Quit, _) => return Flow::Quit,
            (Common::Help, _) => self.overlay.help("funclatency", &KEYS, &self.theme),
            (Common::Pause, _) => self.pause(),
            (Common::Clear, Some(_)) => self.close(),
            (Common::Clear, None) => self.set_filter(""),
            (Common::Move(step), Some(_)) => self.scroll(step),
            (Common::Filter, Some(_)) => {
                let text = "the filter is for the table of functions";
                self.notice.say(text, Tone::Plain);
            }
            (_, Some(_)) => {}
            (Common::Filter, None) => self.overlay.ask_filter(self.filter.text()),
            (other, None) => {
                let rows = rows(&self.arrangement, self.times, &self.theme);
                let columns = functions::columns(self.times);
                let change = self.table.on_common(other, columns, &rows);
                self.on_change(change);
            }
        }
        Flow::Continue
    }

    fn scroll(&mut self, step: Move) {
        /// A page has hardly ever more.
        const PAGE: usize = 10;
        self.scroll = match step {
            Move::Up => self.scroll.saturating_sub(1),
            Move::Down => self.scroll + 1,
            Move::PageUp => self.scroll.saturating_sub(PAGE),
            Move::PageDown => self.scroll + PAGE,
            Move::Home => 0,
            // The picture knows where the end is.
            Move::End => usize::from(u16::MAX),
        };
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Sorted => self.is_stale = true,
            Change::Opened => self.open(),
            Change::Moved | Change::None => {}
        }
    }

    fn pause(&mut self) {
        if self.live.ended.is_some() {
            return;
        }
        self.has_news = false;
        self.is_stale = true;
        self.frozen = match self.frozen {
            Some(_) => None,
            None => Some(Box::new(self.live.clone())),
        };
    }

    fn set_filter(&mut self, text: &str) {
        self.filter = Filter::new(text);
        self.is_stale = true;
    }
}

/// The rows as the table draws them.
fn rows<'a>(arrangement: &'a Arrangement, times: Times, theme: &Theme) -> FunctionRows<'a> {
    FunctionRows {
        arrangement,
        times,
        glyphs: theme.glyphs,
    }
}

impl App for View {
    type Data = Box<Data>;

    fn on_data(&mut self, data: Box<Data>) -> Flow {
        self.cost = self.meter.sample();
        self.live.update(*data);
        self.is_stale = true;
        self.has_news = self.frozen.is_some();
        if self.live.ended.is_some() {
            self.frozen = None;
            self.has_news = false;
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
        match (self.opened, mouse.kind) {
            (Some(_), MouseEventKind::ScrollUp) => self.scroll(Move::Up),
            (Some(_), MouseEventKind::ScrollDown) => self.scroll(Move::Down),
            (Some(_), _) => {}
            (None, _) => {
                let rows = rows(&self.arrangement, self.times, &self.theme);
                let columns = functions::columns(self.times);
                let change = self.table.on_mouse(mouse, columns, &rows);
                self.on_change(change);
            }
        }
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
