//! Loads every BPF program of the suite, one by one, and says what each costs this kernel's
//! verifier. A program that is refused, or that comes near the verifier's limit, makes it fail.

mod load;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use memtools::attach::{Uprobes, Way, has_attach_cookie};

use load::{Kernel, Object, Verdict};

#[derive(Parser)]
#[command(
    name = "verify-bpf",
    about = "What each BPF program of the suite costs the verifier"
)]
struct Args {
    /// Object files to load instead of the suite's own
    objects: Vec<std::path::PathBuf>,
}

/// The verifier gives up after a million.
const MOST_INSTRUCTIONS: u64 = 500_000;

const SUITE: &[(&str, &[u8])] = &[
    (
        "memleak",
        include_bytes!(concat!(env!("OUT_DIR"), "/memleak.bpf.o")),
    ),
    (
        "memleak_kernel",
        include_bytes!(concat!(env!("OUT_DIR"), "/memleak_kernel.bpf.o")),
    ),
    (
        "oomkill",
        include_bytes!(concat!(env!("OUT_DIR"), "/oomkill.bpf.o")),
    ),
    (
        "slabtop",
        include_bytes!(concat!(env!("OUT_DIR"), "/slabtop.bpf.o")),
    ),
    (
        "syscount",
        include_bytes!(concat!(env!("OUT_DIR"), "/syscount.bpf.o")),
    ),
    (
        "funclatency",
        include_bytes!(concat!(env!("OUT_DIR"), "/funclatency.bpf.o")),
    ),
    (
        "trace_test",
        include_bytes!(concat!(env!("OUT_DIR"), "/trace_test.bpf.o")),
    ),
    (
        "probe_test",
        include_bytes!(concat!(env!("OUT_DIR"), "/probe_test.bpf.o")),
    ),
];

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    memtools::attach::silence_libbpf();
    let kernel = Kernel {
        has_attach_cookie: has_attach_cookie(),
        has_sessions: Uprobes::find(false)?.way == Way::Session,
    };
    let mut good = true;
    for object in objects(&args)? {
        let programs = object.programs()?;
        ensure!(!programs.is_empty(), "{} has no programs", object.name);
        for program in programs {
            let verdict = object.verify(&program, kernel)?;
            good &= is_good(&verdict);
            println!("{:40}{verdict}", format!("{}: {program}", object.name));
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn objects(args: &Args) -> Result<Vec<Object>> {
    if args.objects.is_empty() {
        let own = SUITE.iter();
        return Ok(own.map(|(name, image)| Object::new(name, image)).collect());
    }
    let read = |path: &std::path::PathBuf| {
        let image = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(Object::new(&path.display().to_string(), &image))
    };
    args.objects.iter().map(read).collect()
}

fn is_good(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Loaded(instructions) => *instructions <= MOST_INSTRUCTIONS,
        Verdict::Refused(_) => false,
        Verdict::OtherKernels => true,
    }
}
