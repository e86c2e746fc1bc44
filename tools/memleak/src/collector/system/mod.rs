//! The kernel's own memory under observation.

mod abi;
mod names;
mod programs;
mod ways;

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use memtools::attach::KernelError;
use memtools::cgroup;
use memtools::events::{EventReader, monotonic_ns};
use memtools::maps::{self, for_each_entry, summed_counters};
use memtools::output::clean;

use self::abi::Counter;
use self::names::Names;
use self::programs::Programs;
use self::ways::Ways;
use super::accounts::{Accounts, Census, Totals};
use super::{Message, Options, TraceEvent, Watched};
use crate::cli::{Allocators, Charge};
use crate::snapshot::{
    Amount, Class, Events, Loss, MappingCalls, Moment, ProbeLoad, ResidentChange, Snapshot, Stack,
};

/// How often it is asked which caches free unseen.
const UNSEEN: Duration = Duration::from_secs(2);
/// A user has no more patience with names than this.
const MOST_UNSEEN: usize = 16;

/// The kernel's memory, with the programs that tell of it.
pub struct System {
    programs: Programs,
    options: Options,
    charge: Option<Charge>,
    cgroups: Option<cgroup::Names>,
    names: Names,
    events: EventReader<abi::Event>,
    /// The place of a stack in `stacks`, by its hash.
    slots: HashMap<u64, u32>,
    stacks: Vec<(Arc<Stack>, Class)>,
    started: Instant,
    started_ns: u64,
    base_line_ns: u64,
    last: (Instant, u64),
    unseen: HashSet<String>,
    unseen_asked: Instant,
    notes: Vec<String>,
}

impl System {
    /// Begins recording.
    pub fn begin(
        options: &Options,
        wanted: Allocators,
        charge: Option<Charge>,
    ) -> Result<Self, KernelError> {
        let ways = Ways::find()?;
        let is_memory_v1 = cgroup::Mounts::find().unified.is_none();
        let programs = Programs::start(options, &ways, wanted, charge, is_memory_v1)?;
        let events = EventReader::new(&programs.skel.maps.events)
            .map_err(|source| KernelError::new("opening the ring buffer", source))?;
        let now = Instant::now();
        let mut system = Self {
            notes: notes(&programs, wanted),
            names: Names::new(programs.allocators, options.max_stack_depth),
            programs,
            options: options.clone(),
            charge,
            cgroups: (charge == Some(Charge::Cgroup)).then(|| cgroup::Names::new(is_memory_v1)),
            events,
            slots: HashMap::new(),
            stacks: Vec::new(),
            started: now,
            started_ns: monotonic_ns(),
            base_line_ns: 0,
            last: (now, 0),
            unseen: HashSet::new(),
            unseen_asked: now,
        };
        system.programs.enable(true);
        Ok(system)
    }

    /// What a user should know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is traced, for people.
    pub fn traced(&self) -> String {
        self.programs.allocators.names().join(", ")
    }

    fn take_events(&mut self) -> Option<Message> {
        let now = monotonic_ns();
        let events: Vec<TraceEvent> = self
            .events
            .drain()
            .iter()
            .map(|event| TraceEvent {
                age: Duration::from_nanos(now.saturating_sub(event.time_ns)),
                is_alloc: event.is_alloc != 0,
                process: 0,
                thread: event.thread,
                address: event.address,
                bytes: event.bytes,
            })
            .collect();
        (!events.is_empty()).then_some(Message::Trace(events))
    }

    /// Caches of which objects were seen to come again that had not been seen to go.
    fn take_unseen(&mut self) -> Vec<Message> {
        if self.unseen_asked.elapsed() < UNSEEN || self.unseen.len() >= MOST_UNSEEN {
            return Vec::new();
        }
        self.unseen_asked = Instant::now();
        let mut names: Vec<String> = Vec::new();
        let map = &self.programs.skel.maps.unseen;
        let _ = for_each_entry(map, |_: &u64, unseen: &abi::UnseenFrees| {
            names.push(clean(&maps::text(&unseen.name)));
        });
        names.retain(|name| self.unseen.insert(name.clone()));
        if names.is_empty() {
            return Vec::new();
        }
        names.sort();
        vec![Message::Note(format!(
            "not every free of these caches' objects is told of: {}; what is shown of them can be too \
             much, until their memory is used again",
            names.join(", ")
        ))]
    }

