//! The command line.

mod replay;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use memtools::cli::{UserError, usage_line};
use memtools::output::human_bytes;

use crate::collector::{Choice, Filter, LEAST_MEMORY};
use crate::snapshot::Class;
use memtools::cli::values::{parse_bytes, parse_percent, parse_pid, parse_seconds};
pub use replay::{Diff, Show};

/// How many frames the kernel side can keep (MAX_FRAMES in stack.h).
const MAX_STACK_DEPTH: u32 = 127;

const EXAMPLES: &str = "\
More:
  memleak record -o FILE …     trace, and keep what is found in a file
  memleak show FILE            look at it: any view, report or export, on any machine
  memleak diff OLD NEW         what grew between two files
  Each has a --help of its own.

Examples:
  memleak -p 1234              the live view on a terminal; else a report every 5 seconds
  memleak -p 1234 10 3         three reports, 10 seconds apart
  memleak -p 1234 -o 60000     only what is older than a minute
  memleak -- ./server --port 80    run a program, report what it had not freed at its end
  memleak --fail-above 0 -- ./unit-tests   exit code 23 when anything was left over
  memleak -p 1234 --json 1 3 | jq .total   for programs
  memleak -p 1234 --explain    which probes would be used, and what they cost
  memleak                      the kernel's own memory: slab, pages, per-CPU memory, vmalloc
  memleak --slab --by comm     its slab objects, with the processes that asked for them
  memleak --follow -- ./server     a program, and the workers that it starts
  memleak --comm nginx         every nginx, those that are started later among them

Exit codes: 0; the command's own, or 128 and its signal; 1 the system failed; 2 bad input;
23 more than --fail-above; 126 and 127 the command cannot be executed, or is not there.";

const RECORD_EXAMPLES: &str = "\
Examples:
  memleak record -o server.leak -p 1234            until Ctrl-C, or its end
  memleak record -o tests.leak -- ./unit-tests     a program from its start to its end
  memleak show server.leak";

/// Shows which memory a running process, or the kernel, allocated and did not free, by the stack that did.
///
/// Reports go to standard output, everything else to standard error.
#[derive(Parser, Debug, Clone)]
#[command(name = "memleak", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(args_override_self = true)] // the last one holds, as with bcc
#[allow(clippy::struct_excessive_bools)] // a command line is a set of switches
pub struct Cli {
    /// Trace the process with this PID; given several times, or as 12,34, several
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, allow_negative_numbers = true, value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Trace the children too, those that are there and those that come. One that lives for less than a
    /// tenth of a second may end unseen, which is counted
    #[arg(long)]
    pub follow: bool,

    /// Trace the processes that are called so (as `ps -o comm` has it), now or later; may be given more
    /// than once
    #[arg(long, value_name = "NAME", conflicts_with_all = ["pid", "command", "run"])]
    comm: Vec<String>,

    /// Trace the processes in this cgroup, and below it, now or later
    #[arg(long, value_name = "PATH", conflicts_with_all = ["pid", "command", "run"])]
    cgroup: Option<PathBuf>,

    /// Trace the processes in this container, those that come later among them: its ID, or the beginning
    #[arg(long, value_name = "ID", conflicts_with_all = ["pid", "command", "run"])]
    container: Option<String>,

    /// Of several processes, trace so many at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_processes: u32,

    /// Run a command (split at blanks) and trace it; `-- COMMAND ARG…` takes any arguments
    #[arg(short, long, value_name = "CMD", conflicts_with_all = ["pid", "run"])]
    command: Option<String>,

    /// Run the command as this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Print every allocation and free as it happens
    #[arg(short, long)]
    pub trace: bool,

    /// List the address and size of each block
    #[arg(short = 'a', long)]
    pub show_allocs: bool,

    /// Hide blocks younger than this many milliseconds
    #[arg(short, long, value_name = "AGE_MS", default_value_t = 500)]
    pub older: u64,

    /// Use only the totals kept per stack: cheaper to report, no ages, no -a
    #[arg(short = 'C', long, conflicts_with = "show_allocs")]
    pub combined_only: bool,

    /// For kernel memory: drop an older record at the same address first (always done)
    #[arg(short = 'F', long)]
    wa_missing_free: bool,

    /// Track one allocation in N, chosen at random; figures are scaled back up
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample_rate: u32,

    /// How many stacks a text report lists
    #[arg(short = 'T', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// Track only allocations of at least this size (bytes, or with K, M, G)
    #[arg(short = 'z', long, value_name = "BYTES", value_parser = parse_bytes)]
    pub min_size: Option<u64>,

