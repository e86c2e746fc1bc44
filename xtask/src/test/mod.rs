//! Running every test and saying at the end what happened to each that did not pass.

pub mod binaries;
mod framed;
mod guests;
mod output;
mod runner;
mod summary;

use std::process::ExitCode;

use anyhow::Result;

use crate::privilege::Privilege;
use crate::progress::say;
use crate::setup::{self, Purpose};
use crate::suite;
use crate::vm::kernels::{self, KERNELS, Kernel};
use crate::workspace::Workspace;
use binaries::Built;
use guests::Guests;
use runner::Runner;
use summary::Summary;

#[derive(clap::Args)]
pub struct Args {
    /// Run only the tests whose names contain this
    filter: Option<String>,
    /// Run on this machine's own kernel only
    #[arg(long, visible_alias = "no-vm")]
    host: bool,
    /// Run the end-to-end tests in a virtual machine with this kernel, and nothing else; may be
    /// given more than once
    #[arg(long, value_name = "KERNEL", value_parser = kernels::parse, conflicts_with = "host")]
    vm: Vec<&'static Kernel>,
    /// Handed on to each test program, such as --test-threads=1
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Args {
    fn kernels(&self) -> Vec<&'static Kernel> {
        if self.host {
            Vec::new()
        } else if self.vm.is_empty() {
            KERNELS.iter().collect()
        } else {
            self.vm.clone()
        }
    }

    fn for_each_program(&self) -> Vec<&str> {
        let words = self.filter.iter().chain(&self.arguments);
        words.map(String::as_str).collect()
    }
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let here = args.vm.is_empty();
    setup::prepare(&[if here { Purpose::Test } else { Purpose::Build }])?;
    suite::build_release(workspace)?;
    let built = binaries::build(workspace)?;

    let mut summary = Summary::default();
    if here {
        run_on_host(workspace, args, &built, &mut summary)?;
    }
    run_in_guests(workspace, args, &built, &mut summary)?;

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

fn run_on_host(
    workspace: &Workspace,
    args: &Args,
    built: &Built,
    summary: &mut Summary,
) -> Result<()> {
    let runner = Runner::new(workspace, Privilege::find(), args.for_each_program())?;
    for binary in &built.binaries {
        summary.add(runner.run(binary)?);
    }
    summary.add(runner.run_doc_tests()?);
    Ok(())
}

/// One kernel after the other: emulated machines would only take the processors from each other.
fn run_in_guests(
    workspace: &Workspace,
    args: &Args,
    built: &Built,
    summary: &mut Summary,
) -> Result<()> {
    let kernels = args.kernels();
    if kernels.is_empty() {
        return Ok(());
    }
    if let Err(error) = setup::prepare(&[Purpose::Vm]) {
        for kernel in kernels {
            guests::skip_all(built, kernel, &format!("{error:#}"), summary);
        }
        return Ok(());
    }
    let mut guests = Guests::new(workspace, built, args.for_each_program())?;
    for kernel in kernels {
        guests.run(kernel, summary)?;
    }
    Ok(())
}
