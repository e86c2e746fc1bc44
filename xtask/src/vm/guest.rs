//! Booting a machine, listening to it, and seeing to its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::console;
use super::kernels::Kernel;
use super::machine::{Files, Machine};
use super::report::Report;
use crate::process;

/// Emulated machines die now and then before they have done anything.
const BOOTS: usize = 4;

/// A machine takes seconds to come to its init; one that needs so long never will.
const READY: Duration = Duration::from_secs(180);

/// From the report of the command's end to the machine's.
const AFTERMATH: Duration = Duration::from_secs(20);

/// QEMU connects its ports before it starts the machine.
const CONNECTED: Duration = Duration::from_secs(60);

/// By then the report of a processor that is stuck is there, and with it the reason.
const STUCK_REPORT: Duration = Duration::from_secs(5);

/// A line of the kernel's log is not longer.
const LINE: usize = 1024;

const POLL: Duration = Duration::from_millis(50);

/// Ctrl-], which telnet ends with too.
const ESCAPE: u8 = 0x1d;

/// What is to be run.
pub struct Guest<'a> {
    pub kernel: &'a Kernel,
    pub image: &'a Path,
    pub initramfs: &'a Path,
    pub machine: &'a Machine,
    /// For all that it does.
    pub deadline: Option<Duration>,
    /// How long it may say nothing at all.
    pub silence: Option<Duration>,
    /// Where the kernel's log is kept.
    pub log: PathBuf,
    /// Whether the command has the user's terminal.
    pub terminal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Output,
    Errors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(u8),
    /// It was still running, and was ended.
    Late,
    /// It ended before its command did.
    Died,
    /// No boot came as far as its init.
    NeverReady,
}

pub struct Outcome {
    pub end: End,
    pub boots: usize,
    /// From the start of the last boot to its init's first word.
    pub ready_after: Option<Duration>,
    /// What the kernel has reported about itself, or that it is not the one that was wanted.
    pub trouble: Option<String>,
}

/// The ports in the order of their numbers.
#[derive(Clone, Copy)]
enum Port {
    Console,
    Output,
    Errors,
    Report,
}

const PORTS: [Port; 4] = [Port::Console, Port::Output, Port::Errors, Port::Report];

enum Event {
    Data(Port, Vec<u8>),
    Closed,
    Escape,
}

impl Guest<'_> {
    /// Runs it to its end. What dies before its init reports is booted again.
    pub fn run(&self, mut use_output: impl FnMut(Stream, &[u8])) -> Result<Outcome> {
        let log = || format!("write {}", self.log.display());
        let mut file = File::create(&self.log).with_context(log)?;
        let mut boots = 0;
        loop {
            boots += 1;
            writeln!(file, "--- boot {boots}").with_context(log)?;
            let boot = Boot::start(self)?.follow(self, &mut file, &mut use_output)?;
            if boot.report.ready || boots == BOOTS {
                return Ok(boot.outcome(self.kernel, boots));
            }
        }
    }
}

/// One attempt.
struct Boot {
    child: Child,
    events: Receiver<Event>,
    start: Instant,
    report: Report,
    console: Vec<u8>,
    ready_after: Option<Duration>,
    late: bool,
    /// Its kernel has said that it will come to nothing any more.
    is_stuck: bool,
}

