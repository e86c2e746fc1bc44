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
    let mut unmissed = Vec::new();
    for flavour in &there {
        if !args.flavours.is_empty() && !args.flavours.contains(flavour) {
            continue;
        }
        let failures = failures_without(workspace, flavour)?;
        if failures.is_empty() {
            complain(&format!("{flavour}: NO TEST MISSES IT: remove it"));
            unmissed.push(flavour);
        }
        for failure in failures {
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

/// The tests that fail without a flavour.
fn failures_without(workspace: &Workspace, flavour: &str) -> Result<Vec<String>> {
    let chore = std::env::current_exe().context("find this program")?;
    for arguments in ROUNDS {
        say(format_args!(
            "\n{flavour} left out: {}",
            arguments.join(" ")
        ));
        let mut command = Command::new(&chore);
        command
            .args(arguments)
            .current_dir(&workspace.root)
            .env(VARIABLE, flavour)
            .env("CARGO_TARGET_DIR", workspace.target.join("flavours"))
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("run the tests")?;
        let output = child.stdout.take().context("the tests have no output")?;
        let mut failures = Vec::new();
        let mut has_ended_well = false;
        process::each_line(output, |line| {
            failures.extend(line.strip_prefix("FAILED: ").map(str::to_owned));
            has_ended_well |= line.contains(" passed, ");
        })?;
        child.wait().context("wait for the tests")?;
        if !has_ended_well {
            bail!("without {flavour} the suite does not build, or its tests do not run");
        }
        if !failures.is_empty() {
            return Ok(failures);
        }
    }
    Ok(Vec::new())
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
}
