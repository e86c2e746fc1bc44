//! What is traced, made ready: a process that runs, a command behind its gate, or the kernel.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memtools::attach::{self, Uprobes, has_seccomp_filter, return_probes_harm_seccomp};
use memtools::cli::{UserError, note};
use memtools::output::counted;
use memtools::target::command::{Child, Program, User};
use memtools::target::elf::ElfObject;
use memtools::target::mapping_events::{MappingEventSource, MappingEvents};
use memtools::target::mappings::{Mappings, read_text_mappings};
use memtools::target::object::Object;
use memtools::target::process_events::ProcessEvents;
use memtools::target::{Target, TargetError, namespace_to_select};

use crate::cli::{Cli, Subject};
use crate::collector::{
    Arrival, Choice, Family, FamilySetup, Kernel, Matcher, Options, Session, Setup, Spares, System,
    Unbegun, Watched, describe, table_cost,
};
use crate::explain;
use crate::plan::{Plan, PlanCache};

/// What records, and the child if it was started for it.
pub struct Started {
    pub watched: Box<dyn Watched>,
    pub about: About,
    pub child: Option<Child>,
}

/// What users are told of it, and recordings.
pub struct About {
    /// 0: the kernel.
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// What is traced, and by how much.
    pub tracing: String,
    /// What they should know.
    pub notes: Vec<String>,
}

impl About {
    fn process(session: &Session) -> Self {
        let (target, plan) = (session.target(), session.plan());
        Self {
            pid: target.pid(),
            comm: memtools::process::comm(target.pid()).unwrap_or_default(),
            tracing: format!("{}, {} probes", describe(target), plan.probes.len()),
            notes: plan.notes.clone(),
        }
    }

    fn family(family: &Family) -> Self {
        let present = family.present();
        let first = present.first();
        let mut tracing = family.chosen_by();
        if present.is_empty() {
            tracing.push_str(": no process yet");
        } else {
            let count = counted(present.len() as u64, "process");
            tracing.extend([" (", &count, " now)"]);
        }
        Self {
            pid: first.map_or(0, |(pid, _)| *pid),
            comm: first
                .map(|(_, comm)| (*comm).to_owned())
                .unwrap_or_default(),
            tracing,
            notes: Vec::new(),
        }
    }

    fn kernel(system: &System) -> Self {
        Self {
            pid: 0,
            comm: "kernel".to_owned(),
            tracing: format!("the kernel's memory ({})", system.traced()),
            notes: system.notes().to_vec(),
        }
    }
}

/// The objects of a process or of a program that will be one.
struct Objects {
    all: Vec<Arc<Object>>,
    program: Option<Arc<Object>>,
    /// Libraries will come that are not known yet: they get their probes when they are mapped.
    more_will_come: bool,
    /// So many of them, the first, are the process's own; the others are those that most have.
    own: usize,
}

impl Objects {
    fn of_process(target: &Target) -> Result<Self> {
        Self::of_thread(target.live_thread())
    }

    fn of_thread(tid: u32) -> Result<Self> {
        let records =
            read_text_mappings(tid).with_context(|| format!("reading /proc/{tid}/maps"))?;
        let mut mappings = Mappings::default();
        for record in &records {
            mappings.insert(tid, record, 0);
        }
        let program = Object::open(Path::new(&format!("/proc/{tid}/exe"))).ok();
        let all = mappings.current_objects();
        let program = program.and_then(|p| all.iter().find(|o| o.id() == p.id()).cloned());
        Ok(Self {
            own: all.len(),
            all,
            program,
            more_will_come: false,
        })
    }

    fn of_program(program: &Program, user: Option<&User>) -> Self {
        let opened = program
            .objects(user)
            .into_iter()
            .filter_map(|path| Object::open(&path).ok());
        let all: Vec<Arc<Object>> = opened.map(Arc::new).collect();
        let is_dynamic =
            ElfObject::open(&program.image).is_ok_and(|elf| elf.interpreter().is_some());
        Self {
            program: all.first().cloned(),
            more_will_come: is_dynamic && all.len() == 1,
            own: all.len(),
            all,
        }
    }