impl Boot {
    fn start(guest: &Guest) -> Result<Self> {
        let directory = Scratch::create()?;
        let paths = [0, 1, 2, 3].map(|port| directory.0.join(format!("port{port}")));
        let listeners = paths
            .iter()
            .map(|path| listen(path))
            .collect::<Result<Vec<_>>>()?;
        let swap = guest.log.with_extension("swap");
        if let Some(size) = guest.machine.swap {
            let file = File::create(&swap).with_context(|| format!("create {}", swap.display()))?;
            file.set_len(size).context("size the guest's swap")?;
        }
        let mut command = guest.machine.command(
            guest.kernel,
            &Files {
                kernel: guest.image,
                initramfs: guest.initramfs,
                swap: &swap,
                ports: &paths.each_ref().map(PathBuf::as_path),
            },
        )?;
        let start = Instant::now();
        let mut child = spawn(&mut command)?;
        let (sender, events) = mpsc::channel();
        let mut streams = Vec::new();
        for listener in listeners {
            match accept(&listener, &mut child) {
                Ok(stream) => streams.push(stream),
                Err(error) => {
                    let complaint = complaint(&mut child);
                    return Err(error.context(format!("start the machine: {complaint}")));
                }
            }
        }
        if guest.terminal {
            let keyboard = streams[1].try_clone().context("share a port")?;
            forward_keys(keyboard, sender.clone());
        }
        for (port, stream) in PORTS.into_iter().zip(streams) {
            read_port(port, stream, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            read_port(Port::Console, stderr, sender);
        }
        Ok(Self {
            child,
            events,
            start,
            report: Report::default(),
            console: Vec::new(),
            ready_after: None,
            late: false,
            is_stuck: false,
        })
    }

    /// Listens until all ports are closed, which is when the machine has ended.
    fn follow(
        mut self,
        guest: &Guest,
        log: &mut File,
        use_output: &mut impl FnMut(Stream, &[u8]),
    ) -> Result<Self> {
        let mut open = PORTS.len() + 1;
        let mut last_word = Instant::now();
        while open > 0 {
            match self.events.recv_timeout(POLL) {
                Ok(Event::Data(port, bytes)) => {
                    last_word = Instant::now();
                    self.take(port, &bytes, log, use_output)?;
                }
                Ok(Event::Closed) => open -= 1,
                Ok(Event::Escape) => self.end()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.is_over(guest, last_word.elapsed()) && !self.late {
                self.end()?;
            }
        }
        self.child.wait().context("wait for the machine's end")?;
        Ok(self)
    }

    fn is_over(&self, guest: &Guest, silence: Duration) -> bool {
        let exceeds = |limit: Option<Duration>, time| limit.is_some_and(|limit| time > limit);
        if self.report.status.is_some() {
            // It is about to end by itself, which takes no time worth the name.
            return silence > AFTERMATH;
        }
        if !self.report.ready {
            return self.start.elapsed() > READY;
        }
        exceeds(guest.deadline, self.start.elapsed())
            || exceeds(guest.silence, silence)
            || self.is_stuck && silence > STUCK_REPORT
    }

    fn take(
        &mut self,
        port: Port,
        bytes: &[u8],
        log: &mut File,
        use_output: &mut impl FnMut(Stream, &[u8]),
    ) -> Result<()> {
        match port {
            Port::Console => {
                log.write_all(bytes).context("write the console log")?;
                self.console.extend_from_slice(bytes);
                let recent = self.console.len().saturating_sub(bytes.len() + LINE);
                let recent = String::from_utf8_lossy(&self.console[recent..]);
                self.is_stuck |= console::is_stuck(&recent);
            }
            Port::Output => use_output(Stream::Output, bytes),
            Port::Errors => use_output(Stream::Errors, bytes),
            Port::Report => {
                self.report.take(bytes);
                if self.report.ready && self.ready_after.is_none() {
                    self.ready_after = Some(self.start.elapsed());
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.late = true;
        self.child.kill().context("end the machine")
    }

    fn outcome(self, kernel: &Kernel, boots: usize) -> Outcome {
        let end = match self.report.status {
            Some(status) => End::Exited(status),
            None if !self.report.ready => End::NeverReady,
            None if self.late => End::Late,
            None => End::Died,
        };
        let seen = console::trouble(&String::from_utf8_lossy(&self.console));
        let flags = self
            .report
            .tainted
            .filter(|flags| console::is_tainted(*flags));
        let (release, preempt) = (&self.report.release, &self.report.preempt);
        let other = if self.report.ready {
            kernel.is_what_runs(release, preempt).err()
        } else {
            None
        };
        let remembered = || flags.map(|flags| format!("the kernel is tainted: {flags}"));
        Outcome {
            end,
            boots,
            ready_after: self.ready_after,
            trouble: other.or(seen).or_else(remembered),
        }
    }
}

/// However listening to it ends: the machine does not go on without a listener.
impl Drop for Boot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory for sockets, whose paths may not be long. Dropping it removes it; whoever has
/// connected stays so.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> Result<Self> {
        // Several machines may run at a time.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("memtools-vm-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left by an earlier process with this number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| process::cannot_run(command))
}

fn listen(path: &Path) -> Result<UnixListener> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    listener
        .set_nonblocking(true)
        .context("make a listener that does not wait")?;
    Ok(listener)
}

/// The machine's end of a port, unless it ends before it connects.
fn accept(listener: &UnixListener, child: &mut Child) -> Result<UnixStream> {
    let end = Instant::now() + CONNECTED;
    while Instant::now() < end {
        match listener.accept() {
            Ok((stream, _)) => {
                stream
                    .set_nonblocking(false)
                    .context("make a port that waits")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("accept a port"),
        }
        if let Some(status) = child.try_wait().context("ask for the machine's end")? {
            bail!("it ended at once ({status})");
        }
        thread::sleep(POLL / 10);
    }
    bail!("it does not connect its ports")
}

fn complaint(child: &mut Child) -> String {
    let _ = child.kill();
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut text);
    }
    text.trim().to_owned()
}

fn read_port(port: Port, mut stream: impl Read + Send + 'static, events: Sender<Event>) {
    thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        // Both ends of the loop mean that there is nobody left to talk to.
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let data = Event::Data(port, buffer[..length].to_vec());
            if events.send(data).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Closed);
    });
}

fn forward_keys(mut port: UnixStream, events: Sender<Event>) {
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
            let keys = &buffer[..length];
            if keys.contains(&ESCAPE) {
                let _ = events.send(Event::Escape);
            } else if port.write_all(keys).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_at_a_time_have_sockets_of_their_own() {
        let (one, other) = (Scratch::create().unwrap(), Scratch::create().unwrap());
        assert_ne!(one.0, other.0);
        assert!(one.0.is_dir() && other.0.is_dir());
    }
}
