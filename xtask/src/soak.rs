//! Running a tool for long, under a load that lets go of all it takes.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::setup::{self, Purpose};
use crate::vm::kernels::{self, Kernel};
use crate::workspace::Workspace;
use crate::{suite, vm};

#[derive(clap::Args)]
pub struct Args {
    /// Which one: memleak-kernel
    name: String,
    /// Run it on this kernel, in a virtual machine
    #[arg(long, value_name = "KERNEL", value_parser = kernels::parse)]
    vm: Option<&'static Kernel>,
    /// Handed on to the program, such as --minutes 5
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let name = format!("soak-{}", args.name);
    if let Some(kernel) = args.vm {
        let command = std::iter::once(name).chain(args.arguments.iter().cloned());
        return vm::run_command(workspace, kernel, Vec::new(), command.collect());
    }
    setup::prepare(&[Purpose::Test])?;
    suite::build_release(workspace)?;
    let program = workspace.release_dir().join(&name);
    if !program.is_file() {
        bail!(
            "nothing to be soaked is called `{}`: memleak-kernel is",
            args.name
        );
    }
    suite::run_built(workspace, &program, &args.arguments)?;
    Ok(ExitCode::SUCCESS)
}
