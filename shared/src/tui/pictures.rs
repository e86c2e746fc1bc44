//! Widgets as they look, and at sizes that nobody asked for.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use proptest::prelude::*;
use ratatui::backend::TestBackend;
use ratatui::text::Line;
use ratatui::{Frame, Terminal};

use super::keys::{COMMON, Common, KeyTable, Move};
use super::own_cost::Cost;
use super::popup::Popup;
use super::prompt::Prompt;
use super::status::{Notice, Status};
use super::table::{Cell, Change, Column, Rows, Sort, Table, TableState};
use super::theme::{Glyphs, Theme, Tone};
use super::timeline::Timeline;
use crate::output::{grouped, human_bytes};

const UNICODE: Theme = Theme::new(true, Glyphs::Unicode);
const ASCII: Theme = Theme::new(false, Glyphs::Ascii);
const KEYS: KeyTable<()> = KeyTable {
    own: &[],
    common: COMMON,
};
const COLUMNS: &[Column] = &[
    Column::number("BYTES", 10),
    Column::number("COUNT", 8).rank(2),
    Column::sparkline("TREND", 8).rank(3),
    Column::text("STACK", 16).fill(),
    Column::text("MODULE", 12).rank(1).cut_start(),
];

/// Numbers, shown in this order.
struct Numbers(Vec<u64>);

impl Rows for Numbers {
    type Id = u64;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn id(&self, position: usize) -> u64 {
        self.0[position]
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let number = self.0[position];
        match column {
            0 => Cell::text(human_bytes(number * 1000)).tone(Tone::Strong),
            1 => Cell::text(grouped(number)),
            2 => Cell::series((0..20).map(|i| number * i % 7).collect::<Vec<_>>()),
            3 => Cell::text(format!("日本語_{number}\x1b[2J>größe>main")),
            _ => Cell::text("/usr/lib/x86_64-linux-gnu/libc.so.6"),
        }
    }
}

fn picture(width: u16, height: u16, draw: impl FnOnce(&mut Frame<'_>)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(draw).unwrap();
    // The backend cannot print nothing.
    if width == 0 {
        return String::new();
    }
    terminal.backend().to_string()
}

fn table(theme: Theme, width: u16, height: u16, select: usize) -> String {
    let rows = Numbers((0..50).rev().collect());
    let mut state = TableState::new(Sort::descending(0));
    picture(width, height, |frame| {
        let area = frame.area();
        Table::new(COLUMNS, &theme).draw(frame, area, &rows, &mut state);
        state.select(select, &rows);
        Table::new(COLUMNS, &theme).draw(frame, area, &rows, &mut state);
    })
}

fn status<'a>(theme: &'a Theme, notice: &'a Notice, lost: u64) -> Status<'a> {
    Status {
        target: "server\x07 (PID 4711)",
        is_paused: true,
        lost,
        elapsed: Duration::from_secs(83),
        events_per_s: Some(123_456.0),
        cost: Cost {
            cpu_percent: Some(0.34),
            resident: Some(12 << 20),
        },
        notice,
        theme,
    }
}

fn timeline<'a>(theme: &'a Theme, figures: &'a [u64]) -> Timeline<'a> {
    Timeline {
        figures,
        title: "outstanding",
        show: human_bytes,
        theme,
    }
}

#[test]
fn a_table() {
    insta::assert_snapshot!("table_80x24", table(UNICODE, 80, 24, 30));
    insta::assert_snapshot!("table_40x6_ascii", table(ASCII, 40, 6, 0));
}

#[test]
fn the_help() {
    let mut popup = Popup::help("Keys", &KEYS, &UNICODE);
    let text = picture(80, 24, |frame| popup.draw(frame, frame.area(), &UNICODE));
    insta::assert_snapshot!("help_80x24", text);
    let mut popup = Popup::help("Keys", &KEYS, &ASCII);
    popup.step(Move::End);
    let text = picture(30, 8, |frame| {
        popup.draw(frame, frame.area(), &ASCII);
        popup.step(Move::PageUp);
        popup.draw(frame, frame.area(), &ASCII);
    });
    insta::assert_snapshot!("help_30x8_ascii", text);
}

#[test]
fn lines() {
    let quiet = Notice::default();
    let mut saved = Notice::default();
    saved.say("saved /tmp/größe.svg", Tone::Good);
    let mut prompt = Prompt::new(
        "filter",
        "one 日本語 and a text that is longer than forty columns",
    );
    for _ in 0..6 {
        prompt.on_key(KeyEvent::new(KeyCode::Left, KeyModifiers::NONE));
    }
    let draw = |frame: &mut Frame<'_>| {
        let mut rows = frame.area().rows();
        let mut row = || rows.next().unwrap();
        frame.render_widget(status(&UNICODE, &quiet, 0), row());
        frame.render_widget(status(&UNICODE, &saved, 12_345), row());
        frame.render_widget(status(&ASCII, &quiet, 1), row());
        prompt.draw(frame, row(), &UNICODE);
    };
    insta::assert_snapshot!("lines_80x4", picture(80, 4, draw));
    insta::assert_snapshot!("lines_40x4", picture(40, 4, draw));
}

