//! Several processes under observation, each by a session of its own: those that are there, and those
//! that come.

mod arrivals;
mod choice;
mod member;
mod spares;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::RawFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use memtools::events::monotonic_ns;
use memtools::target::mapping_events::{MappingEventSource, MappingEvents};
use memtools::target::process_events::ProcessEvents;

pub use self::choice::{Choice, Filter, Matcher};
use self::member::{Member, Part};
pub use self::spares::Spares;
use super::{Message, Session, Watched};
use crate::snapshot::{
    Amount, Events, Loss, MappingCalls, Moment, ProbeLoad, ProcessFigures, Processes,
    ResidentChange, Snapshot, StackAccount,
};

/// How often everybody is looked at who may match by now: another cgroup is no event.
const LOOK: Duration = Duration::from_secs(1);
/// How often the processes' own events are taken, at most.
const PUMP: Duration = Duration::from_millis(10);
/// How long those that are there at the beginning wait for each other.
const LONGEST_BEGINNING: Duration = Duration::from_secs(10);
/// How many processes that have ended keep what they had not freed.
const MOST_ENDED: usize = 1000;

/// Puts the probes into a process.
pub type Attach = Box<dyn FnMut(u32, MappingEvents, Arrival) -> Result<Session> + Send>;

/// When a process came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    AtBeginning,
    /// What it maps may not be there yet.
    Later,
}

/// What a family is made of.
pub struct Setup {
    pub choice: Choice,
    pub matcher: Matcher,
    pub attach: Attach,
    pub mapping_events: MappingEventSource,
    pub process_events: ProcessEvents,
    /// Where programs go whose process has ended.
    pub spares: Option<Spares>,
    /// How many processes are traced at a time.
    pub most_processes: usize,
    /// A command's, from its first instruction on: then those of `choice` are not looked for.
    pub first: Option<Session>,
}

/// A process that is to be traced.
struct Candidate {
    pid: u32,
    /// When its program began, if that was seen.
    since_ns: Option<u64>,
    /// How often it was tried in vain, and when it may be tried again.
    tries: u32,
    not_before: Instant,
}

/// A process of which is known what becomes of it.
struct Settled {
    /// Since when (CLOCK_MONOTONIC, nanoseconds).
    at_ns: u64,
    /// When it began, in ticks: the number may be another process's later.
    start_time: Option<u64>,
    /// It cannot be traced, or there are too many: it is counted as unseen, and not tried again before
    /// its next program. The others were traced, and have ended.
    is_refused: bool,
}

/// A process that has ended.
struct Ended {
    figures: ProcessFigures,
    stacks: Vec<StackAccount>,
    bytes: u64,
}

/// The processes.
#[allow(clippy::struct_excessive_bools)] // what was said once
pub struct Family {
    choice: Choice,
    matcher: Matcher,
    attach: Attach,
    mapping_events: MappingEventSource,
    process_events: ProcessEvents,
    spares: Option<Spares>,
    most_processes: usize,
    members: BTreeMap<u32, Member>,
    waiting: VecDeque<Candidate>,
    /// Those that are not waited for any more: older records of them have nothing to tell.
    settled: HashMap<u32, Settled>,
    /// Whose children are followed: also of those that have ended by the time it is told.
    kin: HashSet<u32>,
    ended: Vec<Ended>,
    /// The first that there was: it stands for all of them.
    first: Option<(u32, String)>,
    /// Hits of the probes as they were last told, and when.
    told_hits: (Instant, u64),
    /// What those that have ended came to.
    past: Past,
    /// Probes of processes that have ended, on their way out.
    leaving: Vec<JoinHandle<()>>,
    started: Instant,
    started_ns: u64,
    base_line_ns: u64,
    looked: Instant,
    pumped: Instant,
    unseen: u64,
    /// Processes whose probes were taken out early, and what the last of them paid, in percent.
    detached: u64,
    last_share: f64,
    /// Processes that are not listed any more.
    forgotten: u64,
    /// Those that were there at the beginning have their probes.
    has_begun: bool,
    was_full: bool,
    was_silent: bool,
    has_told_end: bool,
    is_recording: bool,
    /// What plans had to say.
    told: HashSet<String>,
    outbox: Vec<Message>,
}

