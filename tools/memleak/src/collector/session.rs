//! One process under observation: its probes, its mappings, its stacks.

mod census;
mod sampler;

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memtools::attach::Way;
use memtools::events::{EventReader, monotonic_ns};
use memtools::process;
use memtools::symbols::Location;
use memtools::target::Target;
use memtools::target::mapping_events::MappingEvents;
use memtools::target::object::{FileId, Object};

use super::abi::{self, Event};
use super::kernel::Kernel;
use super::load::{LoadMeter, Prices, Spent};
use super::text::{Text, TextChange};
use super::{Message, Options, TraceEvent, Watched};
use crate::intervals::{Intervals, MappingClass};
use crate::plan::{Plan, plan};
use crate::snapshot::{ResidentChange, Snapshot, Stack};

/// MAP_STACK and MAP_NORESERVE of mmap(2).
const MAP_STACK: u32 = 0x20000;
const MAP_NORESERVE: u32 = 0x4000;

/// When to wonder why nothing is seen.
const SILENCE: Duration = Duration::from_secs(5);

/// A process whose probes are in.
#[allow(clippy::struct_excessive_bools)] // facts that have nothing to do with each other
pub struct Session {
    target: Target,
    options: Options,
    kernel: Kernel,
    plan: Plan,
    prices: Prices,
    events: EventReader<Event>,
    text: Text,
    planned: HashSet<FileId>,
    intervals: Intervals,
    /// The image that the intervals belong to.
    mapped_image: u32,
    /// By slot, with the text as it was when they were resolved.
    stacks: Vec<Option<(Arc<Stack>, u64)>>,
    /// The images that stacks belong to, by slot.
    stack_images: Vec<Option<u32>>,
    /// By address, the last that was met.
    locations: HashMap<u64, Arc<Location>>,
    resident: ResidentChange,
    comm: String,
    meter: LoadMeter,
    started: Instant,
    /// The same on CLOCK_MONOTONIC, as the kernel side has it.
    started_ns: u64,
    /// What was made after this is fresh, likewise.
    base_line_ns: u64,
    /// The images that there were by the exec records of perf, and since when.
    images: u32,
    /// Until this one is left, the plan's source of allocations holds.
    first_image: u32,
    /// When the process's own samples were given up: their probes are still in.
    sampler_left: Option<Instant>,
    images_since: Instant,
    skipped_execs: u64,
    /// When the thread that stands for the process was last seen alive.
    thread_seen: Instant,
    has_lost_leader: bool,
    blind: Duration,
    has_ended: bool,
    was_silent: bool,
    is_recording: bool,
    /// When the last object with an allocator got its probes that was not there at the attach.
    allocator_came_ns: u64,
    outbox: Vec<Message>,
}

/// What a session is made of.
pub struct Setup {
    pub target: Target,
    pub options: Options,
    pub kernel: Kernel,
    pub mapping_events: MappingEvents,
    /// The program that is meant begins with the next exec.
    pub is_before_exec: bool,
}

/// A session that could not begin.
pub struct Unbegun {
    /// Why.
    pub error: anyhow::Error,
    /// The programs that it was to have, with whatever probes are in.
    pub kernel: Kernel,
}

/// Puts the probes of a plan in. Returns since when the kernel side sees each exec.
fn put_in(kernel: &mut Kernel, target: &Target, plan: &mut Plan, first_image: u32) -> Result<u64> {
    kernel.attach_life()?;
    let since_ns = monotonic_ns();
    kernel.number_sites(plan);
    kernel.trust_samples_until(first_image);
    if let Err(error) = kernel.attach(plan, target.live_thread()) {
        // Somebody else's probe may stand there in another way.
        if !plan.uses_sampler() {
            return Err(error.into());
        }
        plan.refuse_sampler(&format!("{:#}", anyhow::Error::new(error)));
        kernel.detach();
        kernel.attach(plan, target.live_thread())?;
    }
    Ok(since_ns)
}

