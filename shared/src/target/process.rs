//! A running process as a target.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::elf::{self, Class};
use crate::process::fields_behind_name;

/// Why a process cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There is none.
    #[error("no process has the PID {0}; `pgrep -a NAME` finds one")]
    NoSuchProcess(u32),
    /// It ended and waits for its parent.
    #[error("process {0} has already exited (it is a zombie)")]
    Zombie(u32),
    /// A thread of the kernel has no memory of its own.
    #[error("process {0} is a kernel thread: it has no user-space memory to trace")]
    KernelThread(u32),
    /// The number is a thread's.
    #[error("{tid} is a thread of process {pid}; use -p {pid}")]
    Thread {
        /// What was asked for.
        tid: u32,
        /// The process that it belongs to.
        pid: u32,
    },
    /// Its program is a 32-bit one.
    #[error("process {0} runs a 32-bit program, and only 64-bit programs can be traced")]
    ThirtyTwoBit(u32),
    /// The tool itself.
    #[error("process {0} is this tool itself; a tool does not trace itself")]
    Oneself(u32),
    /// It may not be looked at.
    #[error("not permitted to look at process {pid}; run as root, or with CAP_SYS_PTRACE")]
    NotPermitted {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("reading {path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl TargetError {
    /// Whether another PID would help, rather than another user or another machine.
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::NotPermitted { .. } | Self::Read { .. })
    }
}

/// A process that can be traced.
#[derive(Debug)]
pub struct Target {
    pid: u32,
    live_thread: u32,
    pidfd: Option<OwnedFd>,
}

impl Target {
    /// Checks that a process is there and can be traced.
    pub fn new(pid: u32) -> Result<Self, TargetError> {
        let status = read_status(pid)?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        if pid == std::process::id() {
            return Err(TargetError::Oneself(pid));
        }
        if let Some(leader) = field("Tgid").and_then(|t| t.parse().ok())
            && leader != pid
        {
            return Err(TargetError::Thread {
                tid: pid,
                pid: leader,
            });
        }
        let live_thread = live_thread(pid).ok_or(TargetError::Zombie(pid))?;
        if field("Kthread") == Some("1") || is_kernel_thread(live_thread) {
            return Err(TargetError::KernelThread(pid));
        }
        check_program(pid, live_thread)?;
        Ok(Self {
            pid,
            live_thread,
            pidfd: open_pidfd(pid),
        })
    }

    /// The process's ID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A thread that still lives: the leader unless that one has exited, which leaves
    /// `/proc/PID/maps` and the like empty.
    pub fn live_thread(&self) -> u32 {
        self.live_thread
    }

    /// Whether the thread that stood for the process still lives.
    pub fn is_thread_alive(&self) -> bool {
        thread_state(self.pid, self.live_thread).is_some_and(is_alive)
    }

    /// Lets another thread stand for the process, if one lives.
    pub fn choose_other_thread(&mut self) -> Option<u32> {
        self.live_thread = live_thread(self.pid)?;
        Some(self.live_thread)
    }

    /// The process as a BPF program sees it; nothing in the initial PID namespace.
    pub fn pid_namespace(&self) -> io::Result<Option<PidNamespace>> {
        PidNamespace::of(self.pid, self.live_thread)
    }

    /// Whether the leader thread has exited while others run on.
    pub fn leader_is_dead(&self) -> bool {
        self.live_thread != self.pid
    }

    /// A descriptor that is readable once the process has ended (5.3 and newer have it).
    pub fn pidfd(&self) -> Option<i32> {
        self.pidfd.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        match self.pidfd() {
            Some(fd) => crate::events::wait_readable(&[fd], 0)[0],
            None => live_thread(self.pid).is_none(),
        }
    }
}

/// A PID namespace, and a process in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace {
    /// The device of its file in nsfs.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// The process's ID in it.
    pub pid: u32,
}

