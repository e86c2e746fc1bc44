//! What memleak costs its target, beside its peers, in one run: the times of malloc and free pairs
//! under each of them, whether every one of 10 million pairs was counted, how long attaching and
//! detaching take, and what the live view of many stacks costs. Timings are reported and judged;
//! only a wrong count makes the run fail.

mod allocator;
mod checks;
mod empty;
mod machine;
mod rounds;
mod table;
mod terminal;
mod tracers;
mod view;

use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use memtools_tests::EmptyProbes;

use checks::Verdict;
use rounds::{Case, Effort};
use tracers::Tracers;

#[derive(Parser)]
#[command(
    name = "bench-memleak",
    about = "What memleak costs its target, beside its peers"
)]
struct Args {
    /// Fewer and shorter rounds: under two minutes
    #[arg(long)]
    quick: bool,
    /// Only the live view
    #[arg(long)]
    view: bool,
}

const THREADS: [usize; 3] = [1, 2, 8];
const FRAMES: [usize; 2] = [5, 30];

const THOROUGH: Effort = Effort {
    rounds: 7,
    laps: 3,
    lap: Duration::from_millis(150),
};
const QUICK: Effort = Effort {
    rounds: 3,
    laps: 3,
    lap: Duration::from_millis(40),
};

fn cases() -> impl Iterator<Item = Case> {
    THREADS
        .into_iter()
        .flat_map(|threads| FRAMES.map(|frames| Case { threads, frames }))
}

fn run(args: &Args) -> Result<Verdict> {
    let began = Instant::now();
    let view_effort = if args.quick {
        &view::QUICK
    } else {
        &view::THOROUGH
    };
    if args.view {
        machine::describe();
        view::measure(view_effort)?;
        return Ok(Verdict::Right);
    }
    let mut storage = MaybeUninit::uninit();
    let tracers = Tracers::find(EmptyProbes::load(&mut storage)?);
    let effort = if args.quick { &QUICK } else { &THOROUGH };
    machine::describe();
    tracers.describe();

    let mut results = Vec::new();
    for case in cases() {
        let result = rounds::measure(case, effort, &tracers)?;
        table::print_case(&result);
        results.push(result);
    }
    table::print_summary(&results);

    let verdict = checks::exactness(if args.quick { 2_000_000 } else { 10_000_000 });
    checks::attach_and_detach();
    view::measure(view_effort)?;
    println!(
        "\nThe benchmark took {:.0} s.",
        began.elapsed().as_secs_f64()
    );
    Ok(verdict)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(Verdict::Right) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-memleak: {error:#}");
            ExitCode::FAILURE
        }
    }
}
