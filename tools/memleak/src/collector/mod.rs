//! Turns what the kernel side finds into complete, plain snapshots, in a thread of its own.

mod abi;
mod accounts;
mod backlog;
mod budget;
mod family;
mod kernel;
mod load;
mod session;
mod sets;
mod system;
mod text;

use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use memtools::target::Target;

pub use backlog::Backlog;
pub use budget::LEAST as LEAST_MEMORY;
pub use family::{Arrival, Choice, Family, Filter, Matcher, Setup as FamilySetup, Spares};
pub use kernel::{DEFAULT_BLOCKS, DEFAULT_BLOCKS_PREALLOCATED, Kernel};
pub use session::{Session, Setup, Unbegun};
pub use system::System;

use budget::Room;

use crate::cli::{Cli, Subject};
use crate::plan::Allocator;
use crate::snapshot::Snapshot;
use crate::tui::Order;

/// The default of `--stack-storage-size`.
const DEFAULT_STACKS: u32 = 10240;
/// The same for each of several processes.
const DEFAULT_STACKS_EACH: u32 = 2048;
/// The default of `--max-allocs` for each of several processes: with fewer than 128 Ki there is no table
/// in front, which would take 4 MiB at once.
const DEFAULT_BLOCKS_EACH: u32 = 100_000;

/// What the kernel side is told before it is loaded, and the collector with it.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // switches of the command line
pub struct Options {
    /// Where the allocator is looked for.
    pub allocator: Allocator,
    /// One allocation in so many is tracked.
    pub sample_every: u32,
    /// The smallest allocation that is tracked, in bytes.
    pub min_bytes: u64,
    /// The largest.
    pub max_bytes: u64,
    /// Send every event.
    pub trace: bool,
    /// Frames.
    pub max_stack_depth: u32,
    /// How large the tables are.
    pub room: Room,
    /// Whether maps take memory as they fill.
    pub grows: bool,
    /// It is the kernel's memory.
    pub is_kernel: bool,
    /// There are more such processes: tables are small.
    pub is_one_of_several: bool,
    /// Blocks younger than this are hidden.
    pub min_age: Duration,
    /// Each block is listed.
    pub list_blocks: bool,
    /// Only totals: the table of blocks is not read.
    pub only_totals: bool,
    /// Detach above this share of the target's CPU time, in percent.
    pub max_overhead: Option<f64>,
}

impl Options {
    /// From the command line; `grows`: whether maps may take memory as they fill on this kernel.
    pub fn new(cli: &Cli, grows: bool) -> Self {
        let is_kernel = matches!(cli.subject(), Ok(Subject::Kernel(_)));
        // What traces the kernel's memory must not ask it for more.
        let grows = grows && !is_kernel;
        let is_one_of_several = cli.is_about_several();
        let default = if is_kernel {
            budget::kernel_blocks(memtools::process::memory_total())
        } else if is_one_of_several {
            DEFAULT_BLOCKS_EACH
        } else if grows {
            DEFAULT_BLOCKS
        } else {
            DEFAULT_BLOCKS_PREALLOCATED
        };
        let stacks = cli.stack_storage_size.unwrap_or(if is_one_of_several {
            DEFAULT_STACKS_EACH
        } else {
            DEFAULT_STACKS
        });
        let wanted = Room::unlimited(stacks, cli.max_allocs.unwrap_or(default));
        Self {
            room: cli
                .max_memory
                .map_or(wanted, |bytes| wanted.within(bytes, cli.show_allocs)),
            allocator: Allocator {
                object: cli.obj.clone(),
                prefix: cli.symbols_prefix.clone(),
            },
            sample_every: cli.sample_rate,
            min_bytes: cli.min_size.unwrap_or(0),
            max_bytes: cli.max_size.unwrap_or(u64::MAX),
            trace: cli.trace,
            max_stack_depth: cli.perf_max_stack_depth,
            grows,
            is_kernel,
            is_one_of_several,
            min_age: Duration::from_millis(cli.older),
            list_blocks: cli.show_allocs,
            only_totals: cli.combined_only,
            max_overhead: cli.max_overhead,
        }
    }
}

impl Options {
    /// About what the tables of each of several processes take before anything is in them, in bytes.
    pub fn bytes_each(&self) -> u64 {
        self.room.bytes_at_once(self.grows)
    }
}

/// An allocation or a free, for `-t`.
#[derive(Clone, Copy, Debug)]
pub struct TraceEvent {
    /// How long ago it happened when it was sent.
    pub age: Duration,
    /// An allocation, not a free.
    pub is_alloc: bool,
    /// The process; 0: any, in the kernel.
    pub process: u32,
    /// The thread.
    pub thread: u32,
    /// The block.
    pub address: u64,
    /// Its size.
    pub bytes: u64,
}

/// What the collector says unasked.
#[derive(Debug)]
pub enum Message {
    /// The process has ended.
    Ended,
    /// Five seconds have passed, and nothing was seen.
    Silence,
    /// The probes took this share of the target's CPU time, in percent, and were taken out.
    Detached(f64),
    /// For `-t`.
    Trace(Vec<TraceEvent>),
    /// Something a user should know.
    Note(String),
    /// The first signal that asks for the end has arrived.
    Signal,
    /// The view asks for something.
    Order(Order),
}

impl Message {
    /// What a user is told, if anything.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Note(line) => Some(format!("note: {line}")),
            Self::Silence => Some(
                "no event seen for 5 seconds: the process may be idle (see its CPU in top), or \
                 allocate in another way (--explain shows the probes; -O names the allocator's \
                 object)"
                    .to_owned(),
            ),
            Self::Detached(percent) => Some(format!(
                "detached: the probes took {percent:.0} % of the target's CPU time for 3 seconds, \
                 more than --max-overhead allows"
            )),
            Self::Ended | Self::Trace(_) | Self::Signal | Self::Order(_) => None,
        }
    }
}