    /// An object that `-O` names by its path need not be among those a command starts with.
    fn add_named(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| name.contains('/')) else {
            return;
        };
        if let Ok(object) = Object::open(Path::new(name))
            && !self.all.iter().any(|known| known.id() == object.id())
        {
            self.all.push(Arc::new(object));
            self.own = self.all.len();
        }
    }

    fn plan(&self, options: &Options, uprobes: &Uprobes, whose: &str) -> Result<Plan> {
        let mut ready = Ready {
            may_sample: true,
            ..Ready::default()
        };
        self.plan_with(&mut ready, options, uprobes, whose)
    }

    fn plan_with(
        &self,
        ready: &mut Ready,
        options: &Options,
        uprobes: &Uprobes,
        whose: &str,
    ) -> Result<Plan> {
        let mut plan = ready.plans.plan(
            &self.all,
            self.program.as_deref(),
            &options.allocator,
            uprobes,
        );
        // Of libraries that others have, who knows?
        let own = &self.all[..self.own];
        let is_own = |id| own.iter().any(|object| object.id() == id);
        plan.keep_sampler_of(|id| ready.may_sample && is_own(id));
        plan.choose_source();
        let is_named = options.allocator.is_named();
        if plan.has_allocator() || self.more_will_come && !is_named {
            return Ok(plan);
        }
        let looked_for = match &options.allocator.object {
            Some(object) => format!("in {object}"),
            None => format!("in {} objects", self.all.len()),
        };
        let prefix = &options.allocator.prefix;
        Err(UserError::usage(format!(
            "no allocator found in {whose}: looked for {prefix}malloc and {prefix}free \
             {looked_for}; name its object with -O, or its functions' prefix with -S"
        ))
        .into())
    }
}

/// Prints what would be attached.
pub fn explained(cli: &Cli, options: &Options) -> Result<String> {
    let (objects, whose, any_thread) = match cli.subject()? {
        Subject::Process(pid) => {
            let target = Target::new(pid)?;
            (
                Objects::of_process(&target)?,
                describe(&target),
                target.leader_is_dead(),
            )
        }
        Subject::Command(words) => {
            let program = Program::find(&words)?;
            let user = cli.user.as_deref().map(User::named).transpose()?;
            let mut objects = Objects::of_program(&program, user.as_ref());
            objects.add_named(cli.obj.as_deref());
            (objects, program.image.display().to_string(), false)
        }
        Subject::Processes(_) | Subject::Kernel(_) => {
            bail!("only one process's probes can be shown")
        }
    };
    let uprobes = Uprobes::find(any_thread)?;
    let plan = objects.plan(options, &uprobes, &whose)?;
    Ok(explain::text(&whose, &plan, &uprobes, &table_cost(options)))
}

/// Puts the probes in, and lets the command go if there is one.
pub fn start(cli: &Cli, options: &Options) -> Result<Started> {
    match cli.subject()? {
        Subject::Process(pid) => start_on_process(pid, options).map_err(|error| {
            // Whatever failed then, this is why.
            match Target::new(pid) {
                Err(TargetError::NoSuchProcess(_) | TargetError::Zombie(_))
                    if error.downcast_ref::<TargetError>().is_none() =>
                {
                    UserError::usage(format!("process {pid} ended while memleak attached")).into()
                }
                _ => error,
            }
        }),
        Subject::Processes(choice) => start_on_processes(choice, cli, options),
        Subject::Command(words) => start_command(&words, cli, options),
        Subject::Kernel(allocators) => {
            let system = System::begin(options, allocators, cli.by)?;
            Ok(Started {
                about: About::kernel(&system),
                watched: Box::new(system),
                child: None,
            })
        }
    }
}

/// On some kernels (6.11 to 6.13) a return probe ends in a system call of its own, which a seccomp
/// filter does not know and answers by killing the process.
fn check_seccomp(uprobes: &Uprobes, pid: u32) -> Result<()> {
    if has_seccomp_filter(pid) && return_probes_harm_seccomp(uprobes.way)? {
        bail!(
            "process {pid} runs under a seccomp filter, and on this kernel return probes would \
             have it killed (repaired in Linux 6.14): it is left alone"
        );
    }
    Ok(())
}

fn start_on_process(pid: u32, options: &Options) -> Result<Started> {
    let target = Target::new(pid)?;
    let mapping_events = open_mapping_events()?.of(pid);
    let uprobes = Uprobes::find(target.leader_is_dead())?;
    let ready = &mut Ready {
        may_sample: true,
        ..Ready::default()
    };
    let mut session = attach_to(target, options, uprobes, mapping_events, ready)?;
    session.start();
    Ok(Started {
        about: About::process(&session),
        watched: Box::new(session),
        child: None,
    })
}

