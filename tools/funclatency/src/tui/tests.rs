use memtools::histogram::{SLOTS, bounds};
use memtools::output::{grouped, wall_clock};
use memtools::tui::theme::Glyphs;
use memtools::tui::{KeyCode, KeyModifiers, MouseButton};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::model::outliers::SlowCall;
use crate::model::{Figures, Snapshot, SplitKey};

const NAMES: [&str; 4] = [
    "work_fast",
    "work_slow",
    "evil\x1b[31m(\u{202e})",
    "work_idle",
];

fn functions(count: usize) -> Vec<Function> {
    let function = |name: &&str| Function {
        name: (*name).to_owned(),
        shown: (*name).to_owned(),
        module: "/usr/bin/server".to_owned(),
        arguments: None,
    };
    NAMES.iter().take(count).map(function).collect()
}

fn about(count: usize) -> About {
    About {
        functions: functions(count),
        patterns: ":work*".to_owned(),
        selection: Some("PID 4711".to_owned()),
        way: "4 functions by uprobe.multi".to_owned(),
        row_unit: Unit::Microseconds,
        split: None,
        has_outliers: true,
    }
}

/// Adds calls that took so long.
fn add(figures: &mut Figures, us: u64, count: u64) {
    let ns = us * 1000 + 7;
    let row = us.checked_ilog2().unwrap_or(0) as usize;
    figures.rows.resize(figures.rows.len().max(row + 1), 0);
    figures.rows[row] += count;
    let slot = (0..SLOTS).find(|slot| bounds(*slot).1 > ns).unwrap();
    figures.histogram.add(slot, count);
    figures.calls += count;
    figures.ended += count;
    figures.total_ns += ns * count;
    figures.max_ns = figures.max_ns.max(ns);
    figures.min_ns = match figures.min_ns {
        0 => ns,
        min => min.min(ns),
    };
}

/// A server that is slow for a while from the thirtieth second on.
fn all_data(seconds: u64, count: usize) -> Vec<Data> {
    let mut snapshot = Snapshot {
        functions: vec![Figures::default(); count],
        ..Snapshot::default()
    };
    let mut data = Data::default();
    let mut all = Vec::new();
    for second in 1..=seconds {
        for figures in &mut snapshot.functions {
            (figures.min_ns, figures.max_ns) = (0, 0);
        }
        let first = &mut snapshot.functions[0];
        for (power, weight) in [1, 3, 9, 14, 10, 5, 2, 1].into_iter().enumerate() {
            add(first, 3 << power, weight * (10 + second % 7));
        }
        if (30..40).contains(&second) {
            add(first, 40_000, second - 29);
        }
        first.unwound += second % 2;
        first.calls += second % 2;
        if let Some(second_one) = snapshot.functions.get_mut(1) {
            add(second_one, 50_000 + second * 1000, 12);
            second_one.calls += u64::from(second == 1) * 3;
        }
        if let Some(third) = snapshot.functions.get_mut(2) {
            add(third, 1, 1);
            third.missed = 2;
            third.calls += u64::from(second == 1) * 2;
        }
        for (key, us) in [(7, 20), (8, 3)] {
            let row = snapshot
                .split
                .entry(SplitKey { function: 0, key })
                .or_default();
            (row.figures.min_ns, row.figures.max_ns) = (0, 0);
            row.name = Some(format!("thr\x1bead {key}"));
            add(&mut row.figures, us * second, 5);
        }
        snapshot.elapsed = Duration::from_secs(second);
        snapshot.loss.missed_returns = if count > 2 { 2 } else { 0 };
        data.take(snapshot.clone(), second * 1_000_000_000, &slow_calls());
        all.push(data.clone());
    }
    all
}