/// Sums over processes.
#[derive(Default)]
struct Past {
    events: Events,
    mappings: MappingCalls,
    untracked_frees: u64,
    chunk_overhead: u64,
    hits: u64,
    loss: Loss,
    /// Of any.
    is_sampled: bool,
}

impl Past {
    fn add(&mut self, moment: &Moment) {
        let Events {
            allocs,
            frees,
            failed,
        } = moment.events;
        self.events.allocs += allocs;
        self.events.frees += frees;
        self.events.failed += failed;
        let MappingCalls {
            maps,
            unmaps,
            remaps,
        } = moment.mappings;
        self.mappings.maps += maps;
        self.mappings.unmaps += unmaps;
        self.mappings.remaps += remaps;
        self.untracked_frees += moment.untracked_frees;
        self.chunk_overhead += moment.chunk_overhead;
        self.hits += moment.load.hits;
        self.loss.add(&moment.loss);
        self.is_sampled |= moment.is_sampled;
    }
}

impl Family {
    /// Puts the probes into those that are there; those chosen by their PIDs have to be.
    pub fn begin(setup: Setup) -> Result<Self> {
        let now = Instant::now();
        let mut family = Self {
            choice: setup.choice,
            matcher: setup.matcher,
            attach: setup.attach,
            mapping_events: setup.mapping_events,
            process_events: setup.process_events,
            spares: setup.spares,
            most_processes: setup.most_processes,
            members: BTreeMap::new(),
            waiting: VecDeque::new(),
            settled: HashMap::new(),
            kin: HashSet::new(),
            ended: Vec::new(),
            first: None,
            told_hits: (now, 0),
            past: Past::default(),
            leaving: Vec::new(),
            started: now,
            started_ns: monotonic_ns(),
            base_line_ns: 0,
            looked: now,
            pumped: now,
            unseen: 0,
            detached: 0,
            last_share: 0.0,
            forgotten: 0,
            has_begun: false,
            was_full: false,
            was_silent: false,
            has_told_end: false,
            is_recording: true,
            told: HashSet::new(),
            outbox: Vec::new(),
        };
        if let Some(session) = setup.first {
            family.admit(session, None);
            family.begin_together();
            return Ok(family);
        }
        for pid in family.choice.pids.clone() {
            let session =
                (family.attach)(pid, family.mapping_events.of(pid), Arrival::AtBeginning)?;
            family.admit(session, None);
        }
        family.look_around();
        family.look_for_children();
        // That takes its time, in which others come; but not for ever.
        let until = Instant::now() + LONGEST_BEGINNING;
        while !family.waiting.is_empty() && Instant::now() < until {
            if !family.try_next() {
                std::thread::sleep(PUMP);
            }
            family.take_process_events();
        }
        family.begin_together();
        Ok(family)
    }

    /// Nobody's figures begin before the others'; and nobody is late.
    fn begin_together(&mut self) {
        self.has_begun = true;
        self.started = Instant::now();
        self.started_ns = monotonic_ns();
        for member in self.members.values_mut() {
            member.since_ns = None;
            member.start(self.started_ns);
        }
        for waiting in &mut self.waiting {
            waiting.since_ns.get_or_insert(self.started_ns);
        }
    }

    /// Whom it has now, by PID and name.
    pub fn present(&self) -> Vec<(u32, &str)> {
        let members = self.members.iter();
        members
            .map(|(pid, member)| (*pid, member.session.comm()))
            .collect()
    }

    /// By what they were chosen, for people.
    pub fn chosen_by(&self) -> String {
        self.choice.describe()
    }

    fn note(&mut self, text: String) {
        self.outbox.push(Message::Note(text));
    }

    // ---- who goes ----

