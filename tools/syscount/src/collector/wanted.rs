//! Whose calls count, and what is counted of them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use memtools::cgroup::{self, Mounts};
use memtools::cli::UserError;
use memtools::selection::{Cgroup, Process, Selection, Thread};
use memtools::target::PidNamespace;

use crate::calls::{Call, MAX_ODD_CALLS, calls_named};
use crate::cli::Cli;
use crate::model::By;

/// What is asked of the kernel side.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // a set of switches
pub struct Wanted {
    /// What rows are of.
    pub by: By,
    /// Calls are timed.
    pub times: bool,
    /// Only calls that fail count.
    pub only_errors: bool,
    /// With this errno.
    pub errno: Option<u16>,
    /// Errors are told by errno.
    pub by_errno: bool,
    /// Room for so many rows where they are by owner.
    pub max_rows: u32,
    /// These calls only; empty: all.
    pub calls: Vec<Call>,
    /// A process, as the kernel sees it.
    pub process: Option<u32>,
    /// A thread, as the kernel sees it.
    pub thread: Option<u32>,
    /// A parent.
    pub parent: Option<u32>,
    /// A name of processes.
    pub comm: Option<OsString>,
    /// A cgroup.
    pub cgroup: Option<Cgroup>,
    /// Cgroups are those of the memory controller of version 1.
    pub is_memory_v1: bool,
    /// Children count as well.
    pub follows: bool,
    /// The process is a command of our own, whose calls count from its exec on.
    pub waits_for_exec: bool,
    /// The namespace that PIDs are of, by device and inode, if it is not the initial one.
    pub namespace: Option<(u64, u64)>,
    /// This process, in that namespace.
    pub own_process: u32,
    /// The process, to see whether it is there.
    watched: Option<Process>,
    watched_thread: Option<Thread>,
    shown: Shown,
}

/// As the user sees them.
#[derive(Clone, Debug, Default)]
struct Shown {
    process: Option<u32>,
    thread: Option<u32>,
    cgroup: Option<String>,
}

impl Wanted {
    /// What the command line asks for; `child`: the PID of its command.
    pub fn of(cli: &Cli, child: Option<u32>) -> Result<Self, UserError> {
        let selection = Selection::find(child.or(cli.pid), cli.cgroup.as_deref())?;
        let mut calls = Vec::new();
        for name in &cli.syscall {
            let named = calls_named(name);
            if named.is_empty() {
                let text = format!("there is no system call {name} (see syscount --list)");
                return Err(UserError::usage(text));
            }
            calls.extend(named);
        }
        let odd = calls.iter().filter(|call| call.slot().is_none());
        if odd.count() > MAX_ODD_CALLS {
            let text = format!("at most {MAX_ODD_CALLS} calls without a name can be asked for");
            return Err(UserError::usage(text));
        }
        let own = std::process::id();
        let thread = cli.tid.map(|tid| Thread::find(tid, cli.pid)).transpose()?;
        let own_namespace = PidNamespace::of(own, own).ok().flatten();
        let namespace = selection.process.and_then(|process| process.namespace);
        let namespace = namespace.or(thread.and_then(|thread| thread.namespace));
        if cli.ppid.is_some() && own_namespace.is_some() {
            let text = "--ppid works in the initial PID namespace only: run it outside of the \
                        container, or give -p";
            return Err(UserError::usage(text));
        }
        let parent = cli.ppid.map(Process::find).transpose()?;
        let mounts = Mounts::find();
        let cgroup = selection.cgroup;
        Ok(Self {
            by: cli.by(),
            times: cli.times(),
            only_errors: cli.only_errors(),
            errno: cli.errno,
            by_errno: cli.by_errno(),
            max_rows: cli.max_rows,
            calls,
            process: selection.process.map(|process| process.inner_pid),
            thread: thread.map(|thread| thread.inner_tid),
            parent: cli.ppid,
            comm: cli.comm.clone(),
            cgroup,
            is_memory_v1: cgroup.map_or(mounts.memory.is_some(), |cgroup| cgroup.is_memory_v1),
            follows: cli.follow,
            waits_for_exec: child.is_some(),
            namespace: namespace
                .or(own_namespace)
                .map(|namespace| (namespace.device, namespace.inode)),
            own_process: own_namespace.map_or(own, |namespace| namespace.pid),
            // Followed children may live on.
            watched: selection.process.or(parent).filter(|_| !cli.follow),
            watched_thread: thread,
            shown: Shown {
                process: selection.process.map(|process| process.pid),
                thread: cli.tid,
                cgroup: cli.cgroup.as_deref().map(|path| mounts.cgroup_of(path)),
            },
        })
    }

    /// For people: whose calls count, if not everybody's.
    pub fn text(&self) -> Option<String> {
        let parts = [
            self.shown.process.map(|pid| format!("PID {pid}")),
            self.shown.thread.map(|tid| format!("thread {tid}")),
            self.parent.map(|pid| format!("children of PID {pid}")),
            self.comm
                .as_ref()
                .map(|comm| format!("processes called {}", comm.to_string_lossy())),
            self.shown
                .cgroup
                .as_ref()
                .map(|path| format!("cgroup {path}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let whose = (!parts.is_empty()).then(|| parts.join(" in "))?;
        let children = if self.follows {
            " and its children"
        } else {
            ""
        };
        Some(format!("{whose}{children}"))
    }

    /// Whether the process, or the thread, that was asked for has ended.
    pub fn has_ended(&self) -> bool {
        self.watched.is_some_and(|process| process.has_ended())
            || self.watched_thread.is_some_and(|thread| thread.has_ended())
    }

    /// The PID that was asked for.
    pub fn shown_process(&self) -> Option<u32> {
        self.shown.process
    }

    /// The cgroup that was asked for.
    pub fn shown_cgroup(&self) -> Option<&str> {
        self.shown.cgroup.as_deref()
    }

    /// The processes there are now whose calls count.
    pub fn processes(&self) -> Vec<u32> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.filter(|pid| self.is_process(*pid)).collect()
    }

    fn is_process(&self, pid: u32) -> bool {
        if let Some(wanted) = self.shown.process {
            if pid != wanted {
                return false;
            }
        } else if pid == std::process::id() {
            return false;
        }
        if self.parent.is_some() && memtools::process::parent(pid) != self.parent {
            return false;
        }
        if let Some(wanted) = &self.comm {
            let comm = memtools::process::comm(pid).unwrap_or_default();
            let wanted = wanted.as_bytes();
            if comm.as_bytes() != &wanted[..wanted.len().min(15)] {
                return false;
            }
        }
        self.shown.cgroup.as_ref().is_none_or(|wanted| {
            cgroup::of_process(pid, self.is_memory_v1)
                .is_some_and(|own| cgroup::is_within(&own, wanted))
        })
    }

    /// Whether the calls of a thread of such a process count.
    pub fn is_thread(&self, tid: u32) -> bool {
        self.shown.thread.is_none_or(|wanted| tid == wanted)
    }
}
