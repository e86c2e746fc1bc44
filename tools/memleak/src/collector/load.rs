//! What the probes cost the target: an estimate from their hits and from what a hit cost in the
//! self-test on this machine.

use std::time::{Duration, Instant};

use memtools::attach::Way;

use super::abi::Counter;
use super::kernel::Counters;
use crate::functions::Role;
use crate::plan::Plan;
use crate::snapshot::{Events, ProbeLoad};
use memtools::attach::Uprobes;

/// What our programs add to an empty probe, in nanoseconds: the walk, the tables. Measured by
/// `cargo xtask bench memleak`.
const ALLOC_WORK_NS: u64 = 550;
const FREE_WORK_NS: u64 = 100;

/// For so long, `--max-overhead` has to be passed.
const PATIENCE: u32 = 3;
const WINDOW: Duration = Duration::from_secs(1);

/// What each kind of event costs, in nanoseconds and hits.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    alloc_ns: u64,
    free_ns: u64,
    sample_ns: u64,
    anchor_ns: u64,
    mapping_ns: u64,
    nested_ns: u64,
    nested_hits: u64,
}

impl Prices {
    /// From a plan.
    pub fn new(plan: &Plan, uprobes: &Uprobes) -> Self {
        let event = |role| plan.event_cost_ns(role, &uprobes.cost);
        // In a session the kernel is told that the return is not wanted.
        let session = uprobes.way == Way::Session;
        let entry = event(Role::Malloc).saturating_sub(uprobes.cost.return_ns);
        Self {
            alloc_ns: event(Role::Malloc) + ALLOC_WORK_NS,
            free_ns: event(Role::Free) + FREE_WORK_NS,
            sample_ns: event(Role::Sample) + ALLOC_WORK_NS,
            anchor_ns: event(Role::Anchor),
            mapping_ns: event(Role::Mmap),
            nested_ns: if session { entry } else { event(Role::Malloc) },
            nested_hits: if session { 1 } else { 2 },
        }
    }
}

/// Hits, and the time they took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    hits: u64,
    ns: u64,
}

impl Spent {
    /// What all events so far have cost.
    pub fn new(events: &Events, counters: &Counters, prices: &Prices) -> Self {
        // The process's own samples are priced by their number, and not by what they stand for.
        let samples = counters.get(Counter::SampleHits);
        let all = events.allocs + events.failed;
        let allocs = all.saturating_sub(counters.get(Counter::SampledAllocs));
        let frees = events.frees;
        let frees = frees.saturating_sub(counters.get(Counter::SampledFrees));
        let anchors = counters.get(Counter::AnchorHits);
        let mappings = counters.get(Counter::MappingHits);
        let nested = counters.get(Counter::NestedCalls);
        Self {
            hits: 2 * allocs + frees + samples + anchors + mappings + prices.nested_hits * nested,
            ns: allocs * prices.alloc_ns
                + frees * prices.free_ns
                + samples * prices.sample_ns
                + anchors * prices.anchor_ns
                + mappings * prices.mapping_ns
                + nested * prices.nested_ns,
        }
    }

    /// Whether any probe was hit.
    pub fn is_nothing(&self) -> bool {
        self.hits == 0
    }
}

/// One look at the target.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    spent: Spent,
    cpu_ns: Option<u64>,
}

impl Sample {
    fn share_since(&self, before: &Self) -> Option<f64> {
        let cpu = self.cpu_ns?.checked_sub(before.cpu_ns?)?;
        let spent = self.spent.ns.saturating_sub(before.spent.ns);
        (cpu > 0).then(|| (spent as f64 / cpu as f64 * 100.0).min(100.0))
    }
}

/// Follows the cost over time.
#[derive(Debug)]
pub struct LoadMeter {
    last_report: Sample,
    last_load: ProbeLoad,
    window: Sample,
    windows_above: u32,
    limit: Option<f64>,
}

impl LoadMeter {
    /// Begins now; `limit` in percent of the target's CPU time.
    pub fn new(limit: Option<f64>, cpu_ns: Option<u64>) -> Self {
        let start = Sample {
            at: Instant::now(),
            spent: Spent::default(),
            cpu_ns,
        };
        Self {
            last_report: start,
            last_load: ProbeLoad::default(),
            window: start,
            windows_above: 0,
            limit,
        }
    }

    /// The load since the last report. `cpu_ns` is `None` once the target has ended: then the load
    /// of the last report stands.
    pub fn report(&mut self, spent: Spent, cpu_ns: Option<u64>) -> ProbeLoad {
        let now = Sample {
            at: Instant::now(),
            spent,
            cpu_ns: cpu_ns.or(self.window.cpu_ns),
        };
        let seconds = now.at.duration_since(self.last_report.at).as_secs_f64();
        let hits = spent.hits.saturating_sub(self.last_report.spent.hits);
        let load = ProbeLoad {
            hits: spent.hits,
            hits_per_s: if seconds > 0.0 {
                hits as f64 / seconds
            } else {
                0.0
            },
            cpu_percent: now.share_since(&self.last_report),
        };
        self.last_report = now;
        self.last_load = load;
        load
    }

    /// Whether a second has passed since the last look.
    pub fn is_due(&self) -> bool {
        self.window.at.elapsed() >= WINDOW
    }

    /// Looks again; `Some` when the limit was passed for too long, with the share.
    pub fn watch(&mut self, spent: Spent, cpu_ns: Option<u64>) -> Option<f64> {
        let now = Sample {
            at: Instant::now(),
            spent,
            cpu_ns: cpu_ns.or(self.window.cpu_ns),
        };
        let share = now.share_since(&self.window).unwrap_or(0.0);
        self.window = now;
        let limit = self.limit?;
        self.windows_above = if share > limit {
            self.windows_above + 1
        } else {
            0
        };
        (self.windows_above >= PATIENCE).then_some(share)
    }
}
