//! The tool `memleak`.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use crate::{Lines, Report, Truth, wait_until};

const TRACING: &str = "memleak: tracing";

/// The tool `memleak`.
#[track_caller]
pub fn binary() -> PathBuf {
    tool("memleak")
}

/// A tool to test: in `MEMTOOLS_BIN_DIR`, or where cargo builds for these tests.
#[track_caller]
pub fn tool(name: &str) -> PathBuf {
    // SAFETY: geteuid has no preconditions.
    let euid = unsafe { libc::geteuid() };
    assert_eq!(euid, 0, "end-to-end tests need root");
    let mut candidates = Vec::new();
    if let Some(directory) = std::env::var_os("MEMTOOLS_BIN_DIR") {
        candidates.push(PathBuf::from(directory).join(name));
    } else {
        // target/PROFILE/deps/TEST
        let test = std::env::current_exe().expect("the test knows its path");
        let target = test.ancestors().nth(3).expect("cargo has built the test");
        for profile in ["release", "debug"] {
            candidates.push(target.join(profile).join(name));
        }
    }
    let found = candidates.iter().find(|path| path.exists());
    found.cloned().unwrap_or_else(|| {
        panic!("no {name} at {candidates:?}: run `cargo xtask build`, or set MEMTOOLS_BIN_DIR")
    })
}

/// A running memleak. Dropping it kills it.
pub struct Memleak {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
    read_stderr: Vec<String>,
    read_stdout: Vec<String>,
}

impl Memleak {
    /// `memleak ARGS…` with nothing started yet.
    pub fn command<A: AsRef<OsStr>>(args: &[A]) -> Command {
        let mut command = Command::new(binary());
        command.args(args);
        command
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            stdin: child.stdin.take(),
            stdout: Lines::of(
                child.stdout.take().expect("it is piped"),
                "memleak's stdout",
            ),
            stderr: Lines::of(
                child.stderr.take().expect("it is piped"),
                "memleak's stderr",
            ),
            child,
            read_stderr: Vec::new(),
            read_stdout: Vec::new(),
        }
    }

    /// `memleak -p PID FLAGS…`, and waits until it records.
    #[track_caller]
    pub fn attach(pid: u32, flags: &[&str]) -> Self {
        let mut command = Self::command(&["-p", &pid.to_string()]);
        command.args(flags);
        let mut memleak = Self::spawn(command);
        memleak.wait_tracing();
        memleak
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn wait_tracing(&mut self) {
        while let Some(line) = self.stderr.next_line() {
            let tracing = line.starts_with(TRACING);
            self.read_stderr.push(line);
            if tracing {
                return;
            }
        }
        panic!(
            "memleak ended before it traced: {}",
            self.read_stderr.join("\n")
        );
    }

    /// Waits for a line on standard error that contains `text`.
    #[track_caller]
    pub fn wait_stderr(&mut self, text: &str) {
        while let Some(line) = self.stderr.next_line() {
            let found = line.contains(text);
            self.read_stderr.push(line);
            if found {
                return;
            }
        }
        panic!("memleak did not say {text:?}: {:?}", self.read_stderr);
    }

    /// Waits for a line on standard output that is `text`: a traced command writes there too.
    #[track_caller]
    pub fn wait_stdout(&mut self, text: &str) {
        self.wait_line(text, |line| line == text);
    }

    /// Waits for a report with at least so many allocations.
    #[track_caller]
    pub fn wait_report(&mut self, allocs: u64) {
        let has_all =
            |line: &str| Report::parse(line).is_some_and(|report| report.allocs() >= allocs);
        self.wait_line("such a report", has_all);
    }

    #[track_caller]
    fn wait_line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) {
        while let Some(line) = self.stdout.next_line() {
            let found = is_it(&line);
            self.read_stdout.push(line);
            if found {
                return;
            }
        }
        panic!(
            "memleak's output has no line {what:?}: {:?}",
            self.read_stdout
        );
    }

    /// Writes a line to the standard input, which a traced command shares.
    pub fn tell(&mut self, word: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{word}").expect("somebody reads");
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a PID is positive");
        // SAFETY: kill takes numbers, and the child has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    pub fn has_ended(&mut self) -> bool {
        let status = self.child.try_wait().expect("it is our child");
        status.is_some()
    }

    /// Ctrl-C, and what comes of it.
    #[track_caller]
    pub fn interrupt(self) -> Outcome {
        self.signal(libc::SIGINT);
        self.outcome()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn outcome(mut self) -> Outcome {
        let mut status = None;
        wait_until("memleak ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        drop(self.stdin.take());
        let mut stdout = std::mem::take(&mut self.read_stdout);
        stdout.extend(self.stdout.rest());
        let mut stderr = std::mem::take(&mut self.read_stderr);
        stderr.extend(self.stderr.rest());
        let panicked = stderr.iter().any(|line| line.contains("panicked"));
        assert!(!panicked, "memleak panicked: {}", stderr.join("\n"));
        Outcome {
            status: status.expect("it has ended"),
            stdout,
            stderr,
        }
    }
}

impl Drop for Memleak {
    fn drop(&mut self) {
        // It has ended already, or its test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a memleak has left.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Outcome {
    /// Runs `memleak ARGS…` to its end.
    #[track_caller]
    pub fn of<A: AsRef<OsStr>>(args: &[A]) -> Self {
        let mut memleak = Memleak::spawn(Memleak::command(args));
        drop(memleak.stdin.take());
        memleak.outcome()
    }

    /// The exit status as a shell shows it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .or(self.status.signal().map(|signal| 128 + signal))
            .expect("it has ended")
    }

    /// The last word of some tests, hence no `must_use`.
    #[track_caller]
    #[allow(clippy::return_self_not_must_use)]
    pub fn expect_code(self, code: i32) -> Self {
        let stderr = self.stderr.join("\n");
        assert_eq!(
            self.code(),
            code,
            "memleak's exit status; it said: {stderr}"
        );
        self
    }

    /// How often it has said that it records now.
    pub fn times_tracing(&self) -> usize {
        let lines = self.stderr.iter();
        lines.filter(|line| line.starts_with(TRACING)).count()
    }

    /// All JSON reports.
    #[track_caller]
    pub fn reports(&self) -> Vec<Report> {
        let lines = self.stdout.iter();
        lines.filter_map(|line| Report::parse(line)).collect()
    }

    /// The last JSON report.
    #[track_caller]
    pub fn report(&self) -> Report {
        self.reports()
            .pop()
            .unwrap_or_else(|| panic!("memleak made no report: {self:#?}"))
    }

    /// What the traced command has said on the standard output that it shares with the tool.
    pub fn truth(&self) -> Truth {
        let mut truth = Truth::default();
        for line in &self.stdout {
            truth.take(line);
        }
        truth
    }
}