    fn read(&mut self) -> Result<Snapshot> {
        let now = monotonic_ns();
        let counters = summed_counters(&self.programs.skel.maps.counters, abi::COUNTERS)
            .context("reading the counters")?;
        let counter = |counter: Counter| counters.get(counter as usize).copied().unwrap_or(0);
        let found = self.read_stacks()?;
        let mut accounts = Accounts::new(Census {
            started_ns: self.started_ns,
            young_after_ns: now.saturating_sub(self.options.min_age.as_nanos() as u64),
            fresh_after_ns: self.base_line_ns,
            list_blocks: self.options.list_blocks,
        });
        let mut events = Events {
            allocs: counter(Counter::LostAllocs) + counter(Counter::Unrecorded),
            frees: counter(Counter::UntrackedFrees),
            failed: counter(Counter::Failed),
        };
        for (slot, stack) in &found {
            events.allocs += stack.allocs.saturating_sub(stack.pieces);
            events.frees += stack.frees;
            let class = self.stacks[*slot as usize].1;
            accounts.tally(*slot, class).totals = self.totals(stack);
        }
        // Those are on the stacks' accounts, but nobody saw them.
        let missed_frees = counter(Counter::MissedFrees);
        events.frees = events.frees.saturating_sub(missed_frees);
        if !self.options.only_totals {
            self.read_blocks(&mut accounts)?;
        }
        let tallies = accounts.into_tallies().into_iter();
        let stacks = tallies
            .map(|((slot, class), tally)| {
                tally.into_account(self.stacks[slot as usize].0.clone(), class)
            })
            .collect();
        let loss = Loss {
            allocs: counter(Counter::LostAllocs),
            alloc_bytes: counter(Counter::LostAllocBytes),
            missed_frees,
            missed_returns: counter(Counter::LostCalls),
            stacks: counter(Counter::LostStacks),
            truncated_stacks: counter(Counter::TruncatedStacks),
            trace_events: counter(Counter::LostEvents),
            skipped_events: self.programs.missed() + counter(Counter::NotFollowed),
            ..Loss::default()
        };
        let moment = Moment {
            time: Timestamp::now(),
            elapsed: self.started.elapsed(),
            pid: 0,
            comm: "kernel".to_owned(),
            has_ended: false,
            events,
            mappings: MappingCalls::default(),
            untracked_frees: counter(Counter::UntrackedFrees),
            resident: ResidentChange::default(),
            chunk_overhead: 0,
            load: self.load(events),
            loss,
            is_sampled: false,
            processes: None,
        };
        Ok(Snapshot { moment, stacks })
    }

    fn totals(&self, stack: &abi::Stack) -> Totals {
        let live = Amount {
            bytes: stack.alloc_bytes.saturating_sub(stack.free_bytes),
            count: stack.allocs.saturating_sub(stack.frees),
        };
        Totals {
            allocs: stack.allocs.saturating_sub(stack.pieces),
            alloc_bytes: stack.alloc_bytes.saturating_sub(stack.piece_bytes),
            frees: stack.frees,
            live: if self.options.only_totals {
                live
            } else {
                Amount::default()
            },
        }
    }

