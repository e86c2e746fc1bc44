//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use memtools::cli::values::{parse_interval, parse_pid, parse_seconds};

use crate::calls::parse_errno;
use crate::model::By;

const EXAMPLES: &str = "\
Examples:
  syscount                     what the whole machine calls, until Ctrl-C
  syscount -p 1234 -i 1        a table every second, of one process
  syscount -L -d 10            how long calls take, and which go on, in 10 seconds
  syscount -P                  by process
  syscount -x -e ENOENT        calls that fail with ENOENT
  syscount -L -- ls -l         one command, from its exec on
  syscount --tui               the live view
  syscount --json -i 1         for programs

A call is counted when it is entered; with -x and -e when it has failed. Calls of 32-bit programs
have their table's name before them: i386:read.

Exit codes: 0, or the command's; 1 the system failed; 2 bad input.";

/// Counts system calls, times them, and shows which of them go on right now.
#[derive(Parser, Debug, Clone)]
#[command(name = "syscount", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(args_override_self = true)] // the last one holds, as with bcc
#[allow(clippy::struct_excessive_bools)] // a command line is a set of switches
pub struct Cli {
    /// Only this process
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub pid: Option<u32>,

    /// Only this thread
    #[arg(short, long, value_name = "TID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub tid: Option<u32>,

    /// Only processes in this cgroup, or below it: a path as in /proc/PID/cgroup, or below
    /// /sys/fs/cgroup
    #[arg(short, long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Only processes that this one is the parent of
    #[arg(long, value_name = "PID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub ppid: Option<u32>,

    /// Only processes of this name, which is that of their first thread (15 bytes count)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<OsString>,

    /// With the children that those processes make from now on, and theirs
    #[arg(short, long)]
    pub follow: bool,

    /// Print every so many seconds; 0: once, at the end
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_interval, allow_negative_numbers = true)]
    pub interval: Option<Duration>,

    /// End after so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: Option<Duration>,

    /// Print so many rows; 0: all
    #[arg(short = 'T', long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// Only calls that fail
    #[arg(short = 'x', long, visible_alias = "failed")]
    pub failures: bool,

    /// Only calls that fail with this errno, by its name or its number
    #[arg(short = 'e', long, value_name = "ERRNO", value_parser = parse_errno)]
    pub errno: Option<u16>,

    /// How long calls take, and which go on
    #[arg(short = 'L', long)]
    pub latency: bool,

    /// Times in milliseconds, not microseconds
    #[arg(short, long)]
    pub milliseconds: bool,

    /// By process: the same as --by process
    #[arg(short = 'P', long, conflicts_with = "by")]
    pub process: bool,

    /// What a row is of
    #[arg(long, value_name = "WHAT", value_enum, default_value = "call")]
    pub by: By,

    /// Only these calls, by name or #NUMBER
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub syscall: Vec<String>,

    /// Print a histogram of each call's durations (implies -L)
    #[arg(long)]
    pub hist: bool,

    /// List the system calls that are known by name, and end
    #[arg(short, long)]
    pub list: bool,

    /// The live view, each second (implies -L; not with -d, -i, -m, --hist, --json and COMMAND)
    #[arg(long, conflicts_with_all = ["json", "hist", "command", "interval", "duration", "milliseconds"])]
    pub tui: bool,

    /// Print JSON, an object a line for each interval (implies -L; docs/json.md)
    #[arg(long)]
    pub json: bool,

    /// Have room for so many rows where they are by process, thread or cgroup: one for each call of each
    #[arg(long, value_name = "N", default_value_t = 16384,
          value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub max_rows: u32,

    /// Say on standard error how events are found on this kernel
    #[arg(short, long)]
    pub verbose: bool,

    /// The same as -- COMMAND, as bcc has it: all that follows is the command
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true,
          conflicts_with_all = ["command", "pid", "tid", "cgroup", "ppid", "comm", "tui"])]
    pub exec: Vec<OsString>,

    /// Count this command's calls
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["pid", "tid", "cgroup", "ppid", "comm"])]
    pub command: Vec<OsString>,
}

impl Cli {
    /// What a row is of.
    pub fn by(&self) -> By {
        if self.process { By::Process } else { self.by }
    }

    /// The command whose calls count; empty: none.
    pub fn own_command(&self) -> &[OsString] {
        if self.exec.is_empty() {
            &self.command
        } else {
            &self.exec
        }
    }

    /// Whether calls are timed.
    pub fn times(&self) -> bool {
        self.latency || self.hist || self.tui || self.json
    }

    /// Whether only calls that fail count.
    pub fn only_errors(&self) -> bool {
        self.failures || self.errno.is_some()
    }

    /// Whether errors are told by errno.
    pub fn by_errno(&self) -> bool {
        self.times() || self.by() == By::Errno
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn known_command_lines_work() {
        let lines: &[&[&str]] = &[
            &["syscount", "-i", "1", "-d", "10"],
            &["syscount", "-i", "0"],
            &["syscount", "-p", "1234", "-x"],
            &["syscount", "-t", "1234", "-L", "-m"],
            &["syscount", "-P", "-T", "5"],
            &["syscount", "-e", "EPERM", "-i", "5"],
            &["syscount", "-c", "/sys/fs/cgroup/x"],
            &["syscount", "--ppid", "1"],
            &["syscount", "--syscall", "read", "--failures", "--latency"],
            &["syscount", "--top=20", "--errno", "2", "--milliseconds"],
            &["syscount", "-l"],
            &["syscount", "-L", "--", "ls", "-l"],
            &["syscount", "-L", "--exec", "ls", "-l", "--color"],
        ];
        for line in lines {
            Cli::try_parse_from(*line).unwrap();
        }
        for line in [
            &["syscount", "-e", "EBOGUS"][..],
            &["syscount", "-p", "0"],
            &["syscount", "-i", "-1"],
            &["syscount", "-p", "1", "--", "ls"],
            &["syscount", "-P", "--by", "thread"],
            &["syscount", "ls"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
