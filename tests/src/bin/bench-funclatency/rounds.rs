//! Rounds of calls, the tracers taking turns: what disturbs the machine for a while disturbs all of
//! them.

use std::time::Duration;

use anyhow::{Result, ensure};
use memtools_tests::{Workload, assert_no_probe_left};

use crate::tracers::{Tracer, Tracers};

/// What the workload does, and what is held against the figures.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub function: &'static str,
    pub threads: usize,
    /// The most that funclatency may add, in relation to bcc's.
    pub limit: Option<f64>,
}

impl Case {
    fn symbol(self) -> &'static str {
        match self.function {
            "may_throw" => "_Z9may_throwi",
            plain => plain,
        }
    }
}

/// How much is measured.
pub struct Effort {
    pub rounds: usize,
    /// About how long a lap takes.
    pub lap: Duration,
}

/// Laps under one attachment, beside the first; their median is the round's figure.
const LAPS: usize = 3;

/// One tracer's rounds, in nanoseconds a call.
pub struct Series {
    pub tracer: Tracer,
    rounds: Vec<f64>,
}

impl Series {
    fn new(tracer: Tracer) -> Self {
        Self {
            tracer,
            rounds: Vec::new(),
        }
    }

    pub fn median(&self) -> f64 {
        median(self.rounds.iter().copied())
    }

    pub fn least_and_most(&self) -> (f64, f64) {
        let rounds = self.rounds.iter().copied();
        (
            rounds.clone().fold(f64::INFINITY, f64::min),
            rounds.fold(0.0, f64::max),
        )
    }
}

/// All tracers in one case. The n-th rounds of all series were neighbours in time.
pub struct CaseResult {
    pub case: Case,
    pub series: Vec<Series>,
}

impl CaseResult {
    fn of(&self, tracer: Tracer) -> Option<&Series> {
        self.series.iter().find(|series| series.tracer == tracer)
    }

    /// What the rounds of `tracer` took more than their neighbours without a tracer.
    fn added_by_round(&self, tracer: Tracer) -> Option<Vec<f64>> {
        let without = &self.of(Tracer::Untraced)?.rounds;
        let pairs = self.of(tracer)?.rounds.iter().zip(without);
        Some(pairs.map(|(with, without)| with - without).collect())
    }

    pub fn added(&self, tracer: Tracer) -> Option<f64> {
        Some(median(self.added_by_round(tracer)?))
    }

    /// The median of what rounds of `tracer` add, in relation to their neighbours of `peer`.
    pub fn ratio(&self, tracer: Tracer, peer: Tracer) -> Option<f64> {
        let (own, peer) = (self.added_by_round(tracer)?, self.added_by_round(peer)?);
        Some(median(own.iter().zip(peer).map(|(own, peer)| own / peer)))
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
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
            let ns = one_round(series.tracer, case, effort, tracers)?;
            series.rounds.push(ns);
        }
    }
    Ok(CaseResult { case, series })
}

/// A process of its own, since what one tracer leaves behind is not to be another one's affair.
fn one_round(tracer: Tracer, case: Case, effort: &Effort, tracers: &Tracers) -> Result<f64> {
    let calls = (effort.lap.as_nanos() / tracer.expected_call().as_nanos()) as u64;
    let (threads, each) = (case.threads.to_string(), calls.to_string());
    let mut workload = Workload::start("callloop", &[case.function, &threads, &each]);
    let attached = tracers.attach(tracer, workload.pid(), case.symbol())?;
    // The first lap fills caches.
    let mut made = workload.run().fact("calls");
    let laps: Vec<f64> = (0..LAPS)
        .map(|_| {
            let truth = workload.run();
            made = truth.fact("calls");
            truth.fact("ns") as f64 / calls as f64
        })
        .collect();
    if let Some(counted) = attached.detach()? {
        ensure!(
            counted == made,
            "{}: {counted} of {made} calls were counted",
            tracer.name()
        );
    }
    assert_no_probe_left(workload.pid());
    workload.quit();
    Ok(median(laps))
}