    /// The stacks that anything was allocated by, each with its place in `self.stacks`.
    fn read_stacks(&mut self) -> Result<Vec<(u32, Box<abi::Stack>)>> {
        let mut read: Vec<(u64, Box<abi::Stack>)> = Vec::new();
        for_each_entry(
            &self.programs.skel.maps.stacks,
            |hash: &u64, stack: &abi::Stack| {
                if stack.allocs > 0 {
                    read.push((*hash, Box::new(*stack)));
                }
            },
        )?;
        let is_new = |hash: &u64| !self.slots.contains_key(hash);
        let new = read.iter().filter(|(hash, _)| is_new(hash));
        let new: Vec<&abi::Stack> = new.map(|(_, stack)| &**stack).collect();
        self.names.look_up(&new);
        let cgroups = self.name_cgroups(&new);
        let mut found = Vec::with_capacity(read.len());
        for (hash, stack) in read {
            let next = self.stacks.len() as u32;
            let slot = *self.slots.entry(hash).or_insert(next);
            if slot == next {
                let owner = match self.charge {
                    None => None,
                    Some(Charge::Comm) => Some(("process", maps::text(&stack.comm))),
                    Some(Charge::Cgroup) => {
                        let name = cgroups.get(&stack.cgroup).cloned();
                        Some((
                            "cgroup",
                            name.unwrap_or_else(|| format!("(gone: {})", stack.cgroup)),
                        ))
                    }
                };
                self.stacks.push(self.names.stack(&stack, owner));
            }
            found.push((slot, stack));
        }
        Ok(found)
    }

    fn name_cgroups(&mut self, stacks: &[&abi::Stack]) -> HashMap<u64, String> {
        let ids = stacks.iter().map(|stack| stack.cgroup);
        self.cgroups
            .as_mut()
            .map(|names| names.name(ids))
            .unwrap_or_default()
    }

    fn read_blocks(&self, accounts: &mut Accounts) -> Result<()> {
        let read = for_each_entry(
            &self.programs.skel.maps.blocks,
            |key: &abi::BlockKey, block: &abi::Block| {
                // One whose stack has come since the stacks were read is younger than they are.
                if let Some(&slot) = self.slots.get(&block.stack) {
                    let class = self.stacks[slot as usize].1;
                    let amount = Amount::of_block(block.bytes);
                    accounts.add((slot, class), key.address, amount, block.born_ns);
                }
            },
        );
        read.context("reading the table of live blocks")
    }

    fn load(&mut self, events: Events) -> ProbeLoad {
        let hits = events.allocs + events.frees;
        let (then, before) = std::mem::replace(&mut self.last, (Instant::now(), hits));
        let seconds = then.elapsed().as_secs_f64().max(1e-3);
        ProbeLoad {
            hits,
            hits_per_s: hits.saturating_sub(before) as f64 / seconds,
            cpu_percent: None,
        }
    }
}

impl Watched for System {
    fn fds(&self) -> Vec<RawFd> {
        vec![self.events.fd()]
    }

    fn pump(&mut self) -> Vec<Message> {
        let mut messages = self.take_unseen();
        messages.extend(self.take_events());
        messages
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.read()
    }

    fn set_base_line(&mut self, is_set: bool) {
        self.base_line_ns = if is_set { monotonic_ns() } else { 0 };
    }

    fn finish(&mut self) -> Result<Snapshot> {
        self.programs.enable(false);
        let snapshot = self.read();
        self.programs.detach();
        snapshot
    }
}

fn notes(programs: &Programs, wanted: Allocators) -> Vec<String> {
    let mut notes = Vec::new();
    let why = programs.why_no_functions.as_deref();
    let why = why.unwrap_or("this kernel has no probes of its own functions (kprobes)");
    if wanted.vmalloc && !programs.allocators.vmalloc {
        notes.push(format!("vmalloc is not traced: {why}"));
    }
    if wanted.slab && !programs.sees_bulks {
        notes.push(format!(
            "objects that are freed in bulks (kfree_rcu and others) are not seen to go: {why}"
        ));
    } else if wanted.slab && !programs.sees_rcu {
        notes.push(
            "objects that kfree_rcu() takes are not seen to go: this kernel has no trampolines (fexit)"
                .to_owned(),
        );
    }
    notes
}
