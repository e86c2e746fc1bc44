//! What funclatency costs a call, beside bcc's funclatency, in one run: a program calls a function that
//! does next to nothing, under neither, under probes that do nothing, under each, in turn. Times are
//! reported and judged; a wrong count makes the run fail.

mod empty;
mod rounds;
mod tracers;

use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use memtools_tests::EmptyProbes;

use rounds::{Case, CaseResult, Effort};
use tracers::{Tracer, Tracers};

#[derive(Parser)]
#[command(
    name = "bench-funclatency",
    about = "What funclatency costs a call, beside bcc's funclatency"
)]
struct Args {
    /// Rounds; the median counts
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// About how long a round's lap takes, in milliseconds
    #[arg(long, default_value_t = 100)]
    lap_ms: u64,
}

/// What funclatency may add to a call, in relation to what bcc's adds.
const CASES: [Case; 6] = [
    case("begins_with_endbr64", 1, Some(0.1)),
    case("begins_with_endbr64", 2, Some(0.1)),
    case("begins_with_push", 1, Some(1.0)),
    case("begins_with_push", 2, Some(1.0)),
    // Of C++, and an exception can leave it: funclatency probes where it returns.
    case("may_throw", 1, None),
    case("may_throw", 2, None),
];

const fn case(function: &'static str, threads: usize, limit: Option<f64>) -> Case {
    Case {
        function,
        threads,
        limit,
    }
}

fn print(result: &CaseResult) {
    let Case {
        function,
        threads,
        limit,
    } = result.case;
    let s = if threads == 1 { "" } else { "s" };
    println!("\n{function}, {threads} thread{s}");
    println!(
        "  {:<16}{:>8}{:>8}{:>8}{:>8}   ns a call",
        "", "median", "least", "most", "added"
    );
    for series in &result.series {
        let (least, most) = series.least_and_most();
        let name = series.tracer.name();
        let median = series.median();
        print!("  {name:<16}{median:>8.0}{least:>8.0}{most:>8.0}");
        match result.added(series.tracer) {
            Some(added) if series.tracer != Tracer::Untraced => println!("{added:>8.0}"),
            _ => println!(),
        }
    }
    if let Some(ratio) = result.ratio(Tracer::Own, Tracer::Bcc) {
        let verdict = match limit {
            Some(limit) if ratio <= limit => format!(": within {limit}"),
            Some(limit) => format!(": ABOVE {limit}"),
            None => String::new(),
        };
        println!("  funclatency adds {ratio:.2} of what bcc's adds{verdict}");
    }
    if let Some(ratio) = result.ratio(Tracer::Empty, Tracer::Bcc) {
        println!("  empty probes add {ratio:.2} of it");
    }
}

fn run(args: &Args) -> Result<()> {
    let effort = Effort {
        rounds: args.rounds,
        lap: Duration::from_millis(args.lap_ms),
    };
    let mut storage = MaybeUninit::uninit();
    let tracers = Tracers::find(EmptyProbes::load(&mut storage)?);
    tracers.describe();
    for case in CASES {
        print(&rounds::measure(case, &effort, &tracers)?);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-funclatency: {error:#}");
            ExitCode::FAILURE
        }
    }
}