/// What it is asked.
enum Request {
    Snapshot(SyncSender<Result<Snapshot>>),
    BaseLine(bool),
    /// The last snapshot: recording ends first, and the probes are taken out after it.
    Finish(SyncSender<Result<Snapshot>>),
}

/// What a collector looks at: a process, or the kernel's own memory.
pub trait Watched: Send {
    /// What to wait for.
    fn fds(&self) -> Vec<RawFd>;
    /// Whether there is something to do that nothing has to be waited for.
    fn has_work(&self) -> bool {
        false
    }
    /// Takes in what has happened.
    fn pump(&mut self) -> Vec<Message>;
    /// All that is known now.
    fn snapshot(&mut self) -> Result<Snapshot>;
    /// From now on only what is made later counts as fresh; or, with `false`, everything does.
    fn set_base_line(&mut self, is_set: bool);
    /// The last snapshot; afterwards the probes are out.
    fn finish(&mut self) -> Result<Snapshot>;
}

/// The collector's thread.
pub struct Collector {
    requests: Sender<Request>,
    waker: Waker,
    backlog: Backlog,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts recording. Messages go to `messages`.
    pub fn start(watched: Box<dyn Watched>, messages: Sender<Message>) -> Result<Self> {
        let (requests, inbox) = channel();
        let waker = Waker::new().context("creating an eventfd")?;
        let woken = waker.try_clone().context("creating an eventfd")?;
        let backlog = Backlog::default();
        let outbox = Outbox {
            messages,
            backlog: backlog.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("collector".to_owned())
            .spawn(move || run(watched, &inbox, &woken, &outbox))
            .context("starting the collector's thread")?;
        Ok(Self {
            requests,
            waker,
            backlog,
            thread: Some(thread),
        })
    }

    /// Whoever prints the events of [`Message::Trace`] reports them here as done.
    pub fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    /// What is known now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.ask(Request::Snapshot)
    }

    /// Blocks made from now on are fresh; or, with `false`, all are.
    pub fn set_base_line(&self, is_set: bool) {
        let _ = self.requests.send(Request::BaseLine(is_set));
        self.waker.wake();
    }

    /// Ends recording, and returns what is known then. The probes are out when this returns.
    pub fn finish(mut self) -> Result<Snapshot> {
        let snapshot = self.ask(Request::Finish);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        snapshot
    }

    fn ask(
        &self,
        request: impl FnOnce(SyncSender<Result<Snapshot>>) -> Request,
    ) -> Result<Snapshot> {
        let (sender, answer) = sync_channel(1);
        let gone = || anyhow!("the collector's thread has ended");
        self.requests.send(request(sender)).map_err(|_| gone())?;
        self.waker.wake();
        answer.recv().map_err(|_| gone())?
    }
}

/// How long events may wait in their buffers.
const DRAIN_MS: i32 = 50;

/// Where messages go; it never waits for their reader.
struct Outbox {
    messages: Sender<Message>,
    backlog: Backlog,
}

impl Outbox {
    fn send(&self, mut messages: Vec<Message>) {
        for message in &mut messages {
            if let Message::Trace(events) = message {
                self.backlog.admit(events);
            }
        }
        for message in messages {
            let _ = self.messages.send(message);
        }
    }

    fn with_loss(&self, snapshot: Result<Snapshot>) -> Result<Snapshot> {
        let mut snapshot = snapshot?;
        snapshot.moment.loss.trace_events += self.backlog.lost();
        Ok(snapshot)
    }
}

fn run(mut watched: Box<dyn Watched>, inbox: &Receiver<Request>, woken: &Waker, outbox: &Outbox) {
    loop {
        let mut fds = watched.fds();
        fds.push(woken.fd());
        let patience = if watched.has_work() { 0 } else { DRAIN_MS };
        let ready = memtools::events::wait_readable(&fds, patience);
        if ready.last() == Some(&true) {
            woken.clear();
        }
        outbox.send(watched.pump());
        while let Ok(request) = inbox.try_recv() {
            match request {
                Request::Snapshot(answer) => {
                    let _ = answer.send(outbox.with_loss(watched.snapshot()));
                }
                Request::BaseLine(is_set) => watched.set_base_line(is_set),
                Request::Finish(answer) => {
                    let snapshot = watched.finish();
                    outbox.send(watched.pump());
                    drop(watched);
                    let _ = answer.send(outbox.with_loss(snapshot));
                    return;
                }
            }
        }
    }
}

/// An eventfd that ends a wait.
struct Waker(std::fs::File);

impl Waker {
    fn new() -> std::io::Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        Ok(Self(unsafe { std::fs::File::from_raw_fd(fd) }))
    }

    fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    fn fd(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.0.as_raw_fd()
    }

    fn wake(&self) {
        use std::io::Write;
        let _ = (&self.0).write_all(&1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        use std::io::Read;
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

/// Says what the table of blocks may come to.
pub fn table_cost(options: &Options) -> String {
    let blocks = options.room.blocks;
    let front = if options.is_kernel {
        0
    } else {
        sets::bytes(blocks)
    };
    let bytes = u64::from(blocks) * budget::BYTES_PER_BLOCK + front;
    let how = if options.grows {
        "as blocks come"
    } else {
        "at once"
    };
    format!(
        "room for {}: up to {} of kernel memory, taken {how}",
        memtools::output::counted(u64::from(blocks), "live block"),
        memtools::output::human_bytes(bytes),
    )
}

/// The process that a session looks at.
pub fn describe(target: &Target) -> String {
    let comm = memtools::process::comm(target.pid()).unwrap_or_default();
    format!("{comm} (PID {})", target.pid())
}
