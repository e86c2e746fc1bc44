//! Building the suite.

use std::path::Path;

use anyhow::Result;

use crate::privilege::Privilege;
use crate::process;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Build optimized programs (the default)
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Build without optimization, for a debugger
    #[arg(long)]
    debug: bool,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::prepare(&[Purpose::Build])?;
    let profile = if args.debug { "dev" } else { "release" };
    process::run(
        workspace
            .cargo()
            .args(["build", "--workspace", "--profile", profile]),
    )
}

/// Builds every program of the suite as users get it.
pub fn build_release(workspace: &Workspace) -> Result<()> {
    process::run(
        workspace
            .cargo()
            .args(["build", "--workspace", "--release"]),
    )
}

/// Runs a program that [`build_release`] has built, with root's rights, on the tools beside it.
pub fn run_built(workspace: &Workspace, program: &Path, arguments: &[String]) -> Result<()> {
    let directory = workspace.release_dir();
    let variables = [("MEMTOOLS_BIN_DIR", directory.as_os_str())];
    process::run(
        Privilege::find()
            .command_with_env(program, &variables)?
            .args(arguments)
            .current_dir(&workspace.root),
    )
}

/// Builds one package as users get it.
pub fn build_release_of(workspace: &Workspace, package: &str) -> Result<()> {
    process::run(
        workspace
            .cargo()
            .args(["build", "--release", "--package", package]),
    )
}
