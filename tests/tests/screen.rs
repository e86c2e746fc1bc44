//! What every live view owes the terminal: it leaves it as it was, however it ends.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use memtools_tests::{Screen, TerminalState, skip, tool, wait_until};

/// A shell that has said something, with a view on top.
struct Probe {
    screen: Screen,
    before: TerminalState,
    pid: i32,
    watchdog: PathBuf,
}

const SAID: &str = "said before";

impl Probe {
    #[track_caller]
    fn start(name: &str, prefix: &str) -> Option<Self> {
        let Some(screen) = Screen::start(80, 24) else {
            skip(name, "no tmux");
            return None;
        };
        screen.line(&format!("echo '{SAID}'"));
        screen.wait_until(SAID, |text| text.lines().any(|line| line == SAID));
        let before = screen.state();
        assert!(before.shows_cursor && !before.is_alternate && !before.has_mouse);
        screen.line(&format!(
            "{prefix} {}; echo code=$?",
            tool("screen-probe").display()
        ));
        screen.wait_for("BYTES");
        let during = screen.state();
        assert!(!during.shows_cursor && during.is_alternate && during.has_mouse);
        assert_ne!(during.settings, before.settings);
        let pid = screen.foreground();
        Some(Self {
            watchdog: child_of(pid),
            screen,
            before,
            pid,
        })
    }

    fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }

    /// The shell goes on where it was, with this on the screen.
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
        self.expect_no_process();
    }

    #[track_caller]
    fn expect_no_process(&self) {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        wait_until("the view's process ends", || !is_alive(&process));
        wait_until("the watchdog ends", || !is_alive(&self.watchdog));
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: kill takes numbers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// The /proc directory of a process's child.
#[track_caller]
fn child_of(pid: i32) -> PathBuf {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the process is there");
    let child = children.split_whitespace().next().expect("a watchdog");
    Path::new("/proc").join(child)
}

fn is_alive(process: &Path) -> bool {
    // A zombie is dead; whoever inherited it may take its time.
    fs::read_to_string(process.join("stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

#[test]
fn quitting_restores_the_terminal() {
    let Some(probe) = Probe::start("quitting_restores_the_terminal", "") else {
        return;
    };
    probe.screen.keys(&["q"]);
    probe.expect_restored(&["probe ended: quit", "code=0"]);
}

#[test]
fn ctrl_c_quits() {
    let Some(probe) = Probe::start("ctrl_c_quits", "") else {
        return;
    };
    probe.screen.keys(&["/", "C-c"]);
    probe.expect_restored(&["probe ended: quit", "code=0"]);
}

#[test]
fn a_panic_is_printed_on_the_restored_screen() {
    let Some(probe) = Probe::start("a_panic_is_printed_on_the_restored_screen", "") else {
        return;
    };
    probe.screen.keys(&["!"]);
    probe.expect_restored(&["on demand", "code=101"]);
}

#[test]
fn a_panic_in_another_thread_ends_the_view() {
    let Some(probe) = Probe::start("a_panic_in_another_thread_ends_the_view", "") else {
        return;
    };
    probe.screen.keys(&["T"]);
    probe.expect_restored(&["elsewhere on demand", "view was interrupted", "code=1"]);
}

#[test]
fn a_process_that_exits_at_once_can_restore() {
    let Some(probe) = Probe::start("a_process_that_exits_at_once_can_restore", "") else {
        return;
    };
    probe.screen.keys(&["x"]);
    probe.expect_restored(&["code=3"]);
}

#[test]
fn end_signals_end_the_view_in_good_order() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let Some(probe) = Probe::start("end_signals_end_the_view_in_good_order", "") else {
            return;
        };
        probe.signal(signal);
        probe.expect_restored(&[&format!("probe ended: signal {signal}"), "code=0"]);
    }
}

/// A terminal that nobody reads from, and a view that waits for it.
struct StuckProbe {
    master: fs::File,
    child: Child,
}

impl StuckProbe {
    fn start() -> Self {
        let (master, slave) = terminal(80, 24);
        let mut command = Command::new(tool("screen-probe"));
        command
            .env("TERM", "xterm-256color")
            .stdin(slave.try_clone().expect("another descriptor"))
            .stdout(slave.try_clone().expect("another descriptor"))
            .stderr(Stdio::null());
        // SAFETY: both may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("the view starts");
        Self { master, child }
    }

    /// Whether the main thread waits in write(2).
    fn is_writing(&self) -> bool {
        let pid = self.child.id();
        let call = fs::read_to_string(format!("/proc/{pid}/task/{pid}/syscall"));
        let number = format!("{} ", libc::SYS_write);
        call.is_ok_and(|call| call.starts_with(&number))
    }
}

impl Drop for StuckProbe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a new terminal.
fn terminal(columns: u16, rows: u16) -> (fs::File, fs::File) {
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptors are new, and nobody else's.
    unsafe {
        let (name, settings) = (std::ptr::null_mut(), std::ptr::null());
        let outcome = libc::openpty(
            &raw mut master,
            &raw mut slave,
            name,
            settings,
            &raw const size,
        );
        assert_eq!(outcome, 0, "a pseudo terminal");
        for end in [master, slave] {
            libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (fs::File::from_raw_fd(master), fs::File::from_raw_fd(slave))
    }
}

#[test]
fn a_view_that_nobody_reads_ends_by_the_second_signal() {
    let mut probe = StuckProbe::start();
    // Any write may be seen once.
    let mut seen = 0;
    wait_until("the view waits for its reader", || {
        // Each of them alters the whole table.
        let typed = probe.master.write_all(b"R");
        typed.expect("there is room for a key");
        seen = if probe.is_writing() { seen + 1 } else { 0 };
        seen == 20
    });
    let mut status = None;
    wait_until("the process ends", || {
        kill(probe.child.id().cast_signed(), libc::SIGTERM);
        status = probe.child.try_wait().expect("it is our child");
        status.is_some()
    });
    let code = status.and_then(|status| status.code());
    assert_eq!(code, Some(128 + libc::SIGTERM));
}

#[test]
fn a_killed_view_is_cleaned_up_after() {
    let Some(probe) = Probe::start("a_killed_view_is_cleaned_up_after", "") else {
        return;
    };
    probe.signal(libc::SIGKILL);
    probe.expect_restored(&[]);
}

#[test]
fn a_killed_process_group_is_cleaned_up_after() {
    let Some(probe) = Probe::start("a_killed_process_group_is_cleaned_up_after", "") else {
        return;
    };
    kill(-probe.pid, libc::SIGKILL);
    probe.expect_restored(&[]);
}

#[test]
fn a_lost_watchdog_is_not_missed() {
    let Some(probe) = Probe::start("a_lost_watchdog_is_not_missed", "") else {
        return;
    };
    let name = probe.watchdog.file_name().and_then(|name| name.to_str());
    let watchdog = name.and_then(|name| name.parse().ok());
    kill(watchdog.expect("a PID"), libc::SIGKILL);
    probe.screen.keys(&["q"]);
    probe.expect_restored(&["probe ended: quit", "code=0"]);
}

/// The shell's settings are not the view's any more, and nobody else's business.
#[test]
fn a_view_that_is_killed_while_stopped_leaves_the_shell_alone() {
    let name = "a_view_that_is_killed_while_stopped_leaves_the_shell_alone";
    let Some(probe) = Probe::start(name, "") else {
        return;
    };
    probe.screen.keys(&["C-z"]);
    wait_until("the shell has the terminal", || {
        probe.screen.state() == probe.before
    });
    probe.screen.line("stty -echo; clear; echo altered");
    probe
        .screen
        .wait_until("altered", |text| text.lines().any(|line| line == "altered"));
    let altered = probe.screen.state();
    probe.signal(libc::SIGKILL);
    probe.expect_no_process();
    assert_eq!(probe.screen.state(), altered);
}

#[test]
fn ctrl_z_and_fg() {
    let Some(probe) = Probe::start("ctrl_z_and_fg", "") else {
        return;
    };
    let screen = &probe.screen;
    for _ in 0..3 {
        screen.keys(&["C-z"]);
        screen.wait_until("the shell", |text| {
            text.contains("Stopped") || text.contains("Suspended")
        });
        wait_until("the terminal is as it was", || {
            screen.state() == probe.before
        });
        screen.line("clear; fg");
        screen.wait_for("BYTES");
        let again = screen.state();
        assert!(!again.shows_cursor && again.is_alternate && again.has_mouse);
    }
    screen.keys(&["q"]);
    screen.wait_for("probe ended: quit");
    wait_until("the terminal is as it was", || {
        screen.state() == probe.before
    });
    probe.expect_no_process();
}

#[test]
fn a_stop_from_outside_is_like_ctrl_z() {
    let Some(probe) = Probe::start("a_stop_from_outside_is_like_ctrl_z", "") else {
        return;
    };
    let screen = &probe.screen;
    probe.signal(libc::SIGTSTP);
    wait_until("the terminal is as it was", || {
        screen.state() == probe.before
    });
    screen.line("clear; fg");
    screen.wait_for("BYTES");
    // It cannot see this one coming, and the shell does not repair the screen.
    probe.signal(libc::SIGSTOP);
    wait_until("the shell has the terminal", || {
        screen.foreground() == screen.shell()
    });
    // The settings are the view's still, in which Enter ends no line.
    screen.raw("stty sane; clear; fg");
    screen.keys(&["C-j"]);
    wait_until("it has the keyboard", || screen.foreground() == probe.pid);
    screen.keys(&["?"]);
    screen.wait_for("reverse the order");
    screen.wait_for("BYTES");
    screen.keys(&["q", "q"]);
    screen.wait_for("probe ended: quit");
    wait_until("the cursor is back", || screen.state().shows_cursor);
    probe.expect_no_process();
}

#[test]
fn a_view_in_the_background_waits_for_its_turn() {
    let Some(probe) = Probe::start("a_view_in_the_background_waits_for_its_turn", "") else {
        return;
    };
    let screen = &probe.screen;
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", probe.pid));
        stat.is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .unwrap_or_default()
                .starts_with(" T")
        })
    };
    screen.keys(&["C-z"]);
    wait_until("it is stopped", is_stopped);
    screen.line("clear; bg; echo $((6*7))x");
    screen.wait_for("42x");
    wait_until("it is stopped again", is_stopped);
    assert_eq!(screen.state(), probe.before);
    screen.line("fg");
    screen.wait_for("BYTES");
    screen.keys(&["q"]);
    screen.wait_for("probe ended: quit");
    wait_until("the terminal is as it was", || {
        screen.state() == probe.before
    });
}

