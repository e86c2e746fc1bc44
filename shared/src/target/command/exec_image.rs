//! What happens in the child, between its fork and its exec.

use std::env;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{Program, User};

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Step {
    BecomeUser = 1,
    Execute = 2,
}

/// Why the child runs no command: what it sends through its pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub step: Step,
    pub errno: i32,
}

impl Failure {
    pub const BYTES: usize = 8;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        (u64::from(self.step as u32) << 32 | u64::from(self.errno as u32)).to_ne_bytes()
    }

    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = u64::from_ne_bytes(bytes);
        let step = if (number >> 32) as i32 == Step::BecomeUser as i32 {
            Step::BecomeUser
        } else {
            Step::Execute
        };
        Self {
            step,
            errno: number as i32,
        }
    }
}

/// Calls a function with all signals blocked: no handler of this process runs in a child that it
/// forks. The child has to empty its mask.
pub(super) fn with_signals_blocked<T>(forks: impl FnOnce() -> T) -> T {
    // SAFETY: fills, sets and restores masks of our own.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let done = forks();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        done
    }
}

/// Everything that the child needs, allocated before the fork.
pub(super) struct ExecImage {
    path: CString,
    _arguments: Vec<CString>,
    argument_pointers: Vec<*const libc::c_char>,
    _environment: Vec<CString>,
    environment_pointers: Vec<*const libc::c_char>,
}

impl ExecImage {
    pub fn new(program: &Program, user: Option<&User>) -> io::Result<Self> {
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
    pub fn run(
        &self,
        gate: &OwnedFd,
        gate_in: &OwnedFd,
        failure_in: &OwnedFd,
        user: Option<&User>,
    ) -> ! {
        reset_signals();
        // SAFETY: system calls on our own descriptors, and pointers prepared before the fork. The
        // child never returns, so nobody uses the end of the gate that it closes.
        unsafe {
            // Or the child itself would hold its gate open.
            libc::close(gate_in.as_raw_fd());
            if !wait_at(gate) {
                libc::_exit(0);
            }
            let step = if let Some(Err(_)) = user.map(User::become_it) {
                Step::BecomeUser
            } else {
                libc::execve(
                    self.path.as_ptr(),
                    self.argument_pointers.as_ptr(),
                    self.environment_pointers.as_ptr(),
                );
                Step::Execute
            };
            let errno = *libc::__errno_location();
            let failure = Failure { step, errno }.to_bytes();
            libc::write(
                failure_in.as_raw_fd(),
                failure.as_ptr().cast(),
                failure.len(),
            );
            libc::_exit(127)
        }
    }
}

/// Whether the gate opens; it may also close. A signal that does not end the child does not end
/// the wait.
fn wait_at(gate: &OwnedFd) -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: reads one byte into our variable.
        match unsafe { libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1) } {
            1 => return true,
            // SAFETY: this thread's own errno.
            -1 if unsafe { *libc::__errno_location() } == libc::EINTR => {}
            _ => return false,
        }
    }
}

/// The handlers are this tool's, and would speak in its name; what is ignored (nohup) stays so.
/// SIGPIPE is ignored by the Rust runtime, which the command shall not inherit.
fn reset_signals() {
    // SAFETY: async-signal-safe calls on our own signal state.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            if action.sa_sigaction != libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
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
