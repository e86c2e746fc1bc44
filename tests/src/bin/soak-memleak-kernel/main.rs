//! memleak on the kernel's memory, for long: files, processes and sockets come and go, and from time to
//! time all of that is let go. What memleak still shows then is held against what the kernel itself
//! says that it has.

// All of this is test code, where a failed expectation is a failed run.
#![allow(clippy::expect_used)]

mod churn;
mod look;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use memtools_tests::{Lines, Report, tool};

use churn::Churn;
use look::Look;

/// Shows whether what memleak says of the kernel's memory grows by what nobody holds
#[derive(Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How long between two looks at what is left
    #[arg(long, default_value_t = 3.0)]
    look_every: f64,
    /// Where files are made [default: a new directory for temporary files]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// What may be shown beyond what the kernel says, in MiB
    #[arg(long, default_value_t = 8.0)]
    allowed: f64,
}

const MIB: f64 = (1 << 20) as f64;

struct Memleak {
    child: Child,
    lines: Lines,
}

impl Memleak {
    fn start() -> Result<Self> {
        let mut child = Command::new(tool("memleak"))
            .args(["--json", "--older", "0", "--by", "comm", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting memleak")?;
        let stdout = child.stdout.take().context("its output")?;
        Ok(Self {
            child,
            lines: Lines::of(stdout, "memleak"),
        })
    }

    /// Reports that nobody reads would be kept.
    fn read_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.lines.next_line().context("memleak has ended")?;
        }
        Ok(())
    }

    /// The first report of what is after now: one may be on its way.
    fn report(&mut self) -> Result<Report> {
        let begin = Instant::now();
        loop {
            let line = self.lines.next_line().context("memleak has ended")?;
            if begin.elapsed() > Duration::from_millis(1500) {
                return Report::parse(&line).context("no report");
            }
        }
    }
}

impl Drop for Memleak {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let own = tempfile::tempdir().context("making a directory")?;
    let directory = args.directory.unwrap_or_else(|| own.path().to_owned());
    let mut memleak = Memleak::start()?;
    let end = Instant::now() + Duration::from_secs_f64(args.minutes * 60.0);
    println!(
        "{:>7} {:>12} {:>10} {:>12} {:>10} {:>13} {:>10} {:>12} {:>10}",
        "minute",
        "events",
        "slab",
        "kernel slab",
        "pages",
        "kernel pages",
        "others",
        "missed frees",
        "lost"
    );
    let begin = Instant::now();
    let mut first: Option<Look> = None;
    let mut beyond = 0.0;
    let mut grown = Vec::new();
    while first.is_none() || Instant::now() < end {
        let churn = Churn::start(&directory)?;
        memleak.read_for(Duration::from_secs_f64(args.look_every * 60.0))?;
        churn.stop();
        let now = Look::take(|| memleak.report())?;
        let base = first.get_or_insert_with(|| now.clone());
        let mib = |now: i64, then: i64| (now - then) as f64 / MIB;
        println!(
            "{:>7.1} {:>12} {:>+10.2} {:>+12.2} {:>+10.2} {:>+13.2} {:>+10.2} {:>12} {:>10}",
            begin.elapsed().as_secs_f64() / 60.0,
            now.events,
            mib(now.slab, base.slab),
            mib(now.kernel_slab, base.kernel_slab),
            mib(now.pages, base.pages),
            mib(now.kernel_pages, base.kernel_pages),
            mib(now.others, base.others),
            now.missed_frees,
            now.lost,
        );
        beyond = mib(now.slab, base.slab) - mib(now.kernel_slab, base.kernel_slab);
        grown = now.grown_most(base);
    }
    println!(
        "MiB since the first look. Shown beyond what the kernel says of its slabs: {beyond:+.2} MiB"
    );
    println!("Grown most since then:");
    for line in grown {
        println!("{line}");
    }
    if beyond > args.allowed {
        bail!("memleak shows {beyond:.2} MiB more than there are: a false leak that creeps");
    }
    Ok(())
}
