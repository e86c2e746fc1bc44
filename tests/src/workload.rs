//! Programs that tools are run on.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use crate::{Lines, Truth, wait_until};

/// Where build.rs has put the workloads.
pub fn workloads_dir() -> PathBuf {
    PathBuf::from(env!("MEMTOOLS_WORKLOADS"))
}

/// The program `name`, or nothing where this machine could not build it.
pub fn path_of(name: &str) -> Option<PathBuf> {
    let path = workloads_dir().join(name);
    path.exists().then_some(path)
}

/// A running workload that keeps to workloads/protocol.h. Dropping it ends it.
pub struct Workload {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    path: PathBuf,
}

impl Workload {
    /// Starts the workload `name` and waits until it is ready.
    #[track_caller]
    pub fn start<A: AsRef<OsStr> + Debug>(name: &str, args: &[A]) -> Self {
        Self::start_at(&workloads_dir().join(name), args)
    }

    /// The same for a program anywhere.
    #[track_caller]
    pub fn start_at<A: AsRef<OsStr> + Debug>(path: &Path, args: &[A]) -> Self {
        let mut child = Command::new(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} {args:?}: {e}", path.display()));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        let mut workload = Self {
            child,
            stdin,
            stdout: Lines::of(stdout, &path.display().to_string()),
            path: path.to_owned(),
        };
        let line = workload.stdout.next_line().unwrap_or_default();
        assert!(
            line.starts_with("ready "),
            "{}: {line:?} is not ready",
            path.display()
        );
        workload
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to do its work.
    pub fn go(&mut self) {
        self.tell("go");
    }

    fn tell(&mut self, word: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{word}").expect("the workload reads");
    }

    /// Waits until the work is done.
    #[track_caller]
    pub fn truth(&mut self) -> Truth {
        let mut truth = Truth::default();
        while let Some(line) = self.stdout.next_line() {
            if line == "done" {
                return truth;
            }
            assert!(truth.take(&line), "{}: {line:?}", self.path.display());
        }
        let status = self.wait();
        panic!("{} ended before it was done: {status}", self.path.display());
    }

    /// The next line of truth of one that works on and on.
    #[track_caller]
    pub fn next_truth(&mut self) -> Truth {
        let line = self.stdout.next_line().unwrap_or_default();
        let mut truth = Truth::default();
        assert!(truth.take(&line), "{}: {line:?}", self.path.display());
        truth
    }

    /// Tells it to stop working, and waits for the end of that.
    #[track_caller]
    pub fn stop(&mut self) -> Truth {
        self.tell("stop");
        self.truth()
    }

    /// Lets it do its work and waits for the end of that.
    #[track_caller]
    pub fn run(&mut self) -> Truth {
        self.go();
        self.truth()
    }

    /// Lets it end and makes sure that it is unharmed.
    #[track_caller]
    pub fn quit(mut self) {
        self.tell("quit");
        let last = self.stdout.rest().pop().unwrap_or_default();
        assert_eq!(last, "alive", "the last word of {}", self.path.display());
        let status = self.wait();
        assert!(status.success(), "{}: {status}", self.path.display());
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        assert_eq!(self.wait().signal(), Some(libc::SIGKILL));
    }

    /// Waits until somebody else has killed it.
    #[track_caller]
    pub fn wait_killed(&mut self) {
        assert_eq!(self.wait().signal(), Some(libc::SIGKILL));
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("a workload ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // It has ended already, or its test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
