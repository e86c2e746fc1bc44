use memtools::tui::theme::Glyphs;
use memtools::tui::{KeyCode, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::model::tests::{figures, in_flight, key, snapshot};

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for second in 1..=20 {
        let mut one = snapshot(
            second,
            vec![
                (key(7, libc::SYS_read), figures(second * 1500, second * 20)),
                (key(8, libc::SYS_read), figures(second * 7, 0)),
                (key(8, libc::SYS_write), figures(second * second * 3, 0)),
                (key(8, 9999), figures(second, second)),
            ],
        );
        one.in_flight = vec![in_flight(7, libc::SYS_futex, second * 1_000_000_000, true)];
        ledger.update(one);
    }
    ledger
}

fn view(by: By) -> View {
    let mut view = View::new(by, Some("PID 7".to_owned()));
    view.theme = Theme::new(true, Glyphs::Unicode);
    let _ = view.on_data(Box::new(Data {
        ledger: ledger(),
        ended: None,
    }));
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
fn calls_are_shown() {
    insta::assert_snapshot!(picture(&mut view(By::Call), 80, 24));
    insta::assert_snapshot!(picture(&mut view(By::Call), 160, 20));
    insta::assert_snapshot!(picture(&mut view(By::Call), 60, 15));
}

#[test]
fn details_have_a_histogram_and_the_processes() {
    let mut view = view(By::Call);
    press(&mut view, KeyCode::Down);
    press(&mut view, KeyCode::Enter);
    insta::assert_snapshot!(picture(&mut view, 100, 24));
    press(&mut view, KeyCode::Esc);
    assert!(!picture(&mut view, 100, 24).contains("since the start"));
}

#[test]
fn tab_goes_round() {
    let mut view = view(By::Call);
    press(&mut view, KeyCode::Tab);
    let text = picture(&mut view, 100, 12);
    assert!(
        text.contains("by process") && text.contains("server"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
    press(&mut view, KeyCode::Tab);
    let text = picture(&mut view, 100, 12);
    assert!(
        text.contains("by errno") && text.contains("ENOENT"),
        "{text}"
    );
    press(&mut view, KeyCode::Tab);
    assert!(picture(&mut view, 100, 12).contains("by call"));
}

#[test]
fn a_pause_holds_figures_back() {
    let mut view = view(By::Call);
    press(&mut view, KeyCode::Char('p'));
    let _ = view.on_data(Box::default());
    assert!(picture(&mut view, 100, 12).contains("read"));
    assert!(picture(&mut view, 100, 12).contains("newer figures wait"));
    press(&mut view, KeyCode::Char('p'));
    assert!(picture(&mut view, 100, 12).contains("counting"));
}
