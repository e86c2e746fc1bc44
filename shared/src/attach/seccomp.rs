//! Whether a return probe harms a process with a seccomp filter: on x86-64, 6.11 to 6.13 return from
//! a probed function by a system call of their own, which filters do not know. 6.14, and where it
//! was backported, let it pass.

use std::fs;

use super::KernelError;
use super::uprobe::Way;

/// Whether any thread of a process has a seccomp filter, or seccomp's strict mode.
pub fn has_seccomp_filter(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .any(|status| seccomp_mode(&status).is_some_and(|mode| mode != 0))
}

/// `None`: the kernel has no seccomp at all, or the line is not known.
fn seccomp_mode(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))?;
    line.trim().parse().ok()
}

/// Whether return probes, attached this way, harm a process with a seccomp filter on this kernel:
/// tried on a child, once.
pub fn return_probes_harm_seccomp(way: Way) -> Result<bool, KernelError> {
    #[cfg(target_arch = "x86_64")]
    return trial::answer(way).map_err(|source| {
        KernelError::new(
            "trying a return probe on a child with a seccomp filter",
            source,
        )
    });
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = way;
        Ok(false)
    }
}

#[cfg(target_arch = "x86_64")]
mod trial {
    use std::fs::File;
    use std::io::{self, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::sync::{Mutex, PoisonError};

    use super::super::self_test::{Trial, call_emulated, own_probes};
    use super::super::uprobe::{Links, Way};

    /// `uretprobe` (6.11).
    const URETPROBE: u32 = 335;

    /// A child that has been let go and hangs is ended after so many seconds. All that it does is
    /// eight system calls, but a machine may have other things to do.
    const PATIENCE_S: u32 = 30;

    /// What came out for each way that was tried. Whoever asks meanwhile waits for it.
    static ANSWERS: Mutex<Vec<(Way, bool)>> = Mutex::new(Vec::new());

    /// See [`super::return_probes_harm_seccomp`].
    pub fn answer(way: Way) -> Result<bool, libbpf_rs::Error> {
        let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&(_, is_harmed)) = answers.iter().find(|(tried, _)| *tried == way) {
            return Ok(is_harmed);
        }
        let is_harmed = with_probes(way)?;
        answers.push((way, is_harmed));
        Ok(is_harmed)
    }

    fn with_probes(way: Way) -> Result<bool, libbpf_rs::Error> {
        let mut object = MaybeUninit::uninit();
        let trial = Trial::load(&mut object, way)?;
        let (probe, _) = own_probes()?;
        let child = Child::fork(URETPROBE, call_emulated)?;
        let mut links = Links::default();
        links.extend(trial.attach_entry(child.pid as u32, probe)?);
        links.extend(trial.attach_return(child.pid as u32, probe)?);
        let is_harmed = child.let_go();
        // Taking probes out waits for the kernel (50 to 250 ms), and nobody has to wait for that.
        std::thread::spawn(move || drop(links));
        Ok(is_harmed?)
    }

    /// A copy of this process that waits, forbids itself a system call, and calls a function.
    pub struct Child {
        pid: libc::pid_t,
        gate: File,
    }

    impl Child {
        pub fn fork(forbidden: u32, call: fn()) -> io::Result<Self> {
            let mut ends = [0; 2];
            // SAFETY: writes two descriptors into our own array.
            if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: both were just opened, and are nobody else's.
            let [outside, inside] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            // SAFETY: the child makes system calls only, and ends without returning: no lock that
            // another thread held at the fork is ever asked for.
            let pid = unsafe { libc::fork() };
            match pid {
                -1 => Err(io::Error::last_os_error()),
                0 => run(outside.as_raw_fd(), inside.as_raw_fd(), forbidden, call),
                _ => Ok(Self {
                    pid,
                    gate: File::from(inside),
                }),
            }
        }

        /// Lets it go; returns whether it was killed.
        pub fn let_go(mut self) -> io::Result<bool> {
            self.gate.write_all(&[1])?;
            let status = self.wait()?;
            if libc::WIFSIGNALED(status) {
                return match libc::WTERMSIG(status) {
                    libc::SIGALRM => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
                    _ => Ok(true),
                };
            }
            match libc::WEXITSTATUS(status) {
                // A kernel without seccomp has nobody to harm.
                0 | libc::EINVAL | libc::ENOSYS => Ok(false),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }

        fn wait(&mut self) -> io::Result<libc::c_int> {
            let mut status = 0;
            // SAFETY: writes into our own variable.
            while unsafe { libc::waitpid(self.pid, &raw mut status, 0) } < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            self.pid = 0;
            Ok(status)
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            if self.pid > 0 {
                // SAFETY: our own child, not waited for yet, so that the number is still its.
                unsafe { libc::kill(self.pid, libc::SIGKILL) };
                let _ = self.wait();
            }
        }
    }

    /// The child. Ends with the error of a system call that failed.
    fn run(outside: RawFd, inside: RawFd, forbidden: u32, call: fn()) -> ! {
        let mut byte = 0_u8;
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: system calls and sets of signals, all on our own memory; nothing is allocated.
        unsafe {
            // The handlers are the parent's.
            libc::sigfillset(signals.as_mut_ptr());
            libc::sigdelset(signals.as_mut_ptr(), libc::SIGALRM);
            libc::sigprocmask(libc::SIG_SETMASK, signals.as_ptr(), std::ptr::null_mut());
            // The pipe has to end with the parent.
            libc::close(inside);
            // However long the probes take: it waits until they are there, or the parent is gone.
            if libc::read(outside, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(libc::EPIPE);
            }
            libc::alarm(PATIENCE_S);
            // Where the filter kills, nobody is to keep a core of it.
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
        }
        if let Err(error) = forbid(forbidden) {
            // SAFETY: ends the process.
            unsafe { libc::_exit(error) };
        }
        call();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) }
    }

    /// Has this thread killed if it makes a system call. Returns the number of an error.
    fn forbid(call: u32) -> Result<(), libc::c_int> {
        let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        let mut filter = [
            // The number is the first word of seccomp_data.
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 0, 1),
            op(
                libc::BPF_RET | libc::BPF_K,
                libc::SECCOMP_RET_KILL_PROCESS,
                0,
                0,
            ),
            op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the program lives until the calls return; the kernel copies it.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) != 0
        };
        if failed {
            return Err(io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EPERM));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_read() {
        assert_eq!(
            seccomp_mode("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            Some(2)
        );
        assert_eq!(seccomp_mode("Name:\tx\nSeccomp:\t0\n"), Some(0));
        assert_eq!(seccomp_mode("Name:\tx\n"), None);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn only_a_forbidden_call_kills_the_child() {
        fn ask_for_parent() {
            // SAFETY: a system call without arguments.
            unsafe { libc::getppid() };
        }
        let forbidden = libc::SYS_getppid as u32;
        let trial = |call| trial::Child::fork(forbidden, call).unwrap();
        assert!(trial(ask_for_parent).let_go().unwrap());
        assert!(!trial(|| ()).let_go().unwrap());
        // One that is never let go is no zombie.
        drop(trial(|| ()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_child_that_hangs_is_ended() {
        fn hang() {
            // Its own patience would make a long test.
            // SAFETY: system calls without pointers.
            unsafe {
                libc::alarm(1);
                libc::pause();
            }
        }
        let child = trial::Child::fork(libc::SYS_getppid as u32, hang).unwrap();
        let error = child.let_go().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_filter() {
        assert!(!has_seccomp_filter(u32::MAX));
    }
}