    /// Track only allocations of at most this size
    #[arg(short = 'Z', long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_size: Option<u64>,

    /// The object that holds the allocator: a path, or a name as in `libc` or `jemalloc`
    #[arg(short = 'O', long, value_name = "OBJECT")]
    pub obj: Option<String>,

    /// Of the kernel's memory, trace slab objects (with --pages, --percpu, --vmalloc: those chosen;
    /// all by default)
    #[arg(long)]
    slab: bool,

    /// Trace the kernel's pages
    #[arg(long)]
    pages: bool,

    /// Trace the kernel's per-CPU allocator
    #[arg(short = 'P', long)]
    percpu: bool,

    /// Trace the kernel's vmalloc
    #[arg(long)]
    vmalloc: bool,

    /// Charge the kernel's memory to the processes, or to the cgroups, that have asked for it
    #[arg(long, value_enum, value_name = "OWNER")]
    pub by: Option<Charge>,

    /// What the allocator's functions begin with, such as `je_`
    #[arg(
        short = 'S',
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub symbols_prefix: String,

    /// What puts a stack first
    #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Bytes)]
    pub sort: SortKey,

    /// How many frames of a stack are kept
    #[arg(long, value_name = "N", default_value_t = MAX_STACK_DEPTH,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_STACK_DEPTH)))]
    pub perf_max_stack_depth: u32,

    /// How many different stacks can be kept (1 KiB each) [default: 10240; 2048 for each of several
    /// processes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub stack_storage_size: Option<u32>,

    /// How many live blocks can be kept at least: up to about 110 bytes each, taken as they come
    /// [default: 1048576; 262144 before Linux 6.1, where all of it is taken at once; 100000 for each
    /// of several processes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500_000_000))]
    pub max_allocs: Option<u32>,

    /// End after this many seconds, with a report
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: Option<Duration>,

    /// Detach when the probes take more than this share of the target's CPU time for 3 seconds
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub max_overhead: Option<f64>,

    /// Exit with code 23 when the last report's total is above this
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub fail_above: Option<u64>,

    /// Print reports as JSON, one object a line (docs/json.md)
    #[arg(long)]
    pub json: bool,

    /// Write reports (and -t's lines) to this file; standard output is the command's alone then
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Open the live view [default on a terminal, without COMMAND and INTERVAL]
    #[arg(long, conflicts_with_all = ["json", "text", "trace", "show_allocs", "output", "count", "command", "run"])]
    pub tui: bool,

    /// Print reports, also on a terminal
    #[arg(long)]
    pub text: bool,

    #[command(flatten)]
    pub exports: Exports,

    /// Leave out what these rules name: a file as LeakSanitizer reads it, `leak:PATTERN` a line
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,

    /// Hold the kernel's tables and memleak's own memory below this; tables are made smaller for it
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_memory: Option<u64>,

    /// Show which probes would be used and what they would cost; attach nothing
    #[arg(long)]
    pub explain: bool,

    /// Say more on standard error
    #[arg(short, long)]
    pub verbose: bool,

    /// Seconds between reports [default: 5; none with `-- COMMAND`]
    #[arg(index = 1, value_name = "INTERVAL", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub interval: Option<Duration>,

    /// How many reports
    #[arg(index = 2, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// A command to run and trace from its first instruction on
    #[arg(index = 3, last = true, value_name = "COMMAND", conflicts_with = "pid")]
    run: Vec<OsString>,
}

/// Files for other programs, written at the end.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Exports {
    /// Write live bytes by stack as folded stacks, one a line, at the end (and on `w` in the view)
    #[arg(long, value_name = "FILE")]
    pub folded: Option<PathBuf>,

    /// Write a flame graph of live bytes (SVG, for a browser), likewise
    #[arg(long, value_name = "FILE")]
    pub flamegraph: Option<PathBuf>,

    /// Write a profile for `go tool pprof`, likewise
    #[arg(long, value_name = "FILE")]
    pub pprof: Option<PathBuf>,
}

impl Exports {
    /// Whether any file is asked for.
    pub fn any(&self) -> bool {
        self.folded.is_some() || self.flamegraph.is_some() || self.pprof.is_some()
    }
}

/// What stacks are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// The bytes of live blocks
    #[value(alias = "size")]
    Bytes,
    /// How many there are
    Count,
    /// The age of the oldest
    Age,
    /// The bytes that came since the last report
    Growth,
}