#[test]
fn a_timeline() {
    let figures: Vec<u64> = (0..200).map(|i: u64| (i << 20) / 3 * (i % 40)).collect();
    let draw = |frame: &mut Frame<'_>| {
        frame.render_widget(timeline(&UNICODE, &figures), frame.area());
    };
    insta::assert_snapshot!("timeline_80x6", picture(80, 6, draw));
    let draw = |frame: &mut Frame<'_>| {
        frame.render_widget(timeline(&ASCII, &figures[..9]), frame.area());
    };
    insta::assert_snapshot!("timeline_20x4_ascii", picture(20, 4, draw));
}

#[test]
fn the_selection_stays_on_its_row() {
    let mut state = TableState::new(Sort::descending(0));
    let mut rows = Numbers((0..9).collect());
    state.follow(&rows);
    assert_eq!(state.selected(), Some(0));
    rows.0.reverse();
    state.follow(&rows);
    // Nobody has chosen a row yet.
    assert_eq!(state.selected(), Some(0));
    state.step(Move::Down, &rows);
    rows.0.reverse();
    state.follow(&rows);
    assert_eq!(state.selected().map(|at| rows.0[at]), Some(7));
    rows.0.retain(|&number| number != 7);
    state.follow(&rows);
    assert_eq!(state.selected().map(|at| rows.0[at]), Some(8));
    rows.0.clear();
    state.follow(&rows);
    assert_eq!(state.selected(), None);
}

#[test]
fn columns_are_chosen_by_key_and_click() {
    let rows = Numbers((0..9).collect());
    let mut state = TableState::new(Sort::descending(0));
    let press = |state: &mut TableState<u64>, key| {
        assert_eq!(state.on_common(key, COLUMNS, &rows), Change::Sorted);
        (state.sort.column, state.sort.is_descending)
    };
    assert_eq!(press(&mut state, Common::SortNext), (1, true));
    // No order is made of small pictures.
    assert_eq!(press(&mut state, Common::SortNext), (3, false));
    assert_eq!(press(&mut state, Common::Reverse), (3, true));
    assert_eq!(press(&mut state, Common::SortNext), (4, false));
    assert_eq!(press(&mut state, Common::SortNext), (0, true));
    assert_eq!(press(&mut state, Common::SortPrevious), (4, false));
    picture(80, 6, |frame| {
        Table::new(COLUMNS, &UNICODE).draw(frame, frame.area(), &rows, &mut state);
    });
    let mut click = |column, row| {
        let mouse = MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column,
            row,
            modifiers: KeyModifiers::NONE,
        };
        state.on_mouse(mouse, COLUMNS, &rows)
    };
    assert_eq!(click(3, 0), Change::Sorted);
    assert_eq!(click(22, 0), Change::None);
    assert_eq!(click(3, 2), Change::Moved);
    assert_eq!(click(3, 2), Change::Opened);
    assert_eq!(click(3, 99), Change::None);
    assert_eq!(state.sort, Sort::descending(0));
}

