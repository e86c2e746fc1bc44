use std::cell::RefCell;
use std::rc::Rc;

use memtools::tui::theme::Glyphs;
use memtools::tui::{KeyCode, KeyModifiers};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::fixture::{account, ledger, snapshot};
use crate::snapshot::{Births, Class, Snapshot};

/// Seconds of a run: one stack leaks, one has levelled off, one comes and goes, one is mapped.
fn moment(second: u64) -> Snapshot {
    let born = |first: u64, last: u64| {
        let seconds = std::time::Duration::from_secs;
        Some(Births {
            first: seconds(first),
            last: seconds(last),
            mean: seconds(u64::midpoint(first, last)),
        })
    };
    let mut leak = account(&[11, 7, 30, 40], Class::Heap, (4096 * second, 4 * second));
    leak.births = born(0, second);
    leak.frees = 0;
    leak.allocs = 4 * second;
    let mut cache = account(&[12, 30, 40], Class::Heap, (1 << 16, 16));
    cache.births = born(0, 1);
    let mut churn = account(
        &[13, 30, 40],
        Class::Heap,
        (3000 * (second % 3), second % 3),
    );
    churn.births = born(second, second);
    churn.allocs = 1000 * second;
    churn.frees = 1000 * second - second % 3;
    let mut mapped = account(&[14, 9], Class::Mmap, (1 << 20, 1));
    mapped.births = born(1, 1);
    let arena = account(&[15, 40], Class::Arena, (64 << 20, 1));
    let mut snapshot = snapshot(vec![leak, cache, churn, mapped, arena]);
    snapshot.moment.elapsed = std::time::Duration::from_secs(second);
    snapshot.moment.comm = "app".to_owned();
    snapshot
}

struct Driven {
    view: View,
    orders: Rc<RefCell<Vec<Order>>>,
    terminal: Terminal<TestBackend>,
}

impl Driven {
    fn new(width: u16, height: u16) -> Self {
        let ledger = ledger((1..=20).map(moment).collect(), 1);
        let orders: Rc<RefCell<Vec<Order>>> = Rc::default();
        let given = orders.clone();
        let mut view = View::new(
            ledger,
            Origin::Live { has_ages: true },
            Exports::default(),
            move |order| {
                given.borrow_mut().push(order);
            },
        );
        view.theme = Theme::new(true, Glyphs::Unicode);
        Self {
            view,
            orders,
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
        }
    }

    fn press(&mut self, keys: &str) -> Flow {
        let mut flow = Flow::Continue;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                '↓' => KeyCode::Down,
                '→' => KeyCode::Right,
                '←' => KeyCode::Left,
                key => KeyCode::Char(key),
            };
            flow = self.view.on_key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        flow
    }

    fn screen(&mut self) -> String {
        self.terminal.draw(|frame| self.view.draw(frame)).unwrap();
        self.terminal.backend().to_string()
    }
}

fn screen(width: u16, height: u16, keys: &str) -> String {
    let mut driven = Driven::new(width, height);
    let _ = driven.press(keys);
    driven.screen()
}

macro_rules! pictures {
    ($($name:ident: $keys:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(concat!(stringify!($name), "_80x24"), screen(80, 24, $keys));
            insta::assert_snapshot!(concat!(stringify!($name), "_160x45"), screen(160, 45, $keys));
        }
    )*};
}

pictures! {
    stacks: "";
    stacks_with_details: "\n";
    all_stacks: "a";
    stacks_with_a_filter: "/f12\n";
    tree_from_main: "2";
    tree_from_malloc: "3→↓→";
    timeline: "4";
    help: "?";
}

#[test]
fn what_leaks_comes_first() {
    let driven = Driven::new(80, 24);
    let first = driven.view.arrangement.order()[0];
    let frames = driven.view.ledger.frames(driven.view.ledger.row(first));
    assert_eq!(
        frames.map(|frame| frame.addr).collect::<Vec<_>>(),
        [11, 7, 30, 40]
    );
}

#[test]
fn a_filter_acts_while_it_is_typed_and_escape_takes_it_away() {
    let mut driven = Driven::new(80, 24);
    let shown = |driven: &Driven| driven.view.arrangement.order().len();
    let all = shown(&driven);
    let _ = driven.press("/f1");
    let some = shown(&driven);
    let _ = driven.press("2");
    assert_eq!(shown(&driven), 1);
    assert!(some > 1 && some <= all);
    let _ = driven.press("\u{1b}");
    assert_eq!(shown(&driven), all);
    let _ = driven.press("/mmap\n");
    assert_eq!(shown(&driven), 1);
}

#[test]
fn orders_go_to_whoever_takes_snapshots() {
    let mut driven = Driven::new(80, 24);
    let _ = driven.press("pprr[");
    assert_eq!(
        *driven.orders.borrow(),
        [
            Order::Pause(true),
            Order::Pause(false),
            Order::BaseLine(true),
            Order::BaseLine(false)
        ]
    );
    assert_eq!(driven.press("q"), Flow::Quit);
}

#[test]
fn the_help_goes_before_the_view_does() {
    let mut driven = Driven::new(80, 24);
    assert_eq!(driven.press("?q"), Flow::Continue);
    assert!(!driven.screen().contains("this help"));
    assert_eq!(driven.press("q"), Flow::Quit);
}

/// A process that is no longer traced may well live.
#[test]
fn only_who_has_ended_is_said_to_have() {
    let mut driven = Driven::new(160, 24);
    let _ = driven.view.on_data(Data::Ended(None));
    assert!(driven.screen().contains("not traced any more)"));
    assert!(!driven.screen().contains("ended"));
}

#[test]
fn a_base_line_holds_from_the_figures_on_that_heed_it() {
    let mut driven = Driven::new(80, 24);
    let update = |driven: &Driven| Update {
        moment: driven.view.ledger.moment().unwrap().clone(),
        frames: Vec::new(),
        rows: Vec::new(),
        figures: Vec::new(),
    };
    let _ = driven.press("r");
    let taken_before = update(&driven);
    let _ = driven.view.on_data(Data::Update(Box::new(taken_before)));
    assert!(!driven.view.selection.only_fresh);
    let _ = driven.view.on_data(Data::BaseLine(true));
    let heeds_it = update(&driven);
    let _ = driven.view.on_data(Data::Update(Box::new(heeds_it)));
    assert!(driven.view.selection.only_fresh);
    let _ = driven.view.on_data(Data::Ended(None));
    let _ = driven.press("r");
    assert_eq!(*driven.orders.borrow(), [Order::BaseLine(true)]);
}

#[test]
fn the_selected_row_stays_selected_when_the_order_changes() {
    let mut driven = Driven::new(80, 24);
    let _ = driven.press("↓");
    let selected = driven.view.selected();
    let _ = driven.press(">>");
    assert_eq!(driven.view.selected(), selected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any keys at any size.
    #[test]
    fn nothing_makes_it_panic(
        keys in "[0-9a-zA-Z/?<>+\\[\\]{}\n\t\u{1b}↓→← -]{0,40}",
        width in 1_u16..200,
        height in 1_u16..60,
    ) {
        // `w` writes files.
        let keys = keys.replace('w', "");
        let mut driven = Driven::new(width, height);
        for key in keys.chars() {
            let _ = driven.press(&key.to_string());
            driven.screen();
        }
    }
}