/// Whom the kernel's memory is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Charge {
    /// Processes, by name
    Comm,
    /// Control groups
    Cgroup,
}

/// The kernel's allocators, or some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // they have nothing to do with each other
pub struct Allocators {
    /// kmalloc and caches.
    pub slab: bool,
    /// Pages.
    pub pages: bool,
    /// Memory of which each CPU has a copy.
    pub percpu: bool,
    /// Areas of pages that need not lie together.
    pub vmalloc: bool,
}

impl Allocators {
    /// Their names, for people.
    pub fn names(self) -> Vec<&'static str> {
        [
            (self.slab, Class::Slab),
            (self.pages, Class::Pages),
            (self.percpu, Class::Percpu),
            (self.vmalloc, Class::Vmalloc),
        ]
        .into_iter()
        .filter_map(|(has, class)| has.then_some(class.name()))
        .collect()
    }
}

/// What is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The kernel's own memory.
    Kernel(Allocators),
    /// A process that runs already.
    Process(u32),
    /// Several, or those that will be there.
    Processes(Choice),
    /// A command of our own.
    Command(Vec<OsString>),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Trace, and print reports or open the view.
    Trace(Cli),
    /// Trace, and keep what is found in a file: `Cli::output`.
    Record(Cli),
    /// Show such a file.
    Show(Show),
    /// Compare two.
    Diff(Diff),
}

impl Invocation {
    /// Reads and checks the command line. The error is a page for `--help` and `--version`, else
    /// one line.
    pub fn read() -> Result<Self, CommandLine> {
        Self::of(std::env::args_os().collect())
    }

    fn of(mut words: Vec<OsString>) -> Result<Self, CommandLine> {
        if words.last().is_some_and(|word| word == "--") {
            let error = UserError::usage("no command stands behind --");
            return Err(CommandLine::Bad(error));
        }
        let first = words.get(1).and_then(|word| word.to_str());
        let command = match first {
            Some("record") => Cli::to_record(),
            Some("show") => Show::command(),
            Some("diff") => Diff::command(),
            _ => {
                let cli = Cli::try_parse_from(words).map_err(CommandLine::from)?;
                return Ok(Self::Trace(cli.checked()?));
            }
        };
        let name = words.remove(1);
        let matches = command.try_get_matches_from(words);
        let matches = matches.map_err(CommandLine::from)?;
        Ok(match name.to_str() {
            Some("record") => Self::Record(read_matches::<Cli>(&matches)?.checked()?),
            Some("show") => Self::Show(read_matches(&matches)?),
            _ => Self::Diff(read_matches(&matches)?),
        })
    }
}

fn read_matches<T: FromArgMatches>(matches: &clap::ArgMatches) -> Result<T, CommandLine> {
    T::from_arg_matches(matches).map_err(CommandLine::from)
}

impl Cli {
    /// The same flags, but that `-o` names the file.
    fn to_record() -> clap::Command {
        Self::command()
            .name("memleak record")
            .bin_name("memleak record")
            .about("Traces as memleak does, and keeps what it finds in a file for `memleak show`")
            .after_help(RECORD_EXAMPLES)
            .mut_arg("older", |arg| arg.short(None))
            .mut_arg("output", |arg| {
                arg.short('o').required(true).help("Where to record")
            })
            .mut_arg("interval", |arg| {
                arg.help("Seconds between what is kept [default: 1]")
            })
            .mut_args(|arg| {
                const PRINTED: [&str; 7] = [
                    "json",
                    "text",
                    "tui",
                    "trace",
                    "show_allocs",
                    "top",
                    "explain",
                ];
                let is_printed = PRINTED.contains(&arg.get_id().as_str());
                if is_printed { arg.hide(true) } else { arg }
            })
    }

    fn checked(self) -> Result<Self, CommandLine> {
        self.check().map_err(CommandLine::Bad)?;
        Ok(self)
    }

    /// What is traced.
    pub fn subject(&self) -> Result<Subject, UserError> {
        let filter = Filter {
            comms: self.comm.clone(),
            cgroup: self.cgroup.clone(),
            container: self.container.clone(),
        };
        let is_one = filter.is_empty() && !self.follow;
        match self.pid[..] {
            [pid] if is_one => return Ok(Subject::Process(pid)),
            [] if filter.is_empty() => {}
            _ => {
                let mut pids = self.pid.clone();
                pids.sort_unstable();
                pids.dedup();
                return Ok(Subject::Processes(Choice {
                    pids,
                    filter,
                    follows: self.follow,
                }));
            }
        }
        let words: Vec<OsString> = match &self.command {
            Some(command) => command.split_whitespace().map(OsString::from).collect(),
            None => self.run.clone(),
        };
        if !words.is_empty() {
            return Ok(Subject::Command(words));
        }
        if self.command.is_some() {
            return Err(UserError::usage("-c names no command"));
        }
        Ok(Subject::Kernel(self.allocators()))
    }

