//! Snapshots of all that was counted since the start.

mod abi;
mod kernel;
mod threads;
mod wanted;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use libbpf_rs::MapCore;
use memtools::attach::Hook;
use memtools::cgroup::Names as Owners;
use memtools::maps::{
    self, SharedWords, for_each_entry, for_each_per_cpu, for_each_sum, summed_counters,
};
use memtools::process::Undisturbed;

use crate::calls::{Abi, Call};
use crate::model::{By, Figures, Key, Loss, Snapshot};
use abi::{CallKey, CallStats, CellKey, OwnerName};
use kernel::{Loaded, Ways};
use threads::Threads;

pub use wanted::Wanted;

/// Everything that is attached.
pub struct Collector {
    wanted: Wanted,
    ways: Ways,
    loaded: Loaded,
    calls: SharedWords<{ abi::TABLE_WORDS }>,
    threads: Option<Threads>,
    owners: Owners,
    started: Instant,
    /// There are intervals: who has ended is told of once more, and forgotten.
    forgets: bool,
    /// What those had that have ended.
    retired: HashMap<Key, Figures>,
    retired_names: HashMap<u64, String>,
    tidied: Instant,
}

impl Collector {
    /// Loads and attaches; then looks at what goes on already. `forgets`: there will be many snapshots,
    /// and each need only tell of an owner that has ended if it has done so since the last.
    pub fn start(wanted: Wanted, forgets: bool) -> Result<Self> {
        let mut ways = Ways::find();
        let mut loaded = Loaded::load(&wanted, &mut ways)?;
        loaded.attach()?;
        let started = Instant::now();
        let mut owners = Owners::new(wanted.is_memory_v1);
        let link = loaded.threads.take();
        let threads = link.map(|link| Threads::start(link, &wanted, &mut owners));
        Ok(Self {
            calls: SharedWords::new(&loaded.skel.maps.calls)?,
            wanted,
            ways,
            loaded,
            threads,
            owners,
            started,
            forgets,
            retired: HashMap::new(),
            retired_names: HashMap::new(),
            tidied: started,
        })
    }

    /// For people: where figures come from.
    pub fn explain(&self) -> String {
        let events = match self.ways.hook {
            Hook::Tracepoint => "raw_syscalls by classic tracepoint (raw ones lose events here)",
            _ => "sys_enter and sys_exit by raw tracepoint",
        };
        let records = match (self.wanted.times, self.ways.has_task_storage) {
            (false, _) => "nothing is timed",
            (true, true) => "entry times in the tasks themselves",
            (true, false) => "entry times in a table of threads",
        };
        format!("{events}, {records}")
    }

