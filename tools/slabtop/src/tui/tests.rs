use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use memtools::tui::theme::Glyphs;
use memtools::tui::{KeyCode, KeyModifiers, MouseButton, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::model::tests::{moved, snapshot};
use crate::model::{Place, Sizes};

fn ledger(seconds: u64) -> Ledger {
    let mut ledger = Ledger::new(2, false);
    for second in 0..=seconds {
        let caches = [
            (
                "filp",
                1000 + second * 500,
                moved(second * 1600, second * 1100),
            ),
            (
                "dentry",
                400_000 + second % 7 * 100,
                moved(second * 900, second * 890),
            ),
            ("maple_node", 700, moved(second * 211_399, 0)),
            ("kmalloc-64", 20_000, moved(second * 5, second * 5)),
            ("radix_tree_node", 30_000, moved(0, 0)),
            ("evil\x1b[31m日本語", 12, moved(0, 0)),
        ];
        let mut one = snapshot(second, &caches);
        one.sizes[4] = Sizes {
            active: None,
            ..one.sizes[4].clone()
        };
        one.elapsed = Duration::from_secs(second);
        one.aliases.insert(
            "filp".to_owned(),
            vec!["bfilp".to_owned(), "other".to_owned()],
        );
        one.followed = vec!["filp".to_owned()];
        let place = |id, allocs, freed, frees, comm: &str, frames: &[&str]| Place {
            id,
            cache: "filp".to_owned(),
            comm: comm.to_owned(),
            allocs,
            freed,
            frees,
            pid: 4711,
            has_others: false,
            not_followed: 0,
            frames: frames.iter().map(|&frame| frame.to_owned()).collect(),
        };
        let opens = [
            "kmem_cache_alloc_noprof+0x1b",
            "alloc_empty_file+0x4e",
            "path_openat+0x38",
        ];
        let frees = ["kmem_cache_free+0x2", "file_free+0x33", "__fput+0x1"];
        one.places = vec![
            place(1, second * 1600, second * 1100, 0, "leaker", &opens),
            place(2, 0, 0, second * 1100, "ksoftirqd/0", &frees),
        ];
        ledger.update(one);
    }
    ledger
}

struct Driven {
    view: View,
    terminal: Terminal<TestBackend>,
    requests: Receiver<Request>,
}

impl Driven {
    fn new(width: u16, height: u16) -> Self {
        let (sender, requests) = channel();
        let mut view = View::new(SortKey::Bytes, None, sender);
        view.theme = Theme::new(true, Glyphs::Unicode);
        Self {
            view,
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
            requests,
        }
    }

    fn with_caches(width: u16, height: u16) -> Self {
        let mut driven = Self::new(width, height);
        driven.send(ledger(12));
        driven
    }

    fn send(&mut self, ledger: Ledger) {
        let data = Data {
            ledger,
            ..Data::default()
        };
        let _ = self.view.on_data(Box::new(data));
        // What the tests cost is no part of the picture.
        self.view.cost = Cost::default();
    }

    fn press(&mut self, keys: &str) -> Flow {
        let mut flow = Flow::Continue;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '↓' => KeyCode::Down,
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

    fn names(&mut self) -> Vec<String> {
        self.view.refresh();
        let arrangement = &self.view.arrangement;
        let names = (0..arrangement.len()).filter_map(|at| arrangement.name(at));
        names.map(str::to_owned).collect()
    }
}

fn screen(width: u16, height: u16, keys: &str) -> String {
    let mut driven = Driven::with_caches(width, height);
    let _ = driven.press(keys);
    driven.screen()
}

macro_rules! pictures {
    ($($name:ident: $keys:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(concat!(stringify!($name), "_60x15"), screen(60, 15, $keys));
            insta::assert_snapshot!(concat!(stringify!($name), "_80x24"), screen(80, 24, $keys));
            insta::assert_snapshot!(concat!(stringify!($name), "_200x50"), screen(200, 50, $keys));
        }
    )*};
}

pictures! {
    caches: "";
    caches_with_stacks: "/filp\n\n";
    caches_with_a_filter: "/malloc\n";
    help: "?";
}

#[test]
fn nothing_yet() {
    insta::assert_snapshot!(Driven::new(80, 24).screen());
}

#[test]
fn columns_are_sorted_by_keys() {
    let mut driven = Driven::with_caches(200, 50);
    assert_eq!(driven.names()[0], "dentry");
    // Allocations a second, frees, bytes, net.
    let _ = driven.press(">");
    assert_eq!(driven.names()[0], "maple_node");
    let _ = driven.press(">");
    assert_eq!(driven.names()[0], "filp");
    let _ = driven.press(">>>");
    assert_eq!(driven.names()[0], "filp");
    let _ = driven.press("R");
    assert_eq!(driven.names().last().unwrap(), "filp");
}

#[test]
fn a_key_without_a_column_holds_until_another_is_asked_for() {
    let (sender, _requests) = channel();
    let mut view = View::new(SortKey::PagesPerSlab, None, sender);
    view.theme = Theme::new(true, Glyphs::Unicode);
    let mut driven = Driven {
        view,
        ..Driven::new(80, 24)
    };
    driven.send(ledger(2));
    assert_eq!(driven.names()[0], "dentry");
    let _ = driven.press(">");
    assert_eq!(driven.names()[0], "dentry");
    assert!(driven.screen().contains("CACHE"));
}

#[test]
fn a_filter_knows_aliases() {
    let mut driven = Driven::with_caches(80, 24);
    let _ = driven.press("/bfil");
    assert_eq!(driven.names(), ["filp"]);
    let _ = driven.press("\u{1b}");
    assert_eq!(driven.names().len(), 6);
}

#[test]
fn objects_are_followed_while_details_are_open() {
    let mut driven = Driven::with_caches(80, 24);
    let show = |name: Option<&str>| Ok(Request::Show(name.map(str::to_owned)));
    let _ = driven.press("\n");
    assert_eq!(driven.requests.try_recv(), show(Some("dentry")));
    let _ = driven.press("↓");
    assert_eq!(driven.requests.try_recv(), show(Some("radix_tree_node")));
    // The row stays under the cursor when figures change.
    driven.send(ledger(13));
    let _ = driven.screen();
    assert!(driven.requests.try_recv().is_err());
    let _ = driven.press("\n");
    assert_eq!(driven.requests.try_recv(), show(None));
    let _ = driven.press("\n\u{1b}");
    assert_eq!(driven.requests.try_recv(), show(Some("radix_tree_node")));
    assert_eq!(driven.requests.try_recv(), show(None));
    assert_eq!(driven.press("q"), Flow::Quit);
}

#[test]
fn a_pause_holds_figures_back() {
    let mut driven = Driven::with_caches(80, 24);
    let _ = driven.press("p");
    let before = driven.view.data.ledger.elapsed;
    driven.send(ledger(20));
    assert_eq!(driven.view.data.ledger.elapsed, before);
    assert!(driven.screen().contains("paused"));
    let _ = driven.press("p");
    assert_eq!(driven.view.data.ledger.elapsed, Duration::from_secs(20));
}

#[test]
fn an_end_is_said() {
    let mut driven = Driven::with_caches(80, 24);
    let mut data = driven.view.data.clone();
    data.ended = Some("reading the slab caches".to_owned());
    data.said = (1, "following objects: no".to_owned());
    let _ = driven.view.on_data(Box::new(data));
    driven.view.notice = Notice::default();
    assert!(driven.screen().contains("ended: reading"));
}

#[test]
fn no_size_is_too_small() {
    for (width, height) in [(1, 1), (20, 5), (60, 3), (300, 4)] {
        let mut driven = Driven::with_caches(width, height);
        let _ = driven.press("\n");
        let _ = driven.screen();
        let click = MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: 1,
            row: 1,
            modifiers: KeyModifiers::NONE,
        };
        let _ = driven.view.on_mouse(click);
        let _ = driven.screen();
    }
}
