//! A terminal of our own that a program draws on: what it writes is read at once and nothing polls, so
//! that its answers can be timed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Between two pictures it is silent for longer than this, within one it is not.
const PAUSE: Duration = Duration::from_millis(20);
/// Whoever does not answer within this never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// The terminal, with the program on it. Dropping it ends the program.
pub struct Terminal {
    child: Child,
    keyboard: File,
    output: Receiver<(Instant, Vec<u8>)>,
}

/// What a program wrote in one go.
pub struct Picture {
    /// When the last of it came.
    pub end: Instant,
    pub bytes: Vec<u8>,
}

impl Terminal {
    /// Runs a program on a terminal of this size.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Result<Self> {
        let (ours, theirs) = open(columns, rows).context("opening a terminal")?;
        let stream = || theirs.try_clone().map(Stdio::from);
        command
            .stdin(stream()?)
            .stdout(stream()?)
            .stderr(stream()?)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR");
        // SAFETY: between fork and exec there are two system calls that take numbers.
        unsafe { command.pre_exec(take_terminal) };
        let child = command.spawn().context("starting a program")?;
        drop(theirs);
        let mut screen = ours.try_clone()?;
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            // The end of the last program on it is an error, EIO.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let chunk = (Instant::now(), buffer[..length].to_vec());
                if sender.send(chunk).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            keyboard: ours,
            output,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&mut self, keys: &str) -> io::Result<()> {
        self.keyboard.write_all(keys.as_bytes())
    }

    /// From now to the end of the picture that answers.
    pub fn time(&mut self, keys: &str) -> Result<Duration> {
        let begin = Instant::now();
        self.press(keys)?;
        Ok(self.picture()?.end - begin)
    }

    /// Waits for the next picture.
    pub fn picture(&mut self) -> Result<Picture> {
        let first = self.output.recv_timeout(PATIENCE);
        let (mut end, mut bytes) = first.context("the program draws nothing")?;
        loop {
            match self.output.recv_timeout(PAUSE) {
                Ok((time, more)) => {
                    end = time;
                    bytes.extend(more);
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Picture { end, bytes }),
                Err(RecvTimeoutError::Disconnected) => bail!("the program has ended"),
            }
        }
    }

    /// Makes the program draw everything.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let size = size(columns, rows);
        // SAFETY: the request reads one winsize.
        let outcome = unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        (outcome == 0)
            .then_some(())
            .ok_or_else(io::Error::last_os_error)
    }

    /// Waits for the program's end.
    pub fn wait(mut self) -> io::Result<()> {
        self.child.wait().map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> libc::winsize {
    libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Our end and the program's.
fn open(columns: u16, rows: u16) -> io::Result<(File, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: openpty writes two descriptors and reads a size.
    let outcome = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size(columns, rows),
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just opened, and are nobody else's.
    let (ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    for fd in [&ours as &dyn std::os::fd::AsRawFd, &theirs] {
        // SAFETY: a flag of a descriptor of ours.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((ours, theirs))
}

/// In the child: a session of its own, on the terminal that is its standard input.
fn take_terminal() -> io::Result<()> {
    // SAFETY: plain system calls.
    let outcome = unsafe { libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 };
    outcome.then_some(()).ok_or_else(io::Error::last_os_error)
}
