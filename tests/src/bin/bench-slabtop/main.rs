//! What slabtop costs the kernel's allocations, beside bcc's slabratetop, in one run: a file is opened
//! and closed again and again, under neither, under each, in turn. Times are reported and judged; a
//! wrong count makes the run fail.

mod tracer;

use std::ffi::CStr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;

use tracer::{Tracer, slabratetop, slabtop};

#[derive(Parser)]
#[command(
    name = "bench-slabtop",
    about = "What slabtop costs the kernel's allocations, beside bcc's slabratetop"
)]
struct Args {
    /// Rounds; of each tracer the fastest counts
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// How long a round takes, in milliseconds
    #[arg(long, default_value_t = 400)]
    round_ms: u64,
}

const FILE: &CStr = c"/proc/self/exe";

/// Opens and closes a file for so long; how often, and the nanoseconds of each.
fn open_and_close(duration: Duration) -> (u64, f64) {
    const AT_ONCE: u64 = 100;
    let began = Instant::now();
    let mut turns = 0;
    while began.elapsed() < duration {
        for _ in 0..AT_ONCE {
            // SAFETY: a text that ends in NUL; the descriptor is our own.
            unsafe { libc::close(libc::open(FILE.as_ptr(), libc::O_RDONLY)) };
        }
        turns += AT_ONCE;
    }
    (turns, began.elapsed().as_nanos() as f64 / turns as f64)
}

/// The fastest round without a tracer, and with each.
struct Times {
    untraced: f64,
    traced: Vec<f64>,
}

fn measure(args: &Args, tracers: &[&Tracer]) -> Result<Times> {
    let round = Duration::from_millis(args.round_ms);
    let mut times = Times {
        untraced: f64::INFINITY,
        traced: vec![f64::INFINITY; tracers.len()],
    };
    for _ in 0..args.rounds {
        times.untraced = times.untraced.min(open_and_close(round).1);
        for (tracer, time) in tracers.iter().zip(&mut times.traced) {
            let running = tracer.start()?;
            *time = time.min(open_and_close(round).1);
            running.stop()?;
        }
    }
    Ok(times)
}

/// Allocations and frees of slab objects in one turn, as slabtop counts them for this process.
fn objects_a_turn() -> Result<(f64, f64)> {
    let pid = std::process::id().to_string();
    let running = slabtop(&["--json", "-p", &pid, "0.2"]).start()?;
    let (turns, _) = open_and_close(Duration::from_secs(1));
    // Frees come later, by RCU; those by other threads are not seen here.
    std::thread::sleep(Duration::from_millis(600));
    let (allocs, frees) = running.counted()?;
    let turns = turns as f64;
    Ok((allocs as f64 / turns, frees as f64 / turns))
}

fn run(args: &Args) -> Result<()> {
    let ours = slabtop(&["--json", "1"]);
    let peer = match slabratetop() {
        Ok(peer) => Some(peer),
        Err(error) => {
            println!("no slabratetop: {error:#}");
            None
        }
    };
    let tracers: Vec<&Tracer> = [Some(&ours), peer.as_ref()].into_iter().flatten().collect();
    let (allocs, frees) = objects_a_turn()?;
    ensure!(
        allocs > 0.9,
        "only {allocs:.2} allocations of each open were counted"
    );
    let times = measure(args, &tracers)?;
    println!(
        "open and close of a file: {allocs:.2} allocations and {frees:.2} frees of slab objects"
    );
    println!(
        "{:<14}{:>12}{:>12}{:>20}",
        "", "ns a turn", "added", "added an allocation"
    );
    println!("{:<14}{:>12.0}", "untraced", times.untraced);
    let mut added = Vec::new();
    for (tracer, time) in tracers.iter().zip(&times.traced) {
        let more = time - times.untraced;
        added.push(more);
        println!(
            "{:<14}{time:>12.0}{more:>12.0}{:>20.0}",
            tracer.name,
            more / allocs
        );
    }
    if let [ours, peer] = added[..] {
        let verdict = if ours < peer {
            "below it"
        } else {
            "NOT below it"
        };
        println!(
            "slabtop adds {:.2} of what slabratetop adds: {verdict}",
            ours / peer
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-slabtop: {error:#}");
            ExitCode::FAILURE
        }
    }
}
