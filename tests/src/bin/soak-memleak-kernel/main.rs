//! memleak on the kernel's memory, for long: files, processes and sockets come and go, and from time to
//! time all of that is let go. What memleak still shows then is held against what the kernel itself
//! says that it has.

// All of this is test code, where a failed expectation is a failed run.
#![allow(clippy::expect_used)]

mod churn;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use memtools_tests::{Class, Lines, Report, tool};

use churn::Churn;

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

/// What one look finds, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    slab: i64,
    pages: i64,
    others: i64,
    kernel_slab: i64,
    events: u64,
    missed_frees: u64,
    lost: u64,
}

struct Memleak {
    child: Child,
    lines: Lines,
}

impl Memleak {
    fn start() -> Result<Self> {
        let mut child = Command::new(tool("memleak"))
            .args(["--json", "--older", "0", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting memleak")?;
        let stdout = child.stdout.take().context("its output")?;
        Ok(Self {
            child,
            lines: Lines::of(stdout, "memleak"),
        })
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

/// A figure of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> Result<i64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<i64>().ok());
    Ok(kilobytes.with_context(|| format!("{name} in /proc/meminfo"))? << 10)
}

/// Lets go of everything that the kernel keeps only because there is room.
fn drop_caches() -> Result<()> {
    for _ in 0..3 {
        // SAFETY: it takes nothing and cannot fail.
        unsafe { libc::sync() };
        fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches needs root")?;
        // Grace periods of RCU, and its lists.
        sleep(Duration::from_secs(2));
    }
    Ok(())
}

fn look(memleak: &mut Memleak) -> Result<Look> {
    drop_caches()?;
    let report = memleak.report()?;
    let mut look = Look {
        kernel_slab: meminfo("Slab:")?,
        events: report.allocs() + report.frees(),
        ..Look::default()
    };
    for stack in report.stacks() {
        let bytes = stack.figures.bytes as i64;
        match stack.class {
            Class::Slab => look.slab += bytes,
            Class::Pages => look.pages += bytes,
            Class::Percpu | Class::Vmalloc => look.others += bytes,
            _ => {}
        }
    }
    for (name, count) in report.loss() {
        let count = count.as_u64().unwrap_or(0);
        match name.as_str() {
            "missed_frees" => look.missed_frees = count,
            "alloc_bytes" | "truncated_stacks" => {}
            _ => look.lost += count,
        }
    }
    Ok(look)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let own = tempfile::tempdir().context("making a directory")?;
    let directory = args.directory.unwrap_or_else(|| own.path().to_owned());
    let mut memleak = Memleak::start()?;
    let end = Instant::now() + Duration::from_secs_f64(args.minutes * 60.0);
    println!(
        "{:>7} {:>12} {:>10} {:>10} {:>10} {:>12} {:>12} {:>10}",
        "minute", "events", "slab", "pages", "others", "kernel slab", "missed frees", "lost"
    );
    let begin = Instant::now();
    let mut first: Option<Look> = None;
    let mut beyond = 0.0;
    while first.is_none() || Instant::now() < end {
        let churn = Churn::start(&directory)?;
        sleep(Duration::from_secs_f64(args.look_every * 60.0));
        churn.stop();
        let now = look(&mut memleak)?;
        let base = *first.get_or_insert(now);
        let mib = |now: i64, then: i64| (now - then) as f64 / MIB;
        println!(
            "{:>7.1} {:>12} {:>+10.2} {:>+10.2} {:>+10.2} {:>+12.2} {:>12} {:>10}",
            begin.elapsed().as_secs_f64() / 60.0,
            now.events,
            mib(now.slab, base.slab),
            mib(now.pages, base.pages),
            mib(now.others, base.others),
            mib(now.kernel_slab, base.kernel_slab),
            now.missed_frees,
            now.lost,
        );
        beyond = mib(now.slab, base.slab) - mib(now.kernel_slab, base.kernel_slab);
    }
    println!(
        "MiB since the first look. Shown beyond what the kernel says of its slabs: {beyond:+.2} MiB"
    );
    if beyond > args.allowed {
        bail!("memleak shows {beyond:.2} MiB more than there are: a false leak that creeps");
    }
    Ok(())
}
