//! A tool with nothing but a view, to try what all views have: figures that are made up, and keys
//! that panic.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use memtools::cli::{EXIT_FAILURE, report_error};
use memtools::output::{grouped, human_bytes};
use memtools::tui::filter::Filter;
use memtools::tui::keys::{Binding, COMMON, Common, Key, KeyTable, Pressed};
use memtools::tui::own_cost::{Cost, OwnCost};
use memtools::tui::popup::Popup;
use memtools::tui::prompt::{Answer, Prompt};
use memtools::tui::status::{Notice, Status};
use memtools::tui::table::{Cell, Change, Column, Rows, Sort, Table, TableState};
use memtools::tui::theme::{Theme, Tone};
use memtools::tui::timeline::Timeline;
use memtools::tui::{App, Ending, Feed, Flow, KeyEvent, MouseEvent, Options, check, feed, run};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::Line;

const COLUMNS: &[Column] = &[
    Column::number("BYTES", 12),
    Column::number("BLOCKS", 8).rank(1),
    Column::sparkline("TREND", 8).rank(2),
    Column::text("STACK", 12).fill(),
];

#[derive(Clone, Copy)]
enum Action {
    More,
    Save,
    Panic,
    PanicElsewhere,
    Restore,
}

#[rustfmt::skip] // A table is read by columns.
const KEYS: KeyTable<Action> = KeyTable {
    own: &[
        Binding { keys: &[Key::char('n')], name: "n", help: "new figures", action: Action::More },
        Binding { keys: &[Key::char('s')], name: "s", help: "save to a file", action: Action::Save },
        Binding { keys: &[Key::char('!')], name: "!", help: "panic", action: Action::Panic },
        Binding { keys: &[Key::char('T')], name: "T", help: "panic in another thread", action: Action::PanicElsewhere },
        Binding { keys: &[Key::char('x')], name: "x", help: "exit at once, as a second signal does", action: Action::Restore },
    ],
    common: COMMON,
};

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let (feed, inbox) = feed(4);
    let mut view = View::new(count.unwrap_or(100), feed);
    match check().and_then(|()| run(&mut view, inbox, Options::default())) {
        Ok(ending) => {
            let word = match ending {
                Ending::Quit => "quit".to_owned(),
                Ending::Signal(signal) => format!("signal {}", signal.number),
                Ending::HungUp => "hangup".to_owned(),
            };
            let _ = memtools::cli::print(&format!("probe ended: {word}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => report_error(
            "screen-probe",
            &format!("{:#}", anyhow::Error::from(error)),
            EXIT_FAILURE,
        ),
    }
}

struct Stack {
    bytes: u64,
    blocks: u64,
    trend: Vec<u64>,
    name: String,
}

struct Stacks {
    all: Vec<Stack>,
    shown: Vec<usize>,
}

impl Rows for Stacks {
    type Id = usize;

    fn len(&self) -> usize {
        self.shown.len()
    }

    fn id(&self, position: usize) -> usize {
        self.shown[position]
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let stack = &self.all[self.shown[position]];
        match column {
            0 => Cell::text(human_bytes(stack.bytes)).tone(Tone::Strong),
            1 => Cell::text(grouped(stack.blocks)),
            2 => Cell::series(&stack.trend[..]).tone(Tone::Good),
            _ => Cell::text(stack.name.as_str()),
        }
    }
}

enum Asking {
    Filter(Prompt),
    File(Prompt),
}

struct View {
    feed: Feed<u64>,
    stacks: Stacks,
    table: TableState<usize>,
    filter: Filter,
    asking: Option<Asking>,
    popup: Option<Popup>,
    totals: Vec<u64>,
    notice: Notice,
    is_paused: bool,
    own: OwnCost,
    cost: Cost,
    start: Instant,
    theme: Theme,
}

impl View {
    fn new(count: u64, feed: Feed<u64>) -> Self {
        let stack = |i: u64| Stack {
            bytes: i * i * 100,
            blocks: i,
            trend: (0..8).map(|k| (i * k) % 11).collect(),
            name: format!("main>run_{i}>größe_{}\x1b[31m", i % 7),
        };
        let mut view = Self {
            feed,
            stacks: Stacks {
                all: (0..count).map(stack).collect(),
                shown: Vec::new(),
            },
            table: TableState::new(Sort::descending(0)),
            filter: Filter::default(),
            asking: None,
            popup: None,
            totals: vec![0],
            notice: Notice::default(),
            is_paused: false,
            own: OwnCost::default(),
            cost: Cost::default(),
            start: Instant::now(),
            theme: Theme::from_env(),
        };
        view.arrange();
        view
    }

    fn arrange(&mut self) {
        let Stacks { all, shown } = &mut self.stacks;
        shown.clear();
        shown.extend((0..all.len()).filter(|&i| self.filter.matches(&all[i].name)));
        let sort = self.table.sort;
        match sort.column {
            0 => sort.apply(shown, |&i| all[i].bytes),
            1 => sort.apply(shown, |&i| all[i].blocks),
            _ => sort.apply(shown, |&i| all[i].name.as_str()),
        }
        self.table.follow(&self.stacks);
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Sorted => self.arrange(),
            Change::Opened => self.notice.say("opened", Tone::Plain),
            Change::Moved | Change::None => {}
        }
    }

    fn on_answer(&mut self, key: KeyEvent) {
        match self.asking.take() {
            Some(Asking::Filter(mut prompt)) => {
                let answer = prompt.on_key(key);
                let text = match answer {
                    Answer::Cancelled => String::new(),
                    _ => prompt.text(),
                };
                if answer == Answer::Open {
                    self.asking = Some(Asking::Filter(prompt));
                }
                self.filter = Filter::new(&text);
                self.arrange();
            }
            Some(Asking::File(mut prompt)) => match prompt.on_key(key) {
                Answer::Open => self.asking = Some(Asking::File(prompt)),
                Answer::Accepted(name) => self.notice.say(format!("saved {name}"), Tone::Good),
                Answer::Cancelled => {}
            },
            None => {}
        }
    }

    fn on_common(&mut self, common: Common) -> Flow {
        if let (Some(popup), Common::Move(step)) = (&mut self.popup, common) {
            popup.step(step);
            return Flow::Continue;
        }
        match common {
            Common::Quit if self.popup.take().is_none() => return Flow::Quit,
            Common::Clear if self.popup.take().is_none() => {
                self.filter = Filter::default();
                self.arrange();
            }
            Common::Help => self.popup = Some(Popup::help("Keys", &KEYS, &self.theme)),
            Common::Pause => self.is_paused = !self.is_paused,
            Common::Filter => {
                self.asking = Some(Asking::Filter(Prompt::new("filter", self.filter.text())));
            }
            other => {
                let change = self.table.on_common(other, COLUMNS, &self.stacks);
                self.on_change(change);
            }
        }
        Flow::Continue
    }

    #[allow(clippy::panic)] // That is what it is for.
    fn act(&mut self, action: Action) {
        match action {
            Action::More => {
                let feed = self.feed.clone();
                thread::spawn(move || feed.send(1_000_000));
            }
            Action::Save => self.asking = Some(Asking::File(Prompt::new("save to", "out.svg"))),
            Action::Panic => panic!("on demand"),
            Action::PanicElsewhere => {
                thread::spawn(|| panic!("elsewhere on demand"));
            }
            Action::Restore => {
                memtools::tui::restore();
                std::process::exit(3);
            }
        }
    }
}

