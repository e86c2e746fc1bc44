//! What every BPF program costs the verifier of every kernel.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::process::Pieces;
use crate::progress::{complain, say};
use crate::setup::{self, Purpose};
use crate::suite;
use crate::test::binaries::Built;
use crate::vm::guest::{End, Guest, Stream};
use crate::vm::kernels::{self, KERNELS, Kernel};
use crate::vm::{self, Machine, image};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Only on this kernel; may be given more than once
    #[arg(long, value_name = "KERNEL", value_parser = kernels::parse)]
    vm: Vec<&'static Kernel>,
}

/// It takes seconds.
const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// Loads all programs, fails where one is refused or comes near the limit.
const PROGRAM: &str = "verify-bpf";

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    setup::prepare(&[Purpose::Vm])?;
    suite::build_release_of(workspace, "memtools-tests")?;
    let mut bad = Vec::new();
    let mut kernels = args.vm.clone();
    if kernels.is_empty() {
        // What differs in the command line alone has the same verifier.
        kernels.extend(KERNELS.iter().filter(|kernel| kernel.append.is_empty()));
    }
    for kernel in kernels {
        if let Err(error) = verify(workspace, kernel) {
            complain(&format!("{}: {error:#}", kernel.name));
            bad.push(kernel.name);
        }
    }
    if bad.is_empty() {
        say("Every kernel takes every program.");
        return Ok(ExitCode::SUCCESS);
    }
    complain(&format!("failed on {}", bad.join(", ")));
    Ok(ExitCode::FAILURE)
}

fn verify(workspace: &Workspace, kernel: &Kernel) -> Result<()> {
    let fetched = vm::fetch(kernel)?;
    say(format_args!(
        "\n=== {} (Linux {})",
        kernel.name, fetched.version
    ));
    let nothing = Built {
        binaries: Vec::new(),
        workloads: Vec::new(),
    };
    let mut tree = image::tree(workspace, &nothing)?;
    image::set_command(&mut tree, workspace, &nothing, &format!("exec {PROGRAM}"));
    let name = format!("verify-{}", kernel.name);
    let initramfs = vm::directory(workspace)?.join(format!("{name}.cpio"));
    tree.write(&initramfs)?;
    let guest = Guest {
        kernel,
        image: &fetched.image,
        initramfs: &initramfs,
        machine: &Machine::default(),
        deadline: Some(DEADLINE),
        silence: None,
        log: vm::log(workspace, &name)?,
        terminal: false,
    };
    let mut output = Pieces::default();
    let mut errors = Pieces::default();
    let outcome = guest.run(|stream, bytes| match stream {
        Stream::Output => output.take(bytes).iter().for_each(say),
        Stream::Errors => errors.take(bytes).iter().for_each(|line| complain(line)),
    })?;
    // Large, and made again in a second.
    let _ = std::fs::remove_file(&initramfs);
    if let Some(trouble) = outcome.trouble {
        anyhow::bail!("the kernel reported trouble of its own:\n{trouble}");
    }
    match outcome.end {
        End::Exited(0) => Ok(()),
        End::Exited(_) => anyhow::bail!("a program is refused, or too large"),
        End::Late | End::Died | End::NeverReady => {
            anyhow::bail!("the machine failed: see {}", guest.log.display())
        }
    }
}
