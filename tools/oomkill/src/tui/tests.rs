use jiff::civil::{Time, date};
use jiff::tz::TimeZone;
use memtools::tui::theme::Glyphs;
use memtools::tui::{KeyCode, KeyModifiers, MouseButton, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::model::{Comm, Constraint, Domain, EndedBy, Fact, Limits};

const HOUR: Duration = Duration::from_secs(3600);

/// A time of one day, on the clock of whatever zone the machine is in.
fn at(hour: i8, minute: i8, second: i8) -> Timestamp {
    let time = Time::constant(hour, minute, second, 0);
    let zoned = date(2026, 2, 3).to_datetime(time);
    zoned.to_zoned(TimeZone::system()).unwrap().timestamp()
}

fn started() -> Timestamp {
    at(10, 0, 0)
}

fn comm(name: &[u8]) -> Comm {
    let mut comm = Comm::default();
    comm.0[..name.len()].copy_from_slice(name);
    comm
}

fn event(time: Timestamp, pid: u32, name: &[u8], megabytes: u64) -> Event {
    let mut event = Event::with_room();
    event.time = time;
    event.invocation = u64::from(pid);
    event.victim.task.pid = pid;
    event.victim.task.comm = comm(name);
    event.victim.task.cgroup = "/".to_owned();
    event.victim.memory.anon_rss = megabytes << 20;
    event.trigger.task.pid = 77;
    event.trigger.task.comm = comm(b"make");
    event.loadavg = "1.50 0.90 0.40 3/400 9000".to_owned();
    event
}

/// In a cgroup with a limit, that is its domain.
fn inside(mut event: Event, cgroup: &str, limit: Option<u64>) -> Event {
    event.victim.task.cgroup = cgroup.to_owned();
    event.domain = Some(Domain {
        constraint: Constraint::Memcg,
        cgroup: cgroup.to_owned(),
        limits: Some(Limits {
            limit,
            ..Limits::default()
        }),
        ..Domain::default()
    });
    event
}

const POD: &str = "/kubepods.slice/kubepods-burstable.slice/pod6f3a/web";

/// Of the machine, of cgroups, of a group, of what was exiting, of somebody unknown.
fn events() -> Vec<Event> {
    let mut java = inside(event(at(10, 5, 0), 4100, b"java", 900), POD, Some(1 << 30));
    java.victim.command_line = b"/usr/bin/java\0-jar\0shop.jar\0".to_vec();
    java.victim.oom_score_adj = 900;
    let first = inside(event(at(10, 20, 0), 4200, b"nginx", 96), POD, None);
    let mut second = inside(event(at(10, 20, 0), 4201, b"nginx", 64), POD, None);
    second.invocation = first.invocation;
    let mut exiting = event(at(10, 40, 0), 4300, b"cc1plus", 512);
    exiting.is_exiting = true;
    let mut unknown = event(at(10, 59, 30), 4400, b"", 0);
    unknown.victim.task.cgroup.clear();
    unknown.domain = None;
    unknown.unknown.add(Fact::Victim);
    let service = "/system.slice/builder.service";
    let last = inside(
        event(at(10, 59, 40), 4500, b"rustc", 3000),
        service,
        Some(3 << 30),
    );
    vec![java, first, second, exiting, unknown, last]
}

fn reaped(pid: u32, name: &[u8], after: Duration, by: EndedBy) -> Reaped {
    Reaped {
        time: at(10, 59, 50),
        pid,
        comm: comm(name),
        after,
        by,
    }
}

struct Driven {
    view: View,
    terminal: Terminal<TestBackend>,
}

impl Driven {
    fn new(width: u16, height: u16) -> Self {
        let mut view = View::new(started());
        view.theme = Theme::new(true, Glyphs::Unicode);
        view.clock = || at(11, 0, 0);
        // What the tests cost is no part of the picture.
        view.pace = Pace::new(HOUR);
        Self {
            view,
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
        }
    }

    fn with_events(width: u16, height: u16) -> Self {
        let mut driven = Self::new(width, height);
        for event in events() {
            driven.send(event);
        }
        let millis = Duration::from_millis;
        for (pid, name, after, by) in [
            (4100, &b"java"[..], millis(35), EndedBy::Reaper),
            (4200, b"nginx", millis(4), EndedBy::Exit),
            (4201, b"nginx", millis(75_000), EndedBy::Exit),
        ] {
            let reaped = reaped(pid, name, after, by);
            let _ = driven.view.on_data(Data::Reaped(reaped));
        }
        driven
    }

    fn send(&mut self, event: Event) {
        let _ = self.view.on_data(Data::Event(Box::new(event)));
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

    /// The PIDs that are shown, from the top.
    fn pids(&mut self) -> Vec<u32> {
        self.view.refresh();
        let order = self.view.arrangement.order().iter();
        let pid = |id: &EntryId| self.view.log.entry(*id).unwrap().event.victim.task.pid;
        order.map(pid).collect()
    }

    fn selected(&mut self) -> u32 {
        self.view.refresh();
        let selected = self.view.selected().unwrap();
        self.view.log.entry(selected).unwrap().event.victim.task.pid
    }
}

fn screen(width: u16, height: u16, keys: &str) -> String {
    let mut driven = Driven::with_events(width, height);
    let _ = driven.press(keys);
    driven.screen()
}

macro_rules! pictures {
    ($($name:ident: $keys:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(concat!(stringify!($name), "_60x15"), screen(60, 15, $keys));
            insta::assert_snapshot!(concat!(stringify!($name), "_80x24"), screen(80, 24, $keys));
            insta::assert_snapshot!(concat!(stringify!($name), "_160x45"), screen(160, 45, $keys));
        }
    )*};
}

pictures! {
    kills: "";
    kills_with_details: "↓↓↓↓↓\n";
    kills_with_a_filter: "/shop.jar\n";
    help: "?";
}

#[test]
fn nothing_yet() {
    for (width, height) in [(60, 15), (80, 24), (160, 45)] {
        let screen = Driven::new(width, height).screen();
        insta::assert_snapshot!(format!("nothing_yet_{width}x{height}"), screen);
    }
}

/// Names are what any process makes of them.
#[test]
fn a_hostile_name() {
    for (width, height) in [(60, 15), (80, 24), (160, 45)] {
        let mut driven = Driven::new(width, height);
        let name = b"\x1b[2J\x1b]0;\xff\xfe\n\x07";
        let mut hostile = event(at(10, 59, 0), 666, name, 1);
        hostile.victim.command_line = b"\x1b[31mred\0\xf0\x9f\0\xe2\x80\xae".to_vec();
        hostile.trigger.task.comm = comm("日本語\u{202e}".as_bytes());
        driven.send(inside(hostile, "/a\x1b[1m\n/b\u{202e}", Some(4096)));
        let _ = driven.press("\n");
        let screen = driven.screen();
        let is_clean = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(screen.chars().all(is_clean));
        insta::assert_snapshot!(format!("a_hostile_name_{width}x{height}"), screen);
    }
}

#[test]
fn where_there_is_only_ascii() {
    let mut driven = Driven::with_events(80, 24);
    driven.view.theme = Theme::new(false, Glyphs::Ascii);
    let _ = driven.press("\n");
    let screen = driven.screen();
    assert!(screen.is_ascii());
    insta::assert_snapshot!("ascii_80x24", screen);
}

#[test]
fn the_newest_comes_first_until_another_order_is_asked_for() {
    let mut driven = Driven::with_events(80, 24);
    assert_eq!(driven.pids(), [4500, 4400, 4300, 4201, 4200, 4100]);
    let _ = driven.press("R");
    assert_eq!(driven.pids(), [4100, 4200, 4201, 4300, 4400, 4500]);
    // Along to RSS: the largest first, the unknown one last.
    let _ = driven.press(">>>");
    assert_eq!(driven.pids(), [4500, 4100, 4300, 4200, 4201, 4400]);
    // Back over TIME to BACK: the longest first; what is not back comes before.
    let _ = driven.press("<<<<");
    assert_eq!(driven.pids(), [4500, 4400, 4201, 4100, 4200, 4300]);
}

#[test]
fn every_column_makes_an_order() {
    let mut driven = Driven::with_events(160, 24);
    for _ in kills::COLUMNS {
        let mut pids = driven.pids();
        pids.sort_unstable();
        assert_eq!(pids, [4100, 4200, 4201, 4300, 4400, 4500]);
        let _ = driven.press(">");
    }
    assert_eq!(driven.view.table.sort, FIRST_SORT);
}

#[test]
fn the_selected_kill_stays_selected_when_others_come() {
    let mut driven = Driven::with_events(80, 24);
    let _ = driven.press("↓");
    assert_eq!(driven.selected(), 4400);
    driven.send(event(at(10, 59, 59), 5000, b"late", 1));
    assert_eq!(driven.selected(), 4400);
    let _ = driven.press("g");
    assert_eq!(driven.selected(), 5000);
    driven.send(event(at(10, 59, 59), 5001, b"later", 1));
    assert_eq!(driven.selected(), 5001);
}

#[test]
fn open_details_stay_with_their_kill() {
    let mut driven = Driven::with_events(160, 45);
    let _ = driven.press("\n");
    driven.send(event(at(10, 59, 59), 5000, b"late", 1));
    assert_eq!(driven.selected(), 4500);
    assert!(driven.screen().contains("OOM kill of PID 4500"));
}

#[test]
fn a_filter_looks_at_names_arguments_and_cgroups() {
    let mut driven = Driven::with_events(80, 24);
    for (filter, pids) in [
        ("java -jar", &[4100][..]),
        ("RUSTC", &[]),
        ("nginx", &[4201, 4200]),
        ("pod6f3a", &[4201, 4200, 4100]),
        ("make", &[4500, 4400, 4300, 4201, 4200, 4100]),
    ] {
        let _ = driven.press(&format!("/{filter}"));
        assert_eq!(driven.pids(), pids, "{filter}");
        let _ = driven.press("\u{1b}");
        assert_eq!(driven.pids().len(), 6);
    }
}

#[test]
fn what_comes_in_a_pause_waits() {
    let mut driven = Driven::with_events(80, 24);
    let _ = driven.press("p");
    driven.send(event(at(10, 59, 59), 5000, b"late", 1));
    driven.send(event(at(10, 59, 59), 5001, b"later", 1));
    assert_eq!(driven.pids().len(), 6);
    insta::assert_snapshot!("pause_80x24", driven.screen());
    let _ = driven.press("p");
    assert_eq!(driven.pids()[..2], [5001, 5000]);
    assert!(!driven.screen().contains("waiting"));
}

#[test]
fn the_end_ends_a_pause_and_stops_the_clock() {
    let mut driven = Driven::with_events(120, 24);
    let _ = driven.press("p");
    driven.send(event(at(10, 59, 59), 5000, b"late", 1));
    let _ = driven
        .view
        .on_data(Data::Ended(Some("no memory".to_owned())));
    driven.view.clock = || at(23, 0, 0);
    assert_eq!(driven.view.elapsed(), HOUR);
    assert_eq!(driven.view.wake_at(), None);
    assert_eq!(driven.pids()[0], 5000);
    assert!(driven.screen().contains("ended: no memory"));
}

#[test]
fn losses_are_shown_and_do_not_shrink() {
    let mut driven = Driven::with_events(80, 24);
    assert!(!driven.screen().contains("LOST"));
    let loss = Loss {
        events: 2,
        reaps: 1,
        missed: 0,
    };
    let _ = driven.view.on_data(Data::Loss(loss));
    driven.send(event(at(10, 59, 59), 5000, b"late", 1));
    assert!(driven.screen().contains("LOST 3"));
}

#[test]
fn the_help_goes_before_the_view_does() {
    let mut driven = Driven::with_events(80, 24);
    assert_eq!(driven.press("?q"), Flow::Continue);
    assert!(!driven.screen().contains("this help"));
    assert_eq!(driven.press("q"), Flow::Quit);
}

#[test]
fn a_second_click_opens_the_details() {
    let mut driven = Driven::with_events(80, 24);
    driven.screen();
    let click = MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: 20,
        row: 5,
        modifiers: KeyModifiers::NONE,
    };
    let _ = driven.view.on_mouse(click);
    assert_eq!(driven.selected(), 4400);
    assert!(!driven.view.has_details);
    let _ = driven.view.on_mouse(click);
    assert!(driven.view.has_details);
}

#[test]
fn details_scroll_to_their_end_and_no_further() {
    let mut driven = Driven::with_events(60, 15);
    let _ = driven.press("\n");
    for key in ["}", "J"].repeat(40) {
        let _ = driven.press(key);
        driven.screen();
    }
    let end = driven.view.details_scroll;
    assert!((2..80).contains(&end));
    let _ = driven.press("{K");
    assert_eq!(driven.view.details_scroll, end - 2);
}

#[test]
fn nothing_minds_its_size() {
    for width in [1, 2, 7, 19, 59, 81, 200] {
        for height in [1, 2, 3, 5, 8, 14, 60] {
            let mut driven = Driven::with_events(width, height);
            for key in "\n}}↓G>>Rp?\u{1b}/x\n\u{1b}{".chars() {
                let _ = driven.press(&key.to_string());
                driven.screen();
            }
        }
    }
}
