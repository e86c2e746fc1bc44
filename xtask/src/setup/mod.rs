//! Finding what a chore needs and installing what is missing.
//!
//! Nothing is remembered between runs: trying everything takes a fraction of a second, and a
//! machine that changed is seen at once.

mod advice;
mod install;
mod needs;
mod packages;

use anyhow::{Result, anyhow, bail};

use crate::progress::say;

use advice::advice;
pub use needs::Purpose;
use needs::{Missing, Remedy};

#[derive(clap::Args)]
pub struct Args {
    /// What to prepare for; may be given more than once [default: everything]
    #[arg(long = "for", value_name = "CHORE")]
    purposes: Vec<Purpose>,
    /// Say what is missing, install nothing
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let purposes = if args.purposes.is_empty() {
        Purpose::ALL
    } else {
        &args.purposes
    };
    if !args.check {
        return prepare(purposes);
    }
    let missing = needs::missing(purposes);
    if missing.is_empty() {
        say(nothing_missing(purposes));
        return Ok(());
    }
    list(&missing);
    if missing.iter().all(|one| one.need.is_optional()) {
        say(format_args!(
            "      Ready to {}, without the above.",
            names(purposes)
        ));
        return Ok(());
    }
    bail!("not ready: {}", advice(&missing));
}

/// Makes sure that everything is there for these chores, or fails with what to do about it.
pub fn prepare(purposes: &[Purpose]) -> Result<()> {
    let missing = needs::missing(purposes);
    if missing.is_empty() {
        say(nothing_missing(purposes));
        return Ok(());
    }
    list(&missing);
    let (optional, required): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|one| one.need.is_optional());
    if !required.is_empty() {
        install_required(&required)?;
    }
    // One by one, since a distribution that lacks one may have the others.
    for one in optional {
        let what = one.need.what();
        if let Err(error) = install::install(&[one]) {
            say(format_args!("      going on without {what}: {error:#}"));
        }
    }
    let still_missing: Vec<_> = needs::missing(purposes)
        .into_iter()
        .filter(|one| !one.need.is_optional())
        .collect();
    if !still_missing.is_empty() {
        list(&still_missing);
        bail!("installed, and yet not ready: see above");
    }
    say(format_args!("      Ready to {}.", names(purposes)));
    Ok(())
}

fn install_required(missing: &[Missing]) -> Result<()> {
    // What no installation can change is said before anything is installed.
    if missing.iter().any(|one| one.need.remedy() == Remedy::Owner) {
        bail!("not ready: {}", advice(missing));
    }
    install::install(missing).map_err(|error| anyhow!("{error:#}: {}", advice(missing)))
}

fn nothing_missing(purposes: &[Purpose]) -> String {
    format!("      Ready to {}: nothing is missing.", names(purposes))
}

fn names(purposes: &[Purpose]) -> String {
    let names: Vec<_> = purposes.iter().map(|purpose| purpose.name()).collect();
    names.join(", ")
}

fn list(missing: &[Missing]) {
    for Missing { need, reason } in missing {
        say(format_args!("      missing: {} ({reason})", need.what()));
    }
}
