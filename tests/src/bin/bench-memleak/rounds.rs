//! Rounds of pairs, the tracers taking turns: what disturbs the machine for a while disturbs all of
//! them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use memtools_tests::{Workload, assert_no_probe_left, workloads_dir};

use crate::tracers::{Tracer, Tracers};

/// Bytes of a block: from the thread's own cache, the fastest that malloc can be.
const BLOCK_BYTES: usize = 64;

/// What the workload does.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub threads: usize,
    /// The depth of the stack that malloc is called on.
    pub frames: usize,
}

/// How much is measured.
pub struct Effort {
    pub rounds: usize,
    /// Measurements under one attachment; their median is the round's figure.
    pub laps: usize,
    /// About how long each of them takes.
    pub lap: Duration,
}

/// One tracer's rounds, in nanoseconds a pair.
pub struct Series {
    pub tracer: Tracer,
    pub rounds: Vec<f64>,
}

/// All tracers in one case. The n-th rounds of all series were neighbours in time.
pub struct CaseResult {
    pub case: Case,
    pub series: Vec<Series>,
}

impl CaseResult {
    pub fn of(&self, tracer: Tracer) -> Option<&Series> {
        self.series.iter().find(|series| series.tracer == tracer)
    }

    /// The median of what the rounds of `tracer` cost in relation to their neighbours of `peer`.
    pub fn ratio(&self, tracer: Tracer, peer: Tracer) -> Option<f64> {
        let pairs = self.of(tracer)?.rounds.iter().zip(&self.of(peer)?.rounds);
        Some(median(pairs.map(|(own, other)| own / other)))
    }
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

pub fn measure(case: Case, effort: &Effort, tracers: &Tracers) -> Result<CaseResult> {
    let mut series: Vec<Series> = tracers.all().into_iter().map(Series::new).collect();
    for round in 0..effort.rounds {
        // Each round begins with another one, so that none always follows the same neighbour.
        let first = round % series.len();
        let (late, early) = series.split_at_mut(first);
        for series in early.iter_mut().chain(late) {
            let pair = one_round(series.tracer, case, effort, tracers)?;
            series.rounds.push(pair);
        }
    }
    Ok(CaseResult { case, series })
}

impl Series {
    fn new(tracer: Tracer) -> Self {
        Self {
            tracer,
            rounds: Vec::new(),
        }
    }
}

/// A process of its own, since what one tracer leaves behind is not to be another one's affair.
fn one_round(tracer: Tracer, case: Case, effort: &Effort, tracers: &Tracers) -> Result<f64> {
    let mut workload = start(
        case,
        pairs(tracer, case, effort),
        &tracers.environment(tracer),
    );
    let attached = tracers.attach(tracer, workload.pid())?;
    // The first lap fills caches, and the tracer's tables with the stack.
    workload.run();
    let laps: Vec<f64> = (0..effort.laps)
        .map(|_| workload.run().fact("ns_per_pair") as f64)
        .collect();
    attached.detach()?;
    assert_no_probe_left(workload.pid());
    workload.quit();
    Ok(median(laps))
}

/// As many as fit into a lap; threads beyond the cores wait for each other.
fn pairs(tracer: Tracer, case: Case, effort: &Effort) -> u64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let turns = case.threads.div_ceil(cores) as u128;
    let pairs = effort.lap.as_nanos() / (tracer.expected_pair().as_nanos() * turns);
    (pairs as u64).max(100)
}

pub fn start(case: Case, pairs: u64, environment: &[String]) -> Workload {
    let mut args = environment.to_vec();
    args.push(workloads_dir().join("pairs").display().to_string());
    let numbers = [
        case.threads as u64,
        case.frames as u64,
        BLOCK_BYTES as u64,
        pairs,
    ];
    args.extend(numbers.map(|number| number.to_string()));
    Workload::start_at(Path::new("/usr/bin/env"), &args)
}
