//! What is known at one moment.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use memtools::events::monotonic_ns;
use memtools::process;
use memtools::symbols::Location;

use super::Session;
use crate::collector::abi::{self, Counter};
use crate::collector::accounts::{Accounts, Census, Totals};
use crate::collector::kernel::{Counters, Kernel};
use crate::collector::load::Spent;
use crate::snapshot::{Amount, Class, Events, Loss, MappingCalls, Moment, Snapshot, Stack};

impl Session {
    /// All that is known now.
    pub(super) fn census(&mut self) -> Result<Snapshot> {
        self.take_text_changes();
        self.take_events();
        let now = monotonic_ns();
        let counters = self.kernel.counters().context("reading the counters")?;
        // After its end nobody will free them any more.
        let min_age = if self.has_ended {
            Duration::ZERO
        } else {
            self.options.min_age
        };
        let mut accounts = Accounts::new(Census {
            started_ns: self.started_ns,
            young_after_ns: now.saturating_sub(min_age.as_nanos() as u64),
            fresh_after_ns: self.base_line_ns,
            list_blocks: self.options.list_blocks,
        });
        self.add_heap(&mut accounts)?;
        // Reading takes time: stacks may be newer than the text that was known before.
        self.take_text_changes();
        let chunk_overhead = accounts.chunk_overhead;
        self.add_mappings(&mut accounts);
        let stacks = accounts
            .into_tallies()
            .into_iter()
            .map(|((slot, class), tally)| tally.into_account(self.stack(slot), class))
            .collect();
        let events = self.events_so_far(&counters);
        let spent = Spent::new(&events, &counters, &self.prices);
        let cpu_ns = (!self.has_ended)
            .then(|| process::cpu_time_ns(self.target.pid()))
            .flatten();
        if let Some(resident) = process::resident(self.target.live_thread()) {
            self.resident.now = Some(resident);
        }
        let moment = Moment {
            time: Timestamp::now(),
            elapsed: self.started.elapsed(),
            pid: self.target.pid(),
            comm: self.comm.clone(),
            has_ended: self.has_ended,
            events,
            mappings: MappingCalls {
                maps: counters.get(Counter::Maps),
                unmaps: counters.get(Counter::Unmaps),
                remaps: counters.get(Counter::Remaps),
            },
            untracked_frees: counters.get(Counter::UntrackedFrees),
            resident: self.resident,
            chunk_overhead,
            load: self.meter.report(spent, cpu_ns),
            loss: self.loss(&counters),
            is_sampled: self.plan.uses_sampler(),
            processes: None,
        };
        Ok(Snapshot { moment, stacks })
    }

    /// All calls, whether their blocks are tracked or not.
    pub(super) fn events_so_far(&self, counters: &Counters) -> Events {
        let mut events = Events {
            allocs: counters.get(Counter::LossAllocs) + counters.get(Counter::Unrecorded),
            frees: counters.get(Counter::UntrackedFrees),
            failed: counters.get(Counter::Failed),
        };
        for (_, totals) in self.kernel.totals() {
            events.allocs += totals.allocs;
            events.frees += totals.frees;
        }
        // A missed free was put to the stack's account, but nobody saw it.
        events.frees = events
            .frees
            .saturating_sub(counters.get(Counter::LossMissedFrees));
        events
    }

    fn loss(&self, counters: &Counters) -> Loss {
        Loss {
            allocs: counters.get(Counter::LossAllocs),
            alloc_bytes: counters.get(Counter::LossAllocBytes),
            missed_frees: counters.get(Counter::LossMissedFrees)
                + counters.get(Counter::LossSampleFrees),
            missed_returns: counters.get(Counter::LossMissedReturns),
            stacks: counters.get(Counter::LossStacks),
            truncated_stacks: counters.get(Counter::LossTruncatedStacks),
            threads: counters.get(Counter::LossThreads),
            mapping_events: counters.get(Counter::LossMappingEvents),
            trace_events: counters.get(Counter::LossTraceEvents),
            blind_ms: self.blind.as_micros().div_ceil(1000) as u64,
            skipped_execs: self.skipped_execs,
            text_mappings: self.text.lost(),
            ..Loss::default()
        }
    }

