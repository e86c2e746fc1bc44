//! What is known at one moment.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use memtools::events::monotonic_ns;
use memtools::process;
use memtools::symbols::Location;
use memtools::target::mappings::Mappings;

use super::Session;
use crate::collector::abi::{self, Counter};
use crate::collector::accounts::Accounts;
use crate::collector::kernel::{Counters, Kernel};
use crate::collector::load::Spent;
use crate::snapshot::{Amount, Class, Events, Loss, MappingCalls, Snapshot, Stack};

impl Session {
    /// All that is known now.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
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
        let mut accounts = Accounts::new(self.options.list_blocks, min_age, now);
        self.add_heap(&mut accounts)?;
        // Reading takes time: stacks may be newer than the text that was known before.
        self.take_text_changes();
        let chunk_overhead = accounts.chunk_overhead;
        self.add_mappings(&mut accounts);
        let stacks = accounts
            .by_stack
            .into_iter()
            .map(|((slot, class), tally)| tally.into_account(self.stack(slot), class, now))
            .collect();
        let events = self.events_so_far(&counters);
        let spent = Spent::new(&events, &counters, &self.prices);
        let cpu_ns = (!self.has_ended)
            .then(|| process::cpu_time_ns(self.target.pid()))
            .flatten();
        if let Some(resident) = process::resident(self.target.live_thread()) {
            self.resident.now = Some(resident);
        }
        Ok(Snapshot {
            time: Timestamp::now(),
            elapsed: self.started.elapsed(),
            pid: self.target.pid(),
            comm: self.comm.clone(),
            has_ended: self.has_ended,
            stacks,
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
        })
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
            missed_frees: counters.get(Counter::LossMissedFrees),
            missed_returns: counters.get(Counter::LossMissedReturns),
            stacks: counters.get(Counter::LossStacks),
            truncated_stacks: counters.get(Counter::LossTruncatedStacks),
            threads: counters.get(Counter::LossThreads),
            mapping_events: counters.get(Counter::LossMappingEvents),
            trace_events: counters.get(Counter::LossTraceEvents),
            blind_ms: self.blind.as_millis() as u64,
            skipped_execs: self.skipped_execs,
            text_mappings: self.text.lost(),
        }
    }

    fn add_heap(&self, accounts: &mut Accounts) -> Result<()> {
        let generation = self.kernel.generation();
        if !self.options.only_totals {
            let read = self.kernel.for_each_block(generation, |address, block| {
                accounts.add_block(block.stack, address, block);
            });
            read.context("reading the table of live blocks")?;
        }
        for (slot, totals) in self.kernel.totals().filter(|(_, totals)| totals.allocs > 0) {
            let is_present = slot == abi::UNKNOWN_STACK
                || self
                    .kernel
                    .stack(slot)
                    .is_some_and(|stack| stack.generation == generation);
            if !is_present {
                continue;
            }
            let tally = accounts.by_stack.entry((slot, Class::Heap)).or_default();
            tally.allocs = totals.allocs;
            tally.frees = totals.frees;
            if self.options.only_totals {
                tally.live = Amount {
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
            let tally = accounts.by_stack.entry((slot, class.into())).or_default();
            tally.allocs = account.allocs;
            tally.frees = account.frees;
        }
        for mapping in self.intervals.live() {
            let (slot, class) = mapping.owner;
            accounts.add(
                (slot, class.into()),
                mapping.start,
                mapping.bytes,
                mapping.born_ns,
            );
        }
    }

    /// A stack with what its addresses meant when it was first seen.
    pub(super) fn stack(&mut self, slot: u32) -> Arc<Stack> {
        if slot == abi::UNKNOWN_STACK {
            return Arc::default();
        }
        if let Some(known) = self.stacks.get(&slot) {
            return known.clone();
        }
        let stack = Arc::new(resolve(&self.kernel, self.text.mappings(), slot));
        // One that ends early may only be ahead of the news of its text.
        if !stack.is_cut {
            self.stacks.insert(slot, stack.clone());
        }
        stack
    }
}

fn resolve(kernel: &Kernel, mappings: &Mappings, slot: u32) -> Stack {
    let Some(raw) = kernel.stack(slot) else {
        return Stack::default();
    };
    let depth = (raw.depth as usize).min(abi::MAX_FRAMES);
    let locations: Vec<Location> = raw.frames[..depth]
        .iter()
        .map_while(|&address| Location::of_return_address(mappings, address, raw.first_seen_ns))
        .collect();
    Stack {
        is_truncated: raw.flags & abi::STACK_TRUNCATED != 0,
        is_cut: raw.flags & abi::STACK_CUT != 0 || locations.len() < depth,
        locations,
    }
}