impl Session {
    /// Puts the probes of a plan in. Nothing is recorded yet.
    pub fn begin(
        setup: Setup,
        mut plan: Plan,
        objects: &[Arc<Object>],
    ) -> Result<Self, Box<Unbegun>> {
        let Setup {
            target,
            options,
            mut kernel,
            mapping_events,
            is_before_exec,
        } = setup;
        let first_image = u32::from(is_before_exec);
        let begun = put_in(&mut kernel, &target, &mut plan, first_image).and_then(|since_ns| {
            let events = kernel.events().context("opening the ring buffer")?;
            Ok((since_ns, events))
        });
        let (since_ns, events) = match begun {
            Ok(begun) => begun,
            Err(error) => return Err(Box::new(Unbegun { error, kernel })),
        };
        let (pid, tid) = (target.pid(), target.live_thread());
        let resident = process::resident(target.live_thread());
        let meter = LoadMeter::new(options.max_overhead, process::cpu_time_ns(pid));
        let mut session = Self {
            prices: Prices::new(&plan, &kernel.uprobes()),
            events,
            text: Text::new(mapping_events, since_ns),
            planned: objects.iter().map(|object| object.id()).collect(),
            intervals: Intervals::default(),
            mapped_image: 0,
            stacks: Vec::new(),
            stack_images: Vec::new(),
            locations: HashMap::new(),
            resident: ResidentChange {
                at_attach: resident,
                // Not yet known: it may never be.
                now: None,
            },
            comm: process::comm(pid).unwrap_or_default(),
            meter,
            started: Instant::now(),
            started_ns: monotonic_ns(),
            base_line_ns: 0,
            images: 0,
            first_image,
            sampler_left: None,
            images_since: Instant::now(),
            skipped_execs: 0,
            thread_seen: Instant::now(),
            has_lost_leader: target.leader_is_dead(),
            blind: Duration::ZERO,
            has_ended: false,
            was_silent: false,
            is_recording: true,
            allocator_came_ns: 0,
            outbox: Vec::new(),
            target,
            options,
            kernel,
            plan,
        };
        if let Err(error) = session.text.read(tid) {
            let error = anyhow::Error::new(error).context(format!("reading /proc/{tid}/maps"));
            let kernel = session.into_kernel();
            return Err(Box::new(Unbegun { error, kernel }));
        }
        // What was mapped since the plan was made.
        for (object, is_program) in session.text.objects() {
            if !session.planned.contains(&object.id()) {
                session.attach_to(&object, is_program);
            }
        }
        session.find_linker();
        session.place_cookies();
        Ok(session)
    }