fn slow_calls() -> Vec<SlowCall> {
    let call = |function, ns| SlowCall {
        function,
        ns,
        time_ns: 3_000_000_000,
        arguments: [1, 2, 0xffff_ffff, 0x7fff_1234_5678, 0, 9],
        result: 0xffff_fff4,
        pid: 4711,
        tid: 4712,
        cpu: 3,
        comm: "ser\x07ver".to_owned(),
        stack: vec!["handle+0x12 [server]".to_owned(), "ma\x1bin+0x1".to_owned()],
    };
    vec![call(1, 110_000_000), call(2, 40_007_000)]
}

fn view_of(seconds: u64, count: usize) -> View {
    let mut view = View::new(about(count));
    view.theme = Theme::new(true, Glyphs::Unicode);
    for data in all_data(seconds, count) {
        let _ = view.on_data(Box::new(data));
    }
    view.cost = Cost::default();
    view
}

fn press(view: &mut View, code: KeyCode) {
    let _ = view.on_key(KeyEvent::new(code, KeyModifiers::NONE));
}

fn picture(view: &mut View, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn one_function_has_its_page() {
    let mut view = view_of(60, 1);
    insta::assert_snapshot!("function_80x24", picture(&mut view, 80, 24));
    insta::assert_snapshot!("function_160x45", picture(&mut view, 160, 45));
    insta::assert_snapshot!("function_60x15", picture(&mut view, 60, 15));
    view.theme = Theme::new(false, Glyphs::Ascii);
    insta::assert_snapshot!("function_80x24_ascii", picture(&mut view, 80, 24));
}

#[test]
fn several_functions_have_a_table() {
    let mut view = view_of(20, 4);
    insta::assert_snapshot!("table_80x24", picture(&mut view, 80, 24));
    insta::assert_snapshot!("table_160x45", picture(&mut view, 160, 45));
    view.times = Times::Fitting;
    insta::assert_snapshot!("table_60x15", picture(&mut view, 60, 15));
}

#[test]
fn a_row_opens_and_closes() {
    let mut view = view_of(5, 4);
    press(&mut view, KeyCode::Down);
    for back in [KeyCode::Esc, KeyCode::Backspace, KeyCode::Enter] {
        press(&mut view, KeyCode::Enter);
        let text = picture(&mut view, 80, 24);
        assert!(text.contains("work_fast [/usr/bin/server]"), "{text}");
        assert!(text.contains("heat map"), "{text}");
        press(&mut view, back);
        assert!(picture(&mut view, 80, 24).contains("FUNCTION"));
    }
    // There is nothing to go back to.
    let mut view = view_of(5, 1);
    for key in [KeyCode::Esc, KeyCode::Backspace, KeyCode::Enter] {
        press(&mut view, key);
        assert!(picture(&mut view, 80, 24).contains("histogram"));
    }
}

#[test]
fn rows_are_sorted_and_filtered() {
    let mut view = view_of(5, 4);
    let first = |view: &mut View| {
        let text = picture(view, 100, 10);
        let row = text.lines().position(|line| line.contains("FUNCTION"));
        text.lines().nth(row.unwrap() + 1).unwrap().to_owned()
    };
    assert!(first(&mut view).contains("work_slow"));
    press(&mut view, KeyCode::Char('<'));
    assert!(first(&mut view).contains("work_fast"));
    press(&mut view, KeyCode::Char('R'));
    assert!(first(&mut view).contains("work_idle"));
    let click = MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: 2,
        row: 3,
        modifiers: KeyModifiers::NONE,
    };
    let _ = view.on_mouse(click);
    let text = first(&mut view);
    assert!(text.contains(r"evil\u{1b}[31"), "{text}");
    press(&mut view, KeyCode::Char('/'));
    for letter in "slow".chars() {
        press(&mut view, KeyCode::Char(letter));
    }
    press(&mut view, KeyCode::Enter);
    let text = picture(&mut view, 100, 10);
    assert!(
        text.contains("1 function shown") && !text.contains("work_fast"),
        "{text}"
    );
    press(&mut view, KeyCode::Esc);
    assert!(picture(&mut view, 100, 10).contains("work_fast"));
}