impl PidNamespace {
    /// Where process `pid` is not in the initial PID namespace: its namespace as a device and an
    /// inode, and its PID there, which is what a BPF program sees of it. `tid` is a thread of it
    /// that lives.
    pub fn of(pid: u32, tid: u32) -> io::Result<Option<Self>> {
        /// PROC_PID_INIT_INO in linux/proc_ns.h.
        const INITIAL: u64 = 0xEFFF_FFFC;
        let metadata = fs::metadata(format!("/proc/{tid}/ns/pid"))?;
        if metadata.ino() == INITIAL {
            return Ok(None);
        }
        let status = fs::read(format!("/proc/{pid}/status"))?;
        let inner = innermost_pid(&String::from_utf8_lossy(&status)).unwrap_or(pid);
        Ok(Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            pid: inner,
        }))
    }
}

/// The same for who selects events by PID: a tool in the initial namespace sees every process there,
/// whatever namespace it is in, and needs none.
pub fn namespace_to_select(pid: u32, tid: u32) -> io::Result<Option<PidNamespace>> {
    let own = std::process::id();
    match PidNamespace::of(own, own)? {
        None => Ok(None),
        // What may not be looked at is in our own namespace, as far as its PID is concerned.
        Some(ours) => PidNamespace::of(pid, tid).or(Ok(Some(PidNamespace { pid, ..ours }))),
    }
}

/// `NSpid:` lists the IDs from our own namespace to the process's.
fn innermost_pid(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

fn is_alive(state: char) -> bool {
    !matches!(state, 'Z' | 'X')
}

fn read_status(pid: u32) -> Result<String, TargetError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    match fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => match source.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Err(TargetError::NoSuchProcess(pid)),
            _ => Err(TargetError::Read { path, source }),
        },
    }
}

/// The leader if it lives, else the first thread that does.
pub(crate) fn live_thread(pid: u32) -> Option<u32> {
    if is_alive(thread_state(pid, pid)?) {
        return Some(pid);
    }
    fs::read_dir(format!("/proc/{pid}/task"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|&tid| thread_state(pid, tid).is_some_and(is_alive))
}

fn thread_state(pid: u32, tid: u32) -> Option<char> {
    let bytes = fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&bytes);
    fields_behind_name(&stat)?.next()?.chars().next()
}

/// Kernels before 6.8 do not say `Kthread:`; a kernel thread has no executable.
fn is_kernel_thread(tid: u32) -> bool {
    fs::read_link(format!("/proc/{tid}/exe"))
        .is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT))
}

fn check_program(pid: u32, live_thread: u32) -> Result<(), TargetError> {
    let path = PathBuf::from(format!("/proc/{live_thread}/exe"));
    match elf::class_of(&path) {
        Ok(Class::Elf32) => Err(TargetError::ThirtyTwoBit(pid)),
        Ok(Class::Elf64) => Ok(()),
        Err(_) => match fs::File::open(&path) {
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(TargetError::NotPermitted { pid, source })
            }
            // Not an ELF file by its look: the mappings decide.
            _ => Ok(()),
        },
    }
}

fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    // SAFETY: a plain system call; the descriptor it returns is ours alone.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_highest_pid() {
        assert!(matches!(
            Target::new(u32::MAX >> 1),
            Err(TargetError::NoSuchProcess(_))
        ));
    }

    #[test]
    fn the_innermost_pid_is_the_last() {
        assert_eq!(innermost_pid("Name:\tx\nNSpid:\t812\t7\n"), Some(7));
        assert_eq!(innermost_pid("Name:\tx\n"), None);
    }

    #[test]
    fn a_tool_does_not_trace_itself() {
        assert!(matches!(
            Target::new(std::process::id()),
            Err(TargetError::Oneself(_))
        ));
    }

    #[test]
    fn a_child_is_a_target_until_it_ends() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let target = Target::new(child.id()).unwrap();
        assert_eq!(target.live_thread(), child.id());
        assert!(!target.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(target.has_ended());
    }
}