/// Puts the probes into a process that runs.
fn attach_to(
    target: Target,
    options: &Options,
    uprobes: Uprobes,
    mapping_events: MappingEvents,
    ready: &mut Ready,
) -> Result<Session> {
    let pid = target.pid();
    check_seccomp(&uprobes, pid)?;
    let mut objects = Objects::of_process(&target)?;
    let whose = format!("process {pid}");
    ready.add_usual(&mut objects);
    let plan = objects.plan_with(ready, options, &uprobes, &whose)?;
    ready.learn(&plan, &objects);
    let kernel = ready.kernel(options, uprobes, &target, &plan)?;
    let setup = Setup {
        target,
        options: options.clone(),
        kernel,
        mapping_events,
        is_before_exec: false,
    };
    Session::begin(setup, plan, &objects.all).map_err(|unbegun| ready.take_back(*unbegun))
}

/// What processes that come find ready.
#[derive(Default)]
struct Ready {
    plans: PlanCache,
    /// What the process samples itself may be used. Of one that comes it is not: whether its provider were
    /// there in time would be chance.
    may_sample: bool,
    spares: Option<Spares>,
    /// Libraries that most of them will map. One that has just begun has not mapped them yet: their probes
    /// are in when it does. `None`: nobody will come.
    usual: Option<Vec<Arc<Object>>>,
}

impl Ready {
    /// For processes that come.
    fn for_others(options: &Options, uprobes: Uprobes) -> Self {
        /// Of the machine's memory: a twentieth.
        const MOST_SHARE: u64 = 20;
        let most = memtools::process::memory_total() / MOST_SHARE / options.bytes_each();
        let pid = std::process::id();
        // In a namespace, programs are told of it when they are loaded.
        let is_for_any = namespace_to_select(pid, pid).is_ok_and(|namespace| namespace.is_none());
        let options = options.clone();
        let own = Objects::of_thread(std::process::id());
        let own = own.map(|objects| objects.all.into_iter().skip(1).collect());
        Self {
            plans: PlanCache::default(),
            may_sample: false,
            spares: is_for_any.then(|| {
                Spares::start(most as usize, uprobes.way, move || {
                    Kernel::load(&options, uprobes, None, false).ok()
                })
            }),
            usual: Some(own.unwrap_or_default()),
        }
    }

    fn add_usual(&self, objects: &mut Objects) {
        let Some(usual) = &self.usual else {
            return;
        };
        let is_dynamic = objects.program.as_ref().is_some_and(|program| {
            ElfObject::open(&program.open_path()).is_ok_and(|elf| elf.interpreter().is_some())
        });
        if !is_dynamic {
            return;
        }
        objects.more_will_come = true;
        for object in usual {
            if objects.all.iter().all(|known| known.id() != object.id()) {
                objects.all.push(object.clone());
            }
        }
    }

    /// What this one has, others will have.
    fn learn(&mut self, plan: &Plan, objects: &Objects) {
        const MOST: usize = 16;
        let Some(usual) = &mut self.usual else {
            return;
        };
        let program = objects.program.as_ref().map(|program| program.id());
        // Where others do not map it, nothing would be seen of them.
        let samplers = plan.sampler_objects();
        for probe in plan.probes.iter().chain(&plan.withheld) {
            let id = probe.object.id();
            if samplers.contains(&id) {
                continue;
            }
            let is_new = usual.iter().all(|known| known.id() != id);
            if is_new && Some(id) != program && usual.len() < MOST {
                usual.push(probe.object.clone());
            }
        }
    }

    /// Loaded programs, aimed at a process.
    fn kernel(
        &self,
        options: &Options,
        uprobes: Uprobes,
        target: &Target,
        plan: &Plan,
    ) -> Result<Kernel> {
        // From the initial namespace all processes are seen, whichever they are in.
        let namespace = namespace_to_select(target.pid(), target.live_thread())?;
        // Spares have no programs for it.
        let uses_sampler = plan.uses_sampler();
        let spares = self.spares.as_ref();
        let spares = spares.filter(|_| namespace.is_none() && !uses_sampler);
        // Of a process whose leader has ended, probes go in another way.
        let mut kernel = match spares.and_then(|spares| spares.take(uprobes.way)) {
            Some(kernel) => kernel,
            None => Kernel::load(options, uprobes, namespace, uses_sampler)?,
        };
        let inner_pid = namespace.map_or(target.pid(), |namespace| namespace.pid);
        kernel.aim_at(target.pid(), inner_pid);
        Ok(kernel)
    }

    /// Nobody waits for the probes of a process that could not be traced.
    fn take_back(&self, unbegun: Unbegun) -> anyhow::Error {
        if let Some(spares) = &self.spares {
            spares.take_back(unbegun.kernel);
        }
        unbegun.error
    }
}