#[test]
fn the_last_interval_can_be_shown() {
    let mut view = view_of(20, 1);
    let text = picture(&mut view, 100, 30);
    assert!(text.contains("the whole run"), "{text}");
    assert!(text.contains("count 11,835"), "{text}");
    press(&mut view, KeyCode::Char('i'));
    let text = picture(&mut view, 100, 30);
    assert!(text.contains("the last interval"), "{text}");
    assert!(text.contains("count 720"), "{text}");
}

#[test]
fn units_go_round() {
    let mut view = view_of(20, 1);
    let max = |view: &mut View| {
        let text = picture(view, 100, 30);
        text.split("max ")
            .nth(1)
            .unwrap()
            .split("  ")
            .next()
            .unwrap()
            .to_owned()
    };
    let mut texts = Vec::new();
    for _ in 0..5 {
        texts.push(max(&mut view));
        press(&mut view, KeyCode::Char('u'));
    }
    assert_eq!(
        texts,
        [
            "384.007 us",
            "0.384 ms",
            "384 us",
            "384007 ns",
            "384.007 us"
        ]
    );
    // Rows stay powers of two of what was asked for.
    let text = picture(&mut view, 100, 30);
    assert!(
        text.contains("0.002 -  0.004") || text.contains("0.002 - 0.004"),
        "{text}"
    );
}

#[test]
fn the_slowest_calls_are_shown() {
    let mut view = view_of(5, 4);
    press(&mut view, KeyCode::Char('o'));
    // In whichever time zone.
    let ended = view.live.ledger.time - Duration::from_secs(2);
    let text = picture(&mut view, 80, 24);
    let text = text.replace(&wall_clock(ended), "12:34:56");
    insta::assert_snapshot!("slowest_80x24", text);
    press(&mut view, KeyCode::Esc);
    assert!(!picture(&mut view, 80, 24).contains("slowest call"));
    // Those of the function that is open.
    press(&mut view, KeyCode::Enter);
    press(&mut view, KeyCode::Char('o'));
    let text = picture(&mut view, 120, 24);
    assert!(
        text.contains("1 slowest call") && text.contains("110000.000 us work_slow"),
        "{text}"
    );
    let mut view = view_of(5, 1);
    view.about.has_outliers = false;
    press(&mut view, KeyCode::Char('o'));
    assert!(picture(&mut view, 100, 24).contains("start with --outliers"));
}

#[test]
fn pictures_take_turns() {
    let mut view = view_of(5, 1);
    let mut has = || {
        let text = picture(&mut view, 80, 24);
        press(&mut view, KeyCode::Tab);
        (text.contains(" histogram,"), text.contains(" heat map,"))
    };
    let round = [(true, true), (true, false), (false, true), (true, true)];
    assert_eq!([has(), has(), has(), has()], round);
}

#[test]
fn what_calls_are_split_by_is_listed() {
    let mut view = view_of(10, 1);
    view.about.split = Some(SplitBy::Tid);
    for _ in 0..3 {
        press(&mut view, KeyCode::Tab);
    }
    insta::assert_snapshot!("split_80x24", picture(&mut view, 80, 24));
    press(&mut view, KeyCode::Char('i'));
    let text = picture(&mut view, 60, 15);
    assert!(text.contains("7 thr") && text.contains("200.007"), "{text}");
    press(&mut view, KeyCode::Tab);
    assert!(picture(&mut view, 80, 24).contains("histogram"));
}

#[test]
fn a_long_histogram_scrolls() {
    let mut view = view_of(60, 1);
    let text = picture(&mut view, 60, 15);
    assert!(
        text.contains("lines 1-") && text.contains("    2 -     3"),
        "{text}"
    );
    press(&mut view, KeyCode::Down);
    assert!(picture(&mut view, 60, 15).contains("lines 2-"));
    press(&mut view, KeyCode::End);
    let text = picture(&mut view, 60, 15);
    assert!(text.contains("32768 - 65535"), "{text}");
    press(&mut view, KeyCode::Home);
    assert!(picture(&mut view, 60, 15).contains("lines 1-"));
}