    /// Those of the kernel that are chosen; all, if none is.
    fn allocators(&self) -> Allocators {
        let any = self.slab || self.pages || self.percpu || self.vmalloc;
        Allocators {
            slab: self.slab || !any,
            pages: self.pages || !any,
            percpu: self.percpu || !any,
            vmalloc: self.vmalloc || !any,
        }
    }

    /// Flags that say nothing of what is traced would be misunderstood if they were passed over.
    fn check_flags_of(&self, subject: &Subject) -> Result<(), UserError> {
        let is_kernel = matches!(subject, Subject::Kernel(_));
        let of_kernel = [
            (self.slab, "--slab"),
            (self.pages, "--pages"),
            (self.percpu, "-P"),
            (self.vmalloc, "--vmalloc"),
            (self.by.is_some(), "--by"),
        ];
        let of_processes = [
            (self.obj.is_some(), "-O"),
            (!self.symbols_prefix.is_empty(), "-S"),
            (self.user.is_some(), "--user"),
            (self.max_overhead.is_some(), "--max-overhead"),
            (self.explain, "--explain"),
            (self.follow, "--follow"),
        ];
        let (flags, what) = if is_kernel {
            (
                &of_processes[..],
                "a process: name one with -p PID, or a program with -- COMMAND",
            )
        } else {
            (
                &of_kernel[..],
                "the kernel's memory: leave it out, or leave out the process",
            )
        };
        match flags.iter().find(|(is_given, _)| *is_given) {
            Some((_, flag)) => Err(UserError::usage(format!("{flag} is about {what}"))),
            None => Ok(()),
        }
    }

    /// Whether several processes are traced.
    pub fn is_about_several(&self) -> bool {
        match self.subject() {
            Ok(Subject::Processes(_)) => true,
            Ok(Subject::Command(_)) => self.follow,
            _ => false,
        }
    }

    /// The time between reports, if there are any before the end.
    pub fn report_interval(&self) -> Option<Duration> {
        const DEFAULT: Duration = Duration::from_secs(5);
        let by_default = self.run.is_empty() && self.duration.is_none();
        self.interval.or(by_default.then_some(DEFAULT))
    }

    fn check(&self) -> Result<(), UserError> {
        self.check_flags_of(&self.subject()?)?;
        if let (Some(min), Some(max)) = (self.min_size, self.max_size)
            && min > max
        {
            return Err(UserError::usage(format!(
                "-z {min} is above -Z {max}: no allocation is both"
            )));
        }
        if let Some(bytes) = self.max_memory
            && bytes < LEAST_MEMORY
        {
            return Err(UserError::usage(format!(
                "--max-memory {bytes} is too little: {} is the least",
                human_bytes(LEAST_MEMORY)
            )));
        }
        if self.explain && matches!(self.subject()?, Subject::Processes(_)) {
            return Err(UserError::usage(
                "--explain is about one process: name it with -p PID",
            ));
        }
        if self.max_memory.is_some() && self.is_about_several() {
            return Err(UserError::usage(
                "--max-memory is for one process: of several, each has its own tables \
                 (--max-allocs, --stack-storage-size)",
            ));
        }
        if self.comm.iter().any(String::is_empty) {
            return Err(UserError::usage("--comm names no process"));
        }
        if self
            .cgroup
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(UserError::usage("--cgroup names no cgroup"));
        }
        if self.container.as_deref() == Some("") {
            return Err(UserError::usage("--container names no container"));
        }
        if self.user.is_some() && !self.pid.is_empty() {
            return Err(UserError::usage(
                "--user is for a command: use it with -- COMMAND",
            ));
        }
        Ok(())
    }
}

/// Why there is no command line to act on.
#[derive(Debug)]
pub enum CommandLine {
    /// A page was asked for.
    Page(String),
    /// It cannot be understood.
    Bad(UserError),
}

impl From<clap::Error> for CommandLine {
    fn from(error: clap::Error) -> Self {
        if !error.use_stderr() {
            return Self::Page(error.render().to_string());
        }
        Self::Bad(UserError::usage(usage_line("memleak", &error)))
    }
}

#[cfg(test)]
mod tests;
