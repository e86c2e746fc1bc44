//! Running a benchmark of the suite.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Purpose};
use crate::vm::kernels::{self, Kernel};
use crate::workspace::Workspace;
use crate::{process, suite, vm};

#[derive(clap::Args)]
pub struct Args {
    /// Which one: memleak runs the program bench-memleak
    name: String,
    /// Run it on this kernel, in a virtual machine: for peers that need what this one has not
    #[arg(long, value_name = "KERNEL", value_parser = kernels::parse)]
    vm: Option<&'static Kernel>,
    /// Handed on to the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What a virtual machine is given beside the suite.
const PEERS: &[&str] = &["slabratetop"];

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    setup::prepare(&[Purpose::Bench])?;
    if let Some(kernel) = args.vm {
        let program = format!("bench-{}", args.name);
        let command = std::iter::once(program).chain(args.arguments.iter().cloned());
        let peers = PEERS.iter().filter_map(|peer| process::find(peer));
        return vm::run_command(workspace, kernel, peers.collect(), command.collect());
    }
    suite::build_release(workspace)?;
    let directory = workspace.release_dir();
    let program = directory.join(format!("bench-{}", args.name));
    if !program.is_file() {
        let others = match names(&directory)?.join(", ") {
            none if none.is_empty() => "there is none at all".to_owned(),
            names => format!("there are: {names}"),
        };
        bail!("no benchmark is called `{}`; {others}", args.name);
    }
    suite::run_built(workspace, &program, &args.arguments)?;
    Ok(ExitCode::SUCCESS)
}

/// The benchmarks that were built, by the names this chore takes.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("look for benchmarks in {}", directory.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| !file.contains('.'))
        .filter_map(|file| file.strip_prefix("bench-").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
