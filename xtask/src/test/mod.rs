//! Running every test and saying at the end what happened to each that did not pass.

mod binaries;
mod output;
mod runner;
mod summary;

use std::process::ExitCode;

use anyhow::Result;

use crate::privilege::Privilege;
use crate::progress::say;
use crate::setup::{self, Purpose};
use crate::suite;
use crate::workspace::Workspace;
use runner::Runner;
use summary::Summary;

#[derive(clap::Args)]
pub struct Args {
    /// Run only the tests whose names contain this
    filter: Option<String>,
    /// Run on this machine's own kernel (so far there is no other place)
    #[arg(long)]
    host: bool,
    /// Handed on to each test program, such as --test-threads=1
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    setup::prepare(&[Purpose::Test])?;
    suite::build_release(workspace)?;
    let binaries = binaries::build(workspace)?;

    let arguments: Vec<&str> = args
        .filter
        .iter()
        .chain(&args.arguments)
        .map(String::as_str)
        .collect();
    let runner = Runner::new(workspace, Privilege::find(), arguments)?;
    let mut summary = Summary::default();
    for binary in &binaries {
        summary.add(runner.run(binary)?);
    }
    summary.add(runner.run_doc_tests()?);

    say(summary.table());
    if summary.is_empty() {
        say("No test ran.");
    }
    say(summary.line());
    Ok(if summary.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
