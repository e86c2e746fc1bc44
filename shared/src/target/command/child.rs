//! A child that waits behind a gate until the probes are in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::exec_image::{ExecImage, Failure, Step, with_signals_blocked};
use super::{CommandError, Program, User};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an exit status.
    Exited(u8),
    /// By a signal.
    Signalled(i32),
}

impl Ending {
    /// The exit status to pass on: its own, or 128 and the signal, as shells have it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }
}

/// Sends a child signals, from any thread and at any time: also when it has been waited for, and
/// its PID is another's.
#[derive(Clone, Debug)]
pub struct ChildHandle {
    pid: u32,
    pidfd: Arc<OwnedFd>,
}

impl ChildHandle {
    fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: a plain system call; Linux 5.3.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let pidfd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        Ok(Self { pid, pidfd })
    }

    /// Sends the child a signal, unless it has ended.
    pub fn signal(&self, signal: i32) {
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a plain system call on our own descriptor.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                info,
                0,
            )
        };
    }

    /// Whether what a terminal sends to this process's group reaches the child as well.
    pub fn is_in_our_group(&self) -> bool {
        // SAFETY: plain queries; of a PID that is another's by now the answer does not matter.
        unsafe { libc::getpgid(self.pid as libc::pid_t) == libc::getpgrp() }
    }
}

/// A child that waits at the gate, or runs.
#[derive(Debug)]
pub struct Child {
    handle: ChildHandle,
    command: String,
    user: Option<String>,
    gate: Option<File>,
    failure: File,
    ending: Option<Ending>,
}

impl Child {
    /// Forks a child that waits until [`Child::release`]. If this process ends before, in any
    /// way, the gate closes and the child ends without having run anything.
    pub fn prepare(program: &Program, user: Option<&User>) -> Result<Self, CommandError> {
        let command = program.path.display().to_string();
        let failed = |source| CommandError::System {
            doing: format!("starting {command}"),
            source,
        };
        let image = ExecImage::new(program, user).map_err(failed)?;
        let (gate_out, gate_in) = pipe().map_err(failed)?;
        let (failure_out, failure_in) = pipe().map_err(failed)?;
        let forked = with_signals_blocked(|| {
            // SAFETY: the child calls only async-signal-safe functions (see `ExecImage::run`).
            match unsafe { libc::fork() } {
                -1 => Err(io::Error::last_os_error()),
                0 => image.run(&gate_out, &gate_in, &failure_in, user),
                pid => Ok(pid as u32),
            }
        });
        let pid = forked.map_err(failed)?;
        // Without a handle the gate closes here, and the child ends.
        let handle = ChildHandle::open(pid).map_err(failed)?;
        Ok(Self {
            handle,
            user: user.map(User::name),
            gate: Some(gate_in.into()),
            failure: failure_out.into(),
            ending: None,
            command,
        })
    }

    /// The child's process ID, before and after its exec.
    pub fn pid(&self) -> u32 {
        self.handle.pid
    }

    /// For signals.
    pub fn handle(&self) -> ChildHandle {
        self.handle.clone()
    }

    /// Opens the gate, and waits until the command runs. A child that a signal has ended at the
    /// gate is no failure: so it would have been a moment later.
    pub fn release(&mut self) -> Result<(), CommandError> {
        if let Some(mut gate) = self.gate.take() {
            match gate.write_all(b"\n") {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Err(self.system_error("starting", error));
                }
                _ => {}
            }
        }
        let mut failure = [0; Failure::BYTES];
        // The pipe closes at the exec; what comes through it is why there was none.
        match self.failure.read_exact(&mut failure) {
            Ok(()) => {
                let _ = self.wait();
                Err(self.failed(Failure::from_bytes(failure)))
            }
            Err(_) => Ok(()),
        }
    }

    fn system_error(&self, doing: &str, source: io::Error) -> CommandError {
        CommandError::System {
            doing: format!("{doing} {}", self.command),
            source,
        }
    }

    /// As shells have it: what is not there is not found, what is there cannot be executed.
    fn failed(&self, failure: Failure) -> CommandError {
        let error = io::Error::from_raw_os_error(failure.errno);
        if failure.step == Step::BecomeUser {
            let user = self.user.as_deref().unwrap_or_default();
            return CommandError::System {
                doing: format!("becoming user {user}"),
                source: error,
            };
        }
        match failure.errno {
            libc::ENOENT => CommandError::NotFound(self.command.clone()),
            libc::EACCES | libc::ENOEXEC | libc::EPERM | libc::ETXTBSY | libc::ELOOP => {
                CommandError::NotExecutable(self.command.clone(), error.to_string())
            }
            _ => self.system_error("starting", error),
        }
    }

    /// As when this process ends before it has released the child.
    #[cfg(test)]
    pub(super) fn close_gate(&mut self) {
        self.gate = None;
    }

    /// Waits for the end of the child.
    pub fn wait(&mut self) -> io::Result<Ending> {
        loop {
            if let Some(ending) = self.wait_with(0)? {
                return Ok(ending);
            }
        }
    }

    /// How the child has ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<Ending>> {
        self.wait_with(libc::WNOHANG)
    }

    fn wait_with(&mut self, options: i32) -> io::Result<Option<Ending>> {
        if self.ending.is_some() {
            return Ok(self.ending);
        }
        let mut status = 0;
        // SAFETY: waits for our own child, into our own variable.
        match unsafe { libc::waitpid(self.pid() as libc::pid_t, &raw mut status, options) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            0 => {}
            _ if libc::WIFSIGNALED(status) => {
                self.ending = Some(Ending::Signalled(libc::WTERMSIG(status)));
            }
            _ => self.ending = Some(Ending::Exited(libc::WEXITSTATUS(status) as u8)),
        }
        Ok(self.ending)
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: writes two descriptors into our array.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}