impl App for View {
    type Data = u64;

    fn on_data(&mut self, bytes: u64) -> Flow {
        if let Some(stack) = self.stacks.all.first_mut() {
            stack.bytes += bytes;
        }
        self.totals
            .push(self.stacks.all.iter().map(|s| s.bytes).sum());
        self.cost = self.own.sample();
        self.arrange();
        Flow::Continue
    }

    fn on_key(&mut self, key: KeyEvent) -> Flow {
        if self.asking.is_some() {
            self.on_answer(key);
            return Flow::Continue;
        }
        match KEYS.find(key) {
            Some(Pressed::Common(common)) => return self.on_common(common),
            Some(Pressed::Own(action)) => self.act(action),
            None => {}
        }
        Flow::Continue
    }

    fn on_mouse(&mut self, mouse: MouseEvent) -> Flow {
        let change = self.table.on_mouse(mouse, COLUMNS, &self.stacks);
        self.on_change(change);
        Flow::Continue
    }

    fn on_paste(&mut self, text: &str) -> Flow {
        if let Some(Asking::Filter(prompt) | Asking::File(prompt)) = &mut self.asking {
            prompt.paste(text);
        }
        Flow::Continue
    }

    fn wake_at(&self) -> Option<Instant> {
        self.notice.wake_at()
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let layout = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Min(1),
            Constraint::Length(1),
        ]);
        let [head, chart, body, foot] = layout.areas(frame.area());
        let status = Status {
            target: "probe",
            is_paused: self.is_paused,
            lost: 0,
            elapsed: Duration::from_secs(self.start.elapsed().as_secs()),
            events_per_s: Some(1234.0),
            cost: self.cost,
            notice: &self.notice,
            theme: &self.theme,
        };
        frame.render_widget(status, head);
        let timeline = Timeline {
            figures: &self.totals,
            title: "outstanding",
            show: human_bytes,
            theme: &self.theme,
        };
        frame.render_widget(timeline, chart);
        Table::new(COLUMNS, &self.theme).draw(frame, body, &self.stacks, &mut self.table);
        match &self.asking {
            Some(Asking::Filter(prompt) | Asking::File(prompt)) => {
                prompt.draw(frame, foot, &self.theme);
            }
            None => frame.render_widget(Line::raw("q quit  ? help  / filter"), foot),
        }
        if let Some(popup) = &mut self.popup {
            popup.draw(frame, frame.area(), &self.theme);
        }
    }
}
