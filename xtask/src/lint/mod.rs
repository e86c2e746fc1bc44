//! Everything that can be said about the repository without running it.

mod deny;
mod format;
mod tidy;

use anyhow::{Result, bail};

use crate::process;
use crate::progress::{say, seconds};
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Format the sources in place of checking their format
    #[arg(long)]
    fix: bool,
}

/// A check and what it is called.
type Check = (&'static str, fn(&Workspace, &Args) -> Result<()>);

const CHECKS: &[Check] = &[
    ("rustfmt", |workspace, args| {
        format::rust(workspace, args.fix)
    }),
    ("clang-format", |workspace, args| {
        format::c(workspace, args.fix)
    }),
    ("repository", |workspace, _| tidy::run(workspace)),
    ("architectures", |workspace, _| architectures(workspace)),
    ("clippy", |workspace, _| clippy(workspace)),
    ("cargo-deny", |workspace, _| deny::run(workspace)),
];

/// Runs every check, also after one has failed, so that one run shows all there is to do.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::prepare(&[Purpose::Lint])?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        say(format_args!("lint: {name}"));
        let start = std::time::Instant::now();
        match check(workspace, args) {
            Ok(()) => say(format_args!("      good, {}", seconds(start.elapsed()))),
            Err(error) => {
                say(format_args!("      FAILED: {error:#}"));
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} lint checks failed: {}",
            failed.len(),
            CHECKS.len(),
            failed.join(", ")
        );
    }
    say(format_args!("lint: all {} checks are good", CHECKS.len()));
    Ok(())
}

/// The BPF objects for every architecture that is supported, whichever this machine is.
fn architectures(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args([
        "run",
        "--release",
        "-p",
        "memtools-bpf",
        "--bin",
        "compile-bpf",
        "--",
        "x86_64",
        "aarch64",
    ]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--release",
        "--",
        "-D",
        "warnings",
    ]))
}