/// 50,000 rows cost no more than those that are seen.
#[test]
fn only_visible_rows_are_formatted() {
    struct Many(std::cell::Cell<usize>);
    impl Rows for Many {
        type Id = usize;
        fn len(&self) -> usize {
            50_000
        }
        fn id(&self, position: usize) -> usize {
            position
        }
        fn cell(&self, position: usize, _column: usize) -> Cell<'_> {
            self.0.set(self.0.get() + 1);
            Cell::text(position.to_string())
        }
    }
    let rows = Many(std::cell::Cell::new(0));
    let mut state = TableState::new(Sort::ascending(0));
    state.select(40_000, &rows);
    picture(80, 24, |frame| {
        Table::new(COLUMNS, &UNICODE).draw(frame, frame.area(), &rows, &mut state);
    });
    assert!(rows.0.get() <= 23 * COLUMNS.len());
    assert!(state.visible().contains(&40_000));
}

#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u64>),
    Key(Common),
    Click(u16, u16, MouseEventKind),
    Draw(u16, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys: Vec<Common> = COMMON.iter().map(|binding| binding.action).collect();
    let clicks = vec![
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::ScrollDown,
        MouseEventKind::ScrollUp,
    ];
    let step = prop_oneof![
        proptest::collection::vec(0..99_u64, 0..60).prop_map(Step::Data),
        proptest::sample::select(keys).prop_map(Step::Key),
        (0..90_u16, 0..30_u16, proptest::sample::select(clicks))
            .prop_map(|(x, y, kind)| Step::Click(x, y, kind)),
        (0..90_u16, 0..30_u16).prop_map(|(width, height)| Step::Draw(width, height)),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_never_points_outside(steps in steps()) {
        let mut rows = Numbers(Vec::new());
        let mut state = TableState::new(Sort::descending(0));
        for step in steps {
            match step {
                Step::Data(numbers) => {
                    rows.0 = numbers;
                    state.follow(&rows);
                }
                Step::Key(common) => drop(state.on_common(common, COLUMNS, &rows)),
                Step::Click(column, row, kind) => {
                    let modifiers = KeyModifiers::NONE;
                    let mouse = MouseEvent { kind, column, row, modifiers };
                    let _ = state.on_mouse(mouse, COLUMNS, &rows);
                }
                Step::Draw(width, height) => {
                    picture(width, height, |frame| {
                        let area = frame.area();
                        Table::new(COLUMNS, &UNICODE).draw(frame, area, &rows, &mut state);
                    });
                    if let (Some(at), true) = (state.selected(), height > 1) {
                        prop_assert!(state.visible().contains(&at));
                    }
                }
            }
            prop_assert!(state.visible().end <= rows.len());
            prop_assert_eq!(state.selected().is_some(), !rows.is_empty());
            prop_assert!(state.selected().is_none_or(|at| at < rows.len()));
        }
    }

    #[test]
    fn nothing_minds_its_size(width in 0..70_u16, height in 0..20_u16, text in ".{0,40}") {
        let rows = Numbers((0..30).collect());
        let mut notice = Notice::default();
        notice.say(text.clone(), Tone::Bad);
        for theme in [&UNICODE, &ASCII] {
            picture(width, height, |frame| {
                let area = frame.area();
                let mut state = TableState::new(Sort::ascending(3));
                Table::new(COLUMNS, theme).draw(frame, area, &rows, &mut state);
                frame.render_widget(timeline(theme, &[1, 2, 3]), area);
                Popup::help(&text, &KEYS, theme).draw(frame, area, theme);
                Popup::new(&text, vec![Line::raw(text.clone())]).draw(frame, area, theme);
                Prompt::new(&text, &text).draw(frame, area, theme);
                frame.render_widget(status(theme, &notice, 3), area);
            });
        }
    }
}
