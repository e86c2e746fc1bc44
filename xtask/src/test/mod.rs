//! Running every test and saying at the end what happened to each that did not pass.

pub mod binaries;
mod framed;
mod guests;
mod output;
mod places;
mod runner;
mod summary;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};

use crate::privilege::Privilege;
use crate::progress::say;
use crate::setup::{self, Purpose};
use crate::suite;
use crate::vm::kernels::{self, KERNELS, Kernel};
use crate::vm::{self, Fetched, Machine};
use crate::workspace::Workspace;
use binaries::Built;
use guests::Guests;
use runner::Runner;
use summary::{Row, Summary};

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
    /// Run in virtual machines also what no kernel makes a difference to
    #[arg(long)]
    everything: bool,
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

/// Two at a time, where there is the memory for them: a test mostly waits for the kernel, so that one
/// machine alone leaves processors idle.
fn guests_at_once() -> usize {
    let each = Machine::default().memory + MEMORY_BESIDE;
    let available = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available_bytes(&text));
    if available.is_some_and(|bytes| bytes < 2 * each) {
        say("      One machine at a time: there is not the memory for two.");
        1
    } else {
        2
    }
}

/// What QEMU takes for itself.
const MEMORY_BESIDE: u64 = 700 << 20;

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

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
    if std::env::consts::ARCH != "x86_64" {
        let reason = "the kernels are for x86_64, and programs that were built here are not";
        for kernel in kernels {
            guests::skip_all(built, kernel, reason, summary);
        }
        return Ok(());
    }
    if let Err(error) = setup::prepare(&[Purpose::Vm]) {
        for kernel in kernels {
            guests::skip_all(built, kernel, &format!("{error:#}"), summary);
        }
        return Ok(());
    }
    // One after the other: two kernels may be of one suite.
    let fetched = kernels
        .iter()
        .map(|kernel| (*kernel, vm::fetch(kernel)))
        .collect();
    for outcome in in_turns(workspace, args, built, fetched)? {
        summary.absorb(outcome);
    }
    Ok(())
}

/// What came of each kernel, in their order.
fn in_turns(
    workspace: &Workspace,
    args: &Args,
    built: &Built,
    fetched: Vec<(&'static Kernel, Result<Fetched>)>,
) -> Result<Vec<Summary>> {
    let waiting = Mutex::new(fetched.into_iter().enumerate());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next()
    };
    let work = || -> Result<Vec<(usize, Summary)>> {
        // Who names tests, or a kernel, means all of them.
        let everything = args.everything || args.filter.is_some() || !args.vm.is_empty();
        let arguments = args.for_each_program();
        let mut guests = Guests::new(workspace, built, arguments, everything)?;
        let mut done = Vec::new();
        while let Some((place, (kernel, fetched))) = next() {
            let mut summary = Summary::default();
            // One machine's failure is not to cost the others' results.
            if let Err(error) = guests.run(kernel, fetched, &mut summary) {
                summary.add(Row::broken(kernel.name, "machine", format!("{error:#}")));
            }
            done.push((place, summary));
        }
        Ok(done)
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..guests_at_once()).map(|_| scope.spawn(work)).collect();
        let outcomes = workers.into_iter().map(|worker| {
            let outcome = worker.join();
            outcome.map_err(|_| anyhow!("a thread that ran a machine has failed"))?
        });
        outcomes.collect::<Result<Vec<_>>>()
    })?
    .concat();
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, summary)| summary).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal:  100 kB\nMemAvailable:     2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes(""), None);
    }
}
