//! Attaching to functions of user space, by file offset.

use std::fmt;
use std::path::{Path, PathBuf};

use libbpf_rs::{Link, ProgramMut, UprobeMultiOpts, UprobeOpts};

/// How probes get into a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One uprobe_multi link for all probes of a program, entry and return paired (6.13).
    Session,
    /// One uprobe_multi link for all probes of a program (6.6).
    Multi,
    /// A perf event for each probe: any kernel.
    PerfEvent,
}

impl Way {
    /// From best to last.
    pub const ALL: [Self; 3] = [Self::Session, Self::Multi, Self::PerfEvent];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "uprobe.session",
            Self::Multi => "uprobe.multi",
            Self::PerfEvent => "perf event uprobes",
        })
    }
}

/// One place of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Where in the file, in bytes.
    pub file_offset: u64,
    /// What its program finds as the attach cookie.
    pub cookie: u64,
    /// Where in the file a counter lies that says whether anybody listens, if there is one.
    pub semaphore: Option<u64>,
}

/// A program could not be attached.
#[derive(Debug, thiserror::Error)]
#[error("attaching {program} to {path}{remedy}")]
pub struct AttachError {
    program: String,
    path: PathBuf,
    source: libbpf_rs::Error,
    remedy: String,
}

impl AttachError {
    /// What libbpf said.
    pub fn into_source(self) -> libbpf_rs::Error {
        self.source
    }
}

/// What a program does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs at the probe.
    Entry,
    /// Runs when the function returns.
    Return,
    /// Both.
    Session,
}

/// In place of a PID: whoever maps the file, now or later.
pub const EVERY_PROCESS: u32 = u32::MAX;

/// Attaches one program to places in one file, for one process only or for every one.
///
/// `pid` is a process; with [`Way::PerfEvent`] any of its threads will do.
pub fn attach(
    program: &ProgramMut<'_>,
    way: Way,
    kind: Kind,
    pid: u32,
    path: &Path,
    probes: &[Probe],
) -> Result<Vec<Link>, AttachError> {
    let failed = |source: libbpf_rs::Error| {
        let remedy = match source.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => {
                format!(" ({})", super::missing_permission())
            }
            _ => String::new(),
        };
        AttachError {
            program: program.name().to_string_lossy().into_owned(),
            path: path.to_owned(),
            source,
            remedy,
        }
    };
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    if way != Way::PerfEvent {
        let options = UprobeMultiOpts {
            offsets: probes
                .iter()
                .map(|probe| probe.file_offset as usize)
                .collect(),
            cookies: probes.iter().map(|probe| probe.cookie).collect(),
            ref_ctr_offsets: counters(probes),
            retprobe: kind == Kind::Return,
            session: kind == Kind::Session,
            ..Default::default()
        };
        let link = program.attach_uprobe_multi_with_opts(pid as i32, path, "", options);
        return Ok(vec![link.map_err(failed)?]);
    }
    probes
        .iter()
        .map(|probe| {
            let options = UprobeOpts {
                cookie: probe.cookie,
                ref_ctr_offset: probe.semaphore.unwrap_or(0) as usize,
                retprobe: kind == Kind::Return,
                ..Default::default()
            };
            let offset = probe.file_offset as usize;
            program
                .attach_uprobe_with_opts(pid as i32, path, offset, options)
                .map_err(failed)
        })
        .collect()
}

/// None, or one for each.
fn counters(probes: &[Probe]) -> Vec<usize> {
    if probes.iter().all(|probe| probe.semaphore.is_none()) {
        return Vec::new();
    }
    let counters = probes.iter().map(|probe| probe.semaphore.unwrap_or(0));
    counters.map(|offset| offset as usize).collect()
}

/// Attached programs, which are detached at once when dropped.
#[derive(Debug, Default)]
pub struct Links {
    links: Vec<Link>,
}

/// Each detach waits for a grace period of the kernel (20 to 110 ms): side by side they share it.
const DETACHING_THREADS: usize = 16;

impl Links {
    /// Takes links over.
    pub fn extend(&mut self, links: impl IntoIterator<Item = Link>) {
        self.links.extend(links);
    }

    /// Takes all of others over.
    pub fn append(&mut self, mut others: Self) {
        self.links.append(&mut others.links);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether nothing is attached.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let share = self.links.len().div_ceil(DETACHING_THREADS).max(1);
        std::thread::scope(|scope| {
            while !self.links.is_empty() {
                let links = self.links.split_off(self.links.len().saturating_sub(share));
                scope.spawn(move || drop(links));
            }
        });
    }
}