/// What a family has to attach to others.
fn family_setup(choice: Choice, cli: &Cli, options: &Options) -> Result<FamilySetup> {
    let matcher = Matcher::new(&choice.filter)?;
    let most = choice.pids.len();
    let options = options.clone();
    let uprobes = Uprobes::find(false)?;
    let may_grow = choice.follows || !choice.filter.is_empty();
    let mut ready = if may_grow {
        Ready::for_others(&options, uprobes)
    } else {
        Ready::default()
    };
    let spares = ready.spares.clone();
    Ok(FamilySetup {
        matcher,
        choice,
        attach: Box::new(move |pid, mapping_events, arrival| {
            let target = Target::new(pid)?;
            let mut uprobes = uprobes;
            if target.leader_is_dead() {
                uprobes = Uprobes::find(true)?;
            }
            ready.may_sample = arrival == Arrival::AtBeginning;
            attach_to(target, &options, uprobes, mapping_events, &mut ready)
        }),
        mapping_events: open_mapping_events()?,
        process_events: ProcessEvents::open().map_err(explain_perf)?,
        spares,
        // Those that are named are meant.
        most_processes: most.max(cli.max_processes as usize),
        first: None,
    })
}

fn start_on_processes(choice: Choice, cli: &Cli, options: &Options) -> Result<Started> {
    memtools::process::allow_many_files();
    let family = Family::begin(family_setup(choice, cli, options)?)?;
    Ok(Started {
        about: About::family(&family),
        watched: Box::new(family),
        child: None,
    })
}

/// So long a command waits for programs to be loaded for its children.
const UNTIL_READY: Duration = Duration::from_secs(1);

fn start_command(words: &[OsString], cli: &Cli, options: &Options) -> Result<Started> {
    let program = Program::find(words)?;
    let user = cli.user.as_deref().map(User::named).transpose()?;
    // Before the fork: afterwards a failure would leave a child to be ended.
    let uprobes = Uprobes::find(false)?;
    if return_probes_harm_seccomp(uprobes.way)? {
        note(
            "memleak: note: on this kernel return probes kill a process that sets itself a seccomp \
             filter (repaired in Linux 6.14)",
        );
    }
    let mut objects = Objects::of_program(&program, user.as_ref());
    objects.add_named(cli.obj.as_deref());
    let plan = objects.plan(options, &uprobes, &program.image.display().to_string())?;
    let mut child = Child::prepare(&program, user.as_ref())?;
    let target = Target::new(child.pid())?;
    if !cli.follow {
        let mapping_events = open_mapping_events()?.of(child.pid());
        let mut session = begin_command(target, options, uprobes, mapping_events, plan, &objects)?;
        session.start();
        child.release()?;
        return Ok(Started {
            about: About::process(&session),
            watched: Box::new(session),
            child: Some(child),
        });
    }
    // After the fork: the command has its own limits.
    memtools::process::allow_many_files();
    let choice = Choice {
        pids: vec![child.pid()],
        follows: true,
        ..Choice::default()
    };
    let mut setup = family_setup(choice, cli, options)?;
    let mapping_events = setup.mapping_events.of(child.pid());
    let session = begin_command(target, options, uprobes, mapping_events, plan, &objects)?;
    setup.first = Some(session);
    if let Some(spares) = &setup.spares {
        spares.await_ready(UNTIL_READY);
    }
    let family = Family::begin(setup)?;
    child.release()?;
    Ok(Started {
        about: About::family(&family),
        watched: Box::new(family),
        child: Some(child),
    })
}

/// The command waits behind its gate.
fn begin_command(
    target: Target,
    options: &Options,
    uprobes: Uprobes,
    mapping_events: MappingEvents,
    plan: Plan,
    objects: &Objects,
) -> Result<Session> {
    let kernel = Ready::default().kernel(options, uprobes, &target, &plan)?;
    let setup = Setup {
        target,
        options: options.clone(),
        kernel,
        mapping_events,
        is_before_exec: true,
    };
    Session::begin(setup, plan, &objects.all).map_err(|unbegun| unbegun.error)
}

fn open_mapping_events() -> Result<MappingEventSource> {
    MappingEventSource::open().map_err(explain_perf)
}

fn explain_perf(error: io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            attach::KernelError::NotPermitted(attach::missing_permission()).into()
        }
        _ => anyhow::Error::new(error).context("opening a perf event for mappings"),
    }
}
