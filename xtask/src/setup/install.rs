//! Installing what is missing, without a question asked.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::needs::{self, Missing};
use super::packages::Manager;
use crate::privilege::Privilege;
use crate::process;
use crate::progress::say;

/// Installs the packages and the Rust components that are missing.
pub fn install(missing: &[Missing]) -> Result<()> {
    let needs = missing.iter().map(|one| one.need);
    let components = needs::components(needs.clone());
    if !components.is_empty() {
        add_components(&components)?;
    }
    if components.len() == missing.len() {
        return Ok(());
    }
    let manager = Manager::find().context("no package manager is known here")?;
    let packages = manager.packages(needs);
    if packages.is_empty() {
        bail!("this system has no package of it");
    }
    let privilege = Privilege::find();
    if !matches!(privilege, Privilege::Root | Privilege::Sudo) {
        bail!("installing packages needs root");
    }
    install_packages(manager, &packages, privilege)
}

/// Lists of packages grow old: when the first attempt fails, they are fetched before a second.
fn install_packages(manager: Manager, packages: &[&str], privilege: Privilege) -> Result<()> {
    let refresh = || -> Result<()> {
        let refreshed = process::run(&mut as_root(privilege, manager.refresh())?);
        // One broken list among many need not matter: the installation decides.
        if let Err(error) = refreshed {
            say(format_args!("      {error:#}; trying all the same"));
        }
        Ok(())
    };
    let install = || process::run(as_root(privilege, manager.install())?.args(packages));

    if manager.lists_missing() {
        refresh()?;
        return install();
    }
    if let Err(error) = install() {
        say(format_args!(
            "      {error:#}; fetching the lists of packages for another attempt"
        ));
        refresh()?;
        return install();
    }
    Ok(())
}

fn as_root(privilege: Privilege, words: &[&str]) -> Result<Command> {
    // `env` is named on the command line because sudo drops variables.
    let mut command = privilege.command("env")?;
    command.arg("DEBIAN_FRONTEND=noninteractive").args(words);
    Ok(command)
}

fn add_components(components: &[&str]) -> Result<()> {
    if process::find("rustup").is_none() {
        bail!(
            "{} is missing and rustup is not there to add it",
            components.join(" and ")
        );
    }
    process::run(
        Command::new("rustup")
            .args(["component", "add"])
            .args(components),
    )
}
