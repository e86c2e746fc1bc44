//! The chores of the repository: `cargo xtask --help`.

mod bench;
mod demo;
mod flavours;
mod lint;
mod privilege;
mod process;
mod progress;
mod setup;
mod soak;
mod suite;
mod test;
mod verify;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The chores of the repository
///
/// Each chore first looks for what it needs, by trying, and installs what is missing with the
/// package manager it finds. When it may not, it prints the command to run and stops.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Start with:\n  \
        cargo xtask demo    see memleak find three leaks in a running program\n  \
        cargo xtask test    run everything there is to test\n\n\
        Exit codes: 0 success, 1 a chore failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Find what is missing on this machine and install it
    Setup(setup::Args),
    /// Build the whole suite
    Build(suite::Args),
    /// Start a program that leaks and watch memleak find the leaks
    Demo(demo::Args),
    /// Run the unit tests and the end-to-end tests
    Test(test::Args),
    /// Boot a virtual machine with another kernel and run a command in it
    Vm(vm::Args),
    /// Load every BPF program on every kernel and show what it costs the verifier
    Verify(verify::Args),
    /// Leave out each kernel flavour of the BPF sources and show the test that misses it
    MutateFlavours(flavours::Args),
    /// Check formatting, lints, licences and the state of the repository
    Lint(lint::Args),
    /// Run a benchmark of the suite
    Bench(bench::Args),
    /// Run a tool for long, and see that nothing creeps
    Soak(soak::Args),
}

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|error| {
        progress::complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match &cli.chore {
        Chore::Setup(args) => setup::run(args)?,
        Chore::Build(args) => suite::run(&workspace, args)?,
        Chore::Demo(args) => demo::run(&workspace, args)?,
        Chore::Test(args) => return test::run(&workspace, args),
        Chore::Vm(args) => return vm::run(&workspace, args),
        Chore::Verify(args) => return verify::run(&workspace, args),
        Chore::MutateFlavours(args) => return flavours::run(&workspace, args),
        Chore::Lint(args) => lint::run(&workspace, args)?,
        Chore::Bench(args) => return bench::run(&workspace, args),
        Chore::Soak(args) => return soak::run(&workspace, args),
    }
    Ok(ExitCode::SUCCESS)
}
