//! Running one test program, watched: it may hang, die, or leave children that hold its output.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::binaries::TestBinary;
use super::output::Output;
use super::summary::{HOST, Row, Skip, skips};
use crate::privilege::Privilege;
use crate::process;
use crate::progress::say;
use crate::workspace::Workspace;

/// A test program that prints nothing for so long hangs. The harness itself speaks up after a
/// minute of one test.
const SILENCE: Duration = Duration::from_secs(600);

/// How long output may still come from what a program has left behind.
const AFTERMATH: Duration = Duration::from_millis(500);

pub struct Runner<'a> {
    workspace: &'a Workspace,
    privilege: Privilege,
    /// For every test program.
    arguments: Vec<&'a str>,
    skip_log: PathBuf,
}

/// How a test program came to its end.
enum End {
    Exited(ExitStatus),
    Hung,
}

impl<'a> Runner<'a> {
    pub fn new(
        workspace: &'a Workspace,
        privilege: Privilege,
        arguments: Vec<&'a str>,
    ) -> Result<Self> {
        let directory = workspace.target.join("xtask");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        Ok(Self {
            workspace,
            privilege,
            arguments,
            skip_log: directory.join("skipped-tests"),
        })
    }

    pub fn run(&self, binary: &TestBinary) -> Result<Row> {
        let mut command = self.command_for(binary)?;
        command.current_dir(&binary.directory).args(&self.arguments);
        self.watch(&binary.name, &mut command)
    }

    /// Examples in the documentation, which only cargo can build and run.
    pub fn run_doc_tests(&self) -> Result<Row> {
        let mut command = self.workspace.cargo();
        command
            .args(["test", "--doc", "--workspace", "--release"])
            .args(["--quiet", "--no-fail-fast", "--"])
            .arg("--format=pretty")
            .args(&self.arguments);
        self.watch("documentation", &mut command)
    }

    fn command_for(&self, binary: &TestBinary) -> Result<Command> {
        let programs = self.workspace.release_dir();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let variables: [(&str, &OsStr); 4] = [
            ("PATH", &path),
            ("CARGO_MANIFEST_DIR", binary.directory.as_os_str()),
            ("MEMTOOLS_BIN_DIR", programs.as_os_str()),
            ("MEMTOOLS_SKIP_LOG", self.skip_log.as_os_str()),
        ];
        let privilege = if binary.needs_root {
            self.privilege
        } else {
            // For what needs no privilege, being nobody special is as good as being root.
            Privilege::Root
        };
        privilege.command_with_env(&binary.program, &variables)
    }

    fn watch(&self, name: &str, command: &mut Command) -> Result<Row> {
        say(format_args!("\n--- {name}"));
        // Written as this user, so that a test running as root does not take it away from us.
        std::fs::write(&self.skip_log, "")
            .with_context(|| format!("empty {}", self.skip_log.display()))?;
        let start = Instant::now();
        let mut output = Output::default();
        let end = follow(command, |line| {
            say(line);
            output.read_line(line);
        })?;
        let log = std::fs::read_to_string(&self.skip_log)
            .with_context(|| format!("read {}", self.skip_log.display()))?;
        Ok(row(name, &output, skips(&log), &end, start.elapsed()))
    }
}

fn row(name: &str, output: &Output, skips: Vec<Skip>, end: &End, elapsed: Duration) -> Row {
    let mut row = Row::new(HOST, name, output, skips, elapsed);
    match end {
        End::Hung => row.add_failure(format!(
            "no output for {} minutes: ended",
            SILENCE.as_secs() / 60
        )),
        End::Exited(status) if output.totals().is_none() || row.hides_failure(status.success()) => {
            row.add_failure(format!("the test program ended early ({status})"));
        }
        End::Exited(_) => {}
    }
    row
}

/// Hands over the lines of a program's standard output until it ends, or until it is ended
/// because it hangs.
fn follow(command: &mut Command, mut use_line: impl FnMut(&str)) -> Result<End> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| process::cannot_run(command))?;
    let lines = lines_of(&mut child);
    let mut last_sign_of_life = Instant::now();
    loop {
        match lines.recv_timeout(AFTERMATH) {
            Ok(line) => {
                last_sign_of_life = Instant::now();
                use_line(&line);
            }
            // A child that a test left behind may hold the pipe open after the test has ended.
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait().context("ask for the test's end")? {
                    return Ok(End::Exited(status));
                }
                if last_sign_of_life.elapsed() > SILENCE {
                    child.kill().context("end the test that hangs")?;
                    child.wait().context("wait for the test that hung")?;
                    return Ok(End::Hung);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().context("wait for the test's end")?;
                return Ok(End::Exited(status));
            }
        }
    }
}

/// The lines of a child's standard output, read by a thread that ends with the pipe.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(64);
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            // Both errors mean that there is nobody left to talk to.
            let _ = process::each_line(stdout, |line| {
                let _ = sender.send(line.to_owned());
            });
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn watched(script: &str) -> Row {
        let mut output = Output::default();
        let end = follow(&mut shell(script), |line| output.read_line(line)).unwrap();
        row("x", &output, Vec::new(), &end, Duration::ZERO)
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        let row = watched("echo 'test a ... ok'; kill -9 $$");
        assert_eq!((row.passed, row.failed), (1, 1));
        assert!(row.failures[0].contains("signal: 9"), "{:?}", row.failures);
    }

    #[test]
    fn a_program_that_fails_after_its_tests_is_a_failure() {
        let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";
        let row = watched(&format!("echo 'test a ... ok'; echo '{result}'; exit 1"));
        assert_eq!((row.passed, row.failed), (1, 1));
    }

    #[test]
    fn a_child_left_behind_does_not_hold_up_the_rest() {
        let start = Instant::now();
        let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";
        let row = watched(&format!("sleep 30 & echo '{result}'"));
        assert_eq!((row.passed, row.failed), (1, 0));
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
