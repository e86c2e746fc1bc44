//! memleak's live view, as its user has it: on a terminal, on programs whose leaks are known.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use memtools::output::{counted, grouped, human_bytes};
use memtools_tests::{
    FunctionTruth, Memleak, Outcome, Report, Screen, TerminalState, Truth, Workload, altered_code,
    assert_no_probe_left, binary, path_of, skip, wait_until,
};

mod life;
mod panes;
mod terminals;

const NO_ARGS: &[&str] = &[];
const SAID: &str = "said before";
const SOURCE: &str = include_str!("../../workloads/phases.c");

/// A shell that has said something, `memleak -p PID -o 0` with its view on top, and whom it watches.
struct View {
    screen: Screen,
    before: TerminalState,
    workload: Workload,
    pid: i32,
}

/// A terminal, or a word about why there is none.
fn terminal(test: &str) -> Option<Screen> {
    let screen = Screen::start(110, 30);
    if screen.is_none() {
        skip(test, "no tmux");
    }
    screen
}

impl View {
    #[track_caller]
    fn open(test: &str, workload: &str, flags: &str) -> Option<Self> {
        let screen = terminal(test)?;
        let workload = Workload::start(workload, NO_ARGS);
        Some(Self::on(screen, workload, "", flags))
    }

    #[track_caller]
    fn on(screen: Screen, workload: Workload, environment: &str, flags: &str) -> Self {
        screen.line(&format!("echo '{SAID}'"));
        screen.wait_until(SAID, |text| text.lines().any(|line| line == SAID));
        let before = screen.state();
        assert!(before.shows_cursor && !before.is_alternate && !before.has_mouse);
        let memleak = binary().display().to_string();
        let target = workload.pid();
        screen.line(&format!(
            "{environment} {memleak} -p {target} -o 0 {flags}; echo code=$?"
        ));
        screen.wait_for("1 stacks");
        let during = screen.state();
        assert!(!during.shows_cursor && during.is_alternate && during.has_mouse);
        let pid = screen.foreground();
        Self {
            screen,
            before,
            workload,
            pid,
        }
    }

    /// A view of `phases` after its first phase, with its figures.
    #[track_caller]
    fn of_phases(test: &str, flags: &str) -> Option<(Self, Truth)> {
        let mut view = Self::open(test, "phases", flags)?;
        let truth = view.workload.run();
        view.screen.wait_until("the first phase", |text| {
            text.contains(&total(&truth)) && agrees(text, &truth)
        });
        Some((view, truth))
    }

    fn keys(&self, keys: &[&str]) -> &Self {
        self.screen.keys(keys);
        self
    }

    #[track_caller]
    fn expect(&self, words: &[&str]) -> &Self {
        self.screen.wait_until(&words.join(", "), |text| {
            words.iter().all(|word| text.contains(word))
        });
        self
    }

    #[track_caller]
    fn expect_first(&self, function: &str) -> &Self {
        self.screen
            .wait_until(&format!("{function} first"), |text| {
                rows(text).first().is_some_and(|row| row.contains(function))
            });
        self
    }

    fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }

    /// The shell goes on where it was, and its terminal is as before.
    #[track_caller]
    fn expect_restored(&self, words: &[&str]) {
        let screen = &self.screen;
        screen.wait_until("what the shell showed before", |text| {
            let has_all = words.iter().all(|word| text.contains(word));
            has_all && text.lines().any(|line| line == SAID)
        });
        wait_until("the terminal is as it was", || {
            screen.state() == self.before
        });
        screen.line("echo $((6*7))x");
        screen.wait_for("42x");
    }

    /// And whom it watched is as before too.
    #[track_caller]
    fn expect_ended(self, words: &[&str]) {
        self.expect_restored(words);
        assert_no_probe_left(self.workload.pid());
        self.workload.quit();
    }

    #[track_caller]
    fn quit(self) {
        self.keys(&["q"]);
        self.expect_ended(&["code=0"]);
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: kill takes numbers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// The lines of the table, with one blank between words.
fn rows(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| !line.contains("LIVE"));
    let squeezed = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let rows = squeezed.skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| format!(" {row} ")).collect()
}

/// What the first line says of all.
fn total(truth: &Truth) -> String {
    let (bytes, count) = (truth.total_bytes(), truth.total_count());
    format!("{} in {} live", human_bytes(bytes), counted(count, "block"))
}

fn live(bytes: u64) -> String {
    format!(" {} ", human_bytes(bytes))
}

/// Whether each function has its row, with its figures.
fn agrees(text: &str, truth: &Truth) -> bool {
    let rows = rows(text);
    let is_there = |function: &FunctionTruth| {
        let bytes = function.bytes.expect("the workload says it");
        let count = function.count.expect("the workload says it");
        let figures = format!("{}{} ", live(bytes), grouped(count));
        let is_it = |row: &String| row.contains(&function.function) && row.contains(&figures);
        count == 0 || rows.iter().any(is_it)
    };
    truth.functions.iter().all(is_there)
}

/// As debug information names the line of `phases` that has this text.
fn place(text: &str) -> String {
    let line = SOURCE.lines().position(|line| line.contains(text));
    format!("phases.c:{}", line.expect("the workload has it") + 1)
}

/// What the view never draws, for the whole of which time is given to be drawn.
fn let_time_pass(workload: &Workload) {
    let pid = workload.pid().to_string();
    let outcome = Outcome::of(&["-p", &pid, "--json", "1.1", "2"]).expect_code(0);
    assert_eq!(outcome.reports().len(), 2);
}
