//! The tool `oomkill`.

use std::ops::{Deref, DerefMut};
use std::process::{Command, ExitStatus};

use serde_json::Value;

use crate::RunningTool;

/// A running oomkill. Dropping it kills it.
pub struct Oomkill(RunningTool);

impl Oomkill {
    /// `oomkill ARGS…`, and waits until it traces.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let mut oomkill = Self::spawn(args);
        oomkill.wait_stderr("oomkill: tracing");
        oomkill
    }

    /// The same without waiting.
    #[track_caller]
    pub fn spawn(args: &[&str]) -> Self {
        Self(RunningTool::spawn("oomkill", args))
    }

    /// The same of a command that is made ready.
    #[track_caller]
    pub fn of(command: Command) -> Self {
        Self(RunningTool::of("oomkill", command))
    }

    /// Waits for the event about a victim (`--json`).
    #[track_caller]
    pub fn event_of(&mut self, pid: u32) -> Value {
        self.record(|record| record["type"] == "oom" && record["victim"]["pid"] == pid)
    }

    /// Waits for the end of a victim's memory (`--json`).
    #[track_caller]
    pub fn end_of(&mut self, pid: u32) -> Value {
        self.record(|record| record["type"] == "reaped" && record["pid"] == pid)
    }

    /// Ends it by SIGTERM: the rest of what it writes, what it has said, and its status.
    #[track_caller]
    pub fn finish(self) -> (Vec<String>, Vec<String>, ExitStatus) {
        self.0.finish()
    }
}

impl Deref for Oomkill {
    type Target = RunningTool;

    fn deref(&self) -> &RunningTool {
        &self.0
    }
}

impl DerefMut for Oomkill {
    fn deref_mut(&mut self) -> &mut RunningTool {
        &mut self.0
    }
}
