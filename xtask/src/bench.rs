//! Running a benchmark of the suite.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::privilege::Privilege;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;
use crate::{process, suite};

#[derive(clap::Args)]
pub struct Args {
    /// Which one: memleak runs the program bench-memleak
    name: String,
    /// Handed on to the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::prepare(&[Purpose::Bench])?;
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
    let variables = [("MEMTOOLS_BIN_DIR", directory.as_os_str())];
    process::run(
        Privilege::find()
            .command_with_env(&program, &variables)?
            .args(&args.arguments)
            .current_dir(&workspace.root),
    )
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