#[test]
fn a_pause_holds_figures_back() {
    let mut all = all_data(4, 1).into_iter();
    let mut view = View::new(about(1));
    view.theme = Theme::new(true, Glyphs::Unicode);
    assert!(picture(&mut view, 80, 24).contains("counting"));
    let _ = view.on_data(Box::new(all.next().unwrap()));
    let before = view.live.whole[0].ended;
    press(&mut view, KeyCode::Char('p'));
    assert!(!picture(&mut view, 80, 24).contains("newer figures wait"));
    let _ = view.on_data(Box::new(all.next().unwrap()));
    let text = picture(&mut view, 80, 24);
    assert!(
        text.contains("newer figures wait") && text.contains("paused"),
        "{text}"
    );
    assert!(text.contains(&format!("count {before} ")), "{text}");
    press(&mut view, KeyCode::Char(' '));
    let text = picture(&mut view, 80, 24);
    assert!(
        text.contains(&format!("count {}", grouped(view.live.whole[0].ended))),
        "{text}"
    );
    assert!(!text.contains("paused"), "{text}");
}

#[test]
fn the_end_of_the_target_is_told() {
    let mut view = view_of(5, 4);
    press(&mut view, KeyCode::Char('p'));
    let mut last = all_data(6, 4).pop().unwrap();
    last.snapshot.has_ended = true;
    last.ended = Some("PID 4711 has ended".to_owned());
    let _ = view.on_data(Box::new(last));
    press(&mut view, KeyCode::Char('p'));
    let text = picture(&mut view, 120, 15);
    assert!(text.contains("PID 4711, ended"), "{text}");
    assert!(
        text.contains("PID 4711 has ended ·") && text.contains("work_slow"),
        "{text}"
    );
    assert!(!text.contains("paused"), "{text}");
}

#[test]
fn the_keys_that_all_views_have_work() {
    let mut view = view_of(5, 4);
    press(&mut view, KeyCode::Char('?'));
    assert!(picture(&mut view, 80, 24).contains("the slowest calls (with --outliers)"));
    press(&mut view, KeyCode::Char('q'));
    let quit = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    assert_eq!(view.on_key(quit), Flow::Quit);
}

#[test]
fn a_view_that_is_late_misses_nothing_but_the_moment() {
    let mut all = all_data(10, 1);
    let last = all.pop().unwrap();
    let mut view = View::new(about(1));
    let _ = view.on_data(Box::new(all.swap_remove(0)));
    let _ = view.on_data(Box::new(last.clone()));
    let columns = view.live.heats[0].columns();
    assert_eq!(columns.len(), 10);
    assert!(
        columns
            .iter()
            .all(|column| column.iter().any(|calls| *calls > 0))
    );
    let calls: u64 = columns.iter().flatten().sum();
    assert_eq!(calls, last.snapshot.functions[0].ended);
    let whole = &view.live.whole[0];
    assert_eq!(whole.ended, last.snapshot.functions[0].ended);
    assert_eq!((whole.min_ns, whole.max_ns), (3007, 384_007));
    // The same once more is no new interval.
    let _ = view.on_data(Box::new(last));
    assert_eq!(view.live.heats[0].columns().len(), 10);
}

#[test]
fn nothing_minds_its_size() {
    for count in [1, 4] {
        let mut view = view_of(40, count);
        for (columns, rows) in (1..40)
            .map(|step| (step * 5, step))
            .chain([(60, 15), (300, 3)])
        {
            for _ in 0..4 {
                let text = picture(&mut view, columns, rows);
                assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text}");
                press(&mut view, KeyCode::Tab);
                press(&mut view, KeyCode::Char('u'));
            }
            press(&mut view, KeyCode::Enter);
        }
    }
}