    fn pump_members(&mut self) {
        let mut gone = Vec::new();
        for (pid, member) in &mut self.members {
            for message in member.session.pump() {
                match message {
                    Message::Ended => gone.push(*pid),
                    Message::Silence => member.was_silent = true,
                    Message::Detached(percent) => {
                        member.was_detached = true;
                        self.detached += 1;
                        self.last_share = percent;
                        let text = message.text().unwrap_or_default();
                        let text = format!("PID {pid}: {text}");
                        self.outbox.push(Message::Note(text));
                    }
                    Message::Note(text) => {
                        self.outbox
                            .push(Message::Note(format!("PID {pid}: {text}")));
                    }
                    other => self.outbox.push(other),
                }
            }
        }
        for pid in gone {
            self.retire(pid);
        }
        let mut members = self.members.values();
        if !self.was_silent && !self.members.is_empty() && members.all(|member| member.was_silent) {
            self.was_silent = true;
            self.outbox.push(Message::Silence);
        }
        let mut members = self.members.values();
        if self.is_recording
            && !self.members.is_empty()
            && !self.may_grow()
            && members.all(|member| member.was_detached)
        {
            self.is_recording = false;
            self.outbox.push(Message::Detached(self.last_share));
        }
    }

    /// What a process had not freed when it ended stays.
    fn retire(&mut self, pid: u32) {
        let Some(mut member) = self.members.remove(&pid) else {
            return;
        };
        self.settle(pid, false);
        match member.part(true) {
            Ok(Part { figures, snapshot }) => {
                self.past.add(&with_lateness(snapshot.moment, &figures));
                let mut stacks = snapshot.stacks;
                stacks.retain(|account| account.live.count > 0);
                let leaks = stacks.iter().filter(|account| account.class.can_leak());
                let bytes = leaks.map(|account| account.live.bytes).sum();
                self.ended.push(Ended {
                    figures,
                    stacks,
                    bytes,
                });
            }
            Err(error) => {
                self.note(format!(
                    "PID {pid}: what it had when it ended is lost: {error:#}"
                ));
            }
        }
        self.forget_some();
        self.let_go(member);
    }

    /// Those that left the least behind.
    fn forget_some(&mut self) {
        if self.ended.len() <= MOST_ENDED {
            return;
        }
        let ended = self.ended.iter().enumerate();
        if let Some((least, _)) = ended.min_by_key(|(_, ended)| ended.bytes) {
            self.ended.remove(least);
        }
        self.forgotten += 1;
        if self.forgotten == 1 {
            self.note(format!(
                "more than {MOST_ENDED} processes have ended: those that left the least behind are \
                 listed no more"
            ));
        }
    }

    fn let_go(&mut self, member: Member) {
        self.leaving.retain(|thread| !thread.is_finished());
        let kernel = move || member.session.into_kernel();
        self.leaving
            .extend(spares::let_go(kernel, self.spares.clone()));
    }

    /// Whether others may come when all have ended.
    fn may_grow(&self) -> bool {
        !self.choice.filter.is_empty()
    }

    // ---- what there is ----

