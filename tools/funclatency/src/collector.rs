//! Snapshots of all that was counted since the start, and single calls that took long.

mod abi;
mod attach;
mod kernel;
mod slow;
mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;
use memtools::cgroup::Names;
use memtools::maps::{
    self, SharedWords, for_each_entry, for_each_per_cpu, for_each_sum, summed_counters,
};

use crate::model::outliers::{SlowCall, Slowest};
use crate::model::{Figures, Loss, Snapshot, SplitBy, SplitKey, SplitRow};
use crate::plan::{Plan, Watch};
use kernel::{Loaded, Way};
use slow::SlowCalls;

pub use abi::{COOKIE_CONDITION, COOKIE_KIND, EXIT_CONDITIONAL, EXIT_JUMP, EXIT_RETURN};
pub use wanted::Wanted;

/// Everything that is attached.
pub struct Collector {
    wanted: Wanted,
    way: Way,
    loaded: Loaded,
    functions: SharedWords<{ abi::STATS_WORDS }>,
    function_count: u32,
    slow: Option<SlowCalls>,
    slowest: Slowest,
    started: Instant,
    watch: Option<Watch>,
    cgroups: Names,
    tried: Vec<String>,
    /// Functions that could not be attached, and why.
    pub notes: Vec<String>,
}

impl Collector {
    /// Loads and attaches what a plan needs.
    pub fn start(wanted: Wanted, plan: &Plan, force_kprobes: bool) -> Result<Self> {
        let attached = attach::attach(&wanted, plan, force_kprobes)?;
        let loaded = attached.loaded;
        let slow = if wanted.wants_slow() {
            Some(SlowCalls::new(&loaded, &wanted)?)
        } else {
            None
        };
        let mut collector = Self {
            functions: loaded.functions()?,
            function_count: plan.functions.len() as u32,
            slow,
            slowest: Slowest::new(wanted.outliers.unwrap_or(0) as usize),
            way: attached.way,
            tried: attached.tried,
            notes: attached.notes,
            started: Instant::now(),
            watch: wanted.process.and_then(|process| plan.watch(process.pid)),
            cgroups: Names::new(wanted.is_memory_v1),
            wanted,
            loaded,
        };
        collector.set_floor();
        collector.loaded.enable();
        collector.started = Instant::now();
        Ok(collector)
    }

    /// For people: how functions are traced.
    pub fn explain(&self) -> String {
        let how = format!("{} by {}", functions_text(self.function_count), self.way);
        match &self.tried[..] {
            [] => how,
            tried => format!("{how} (not by {})", tried.join("; ")),
        }
    }

    /// Whether return probes can do harm from now on: why.
    pub fn danger(&mut self) -> Option<String> {
        let library = self.watch.as_mut().and_then(Watch::thrower)?;
        Some(format!(
            "the process has loaded {library}, which can throw: an exception that passes through a \
             function with a return probe would kill it, so tracing ends; traced again, such functions \
             have none"
        ))
    }

    /// Readable when single calls wait.
    pub fn slow_fd(&self) -> Option<RawFd> {
        self.slow.as_ref().map(SlowCalls::fd)
    }

    /// The single calls that took at least the threshold, since the last time; the slowest of all are
    /// kept.
    pub fn drain_slow(&mut self) -> Vec<SlowCall> {
        let Some(slow) = &mut self.slow else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for raw in slow.drain() {
            let is_told = self
                .wanted
                .threshold_ns
                .is_some_and(|least| raw.call.ns >= least);
            let is_kept = self.slowest.wants(raw.call.ns);
            if !is_told && !is_kept {
                continue;
            }
            let call = slow.named(&raw);
            if is_kept {
                self.slowest.add(call.clone());
            }
            if is_told {
                told.push(call);
            }
        }
        self.set_floor();
        told
    }

    /// The slowest calls of all, slowest first.
    pub fn slowest(&self) -> &[SlowCall] {
        self.slowest.calls()
    }

