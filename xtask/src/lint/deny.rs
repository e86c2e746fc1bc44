//! Licences, sources and known vulnerabilities of the dependencies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::progress::say;
use crate::workspace::Workspace;

/// The one that deny.toml is written for.
const VERSION: &str = "^0.20";

pub fn run(workspace: &Workspace) -> Result<()> {
    let Some(program) = find_or_install(workspace) else {
        say("      skipped: cargo-deny is not there and could not be installed");
        return Ok(());
    };
    let mut command = Command::new(workspace.relative(&program));
    command.current_dir(&workspace.root);
    process::run(command.args(["check", "licenses", "bans", "sources"]))?;
    advisories(workspace, program)
}

/// The one on the search path, or one of our own in the target directory, where it stays.
fn find_or_install(workspace: &Workspace) -> Option<PathBuf> {
    let tools = workspace.target.join("tools");
    let own = tools.join("bin/cargo-deny");
    let found = process::find("cargo-deny").or_else(|| own.is_file().then(|| own.clone()));
    if found.is_some() {
        return found;
    }
    say("      installing cargo-deny into the target directory, once: a minute or two");
    let installed = process::run(
        workspace
            .cargo()
            .args(["install", "cargo-deny", "--version", VERSION, "--locked"])
            // Without optimization it is built in half the time, and still checks in a second.
            .args(["--debug", "--config", "profile.dev.debug=false"])
            .arg("--root")
            .arg(&tools)
            .env("CARGO_TARGET_DIR", tools.join("build")),
    );
    match installed {
        Ok(()) => {
            // Some hundred megabytes that nobody reads again.
            let _ = std::fs::remove_dir_all(tools.join("build"));
            Some(own)
        }
        Err(error) => {
            say(format_args!("      {error:#}"));
            None
        }
    }
}

/// The vulnerability database is a git repository; without network there is no check.
fn advisories(workspace: &Workspace, program: PathBuf) -> Result<()> {
    let mut command = Command::new(program);
    command
        .args(["check", "advisories"])
        .current_dir(&workspace.root)
        // An unreachable database must not end in a question for a password.
        .env("GIT_TERMINAL_PROMPT", "0");
    let output = command
        .output()
        .with_context(|| process::cannot_run(&command))?;
    if output.status.success() {
        say("      no known vulnerabilities");
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if database_unreachable(&complaint) {
        say("      advisories not checked: the vulnerability database could not be fetched");
        return Ok(());
    }
    say(complaint.trim_end());
    bail!("dependencies have advisories, see above");
}

fn database_unreachable(complaint: &str) -> bool {
    complaint.contains("failed to fetch advisory database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_is_told_from_a_vulnerability() {
        assert!(database_unreachable(
            "2026-01-01 [ERROR] failed to fetch advisory database https://x with cli: failed to clone"
        ));
        assert!(!database_unreachable(
            "error[vulnerability]: a bug in a crate\nadvisories FAILED"
        ));
    }
}
