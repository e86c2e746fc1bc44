//! Virtual machines with other kernels, under plain emulation.

pub mod console;
mod cpio;
mod fetch;
pub mod guest;
pub mod image;
pub mod kernels;
mod machine;
mod report;
mod terminal;
pub mod tree;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::progress::{self, complain, say, seconds};
use crate::setup::{self, Purpose};
use crate::suite;
use crate::test::binaries;
use crate::workspace::Workspace;
pub use fetch::{Fetched, fetch};
use guest::{End, Guest, Outcome, Stream};
use kernels::{KERNELS, Kernel};
pub use machine::{Machine, QEMU};

#[derive(clap::Args)]
pub struct Args {
    /// Which kernel: 5.10, 6.1, 6.12, 6.12-full (with preempt=full) or 7.2
    #[arg(value_parser = kernels::parse, required_unless_present = "list")]
    kernel: Option<&'static Kernel>,
    /// Show the kernels, and which of them are fetched already
    #[arg(long)]
    list: bool,
    /// Bring a file in, to the directory where the command starts; may be given more than once
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    #[command(flatten)]
    machine: Machine,
    /// End the machine when it runs for so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// What to run there; a shell when a person sits at the terminal
    #[arg(last = true)]
    command: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let Some(kernel) = args.kernel.filter(|_| !args.list) else {
        list()?;
        return Ok(ExitCode::SUCCESS);
    };
    let terminal = terminal::is_there();
    if args.command.is_empty() && !terminal {
        bail!("no terminal for a shell: give a command, `-- COMMAND ARGS…`");
    }
    // The guest's standard output is this one's.
    progress::leave_stdout();
    setup::prepare(&[Purpose::Vm])?;
    let fetched = fetch(kernel)?;
    suite::build_release(workspace)?;
    let built = binaries::build(workspace)?;

    let directory = directory(workspace)?;
    let initramfs = directory.join(format!("{}.cpio", kernel.name));
    let mut tree = image::tree(workspace, &built)?;
    for file in &args.add {
        image::add(&mut tree, file)?;
    }
    image::set_command(&mut tree, workspace, &built, &script(&args.command));
    if terminal {
        tree.text("/xtask/terminal", 0o644, terminal::size()?);
        complain("Ctrl-] ends the machine.");
    }
    tree.write(&initramfs)?;
    let guest = Guest {
        kernel,
        image: &fetched.image,
        initramfs: &initramfs,
        machine: &args.machine,
        deadline: args.timeout.map(Duration::from_secs),
        silence: None,
        log: log(workspace, kernel.name)?,
        terminal,
    };
    let outcome = pass_through(&guest)?;
    say(format_args!(
        "      Linux {}: ready after {}",
        fetched.version,
        outcome.ready_after.map_or("ever".to_owned(), seconds)
    ));
    exit_code(&guest, &outcome)
}

/// Runs a command on a kernel, with these programs beside the suite.
pub fn run_command(
    workspace: &Workspace,
    kernel: &'static Kernel,
    add: Vec<PathBuf>,
    command: Vec<String>,
) -> Result<ExitCode> {
    let args = Args {
        kernel: Some(kernel),
        list: false,
        add,
        machine: Machine::default(),
        timeout: None,
        command,
    };
    run(workspace, &args)
}

/// Where initramfs and logs are kept.
pub fn directory(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("xtask/vm");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// The console log of the guest with this name.
pub fn log(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    Ok(directory(workspace)?.join(format!("{name}.log")))
}

fn list() -> Result<()> {
    for kernel in KERNELS {
        let state =
            fetch::cached(kernel)?.map_or("not fetched yet".to_owned(), |fetched| fetched.version);
        let Kernel {
            name,
            suite,
            append,
            ..
        } = kernel;
        say(format!("{name:10}  {suite:18}  {state}  {append}").trim_end());
    }
    Ok(())
}

fn script(command: &[String]) -> String {
    if command.is_empty() {
        return "exec busybox sh".to_owned();
    }
    format!("exec {}", image::shell_words(command))
}

/// Runs the guest with this process's output as its own.
fn pass_through(guest: &Guest) -> Result<Outcome> {
    let _raw = guest.terminal.then(terminal::Raw::enter).transpose()?;
    guest.run(|stream, bytes| {
        // A reader that has gone does not end the guest.
        let _ = match stream {
            Stream::Output => write_all(std::io::stdout().lock(), bytes),
            Stream::Errors => write_all(std::io::stderr().lock(), bytes),
        };
    })
}

fn write_all(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn exit_code(guest: &Guest, outcome: &Outcome) -> Result<ExitCode> {
    if outcome.boots > 1 {
        complain(&format!("booted {} times", outcome.boots));
    }
    let log = guest.log.display();
    if let Some(trouble) = &outcome.trouble {
        complain(trouble);
        bail!("the kernel reported trouble of its own, see above and {log}");
    }
    match outcome.end {
        End::Exited(status) => Ok(ExitCode::from(status)),
        End::Late => bail!("the machine was ended before its command; its log is {log}"),
        End::Died => bail!("the machine ended before its command; its log is {log}"),
        End::NeverReady => bail!("the machine never came to its init; its log is {log}"),
    }
}
