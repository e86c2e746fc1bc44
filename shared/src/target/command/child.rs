//! A child that waits behind a gate until the probes are in.

use std::env;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

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

/// A child that waits at the gate, or runs.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    command: String,
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
            command: command.clone(),
            source,
        };
        let image = ExecImage::new(program, user).map_err(failed)?;
        let (gate_out, gate_in) = pipe().map_err(failed)?;
        let (failure_out, failure_in) = pipe().map_err(failed)?;
        // SAFETY: the child calls only async-signal-safe functions (see `ExecImage::run`).
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(failed(io::Error::last_os_error())),
            0 => image.run(&gate_out, gate_in, &failure_in, user),
            pid => Ok(Self {
                pid: pid as u32,
                command,
                gate: Some(gate_in.into()),
                failure: failure_out.into(),
                ending: None,
            }),
        }
    }

    /// The child's process ID, before and after its exec.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens the gate, and waits until the command runs.
    pub fn release(&mut self) -> Result<(), CommandError> {
        let failed = |command: &str, source| CommandError::System {
            command: command.to_owned(),
            source,
        };
        if let Some(mut gate) = self.gate.take() {
            gate.write_all(b"\n")
                .map_err(|error| failed(&self.command, error))?;
        }
        let mut errno = [0; 4];
        // The pipe closes at the exec; what comes through it is why there was none.
        match self.failure.read(&mut errno) {
            Ok(4) => {
                let _ = self.wait();
                let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
                Err(failed(&self.command, error))
            }
            _ => Ok(()),
        }
    }

    /// As when this process ends before it has released the child.
    #[cfg(test)]
    pub(super) fn close_gate(&mut self) {
        self.gate = None;
    }

    /// Sends the child a signal, unless it has ended.
    pub fn signal(&self, signal: i32) {
        if self.ending.is_none() {
            // SAFETY: our own child, which has not been waited for: the PID is still its.
            unsafe { libc::kill(self.pid as libc::pid_t, signal) };
        }
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
        match unsafe { libc::waitpid(self.pid as libc::pid_t, &raw mut status, options) } {
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

/// Everything that the child needs, allocated before the fork.
struct ExecImage {
    path: CString,
    _arguments: Vec<CString>,
    argument_pointers: Vec<*const libc::c_char>,
    _environment: Vec<CString>,
    environment_pointers: Vec<*const libc::c_char>,
}

impl ExecImage {
    fn new(program: &Program, user: Option<&User>) -> io::Result<Self> {
        let arguments = program
            .arguments
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let environment = environment(user)?;
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        Ok(Self {
            path: CString::new(program.path.as_os_str().as_bytes())?,
            argument_pointers: pointers(&arguments),
            environment_pointers: pointers(&environment),
            _arguments: arguments,
            _environment: environment,
        })
    }

    /// In the child: waits at the gate, becomes the user, and executes. Only system calls.
    fn run(&self, gate: &OwnedFd, gate_in: OwnedFd, failure: &OwnedFd, user: Option<&User>) -> ! {
        // Or the child itself would hold its gate open.
        drop(gate_in);
        let mut byte = 0_u8;
        // SAFETY: reads one byte into our variable; system calls and prepared pointers only.
        unsafe {
            // The handlers are this tool's, and would speak in its name.
            for signal in [libc::SIGINT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            loop {
                match libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1) {
                    1 => break,
                    -1 if *libc::__errno_location() == libc::EINTR => {}
                    _ => libc::_exit(0),
                }
            }
            reset_signals();
            if user.is_none_or(User::become_it) {
                libc::execve(
                    self.path.as_ptr(),
                    self.argument_pointers.as_ptr(),
                    self.environment_pointers.as_ptr(),
                );
            }
            let errno = (*libc::__errno_location()).to_ne_bytes();
            libc::write(failure.as_raw_fd(), errno.as_ptr().cast(), errno.len());
            libc::_exit(127)
        }
    }
}

/// The Rust runtime ignores SIGPIPE; the command shall not inherit that.
fn reset_signals() {
    // SAFETY: async-signal-safe calls on our own signal state.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn environment(user: Option<&User>) -> io::Result<Vec<CString>> {
    let mut variables: Vec<(OsString, OsString)> = env::vars_os().collect();
    if let Some(user) = user {
        let of_user = user.variables();
        variables.retain(|(name, _)| of_user.iter().all(|(own, _)| name != own));
        for (name, value) in of_user {
            variables.push((name.into(), OsString::from_vec(value.to_bytes().to_vec())));
        }
    }
    variables
        .into_iter()
        .map(|(name, value)| {
            let line = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(line).map_err(Into::into)
        })
        .collect()
}
