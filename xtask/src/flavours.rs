//! Whether every kernel flavour in the BPF sources is missed by a test when it is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::progress::{complain, say};
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Only these flavours, by the names that kernel.h has for them
    flavours: Vec<String>,
}

/// What a flavour stands behind in the sources.
const MARK: &str = "WITHOUT_";

/// Tells the build which one to leave out (bpf/src/lib.rs).
const VARIABLE: &str = "MEMTOOLS_BPF_WITHOUT";

/// What to run until something fails: first the tests that know what each kernel has, which take
/// seconds, then all of them.
const ROUNDS: [&[&str]; 2] = [&["test", "this_kernel_has"], &["test"]];

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    setup::prepare(&[Purpose::Test, Purpose::Vm])?;
    let there = flavours(&workspace.root.join("bpf"))?;
    if let Some(unknown) = args.flavours.iter().find(|name| !there.contains(*name)) {
        bail!("no flavour is called {unknown}: there are {}", list(&there));
    }
    let baseline = Round::run(workspace, None, ROUNDS[0])?;
    if !baseline.failures.is_empty() {
        bail!(
            "tests fail with every flavour in: {}",
            baseline.failures.join("; ")
        );
    }
    let mut unmissed = Vec::new();
    for flavour in &there {
        if !args.flavours.is_empty() && !args.flavours.contains(flavour) {
            continue;
        }
        let round = first_that_fails(workspace, flavour)?;
        if round.failures.is_empty() {
            let why = if round.has_skipped_machines {
                "a kernel could not be had: no telling whether a test misses it"
            } else {
                "NO TEST MISSES IT on these kernels: remove it, or test on one that needs it"
            };
            complain(&format!("{flavour}: {why}"));
            unmissed.push(flavour);
        }
        for failure in round.failures {
            say(format_args!("{flavour}: missed by {failure}"));
        }
    }
    if unmissed.is_empty() {
        say("Every flavour is missed by a test.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// The first round in which a test fails, or the last one.
fn first_that_fails(workspace: &Workspace, flavour: &str) -> Result<Round> {
    let mut last = Round::default();
    for arguments in ROUNDS {
        say(format_args!(
            "\n{flavour} left out: {}",
            arguments.join(" ")
        ));
        last = Round::run(workspace, Some(flavour), arguments)?;
        if !last.failures.is_empty() {
            break;
        }
    }
    Ok(last)
}

/// What came of a run of tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    /// Tests with the places in which they failed.
    failures: Vec<String>,
    has_skipped_machines: bool,
    has_ended_well: bool,
}

impl Round {
    fn run(workspace: &Workspace, without: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let chore = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(&chore);
        command
            .args(arguments)
            .current_dir(&workspace.root)
            .env("CARGO_TARGET_DIR", workspace.target.join("flavours"))
            .stdout(Stdio::piped());
        if let Some(flavour) = without {
            command.env(VARIABLE, flavour);
        }
        let mut child = command.spawn().context("run the tests")?;
        let output = child.stdout.take().context("the tests have no output")?;
        let mut round = Self::default();
        process::each_line(output, |line| round.read(line))?;
        child.wait().context("wait for the tests")?;
        if !round.has_ended_well {
            let what = without.unwrap_or("nothing");
            bail!("without {what} the suite does not build, or its tests do not run");
        }
        Ok(round)
    }

    /// What fails outside of a test (a machine, a kernel's log) misses nothing.
    fn read(&mut self, line: &str) {
        if let Some(failure) = line.strip_prefix("FAILED: ") {
            let is_of_a_test = !failure.starts_with("machine: ")
                && !failure.starts_with("kernel log: ")
                && !failure.contains(": it did not run: ");
            if is_of_a_test {
                self.failures.push(failure.to_owned());
            }
        }
        self.has_skipped_machines |=
            line.starts_with("skipped: ") && line.contains(": all its tests: ");
        self.has_ended_well |= line.contains(" passed, ") && line.ends_with(" skipped");
    }
}

/// The flavours that are named in the sources.
fn flavours(directory: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let doing = || format!("look for flavours in {}", directory.display());
    for entry in fs::read_dir(directory).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        if path.is_dir() {
            found.extend(flavours(&path)?);
        } else if path.extension().is_some_and(|e| e == "h" || e == "c") {
            let text = fs::read_to_string(&path).with_context(doing)?;
            found.extend(names_in(&text));
        }
    }
    Ok(found)
}

fn names_in(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#ifndef ")?.strip_prefix(MARK))
        .map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_what_stands_behind_the_mark() {
        let text =
            "#ifndef WITHOUT_A_B\n/* WITHOUT_C */\n#ifndef MEMTOOLS_X_H\n#ifndef WITHOUT_D\n";
        assert_eq!(names_in(text).collect::<Vec<_>>(), ["A_B", "D"]);
    }

    #[test]
    fn only_tests_miss_a_flavour() {
        let mut round = Round::default();
        for line in [
            "FAILED: machine: no memory (5.10)",
            "FAILED: kernel log: BUG: x (6.1)",
            "FAILED: check: it_fits (7.2)",
            "skipped: leaks: all its tests: no network (6.12)",
            "1 passed, 2 failed, 3 skipped",
        ] {
            round.read(line);
        }
        let expected = Round {
            failures: vec!["check: it_fits (7.2)".to_owned()],
            has_skipped_machines: true,
            has_ended_well: true,
        };
        assert_eq!(round, expected);
    }
}