    /// What there is now. An interval ends.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let _undisturbed = self.undisturbed();
        let interval = self.loaded.end_interval();
        let elapsed = self.started.elapsed();
        if matches!(self.wanted.by, By::Process | By::Thread) {
            self.retire(interval)?;
        }
        let mut names = self.retired_names.clone();
        let mut figures = self.figures(interval, &mut names)?;
        for (key, retired) in &self.retired {
            figures.entry(*key).or_default().merge(retired);
        }
        let mut gone = Vec::new();
        if self.forgets {
            gone.extend(self.retired.drain().map(|(key, _)| key));
            self.retired_names.clear();
        }
        let in_flight = match &mut self.threads {
            Some(threads) => threads.read(&self.wanted, &mut names)?,
            None => Vec::new(),
        };
        if self.wanted.by == By::Cgroup {
            let owners = figures.keys().chain(in_flight.iter().map(|call| &call.key));
            names = self.owners.name(owners.map(|key| key.owner));
        }
        Ok(Snapshot {
            time: Timestamp::now(),
            elapsed,
            figures,
            names,
            in_flight,
            loss: self.loss()?,
            has_ended: self.wanted.has_ended(),
            gone,
        })
    }

    /// All that is in the kernel's tables.
    fn figures(
        &self,
        interval: u32,
        names: &mut HashMap<u64, String>,
    ) -> Result<HashMap<Key, Figures>> {
        let maps = &self.loaded.skel.maps;
        let mut figures: HashMap<Key, Figures> = HashMap::new();
        let mut take = |key: Key, values: &[CallStats]| {
            let sum = sum(values, interval);
            if sum.count > 0 || sum.ended > 0 || sum.errors > 0 {
                figures.insert(key, sum);
            }
        };
        if matches!(self.wanted.by, By::Call | By::Errno) {
            for slot in 0..abi::CALL_SLOTS {
                let call = Call::of_slot(slot);
                take(Key { owner: 0, call }, &self.slot(slot as usize));
            }
        } else if self.wanted.by != By::Cgroup {
            for_each_entry::<u64, OwnerName>(&maps.names, |owner, name| {
                names.insert(*owner, maps::text(&name.text));
            })?;
        }
        for_each_per_cpu::<CallKey, CallStats>(&maps.rows, |key, values| {
            take(key_of(key), values);
        })?;
        if self.wanted.times || self.wanted.by_errno {
            for_each_sum::<CellKey, 1>(&maps.cells, |cell, [count]| {
                let Some(figures) = figures.get_mut(&key_of_cell(cell)) else {
                    return;
                };
                match cell.cell.checked_sub(abi::FIRST_ERRNO_CELL) {
                    Some(errno) => *figures.errnos.entry(errno).or_default() += count,
                    None => figures.histogram.add(cell.cell.into(), *count),
                }
            })
            .context("reading durations")?;
        }
        Ok(figures)
    }

    /// What each CPU has counted of a call.
    fn slot(&self, slot: usize) -> Vec<CallStats> {
        let at = slot * CallStats::WORDS;
        let tables = self.calls.iter();
        tables
            .map(|table| CallStats::of(&table[at..at + CallStats::WORDS]))
            .collect()
    }

    /// Makes room for others where rows are by process or thread: what those that have ended left in
    /// the kernel's tables is kept here. Does so from time to time, however often it is called.
    pub fn tidy(&mut self) -> Result<()> {
        const OFTEN: Duration = Duration::from_millis(500);
        if matches!(self.wanted.by, By::Process | By::Thread) && self.tidied.elapsed() >= OFTEN {
            let _undisturbed = self.undisturbed();
            self.retire(self.interval())?;
        }
        Ok(())
    }

    /// Where others would be missed that run here in the middle of a read.
    fn undisturbed(&self) -> Option<Undisturbed> {
        (self.ways.hook == Hook::Tracepoint).then(Undisturbed::begin)
    }

    fn interval(&self) -> u32 {
        self.loaded.interval()
    }

    /// Takes the rows out of the kernel's tables whose owners have ended: nobody writes there.
    fn retire(&mut self, interval: u32) -> Result<()> {
        self.tidied = Instant::now();
        let maps = &self.loaded.skel.maps;
        let mut owners: BTreeSet<u64> = BTreeSet::new();
        for_each_entry::<u64, OwnerName>(&maps.names, |owner, _| {
            owners.insert(*owner);
        })?;
        // Before what they have is read.
        owners.retain(|owner| !Path::new(&format!("/proc/{owner}")).exists());
        if owners.is_empty() {
            return Ok(());
        }
        let mut names = HashMap::new();
        let figures = self.figures(interval, &mut names)?;
        let mut cells = Vec::new();
        if self.wanted.times || self.wanted.by_errno {
            for_each_sum::<CellKey, 1>(&maps.cells, |cell, _| {
                if owners.contains(&cell.owner) {
                    cells.push(*cell);
                }
            })?;
        }
        for cell in &cells {
            // SAFETY: a structure of numbers without padding.
            let _ = maps.cells.delete(unsafe { plain::as_bytes(cell) });
        }
        for (key, figures) in figures {
            if owners.contains(&key.owner) {
                let row = CallKey {
                    owner: key.owner,
                    call: key.call.number,
                    abi: key.call.abi as u32,
                };
                // SAFETY: as above.
                let _ = maps.rows.delete(unsafe { plain::as_bytes(&row) });
                self.retired.entry(key).or_default().merge(&figures);
            }
        }
        for owner in &owners {
            let _ = maps.names.delete(&owner.to_ne_bytes());
            if let Some(name) = names.remove(owner) {
                self.retired_names.insert(*owner, name);
            }
        }
        Ok(())
    }

    fn loss(&self) -> Result<Loss> {
        let counters = summed_counters(&self.loaded.skel.maps.counters, abi::COUNTERS)?;
        Ok(Loss {
            rows: counters[abi::LOST_ROWS],
            untimed: counters[abi::LOST_TIMES],
            cells: counters[abi::LOST_CELLS],
            children: counters[abi::LOST_FAMILY],
            missed: self.loaded.missed(),
        })
    }
}

fn key_of(key: &CallKey) -> Key {
    Key {
        owner: key.owner,
        call: Call::new(Abi::of(key.abi), key.call),
    }
}

fn key_of_cell(cell: &CellKey) -> Key {
    Key {
        owner: cell.owner,
        call: Call::new(Abi::of(cell.abi.into()), cell.call),
    }
}

/// Of all CPUs; the longest is that of the interval.
fn sum(values: &[CallStats], interval: u32) -> Figures {
    let half = interval as usize & 1;
    let mut sum = Figures::default();
    for stats in values {
        sum.count += stats.count;
        sum.ended += stats.ended;
        sum.errors += stats.errors;
        sum.total_ns += stats.total_ns;
        if stats.interval[half] == interval {
            sum.max_ns = sum.max_ns.max(stats.max_ns[half]);
        }
    }
    sum
}