    fn add_heap(&mut self, accounts: &mut Accounts) -> Result<()> {
        let generation = self.kernel.generation();
        if !self.options.only_totals {
            let read = self.kernel.for_each_block(generation, |address, block| {
                accounts.add_block(address, block);
            });
            read.context("reading the table of live blocks")?;
        }
        for (slot, totals) in self.kernel.totals().filter(|(_, totals)| totals.allocs > 0) {
            let image = image_of(&mut self.stack_images, slot, &self.kernel);
            if slot != abi::UNKNOWN_STACK && image != Some(generation) {
                continue;
            }
            let tally = accounts.tally(slot, Class::Heap);
            tally.totals = Totals {
                allocs: totals.allocs,
                alloc_bytes: totals.alloc_bytes,
                frees: totals.frees,
                live: Amount::default(),
            };
            if self.options.only_totals {
                tally.totals.live = Amount {
                    bytes: totals.alloc_bytes.saturating_sub(totals.free_bytes),
                    count: totals.allocs.saturating_sub(totals.frees),
                };
            }
        }
        Ok(())
    }

    fn add_mappings(&mut self, accounts: &mut Accounts) {
        if self.mapped_image != self.kernel.generation() {
            self.intervals.clear();
        }
        for ((slot, class), account) in self.intervals.accounts() {
            let tally = accounts.tally(slot, class.into());
            tally.totals = Totals {
                allocs: account.allocs,
                alloc_bytes: account.alloc_bytes,
                frees: account.frees,
                live: Amount::default(),
            };
        }
        for mapping in self.intervals.live() {
            let (slot, class) = mapping.owner;
            accounts.add(
                (slot, class.into()),
                mapping.start,
                Amount::of_block(mapping.bytes),
                mapping.born_ns,
            );
        }
    }

    /// A stack with what its addresses meant when it was first seen.
    pub(super) fn stack(&mut self, slot: u32) -> Arc<Stack> {
        if slot == abi::UNKNOWN_STACK {
            return Arc::default();
        }
        let (text, at) = (self.text.version(), slot as usize);
        if let Some(Some((known, version))) = self.stacks.get(at)
            && (!known.is_cut || *version == text)
        {
            return known.clone();
        }
        // One that ends early may only be ahead of the news of its text.
        let stack = Arc::new(self.resolve(slot));
        if at >= self.stacks.len() {
            self.stacks.resize(at + 1, None);
        }
        self.stacks[at] = Some((stack.clone(), text));
        stack
    }

    fn resolve(&mut self, slot: u32) -> Stack {
        let Some(raw) = self.kernel.stack(slot) else {
            return Stack::default();
        };
        let depth = (raw.depth as usize).min(abi::MAX_FRAMES);
        let mut locations = Vec::with_capacity(depth);
        for &address in &raw.frames[..depth] {
            let Some(location) = self.location(address, raw.first_seen_ns) else {
                break;
            };
            locations.push(location);
        }
        Stack {
            is_truncated: raw.flags & abi::STACK_TRUNCATED != 0,
            is_cut: raw.flags & abi::STACK_CUT != 0 || locations.len() < depth,
            locations,
        }
    }

    /// Most addresses stand in many stacks.
    fn location(&mut self, address: u64, time_ns: u64) -> Option<Arc<Location>> {
        let mappings = self.text.mappings();
        let location = Location::of_return_address(mappings, address, time_ns)?;
        let known = self
            .locations
            .get(&address)
            .filter(|known| ***known == location);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let location = Arc::new(location);
        self.locations.insert(address, location.clone());
        Some(location)
    }
}

/// The image of a stack. It is asked for at each snapshot, and never changes once anything was
/// allocated there.
fn image_of(known: &mut Vec<Option<u32>>, slot: u32, kernel: &Kernel) -> Option<u32> {
    let at = slot as usize;
    if at >= known.len() {
        known.resize(at + 1, None);
    }
    if known[at].is_none() {
        known[at] = kernel.stack(slot).map(|stack| stack.generation);
    }
    known[at]
}
