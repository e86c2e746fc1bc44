//! Events as they come from the kernel, completed with what /proc says.

mod abi;
mod decode;
mod kernel;
mod stacks;

use std::cell::RefCell;
use std::io::Read;
use std::os::fd::RawFd;
use std::rc::Rc;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use libbpf_rs::{RingBuffer, RingBufferBuilder};
use memtools::events::monotonic_ns;
use memtools::target::mappings::Mappings;
use plain::Plain;

use crate::facts::{Facts, page_bytes};
use crate::model::{Comm, EndedBy, Event, Fact, Groups, Loss, Process, Reaped, Selection};
use kernel::Kernel;

pub use kernel::DomainWay;

/// How many records are taken from the ring at a time.
const BATCH: usize = 16;
/// The largest record, with its length before it.
const RECORD: usize = 4096;
/// How much of the list of processes is read at a time.
const LIST: usize = 64 * size_of::<abi::Process>();

/// What happened.
pub enum News<'a> {
    /// A victim was marked.
    Event(&'a Event),
    /// A victim's memory was back.
    Reaped(&'a Reaped),
}

/// The kernel side, and everything that stands between it and the output.
pub struct Collector {
    kernel: Kernel,
    ring: RingBuffer<'static>,
    /// Records that were taken from the ring, each behind its length.
    records: Rc<RefCell<Vec<u8>>>,
    /// Where they are looked at, in turn with the other.
    taken: Vec<u8>,
    list: Box<[u8; LIST]>,
    facts: Facts,
    groups: Groups,
    selection: Selection,
    /// The stacks of the kill that comes next.
    stacks: Box<abi::Stacks>,
    mappings: Mappings,
    clock: Clock,
}

impl Collector {
    /// Loads and attaches.
    pub fn start(selection: Selection, wants_stacks: bool) -> Result<Self> {
        let kernel = Kernel::start(wants_stacks)?;
        let records = Rc::new(RefCell::new(Vec::with_capacity(BATCH * RECORD)));
        let queue = Rc::clone(&records);
        // libbpf hands records to a callback; a panic there would abort, so it only copies.
        let keep = move |bytes: &[u8]| {
            if let Ok(mut queue) = queue.try_borrow_mut() {
                queue.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
                queue.extend_from_slice(bytes);
            }
            0
        };
        let mut builder = RingBufferBuilder::new();
        builder
            .add(kernel.events(), keep)
            .context("opening the ring buffer")?;
        let ring = builder.build().context("opening the ring buffer")?;
        Ok(Self {
            kernel,
            ring,
            records,
            taken: Vec::with_capacity(BATCH * RECORD),
            list: Box::new([0; LIST]),
            facts: Facts::open(),
            groups: Groups::default(),
            selection,
            stacks: Box::default(),
            mappings: Mappings::default(),
            clock: Clock::now(),
        })
    }

    /// Goes once through all that an event will need, so that it is in memory: the record of one that
    /// never was, its facts, the list of processes.
    pub fn rehearse(&mut self, mut tell: impl FnMut(&News<'_>)) {
        let selection = std::mem::take(&mut self.selection);
        self.take(&decode::rehearsal(), &mut tell);
        self.groups.forget_victims();
        self.selection = selection;
    }

    /// How the domain is found.
    pub fn way(&self) -> DomainWay {
        self.kernel.way
    }

    /// What a user should know before the first event.
    pub fn notes(&self) -> impl Iterator<Item = &'static str> {
        let kills = (!self.kernel.knows_kills)
            .then_some("this kernel does not tell a kill from a process that was exiting already");
        let pids = (!self.facts.has_pids()).then_some(
            "in this PID namespace /proc names other processes: command lines are known only where \
             the victim itself asked for memory",
        );
        let ends = (!self.kernel.knows_ends)
            .then_some("this kernel does not tell when the memory of a victim is back");
        kills.into_iter().chain(pids).chain(ends)
    }

    /// Readable when there is something to take.
    pub fn fd(&self) -> RawFd {
        self.ring.epoll_fd()
    }

    /// What was lost until now.
    pub fn loss(&self) -> Loss {
        self.kernel.loss()
    }

    /// How long to wait for others of a group, in milliseconds; -1: as long as it takes.
    pub fn patience_ms(&self) -> i32 {
        self.groups.deadline_ns().map_or(-1, |deadline| {
            let left = deadline.saturating_sub(monotonic_ns());
            i32::try_from(left.div_ceil(1_000_000)).unwrap_or(i32::MAX)
        })
    }

    /// Tells all that has come. `is_end`: nothing is waited for any more.
    pub fn collect(&mut self, is_end: bool, mut tell: impl FnMut(&News<'_>)) {
        loop {
            // An error is an interruption by a signal: what was not read is read the next time.
            let count = self.ring.consume_raw_n(BATCH);
            std::mem::swap(&mut self.taken, &mut self.records.borrow_mut());
            self.clock = Clock::now();
            let taken = std::mem::take(&mut self.taken);
            for record in Records(&taken) {
                self.take(record, &mut tell);
            }
            self.taken = taken;
            self.taken.clear();
            if count < BATCH as i32 {
                break;
            }
        }
        if is_end {
            self.groups.release();
        }
        self.groups.expire(monotonic_ns());
        self.tell_ready(&mut tell);
    }

    fn tell_ready(&mut self, tell: &mut impl FnMut(&News<'_>)) {
        while let Some(event) = self.groups.next() {
            tell(&News::Event(&event));
            self.groups.recycle(event);
        }
        // The kill comes before its end.
        while let Some(reaped) = self.groups.next_end() {
            tell(&News::Reaped(&reaped));
        }
    }

    fn take(&mut self, record: &[u8], tell: &mut impl FnMut(&News<'_>)) {
        let kind = record.first_chunk().map(|kind| u32::from_ne_bytes(*kind));
        match kind {
            Some(abi::EVENT_KILL) => self.take_kill(record),
            Some(abi::EVENT_STACKS) => self.take_stacks(record),
            Some(abi::EVENT_REAPED) => self.take_end(record, EndedBy::Reaper, tell),
            Some(abi::EVENT_EXITED) => self.take_end(record, EndedBy::Exit, tell),
            _ => {}
        }
        self.tell_ready(tell);
    }

    fn take_stacks(&mut self, record: &[u8]) {
        if self.stacks.copy_from_bytes(record).is_ok() {
            // The trigger may be the victim, and gone soon.
            self.mappings = stacks::mappings(self.stacks.thread);
        }
    }

    fn take_kill(&mut self, record: &[u8]) {
        let mut kill = abi::Kill::default();
        if kill.copy_from_bytes(record).is_err() {
            return;
        }
        let text = &record[size_of::<abi::Kill>()..];
        let mut event = self.groups.blank();
        decode::fill(&mut event, &kill, text, &self.clock, page_bytes());
        if !self.kernel.knows_kills {
            event.is_exiting = false;
            event.unknown.add(Fact::IsKill);
        }
        let is_shown = self.selection.has(&event);
        self.groups.await_end(&event, is_shown && !event.is_exiting);
        if !is_shown {
            self.groups.recycle(event);
            return;
        }
        // What is gone first comes first.
        self.facts.read_victim(&mut event);
        self.list_biggest(&mut event, kill.domain.memory_cgroup);
        self.facts.read_rest(&mut event);
        event.loss = self.kernel.loss();
        if self.stacks.time_ns == kill.time_ns {
            let named = stacks::name(&self.stacks, &std::mem::take(&mut self.mappings));
            event.trigger.stacks = Some(Box::new(named));
        }
        self.groups.push(event);
    }

    /// The biggest of the memory cgroup, or of all (0); and the victim, as it was.
    fn list_biggest(&mut self, event: &mut Event, cgroup: u64) {
        event.top_count = 0;
        if !event.unknown.has(Fact::Victim) {
            let victim = &event.victim;
            event.rank(Process {
                pid: victim.task.pid,
                comm: victim.task.comm,
                resident: victim.memory.resident(),
                swap: victim.memory.swap,
                oom_score_adj: victim.oom_score_adj,
            });
        }
        let Some(mut processes) = self.kernel.list_processes(cgroup) else {
            event.unknown.add(Fact::Top);
            return;
        };
        loop {
            let bytes = match processes.read(&mut self.list[..]) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(_) => {
                    event.unknown.add(Fact::Top);
                    break;
                }
            };
            for process in self.list[..bytes].chunks_exact(size_of::<abi::Process>()) {
                let mut found = abi::Process::default();
                if found.copy_from_bytes(process).is_ok() {
                    event.rank(ranked(&found));
                }
            }
        }
    }

    fn take_end(&mut self, record: &[u8], by: EndedBy, tell: &mut impl FnMut(&News<'_>)) {
        let mut end = abi::End::default();
        if end.copy_from_bytes(record).is_err() {
            return;
        }
        let time = self.clock.time_of(end.time_ns);
        if let Some(reaped) = self.groups.end(end.task, by, end.time_ns, time) {
            tell(&News::Reaped(&reaped));
        }
    }
}

fn ranked(process: &abi::Process) -> Process {
    let page = page_bytes();
    Process {
        pid: process.process,
        comm: Comm(process.comm),
        resident: (process.anon_rss + process.file_rss + process.shmem_rss) * page,
        swap: process.swap * page,
        oom_score_adj: process.oom_score_adj,
    }
}

/// Records, each behind its length.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        let bytes = u32::from_ne_bytes(*bytes) as usize;
        let (record, rest) = rest.split_at_checked(bytes)?;
        self.0 = rest;
        Some(record)
    }
}

/// What the kernel's clocks say now, and the wall clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: Timestamp,
    monotonic_ns: u64,
    boottime_ns: u64,
}

impl Clock {
    fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            monotonic_ns: monotonic_ns(),
            boottime_ns: boottime_ns(),
        }
    }

    /// The wall clock at a time of CLOCK_MONOTONIC.
    fn time_of(&self, monotonic_ns: u64) -> Timestamp {
        self.before(self.monotonic_ns.saturating_sub(monotonic_ns))
    }

    /// The wall clock at a time of CLOCK_BOOTTIME.
    fn time_of_boottime(&self, boottime_ns: u64) -> Timestamp {
        self.before(self.boottime_ns.saturating_sub(boottime_ns))
    }

    fn before(&self, ns: u64) -> Timestamp {
        let earlier = SignedDuration::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX));
        self.wall.checked_sub(earlier).unwrap_or(self.wall)
    }
}

fn boottime_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes into our own variable.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
