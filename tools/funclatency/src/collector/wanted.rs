//! Whose calls count, and what is counted of them.

use memtools::cgroup::Mounts;
use memtools::cli::UserError;
use memtools::selection::{Cgroup, Process, Selection, Thread};
use memtools::target::PidNamespace;

use crate::cli::{Cli, Recursion};
use crate::model::{SplitBy, Unit};

/// What is asked of the kernel side.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// A process.
    pub process: Option<Process>,
    /// A thread.
    pub thread: Option<Thread>,
    /// A cgroup.
    pub cgroup: Option<Cgroup>,
    /// Cgroups are those of the memory controller of version 1.
    pub is_memory_v1: bool,
    /// The namespace that PIDs are of, by device and inode, if it is not the initial one.
    pub namespace: Option<(u64, u64)>,
    /// This process, in that namespace.
    pub own_process: u32,
    /// In what times are shown.
    pub unit: Unit,
    /// Which calls of a function count that calls itself.
    pub recursion: Recursion,
    /// How deep calls count.
    pub level: Option<u32>,
    /// What calls are told apart by.
    pub split: Option<SplitBy>,
    /// Room for so many rows of them.
    pub max_rows: u32,
    /// So many of the slowest calls are wanted.
    pub outliers: Option<u32>,
    /// All calls are wanted that took so long.
    pub threshold_ns: Option<u64>,
    /// With their stacks.
    pub stack: bool,
    cgroup_path: Option<String>,
}

impl Wanted {
    /// What the command line asks for.
    pub fn of(cli: &Cli) -> Result<Self, UserError> {
        if cli.stack && !cli.wants_slow() {
            let text = "--stack goes with --outliers or --threshold";
            return Err(UserError::usage(text));
        }
        let selection = Selection::find(cli.pid, cli.cgroup.as_deref())?;
        let thread = cli.tid.map(|tid| Thread::find(tid, cli.pid)).transpose()?;
        let own = std::process::id();
        let own_namespace = PidNamespace::of(own, own).ok().flatten();
        let namespace = selection.process.and_then(|process| process.namespace);
        let namespace = namespace.or(thread.and_then(|thread| thread.namespace));
        let mounts = Mounts::find();
        let cgroup = selection.cgroup;
        Ok(Self {
            process: selection.process,
            thread,
            cgroup,
            is_memory_v1: cgroup.map_or(mounts.memory.is_some(), |cgroup| cgroup.is_memory_v1),
            namespace: namespace
                .or(own_namespace)
                .map(|namespace| (namespace.device, namespace.inode)),
            own_process: own_namespace.map_or(own, |namespace| namespace.pid),
            unit: cli.unit(),
            recursion: cli.recursion,
            level: cli.level,
            split: cli.split,
            max_rows: cli.max_rows,
            outliers: cli.outliers,
            threshold_ns: cli.threshold,
            stack: cli.stack,
            cgroup_path: cli.cgroup.as_deref().map(|path| mounts.cgroup_of(path)),
        })
    }

    /// Whether single calls are told of.
    pub fn wants_slow(&self) -> bool {
        self.outliers.is_some() || self.threshold_ns.is_some()
    }

    /// For people: whose calls count, if not everybody's.
    pub fn text(&self) -> Option<String> {
        let parts = [
            self.process.map(|process| format!("PID {}", process.pid)),
            self.thread.map(|thread| format!("thread {}", thread.tid)),
            self.cgroup_path
                .as_ref()
                .map(|path| format!("cgroup {path}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(" in "))
    }

    /// Whether the process, or the thread, that was asked for has ended.
    pub fn has_ended(&self) -> bool {
        self.process.is_some_and(|process| process.has_ended())
            || self.thread.is_some_and(|thread| thread.has_ended())
    }
}
