//! A tool that runs, and what it writes.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::{Lines, deadline, tool, wait_until};

/// A running tool. Dropping it kills it.
pub struct RunningTool {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    name: String,
}

impl RunningTool {
    /// `NAME ARGS…`
    #[track_caller]
    pub fn spawn(name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(tool(name));
        command.args(args);
        Self::of(name, command)
    }

    /// The same of a command that is made ready.
    #[track_caller]
    pub fn of(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} runs: {error}"));
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        Self {
            child,
            stdout: Lines::of(stdout, &format!("{name}'s stdout")),
            stderr: Lines::of(stderr, &format!("{name}'s stderr")),
            name: name.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        self.stdout.next_line()
    }

    /// The next line of its standard output as JSON of this suite.
    #[track_caller]
    pub fn next_record(&mut self) -> Option<Value> {
        let line = self.next_line()?;
        let record: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"));
        assert_eq!(
            (&record["v"], &record["tool"]),
            (&1.into(), &self.name.as_str().into())
        );
        Some(record)
    }

    /// Waits for the first such record.
    #[track_caller]
    pub fn record(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + deadline();
        while let Some(record) = self.next_record() {
            if is_it(&record) {
                return record;
            }
            assert!(
                Instant::now() < end,
                "{} wrote no such record, but {record}",
                self.name
            );
        }
        let said = self.stderr.rest().join("\n");
        panic!("{} ended without the record: {said}", self.name);
    }

    /// Waits for a line on standard error that contains `text`; returns it.
    #[track_caller]
    pub fn wait_stderr(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        while let Some(line) = self.stderr.next_line() {
            if line.contains(text) {
                return line;
            }
            said.push(line);
        }
        panic!("{} did not say {text:?}: {}", self.name, said.join("\n"));
    }

    pub fn signal(&self, number: i32) {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }

    /// Ends it by SIGTERM: the rest of what it writes, what it has said, and its status.
    #[track_caller]
    pub fn finish(mut self) -> (Vec<String>, Vec<String>, ExitStatus) {
        self.signal(libc::SIGTERM);
        self.wait_end()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_end(&mut self) -> (Vec<String>, Vec<String>, ExitStatus) {
        let mut status = None;
        wait_until("the tool ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        let status = status.expect("it has ended");
        (self.stdout.rest(), self.stderr.rest(), status)
    }
}

impl Drop for RunningTool {
    fn drop(&mut self) {
        // It has ended already, or its test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
