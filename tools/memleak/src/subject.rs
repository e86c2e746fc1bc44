//! What is traced, made ready: a process that runs, or a command behind its gate.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use memtools::attach::{self, Uprobes};
use memtools::cli::UserError;
use memtools::target::Target;
use memtools::target::command::{Child, Program, User};
use memtools::target::mapping_events::MappingEvents;
use memtools::target::mappings::{Mappings, read_text_mappings};
use memtools::target::object::Object;

use crate::cli::{Cli, Subject};
use crate::collector::{Kernel, Options, Session, Setup, describe, table_cost};
use crate::explain;
use crate::plan::{Plan, plan};

/// A session that records, and the child if it was started for it.
pub struct Started {
    pub session: Session,
    pub child: Option<Child>,
}

/// The objects of a process or of a program that will be one.
struct Objects {
    all: Vec<Arc<Object>>,
    program: Option<Arc<Object>>,
}

impl Objects {
    fn of_process(target: &Target) -> Result<Self> {
        let tid = target.live_thread();
        let records =
            read_text_mappings(tid).with_context(|| format!("reading /proc/{tid}/maps"))?;
        let mut mappings = Mappings::default();
        for record in &records {
            mappings.insert(tid, record, 0);
        }
        let program = Object::open(Path::new(&format!("/proc/{tid}/exe"))).ok();
        let all = mappings.current_objects();
        let program = program.and_then(|p| all.iter().find(|o| o.id() == p.id()).cloned());
        Ok(Self { all, program })
    }

    fn of_program(program: &Program, user: Option<&User>) -> Self {
        let opened = program
            .objects(user)
            .into_iter()
            .filter_map(|path| Object::open(&path).ok());
        let all: Vec<Arc<Object>> = opened.map(Arc::new).collect();
        Self {
            program: all.first().cloned(),
            all,
        }
    }

    /// An object that `-O` names by its path need not be mapped yet.
    fn add_named(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| name.contains('/')) else {
            return;
        };
        if let Ok(object) = Object::open(Path::new(name))
            && !self.all.iter().any(|known| known.id() == object.id())
        {
            self.all.push(Arc::new(object));
        }
    }

    fn plan(&self, options: &Options, uprobes: &Uprobes, whose: &str) -> Result<Plan> {
        let plan = plan(
            &self.all,
            self.program.as_deref(),
            &options.allocator,
            uprobes,
        );
        if plan.has_allocator() {
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
    let (mut objects, whose, any_thread) = match cli.subject()? {
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
            (
                Objects::of_program(&program, user.as_ref()),
                program.image.display().to_string(),
                false,
            )
        }
    };
    objects.add_named(cli.obj.as_deref());
    let uprobes = Uprobes::find(any_thread)?;
    let plan = objects.plan(options, &uprobes, &whose)?;
    Ok(explain::text(&whose, &plan, &uprobes, &table_cost(options)))
}

/// Puts the probes in, and lets the command go if there is one.
pub fn start(cli: &Cli, options: &Options) -> Result<Started> {
    match cli.subject()? {
        Subject::Process(pid) => start_on_process(pid, cli, options),
        Subject::Command(words) => start_command(&words, cli, options),
    }
}

fn start_on_process(pid: u32, cli: &Cli, options: &Options) -> Result<Started> {
    let target = Target::new(pid)?;
    let whose = format!("process {pid}");
    let mapping_events = open_mapping_events(pid)?;
    let uprobes = Uprobes::find(target.leader_is_dead())?;
    let mut objects = Objects::of_process(&target)?;
    objects.add_named(cli.obj.as_deref());
    let plan = objects.plan(options, &uprobes, &whose)?;
    let session = begin(target, options, uprobes, mapping_events, plan, &objects.all)?;
    Ok(Started {
        session,
        child: None,
    })
}

fn start_command(words: &[OsString], cli: &Cli, options: &Options) -> Result<Started> {
    let program = Program::find(words)?;
    let user = cli.user.as_deref().map(User::named).transpose()?;
    // Before the fork: afterwards a failure would leave a child to be ended.
    let uprobes = Uprobes::find(false)?;
    let mut objects = Objects::of_program(&program, user.as_ref());
    objects.add_named(cli.obj.as_deref());
    let plan = objects.plan(options, &uprobes, &program.image.display().to_string())?;
    let mut child = Child::prepare(&program, user.as_ref())?;
    let mapping_events = open_mapping_events(child.pid())?;
    let target = Target::new(child.pid())?;
    let session = begin(target, options, uprobes, mapping_events, plan, &objects.all)?;
    child.release()?;
    Ok(Started {
        session,
        child: Some(child),
    })
}

fn begin(
    target: Target,
    options: &Options,
    uprobes: Uprobes,
    mapping_events: MappingEvents,
    plan: Plan,
    objects: &[Arc<Object>],
) -> Result<Session> {
    let kernel = Kernel::load(options, uprobes, &target)?;
    let setup = Setup {
        target,
        options: options.clone(),
        kernel,
        mapping_events,
    };
    Session::begin(setup, plan, objects)
}

fn open_mapping_events(pid: u32) -> Result<MappingEvents> {
    MappingEvents::open(pid).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            attach::KernelError::NotPermitted(attach::missing_permission()).into()
        }
        _ => anyhow::Error::new(error).context("opening a perf event for mappings"),
    })
}
