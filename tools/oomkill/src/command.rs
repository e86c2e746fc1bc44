//! `--exec`: a command for each kill, one at a time, in a thread of its own.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::Write;
use std::io::{self, Seek};
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memtools::cli::UserError;
use memtools::output::counted;

use crate::model::Event;
use crate::report;

/// How many events may wait for it.
const WAITING: usize = 64;

/// What to run, and how often.
pub struct Options {
    /// As it was given.
    pub command: String,
    /// After that it is killed.
    pub timeout: Duration,
    /// So often in a minute at most.
    pub per_minute: u32,
    /// What its children's `oom_score_adj` is to be: not our own.
    pub oom_score_adj: Option<String>,
    /// Takes warnings.
    pub say: Say,
    /// What it prints goes to standard error; else nobody hears of it.
    pub may_print: bool,
}

/// The process group of the command that runs; 0: none does.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// Ends the command that runs, and what it has started.
pub fn kill_running() {
    let group = RUNNING.load(Ordering::SeqCst);
    if group > 0 {
        // SAFETY: a signal to a process group of ours.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
}

/// Whoever takes warnings.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// The thread that runs it.
pub struct Runner {
    events: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    skipped: u64,
    say: Say,
    is_ending: Arc<AtomicBool>,
}

impl Runner {
    /// Checks the command and starts the thread.
    pub fn start(options: Options) -> Result<Self> {
        let words: Vec<String> = options
            .command
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            return Err(UserError::usage("--exec needs a command").into());
        }
        if !is_there(&words[0]) {
            let name = &words[0];
            return Err(UserError::usage(format!("--exec: there is no program {name:?}")).into());
        }
        let (events, inbox) = sync_channel(WAITING);
        let say = Arc::clone(&options.say);
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&is_ending);
        let thread = std::thread::Builder::new()
            .name("exec".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                Work {
                    words,
                    options,
                    lately: VecDeque::new(),
                    limited: 0,
                    is_ending: ending,
                }
                .until_end(&inbox);
            })
            .context("starting the thread that runs the command")?;
        Ok(Self {
            events: Some(events),
            thread: Some(thread),
            skipped: 0,
            say,
            is_ending,
        })
    }

    /// Tells it of a kill; never waits.
    pub fn tell(&mut self, event: &Event) {
        let mut json = Vec::new();
        // Writing to memory cannot fail.
        let _ = report::write_json(&mut json, event);
        let Some(events) = &self.events else {
            return;
        };
        if let Err(TrySendError::Full(_)) = events.try_send(json) {
            self.skipped += 1;
            let skipped = self.skipped;
            (self.say)(&format!(
                "--exec is too slow: {} not told to it",
                counted(skipped, "kill")
            ));
        }
    }
}

/// A command that runs has its time; what waits behind it is not told any more.
impl Drop for Runner {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if RUNNING.load(Ordering::SeqCst) > 0 {
            (self.say)("waiting for the command of --exec; another Ctrl-C kills it");
        }
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether a program can be executed, by its path or from PATH.
fn is_there(name: &str) -> bool {
    let can_run = |path: &Path| {
        let is_file = |file: Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
        path.metadata().is_ok_and(is_file)
    };
    if name.contains('/') {
        return can_run(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| can_run(&directory.join(name)))
}

struct Work {
    words: Vec<String>,
    options: Options,
    /// When it was started in the last minute.
    lately: VecDeque<Instant>,
    /// How many events came too fast.
    limited: u64,
    is_ending: Arc<AtomicBool>,
}

impl Work {
    fn until_end(mut self, inbox: &Receiver<Vec<u8>>) {
        let mut untold = 0;
        while let Ok(json) = inbox.recv() {
            if self.is_ending.load(Ordering::Relaxed) {
                untold += 1;
            } else if self.may_run(Instant::now())
                && let Err(error) = self.run(&json)
            {
                self.say(&format!("--exec: {error:#}"));
            }
        }
        untold += self.limited;
        if untold > 0 {
            self.say(&format!("{} not told to --exec", counted(untold, "kill")));
        }
    }

    fn say(&self, text: &str) {
        (self.options.say)(text);
    }

    /// Whether the rate allows another one; says once a minute that it does not.
    fn may_run(&mut self, now: Instant) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let is_old = |at: &&Instant| now.saturating_duration_since(**at) >= MINUTE;
        while self.lately.front().as_ref().is_some_and(is_old) {
            self.lately.pop_front();
        }
        if self.lately.len() >= self.options.per_minute as usize {
            self.limited += 1;
            if self.limited == 1 {
                self.say(&format!(
                    "--exec was run {} times within a minute: kills are not told to it until that \
                     minute is over",
                    self.options.per_minute
                ));
            }
            return false;
        }
        if self.limited > 0 {
            self.say(&format!(
                "{} not told to --exec",
                counted(self.limited, "kill")
            ));
            self.limited = 0;
        }
        self.lately.push_back(now);
        true
    }

    fn run(&self, json: &[u8]) -> Result<()> {
        let input = in_memory(json).context("keeping an event in memory")?;
        let mut child = self
            .spawn(input)
            .with_context(|| format!("cannot run {:?}", self.words[0]))?;
        RUNNING.store(child.id() as i32, Ordering::SeqCst);
        let status = self.wait(&mut child);
        RUNNING.store(0, Ordering::SeqCst);
        let status = status.context("waiting for the command")?;
        match status {
            Some(status) if !status.success() => {
                self.say(&format!("--exec: {:?}: {status}", self.words[0]));
            }
            Some(_) => {}
            None => self.say(&format!(
                "--exec: {:?} was killed after {:?}",
                self.words[0], self.options.timeout
            )),
        }
        Ok(())
    }

    fn spawn(&self, input: File) -> Result<Child> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(input).process_group(0);
        if self.options.may_print {
            // Standard output is for events.
            command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        if let Some(adj) = self.options.oom_score_adj.clone() {
            // SAFETY: only system calls, on memory that is there already.
            unsafe {
                command.pre_exec(move || {
                    set_oom_score_adj(&adj);
                    Ok(())
                });
            }
        }
        Ok(command.spawn()?)
    }

    /// `None`: it took too long, and was killed with all that it had started.
    fn wait(&self, child: &mut Child) -> Result<Option<std::process::ExitStatus>> {
        const STEP: Duration = Duration::from_millis(20);
        let end = Instant::now() + self.options.timeout;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                // SAFETY: a signal to a process group that is ours: its leader was not waited for.
                unsafe { libc::killpg(child.id() as i32, libc::SIGKILL) };
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(STEP);
        }
    }
}

/// A file in memory, read from its start: a command may read it, or not, without anybody waiting.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    // SAFETY: a name that ends in NUL.
    let fd = unsafe { libc::memfd_create(c"oomkill-event".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just now and is nobody else's.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Between fork and exec: makes the command what it would be without us. Where that is not allowed,
/// it runs all the same.
fn set_oom_score_adj(adj: &str) {
    // SAFETY: a path that ends in NUL, and bytes that are there.
    unsafe {
        let fd = libc::open(
            c"/proc/self/oom_score_adj".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if fd >= 0 {
            libc::write(fd, adj.as_ptr().cast(), adj.len());
            libc::close(fd);
        }
    }
}
