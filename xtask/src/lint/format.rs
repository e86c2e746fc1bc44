//! The format of the sources.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::tidy;
use crate::process;
use crate::progress::say;
use crate::workspace::Workspace;

pub fn rust(workspace: &Workspace, fix: bool) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["fmt", "--all"]);
    if !fix {
        command.arg("--check");
    }
    process::run(&mut command)?;

    // Workloads are compiled by the tests, so cargo does not know them.
    let workloads = sources(workspace, &["tests/workloads"], &["rs"])?;
    if workloads.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("rustfmt");
    command.current_dir(&workspace.root);
    command.args(["--edition", "2024"]);
    if !fix {
        command.arg("--check");
    }
    process::run(command.args(&workloads))
}

/// BPF C, and the C and C++ of the workloads.
pub fn c(workspace: &Workspace, fix: bool) -> Result<()> {
    let files = sources(workspace, &["bpf", "tests/workloads"], &["c", "h", "cpp"])?;
    if files.is_empty() {
        say("      no C sources");
        return Ok(());
    }
    let mode: &[&str] = if fix {
        &["-i"]
    } else {
        &["--dry-run", "-Werror"]
    };
    say(format_args!(
        "      $ clang-format {} ({} files)",
        mode.join(" "),
        files.len()
    ));
    let mut command = Command::new("clang-format");
    command
        .current_dir(&workspace.root)
        .args(mode)
        .arg("--style=file")
        .args(&files);
    let status = command.status().context("run clang-format")?;
    if !status.success() {
        bail!("clang-format would change files: `cargo xtask lint --fix` does");
    }
    Ok(())
}

fn sources(
    workspace: &Workspace,
    directories: &[&str],
    extensions: &[&str],
) -> Result<Vec<PathBuf>> {
    let mut files = tidy::files(&workspace.root)?;
    files.retain(|file| {
        directories
            .iter()
            .any(|directory| file.starts_with(directory))
            && tidy::has_extension(file, extensions)
    });
    Ok(files)
}
