//! A terminal to run programs with a live view in: tmux, with a server of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::wait_until;

/// What a shell prints when it is ready for a command.
const READY: &str = "ready> ";

/// A terminal with a shell in it. Dropping it ends both.
pub struct Screen {
    /// The server's socket is in it.
    directory: TempDir,
}

/// What a program may have altered in a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalState {
    /// As `stty -g` prints them.
    pub settings: String,
    pub shows_cursor: bool,
    pub is_alternate: bool,
    pub has_mouse: bool,
}

impl Screen {
    /// A terminal of this size, with `sh`. Nothing where tmux is not installed.
    pub fn start(columns: u16, rows: u16) -> Option<Self> {
        let found = Command::new("tmux").arg("-V").output();
        found.ok().filter(|output| output.status.success())?;
        let screen = Self {
            directory: TempDir::new().expect("a temporary directory"),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // A plain shell, which repairs nothing that a program has left behind.
        let shell = format!("exec env ENV= PS1='{READY}' sh -i");
        screen.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, &shell]);
        // Even when the last program ends, the server is there to be asked.
        screen.tmux(&["set-option", "-g", "exit-empty", "off"]);
        screen.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
        screen.wait_for(READY.trim_end());
        Some(screen)
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    /// Presses keys, by tmux's names: `q`, `Down`, `C-c`.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Sends characters as they are, such as what a mouse sends.
    pub fn raw(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// What the terminal shows.
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// From now on writes all that programs send to the terminal, byte by byte, to a file.
    pub fn record(&self, path: &Path) {
        let path = path.to_str().expect("a temporary path is text");
        self.tmux(&["pipe-pane", "-O", &format!("exec cat >'{path}'")]);
    }

    /// Waits until the terminal shows a text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, |shown| shown.contains(text));
    }

    /// Waits until what the terminal shows is as it should be.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_right: impl Fn(&str) -> bool) {
        let mut shown = String::new();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                shown = self.text();
                is_right(&shown)
            });
        }));
        assert!(outcome.is_ok(), "no {what:?} on the screen:\n{shown}");
    }

    pub fn state(&self) -> TerminalState {
        let terminal = self.ask("#{pane_tty}");
        let settings = Command::new("stty")
            .args(["-F", &terminal, "-g"])
            .stderr(Stdio::inherit())
            .output()
            .expect("stty runs");
        let mode = |name: &str| self.ask(&format!("#{{{name}}}")) == "1";
        TerminalState {
            settings: String::from_utf8_lossy(&settings.stdout).trim().to_owned(),
            shows_cursor: mode("cursor_flag"),
            is_alternate: mode("alternate_on"),
            has_mouse: mode("mouse_any_flag"),
        }
    }

    /// The process group that reads the keyboard, which is its first process too.
    pub fn foreground(&self) -> i32 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.shell()));
        let stat = stat.expect("the shell is there");
        // The name is in parentheses and may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let group = fields.split_whitespace().nth(5).expect("stat has fields");
        group.parse().expect("it is a number")
    }

    pub fn shell(&self) -> i32 {
        let pid = self.ask("#{pane_pid}");
        pid.parse().expect("tmux knows the shell's PID")
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// Takes the terminal away, as a window that is closed.
    pub fn hang_up(&self) {
        self.tmux(&["kill-server"]);
    }

    fn ask(&self, format: &str) -> String {
        let answer = self.tmux(&["display-message", "-p", format]);
        answer.trim().to_owned()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("tmux runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.directory.path().join("socket"))
            .args(arguments)
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env_remove("RUST_BACKTRACE")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.command(&["kill-server"]).output();
    }
}