    /// Begins recording.
    pub fn start(&mut self) {
        let cpu_ns = process::cpu_time_ns(self.target.pid());
        self.meter = LoadMeter::new(self.options.max_overhead, cpu_ns);
        self.thread_seen = Instant::now();
        self.kernel.enable(true);
        self.started = Instant::now();
        self.started_ns = monotonic_ns();
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The process's name, not cleaned.
    pub fn comm(&self) -> &str {
        &self.comm
    }

    /// Since when all that is allocated is seen (CLOCK_MONOTONIC, nanoseconds).
    pub fn complete_since_ns(&self) -> u64 {
        self.started_ns.max(self.allocator_came_ns)
    }

    /// When recording began, likewise.
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// From now on only what is made after this time counts as fresh; 0: everything does.
    pub fn set_base_line_ns(&mut self, time_ns: u64) {
        self.base_line_ns = time_ns;
    }

    /// Recording ends; the probes stay in until it is dropped. All that is known then.
    pub fn close(&mut self) -> Result<Snapshot> {
        self.stop_recording();
        self.census()
    }

    /// The programs, for another process: recording is over.
    pub fn into_kernel(self) -> Kernel {
        self.kernel
    }

    /// The plan, with what came later.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Perf event probes fire no more when the thread that carries them exits; multi probes go on,
    /// but no object that comes later gets any.
    fn replace_thread(&mut self) {
        let Some(thread) = self.target.choose_other_thread() else {
            return;
        };
        if self.kernel.uprobes().way == Way::PerfEvent {
            if let Err(error) = self.kernel.attach_again(&self.plan, thread) {
                let error = anyhow::Error::new(error);
                self.outbox
                    .push(Message::Note(format!("{error:#}; nothing more is seen")));
            }
            self.blind += self.thread_seen.elapsed();
        } else if !self.has_lost_leader {
            self.has_lost_leader = true;
            self.outbox.push(Message::Note(
                "the main thread has exited: what objects loaded from now on allocate by \
                 themselves is not seen"
                    .to_owned(),
            ));
        }
        self.thread_seen = Instant::now();
    }

    /// Another image: what was measured of the one before is no measure for this one.
    fn begin_image(&mut self, images: u32, comm: String, since_ns: u64) {
        self.images = images;
        self.images_since = Instant::now();
        self.comm = comm;
        self.resident.at_attach = process::resident(self.target.live_thread());
        self.resident.now = None;
        if images > self.first_image {
            self.leave_sampler(since_ns);
        }
    }

    /// Some kernels skip a tracepoint's program when another thread is in it on the same CPU. Perf's
    /// record of an exec comes a moment before the tracepoint: that is awaited.
    fn count_execs(&mut self) {
        const MOMENT: Duration = Duration::from_millis(20);
        if self.kernel.generation() < self.images && self.images_since.elapsed() > MOMENT {
            self.kernel.catch_up(self.images);
            self.skipped_execs += 1;
        }
        self.kernel.forget_earlier_images();
    }

    fn look_at_target(&mut self) {
        let pid = self.target.pid();
        if let Some(now) = process::resident(self.target.live_thread()) {
            self.resident.now = Some(now);
        }
        if let Some(comm) = process::comm(pid) {
            self.comm = comm;
        }
        let Ok(spent) = self.spent() else {
            return;
        };
        if !self.was_silent && spent.is_nothing() && self.started.elapsed() >= SILENCE {
            self.was_silent = true;
            self.outbox.push(Message::Silence);
        }
        self.was_silent |= !spent.is_nothing();
        if let Some(percent) = self.meter.watch(spent, process::cpu_time_ns(pid)) {
            self.stop_recording();
            self.kernel.detach();
            self.outbox.push(Message::Detached(percent));
        }
    }

    fn spent(&self) -> Result<Spent> {
        let counters = self.kernel.counters()?;
        Ok(Spent::new(
            &self.events_so_far(&counters),
            &counters,
            &self.prices,
        ))
    }

    // ---- text ----

    fn take_text_changes(&mut self) {
        for change in self.text.take(self.target.live_thread()) {
            match change {
                TextChange::Image {
                    images,
                    comm,
                    since_ns,
                } => self.begin_image(images, comm, since_ns),
                TextChange::Reuse => self.kernel.begin_epoch(),
                TextChange::Elsewhere => self.kernel.allow_any_text(),
                TextChange::Object { object, is_program } => self.attach_to(&object, is_program),
            }
        }
        if let Some(ranges) = self.text.settled() {
            self.kernel.set_text_ranges(ranges);
            self.check_sampler();
        }
    }

    /// An object that came after the attach: by dlopen, or with another image.
    fn attach_to(&mut self, object: &Arc<Object>, is_program: bool) {
        if self.planned.insert(object.id()) && self.is_recording {
            let program = is_program.then_some(&**object);
            let uprobes = self.kernel.uprobes();
            let allocator = &self.options.allocator;
            let mut found = plan(std::slice::from_ref(object), program, allocator, &uprobes);
            found.follow(&self.plan);
            self.attach_plan(found);
        }
        self.find_linker();
        self.place_cookies();
    }

    fn attach_plan(&mut self, mut found: Plan) {
        self.kernel.number_sites(&mut found);
        let mut attached = self.kernel.attach(&found, self.target.live_thread());
        if let Err(error) = &attached
            && found.uses_sampler()
        {
            found.refuse_sampler(&error.to_string());
            attached = self.kernel.attach(&found, self.target.live_thread());
        }
        self.outbox.extend(found.notes.drain(..).map(Message::Note));
        if let Err(error) = attached {
            let error = anyhow::Error::new(error);
            let note = format!("{error:#}; its allocations are not seen");
            self.outbox.push(Message::Note(note));
        }
        if found.has_allocator() {
            self.allocator_came_ns = monotonic_ns();
        }
        self.plan.probes.append(&mut found.probes);
        self.plan.withheld.append(&mut found.withheld);
        self.prices = Prices::new(&self.plan, &self.kernel.uprobes());
    }

    /// The dynamic linker allocates for whoever called dlopen.
    fn find_linker(&mut self) {
        let mappings = self.text.mappings().current();
        let linker = mappings.filter(|mapping| {
            mapping
                .object
                .as_ref()
                .is_some_and(|object| object.name().starts_with("ld-linux"))
        });
        if let Some(range) = linker.map(|mapping| (mapping.start, mapping.end)).next() {
            self.kernel.set_linker_text(range);
        }
    }

    /// Kernels without attach cookies find them by the probe's address.
    fn place_cookies(&self) {
        if self.kernel.uprobes().has_cookie {
            return;
        }
        for planned in self.plan.probes.iter().filter(|planned| planned.reach != 0) {
            for address in self
                .text
                .addresses_of(planned.object.id(), planned.probe.file_offset)
            {
                let _ = self.kernel.set_cookie(address, planned.reach);
            }
        }
    }

    // ---- events ----

    fn take_events(&mut self) {
        let mut traced = Vec::new();
        let now = monotonic_ns();
        for event in self.events.drain() {
            if event.generation != self.mapped_image {
                self.mapped_image = event.generation;
                self.intervals.clear();
            }
            match event.kind {
                abi::EVENT_ALLOC | abi::EVENT_FREE => traced.push(TraceEvent {
                    age: Duration::from_nanos(now.saturating_sub(event.time_ns)),
                    is_alloc: event.kind == abi::EVENT_ALLOC,
                    process: self.target.pid(),
                    thread: event.thread,
                    address: event.address,
                    bytes: event.bytes,
                }),
                abi::EVENT_EXEC => {}
                _ => self.take_mapping(&event),
            }
        }
        if !traced.is_empty() {
            self.outbox.push(Message::Trace(traced));
        }
    }

    fn take_mapping(&mut self, event: &Event) {
        let is_tracked = event.flags & (abi::EVENT_FILE | abi::EVENT_FILTERED) == 0;
        match event.kind {
            abi::EVENT_MAP if is_tracked => {
                let owner = (event.stack, self.mapping_class(event));
                self.intervals
                    .insert(event.address, event.bytes, owner, event.time_ns);
            }
            abi::EVENT_MAP | abi::EVENT_UNMAP => self.intervals.remove(event.address, event.bytes),
            abi::EVENT_REMAP_BEGIN => {
                self.intervals
                    .begin_remap(event.thread, event.old_address, event.old_bytes);
            }
            abi::EVENT_REMAP_END if event.address == 0 => self.intervals.fail_remap(event.thread),
            abi::EVENT_REMAP_END => self.intervals.finish_remap(
                event.thread,
                event.address,
                event.bytes,
                is_tracked.then_some(event.stack),
                event.time_ns,
            ),
            _ => {}
        }
    }

    fn mapping_class(&mut self, event: &Event) -> MappingClass {
        if event.flags & abi::EVENT_NESTED != 0 {
            return MappingClass::Arena;
        }
        if event.map_flags & MAP_STACK != 0 {
            return MappingClass::ThreadStack;
        }
        // A thread whose first call is free makes its arena inside free, which has no return.
        let caller = self.stack(event.stack).locations.first().cloned();
        let is_allocators = |location: Arc<Location>, reserves_no_memory| {
            location.object.as_ref().is_some_and(|object| {
                let id = object.id();
                reserves_no_memory && self.plan.is_allocator(id) || self.plan.maps_for_allocator(id)
            })
        };
        let reserves_no_memory = event.map_flags & MAP_NORESERVE != 0;
        if caller.is_some_and(|caller| is_allocators(caller, reserves_no_memory)) {
            return MappingClass::Arena;
        }
        MappingClass::Mmap
    }

    fn stop_recording(&mut self) {
        self.kernel.enable(false);
        self.is_recording = false;
    }
}

impl Watched for Session {
    fn fds(&self) -> Vec<RawFd> {
        let mut fds = self.text.fds();
        fds.push(self.events.fd());
        if !self.has_ended {
            fds.extend(self.target.pidfd());
        }
        fds
    }

    fn pump(&mut self) -> Vec<Message> {
        // Whether it has ended is asked first: what it did before is in the buffers by then.
        let ended = !self.has_ended && self.target.has_ended();
        self.take_text_changes();
        self.count_execs();
        self.take_events();
        self.let_sampler_go();
        if ended {
            self.has_ended = true;
            self.outbox.push(Message::Ended);
        } else if !self.has_ended && self.is_recording && !self.target.is_thread_alive() {
            self.replace_thread();
        } else if !self.has_ended && self.is_recording && self.meter.is_due() {
            self.look_at_target();
        }
        if self.target.is_thread_alive() {
            self.thread_seen = Instant::now();
        }
        std::mem::take(&mut self.outbox)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.census()
    }

    fn set_base_line(&mut self, is_set: bool) {
        self.set_base_line_ns(if is_set { monotonic_ns() } else { 0 });
    }

    fn finish(&mut self) -> Result<Snapshot> {
        let snapshot = self.close();
        self.kernel.detach();
        snapshot
    }
}