    fn collect(&mut self, is_last: bool) -> Result<Snapshot> {
        let mut sum = Past::default();
        let past = &self.past;
        let mut list: Vec<ProcessFigures> = self
            .ended
            .iter()
            .map(|ended| ended.figures.clone())
            .collect();
        let ended = self.ended.iter().flat_map(|ended| &ended.stacks);
        let mut stacks: Vec<StackAccount> = ended.cloned().collect();
        let mut cpu_percent = None::<f64>;
        for member in self.members.values_mut() {
            let Part { figures, snapshot } = member.part(is_last)?;
            let moment = with_lateness(snapshot.moment, &figures);
            // The one that pays most.
            cpu_percent = match (cpu_percent, moment.load.cpu_percent) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            };
            sum.add(&moment);
            stacks.extend(snapshot.stacks);
            list.push(figures);
        }
        sum.loss.add(&past.loss);
        let hits = sum.hits + past.hits;
        let seconds = self.told_hits.0.elapsed().as_secs_f64();
        // Of those that have ended since, too.
        let hits_per_s = hits.saturating_sub(self.told_hits.1) as f64 / seconds.max(0.001);
        self.told_hits = (Instant::now(), hits);
        sum.loss.unseen_processes += self.unseen + self.detached + self.forgotten;
        let (pid, first_comm) = self.first.clone().unwrap_or_default();
        // As it is called now.
        let first = list.iter().find(|process| process.pid == pid);
        let comm = first.map_or(first_comm, |first| first.comm.clone());
        let moment = Moment {
            time: Timestamp::now(),
            elapsed: self.started.elapsed(),
            pid,
            comm,
            has_ended: self.has_told_end,
            events: Events {
                allocs: sum.events.allocs + past.events.allocs,
                frees: sum.events.frees + past.events.frees,
                failed: sum.events.failed + past.events.failed,
            },
            mappings: MappingCalls {
                maps: sum.mappings.maps + past.mappings.maps,
                unmaps: sum.mappings.unmaps + past.mappings.unmaps,
                remaps: sum.mappings.remaps + past.mappings.remaps,
            },
            untracked_frees: sum.untracked_frees + past.untracked_frees,
            // What has ended has none, and what comes had none: there is no difference to explain.
            resident: ResidentChange::default(),
            chunk_overhead: sum.chunk_overhead + past.chunk_overhead,
            load: ProbeLoad {
                hits,
                hits_per_s,
                cpu_percent,
            },
            loss: sum.loss,
            is_sampled: sum.is_sampled || past.is_sampled,
            processes: Some(Processes {
                chosen_by: self.choice.describe(),
                list,
            }),
        };
        Ok(Snapshot { moment, stacks })
    }
}

/// What a process has missed because it was late is a loss.
fn with_lateness(mut moment: Moment, figures: &ProcessFigures) -> Moment {
    moment.loss.late_processes += u64::from(figures.late.is_some());
    moment
}

impl Watched for Family {
    fn fds(&self) -> Vec<RawFd> {
        let mut fds = self.process_events.fds();
        fds.extend(
            self.members
                .values()
                .flat_map(|member| member.session.fds()),
        );
        // The mappings' are the same for all.
        fds.sort_unstable();
        fds.dedup();
        fds
    }

    fn has_work(&self) -> bool {
        let now = Instant::now();
        self.waiting.iter().any(|waiting| waiting.not_before <= now)
    }

    fn pump(&mut self) -> Vec<Message> {
        // Each thread that anybody makes wakes us.
        if self.pumped.elapsed() >= PUMP {
            self.pumped = Instant::now();
            self.pump_members();
        }
        if self.is_recording {
            // Whoever a process made before its end is known by now.
            self.take_process_events();
            // One at a time: events of the others are not to wait for all of them.
            self.try_next();
            if self.looked.elapsed() >= LOOK {
                self.look_around();
            }
        }
        if self.members.is_empty()
            && self.waiting.is_empty()
            && !self.may_grow()
            && !self.has_told_end
        {
            self.has_told_end = true;
            self.outbox.push(Message::Ended);
        }
        std::mem::take(&mut self.outbox)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.collect(false)
    }

    fn set_base_line(&mut self, is_set: bool) {
        self.base_line_ns = if is_set { monotonic_ns() } else { 0 };
        for member in self.members.values_mut() {
            member.session.set_base_line_ns(self.base_line_ns);
        }
        for account in self.ended.iter_mut().flat_map(|ended| &mut ended.stacks) {
            // All that it has is from before.
            account.fresh = if is_set {
                Amount::default()
            } else {
                account.live
            };
        }
    }

    fn finish(&mut self) -> Result<Snapshot> {
        if self.is_recording {
            self.take_process_events();
        }
        self.is_recording = false;
        self.unseen += std::mem::take(&mut self.waiting).len() as u64;
        let snapshot = self.collect(true);
        let spares = self.spares.take();
        for (_, member) in std::mem::take(&mut self.members) {
            self.let_go(member);
        }
        // First those that somebody pays for.
        for thread in self.leaving.drain(..) {
            let _ = thread.join();
        }
        if let Some(spares) = spares {
            spares.end();
        }
        snapshot
    }
}
