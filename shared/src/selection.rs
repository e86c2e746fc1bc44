//! Whose events are counted.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use crate::cgroup::{Mount, Mounts};
use crate::cli::UserError;
use crate::process;
use crate::target::{PidNamespace, live_thread, namespace_to_select};

/// All events, or those that happen while certain processes run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A process.
    pub process: Option<Process>,
    /// A cgroup, with all below it.
    pub cgroup: Option<Cgroup>,
    /// The cgroup as it was named.
    pub cgroup_path: Option<String>,
}

/// A process, which may end.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// As it was named.
    pub pid: u32,
    /// As the kernel sees it: in `namespace`, or in the initial one.
    pub inner_pid: u32,
    /// The namespace in which that is its PID.
    pub namespace: Option<PidNamespace>,
    /// Tells it from a later one with its PID: the 22nd field of /proc/PID/stat.
    started: Option<u64>,
}

impl Process {
    /// The one with this PID; not a thread's.
    pub fn find(pid: u32) -> Result<Self, UserError> {
        let leader = process::of_thread(pid).map_err(|error| {
            UserError::usage(match error.kind() {
                io::ErrorKind::NotFound => format!("no process has PID {pid}"),
                _ => format!("cannot look at PID {pid}: {error}"),
            })
        })?;
        if let Some(leader) = leader.filter(|leader| *leader != pid) {
            let text = format!("{pid} is a thread of the process with PID {leader}");
            return Err(UserError::usage(text));
        }
        if live_thread(pid).is_none() {
            let text =
                format!("the process with PID {pid} has ended (nobody has waited for it yet)");
            return Err(UserError::usage(text));
        }
        let namespace = namespace_to_select(pid, pid)
            .map_err(|error| UserError::usage(format!("cannot look at PID {pid}: {error}")))?;
        Ok(Self {
            pid,
            inner_pid: namespace.map_or(pid, |namespace| namespace.pid),
            namespace,
            started: process::start_time_of_any(pid),
        })
    }

    /// Whether none of its threads is there any more; its first one may end before the others.
    pub fn has_ended(&self) -> bool {
        let is_it = process::start_time_of_any(self.pid) == self.started;
        !is_it || live_thread(self.pid).is_none()
    }
}

/// A thread, which may end.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// As it was named.
    pub tid: u32,
    /// As the kernel sees it: in `namespace`, or in the initial one.
    pub inner_tid: u32,
    /// The namespace in which that is its number.
    pub namespace: Option<PidNamespace>,
    /// Tells it from a later one with its number.
    started: Option<u64>,
}

impl Thread {
    /// The one with this number; of this process, if one is named.
    pub fn find(tid: u32, process: Option<u32>) -> Result<Self, UserError> {
        let leader = process::of_thread(tid)
            .map_err(|_| UserError::usage(format!("no thread has TID {tid}")))?;
        if let (Some(process), Some(leader)) = (process, leader)
            && process != leader
        {
            let text =
                format!("{tid} is a thread of the process with PID {leader}, not of {process}");
            return Err(UserError::usage(text));
        }
        let namespace = namespace_to_select(tid, tid)
            .map_err(|error| UserError::usage(format!("cannot look at thread {tid}: {error}")))?;
        Ok(Self {
            tid,
            inner_tid: namespace.map_or(tid, |namespace| namespace.pid),
            namespace,
            started: process::start_time(tid),
        })
    }

    /// Whether it is there no more.
    pub fn has_ended(&self) -> bool {
        process::start_time(self.tid) != self.started
    }
}

impl Selection {
    /// By PID and by path, whichever is given.
    pub fn find(pid: Option<u32>, path: Option<&Path>) -> Result<Self, UserError> {
        let mounts = Mounts::find();
        Ok(Self {
            process: pid.map(Process::find).transpose()?,
            cgroup: path.map(|path| find(&mounts, path)).transpose()?,
            cgroup_path: path.map(|path| path.display().to_string()),
        })
    }

    /// Whether there is nothing that is not counted.
    pub fn is_all(&self) -> bool {
        self.process.is_none() && self.cgroup.is_none()
    }

    /// For people: whose events are counted, if not all.
    pub fn text(&self) -> Option<String> {
        let process = self.process.map(|process| format!("PID {}", process.pid));
        let cgroup = self
            .cgroup_path
            .as_ref()
            .map(|path| format!("cgroup {path}"));
        let parts: Vec<String> = process.into_iter().chain(cgroup).collect();
        (!parts.is_empty()).then(|| parts.join(" in "))
    }
}

/// A control group, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its kernfs id.
    pub id: u64,
    /// It is one of the memory controller of version 1.
    pub is_memory_v1: bool,
}

/// A cgroup by the path that a user gives: in the hierarchy of version 2, or the memory controller's.
fn find(mounts: &Mounts, path: &Path) -> Result<Cgroup, UserError> {
    let missing = || UserError::usage(format!("there is no cgroup {}", path.display()));
    let hierarchies = [(&mounts.unified, false), (&mounts.memory, true)];
    let mut under = hierarchies
        .iter()
        .filter_map(|(mount, is_v1)| Some((mount.as_ref()?, *is_v1)));
    if let Some((_, is_memory_v1)) = under.find(|(mount, _)| path.starts_with(&mount.point)) {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir);
        let id = metadata.ok_or_else(missing)?.ino();
        return Ok(Cgroup { id, is_memory_v1 });
    }
    if path.is_absolute() && path.starts_with("/sys/fs/cgroup") {
        return Err(UserError::usage(format!(
            "{} is in a hierarchy of version 1; only the memory controller's, and version 2, can be \
             selected",
            path.display()
        )));
    }
    let name = mounts.cgroup_of(path);
    let found = hierarchies.iter().find_map(|(mount, is_memory_v1)| {
        let id = inode(mount.as_ref()?, &name)?;
        Some(Cgroup {
            id,
            is_memory_v1: *is_memory_v1,
        })
    });
    found.ok_or_else(missing)
}

fn inode(mount: &Mount, cgroup: &str) -> Option<u64> {
    let mut path = String::new();
    let is_there = mount.write_path(cgroup, "", &mut path);
    let metadata = fs::metadata(is_there.then_some(&path)?).ok()?;
    metadata.is_dir().then(|| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one() {
        let own = Process::find(std::process::id()).unwrap();
        assert!(own.started.is_some() && !own.has_ended());
        let later = Process {
            started: Some(u64::MAX),
            ..own
        };
        assert!(later.has_ended());
    }

    #[test]
    fn threads_and_nobody_are_refused() {
        let refused = |pid| Process::find(pid).unwrap_err().to_string();
        assert_eq!(refused(u32::MAX), "no process has PID 4294967295");
        let (sender, receiver) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: asks for a number.
            sender.send(unsafe { libc::gettid() } as u32).unwrap();
            let _ = ended.recv();
        });
        let text = refused(receiver.recv().unwrap());
        assert!(text.contains("is a thread of the process"), "{text}");
        drop(end);
        thread.join().unwrap();
    }
}