#[test]
fn a_start_in_the_background_is_refused_and_not_stopped() {
    let name = "a_start_in_the_background_is_refused_and_not_stopped";
    let Some(screen) = Screen::start(80, 24) else {
        skip(name, "no tmux");
        return;
    };
    let before = screen.state();
    let probe = tool("screen-probe").display().to_string();
    screen.line(&format!("{probe} & wait $!; echo code=$?"));
    screen.wait_for("a live view needs to be in the foreground");
    screen.wait_for("code=1");
    assert_eq!(screen.state(), before);
}

#[test]
fn a_terminal_that_goes_away_ends_the_view() {
    // With nohup only the hangup itself tells.
    for prefix in ["", "trap '' HUP; "] {
        let Some(probe) = Probe::start("a_terminal_that_goes_away_ends_the_view", prefix) else {
            return;
        };
        probe.screen.hang_up();
        probe.expect_no_process();
    }
}

#[test]
fn a_small_window_is_told_and_a_larger_one_used() {
    let Some(probe) = Probe::start("a_small_window_is_told_and_a_larger_one_used", "") else {
        return;
    };
    let screen = &probe.screen;
    screen.resize(50, 10);
    screen.wait_for("60x15 needed, this is 50x10");
    screen.resize(1, 1);
    screen.resize(120, 40);
    screen.wait_until("a large table", |text| {
        text.contains("BYTES") && text.contains("run_70>") && !text.contains("needed")
    });
    screen.resize(80, 24);
    screen.wait_until("the old size", |text| {
        text.contains("TREND") && text.contains("q quit") && !text.contains("run_70>")
    });
    screen.keys(&["q"]);
    probe.expect_restored(&["probe ended: quit"]);
}

#[test]
fn keys_mouse_and_pasted_text_do_what_they_should() {
    let Some(probe) = Probe::start("keys_mouse_and_pasted_text_do_what_they_should", "") else {
        return;
    };
    let screen = &probe.screen;
    let first_is = |name: &str| {
        screen.wait_until(name, |text| {
            let mut lines = text.lines().skip_while(|line| !line.contains("BYTES"));
            lines.nth(1).is_some_and(|line| line.contains(name))
        });
    };
    // Control characters of another process are shown and not obeyed.
    screen.wait_for("größe_1\\u{1b}[31m");
    first_is("run_99>");
    screen.keys(&["R"]);
    first_is("run_0>");
    // The head of the column of blocks.
    screen.raw("\x1b[<0;20;6M");
    first_is("run_99>");
    screen.keys(&["n"]);
    screen.wait_for("peak 32.3 MiB");
    screen.raw("\x1b[200~q!\x1b[201~");
    screen.keys(&["/"]);
    screen.raw("\x1b[200~run_42\x1b[201~");
    first_is("run_99>");
    screen.keys(&[">", "BSpace"]);
    first_is("run_42>");
    screen.keys(&["Escape"]);
    first_is("run_99>");
    screen.keys(&["?"]);
    screen.wait_for("panic in another thread");
    // An Escape with a letter right behind it would be Alt and the letter.
    screen.keys(&["Escape"]);
    screen.wait_until("no help", |text| !text.contains("panic in another thread"));
    screen.keys(&["s", "Enter"]);
    screen.wait_for("saved out.svg");
    screen.wait_until("no notice any more", |text| !text.contains("saved out.svg"));
    screen.keys(&["q"]);
    probe.expect_restored(&["probe ended: quit"]);
}

#[test]
fn a_terminal_that_cannot_draw_is_refused() {
    let Some(screen) = Screen::start(80, 24) else {
        skip("a_terminal_that_cannot_draw_is_refused", "no tmux");
        return;
    };
    let probe = tool("screen-probe").display().to_string();
    screen.line(&format!("TERM=dumb {probe}; echo code=$?"));
    screen.wait_for("TERM is \"dumb\"");
    screen.wait_for("code=1");
    screen.line(&format!(
        "clear; setsid -w {probe} </dev/null | cat; echo end"
    ));
    screen.wait_for("a live view needs a terminal");
}
