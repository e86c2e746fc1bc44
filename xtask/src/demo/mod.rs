//! From nothing to a leak found in a live process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::privilege::Privilege;
use crate::process;
use crate::progress::{Steps, say};
use crate::setup::{self, Purpose};
use crate::suite;
use crate::workspace::Workspace;

mod verdict;

#[derive(clap::Args)]
pub struct Args {
    /// How long memleak watches
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(4..=3600))]
    seconds: u32,
}

const SOURCE: &str = "tests/workloads/demo.c";

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut steps = Steps::new(4);
    steps.step("Looking for what the demo needs", || {
        setup::prepare(&[Purpose::Demo])
    })?;
    steps.step("Building memleak (about a minute the first time)", || {
        suite::build_release_of(workspace, "memleak")
    })?;
    let leaks = leaks_named_in(&workspace.root.join(SOURCE))?;
    let program = steps.step("Starting a program that leaks in three places", || {
        Leaker::start(&compile(workspace)?)
    })?;
    let title = format!("Watching it for {} seconds", args.seconds);
    let report = steps.step(&title, || watch(workspace, program.pid(), args.seconds))?;
    drop(program);

    if let Err(difference) = verdict::check(&report, &leaks) {
        bail!("the report is not what the program does: {difference}");
    }
    say(format_args!(
        "\nFound while it ran: {}, biggest first; the honest allocations around them are not on top.",
        leaks.join(", ")
    ));
    say(
        "Try next: `sudo target/release/memleak -p PID` on a program of your own, or `memleak --help`.",
    );
    Ok(())
}

/// The program's own word on what it leaks, biggest first.
fn leaks_named_in(source: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(source).with_context(|| format!("read {}", source.display()))?;
    verdict::leaks_marked(&text)
        .with_context(|| format!("{} has no line `// leaks: A B C`", source.display()))
}

fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("demo");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let program = directory.join("demo");
    process::run(
        Command::new("cc")
            .current_dir(&workspace.root)
            .args(["-g", "-O1", "-pthread"])
            // Each leaking function must be in the stack under its own name.
            .args(["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"])
            .arg("-o")
            .arg(workspace.relative(&program))
            .arg(SOURCE),
    )?;
    Ok(program)
}

/// The leaking program while it runs. It ends when its standard input closes, which the kernel
/// sees to however this process ends.
struct Leaker {
    child: Child,
}

impl Leaker {
    fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| process::cannot_run(&command))?;
        say(format_args!("      It is process {}.", child.id()));
        Ok(Self { child })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Leaker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Errors mean that it is gone already.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs memleak as a user would and returns its report, which is shown as it comes.
fn watch(workspace: &Workspace, pid: u32, seconds: u32) -> Result<String> {
    let memleak = workspace.release_dir().join("memleak");
    let privilege = Privilege::find();
    if privilege == Privilege::SudoAsking {
        say("      Tracing a process needs root: sudo may ask for your password.");
    }
    let mut command = privilege.command(workspace.relative(&memleak))?;
    command
        .args(["-p", &pid.to_string(), "-T", "3", "-o", "2000"])
        .args([&seconds.to_string(), "1"])
        .current_dir(&workspace.root)
        .stdout(Stdio::piped());
    say(format_args!("      $ {}\n", process::show(&command)));
    let mut child = command
        .spawn()
        .with_context(|| process::cannot_run(&command))?;
    let mut report = String::new();
    if let Some(stdout) = child.stdout.take() {
        process::each_line(stdout, |line| {
            say(line);
            report.push_str(line);
            report.push('\n');
        })?;
    }
    let status = child.wait().context("wait for memleak")?;
    process::check(&command, status)?;
    say("");
    Ok(report)
}