    fn set_floor(&mut self) {
        let outliers = self.wanted.outliers.map(|_| self.slowest.floor_ns());
        let floor = [outliers, self.wanted.threshold_ns]
            .into_iter()
            .flatten()
            .min();
        if let Some(floor) = floor {
            self.loaded.set_slow_ns(floor);
        }
    }

    /// What there is now. `ends_interval`: the extremes of the next one are new.
    pub fn snapshot(&mut self, ends_interval: bool) -> Result<Snapshot> {
        let interval = if ends_interval {
            self.loaded.end_interval()
        } else {
            self.loaded.interval()
        };
        let elapsed = self.started.elapsed();
        let functions = self.figures(interval);
        let split = match self.wanted.split {
            Some(by) => self.split(by, interval)?,
            None => BTreeMap::new(),
        };
        let loss = self.loss(&functions)?;
        Ok(Snapshot {
            time: Timestamp::now(),
            elapsed,
            functions,
            split,
            loss,
            has_ended: self.wanted.has_ended(),
        })
    }

    fn figures(&self, interval: u32) -> Vec<Figures> {
        let stripes = self.loaded.stripes;
        let of_function = |function: u32| {
            let mut figures = Figures::default();
            for stripe in 0..stripes {
                if let Some(words) = self.functions.get((function * stripes + stripe) as usize) {
                    abi::add_stats(&mut figures, words, interval);
                }
            }
            figures
        };
        (0..self.function_count).map(of_function).collect()
    }

    fn split(&mut self, by: SplitBy, interval: u32) -> Result<BTreeMap<SplitKey, SplitRow>> {
        let maps = &self.loaded.base.maps;
        let mut names = HashMap::new();
        if matches!(by, SplitBy::Pid | SplitBy::Tid | SplitBy::Comm) {
            for_each_entry::<u64, abi::SplitName>(&maps.names, |key, name| {
                names.insert(*key, maps::text(&name.text));
            })?;
        }
        let mut rows: BTreeMap<SplitKey, SplitRow> = BTreeMap::new();
        for_each_per_cpu::<abi::SplitKey, abi::SplitStats>(&maps.rows, |key, values| {
            let row = rows.entry(key_of(key)).or_default();
            for value in values {
                row.figures.merge(&value.figures(interval));
            }
        })?;
        for_each_sum::<abi::SplitKey, 1>(&maps.cells, |cell, [count]| {
            let Some(row) = rows.get_mut(&key_of(cell)) else {
                return;
            };
            match cell.slot.checked_sub(abi::FIRST_ROW) {
                Some(power) => {
                    let powers = &mut row.figures.rows;
                    powers.resize(powers.len().max(power as usize + 1), 0);
                    powers[power as usize] += count;
                }
                None => row.figures.histogram.add(cell.slot, *count),
            }
        })
        .context("reading durations")?;
        if by == SplitBy::Cgroup {
            names = self.cgroups.name(rows.keys().map(|key| key.key));
        }
        for (key, row) in &mut rows {
            row.name = names.get(&key.key).cloned();
        }
        Ok(rows)
    }

    fn loss(&self, functions: &[Figures]) -> Result<Loss> {
        let counters = summed_counters(&self.loaded.base.maps.counters, abi::COUNTERS)?;
        Ok(Loss {
            threads: counters[abi::LOST_THREADS],
            rows: counters[abi::LOST_ROWS],
            cells: counters[abi::LOST_CELLS],
            slow_calls: counters[abi::LOST_SLOW],
            events: self.loaded.missed(),
            missed_returns: functions.iter().map(|figures| figures.missed).sum(),
        })
    }
}

fn functions_text(count: u32) -> String {
    memtools::output::counted(count.into(), "function")
}

fn key_of(key: &abi::SplitKey) -> SplitKey {
    SplitKey {
        function: key.function,
        key: key.key,
    }
}
