//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use memtools::cli::values::{parse_duration_ns, parse_interval, parse_pid, parse_seconds};

use crate::model::{SplitBy, Unit};

const EXAMPLES: &str = "\
Examples:
  funclatency vfs_read                   of the kernel, until Ctrl-C
  funclatency -p 1234 c:malloc           of a library, in one process
  funclatency -p 1234 :handle_request    of the process's own program
  funclatency ./server:parse -i 1 -T     of a program, wherever it runs, each second
  funclatency -F 'vfs_*' -u -d 10        a histogram for each function, in microseconds
  funclatency -r '^tcp_(send|recv)msg$'  by regular expression
  funclatency :work -p 1234 --outliers 10 --stack
                                         with the ten slowest calls, and who made them
  funclatency do_nanosleep --threshold 50ms
                                         every call from 50 ms on
  funclatency c:write --split comm       a histogram for each name of thread
  funclatency -p 1234 :work --tui        the live view
  funclatency vfs_read --json -i 1       for programs

FUNC of the kernel, LIB:FUNC, PROGRAM:FUNC, PATH:FUNC (FUNC can be an address, 0x1234), or, with -p, :FUNC.
A function that an exception can leave gets a probe on each of its returns, for a return probe would
kill its program.

Exit codes: 0; 1 the system failed; 2 bad input.";

/// Shows how long functions take, of programs and of the kernel: histograms, percentiles, outliers.
#[derive(Parser, Debug, Clone)]
#[command(name = "funclatency", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(args_override_self = true)] // the last one holds, as with bcc
#[allow(clippy::struct_excessive_bools)] // a command line is a set of switches
pub struct Cli {
    /// The functions: names, or patterns with * and ?
    #[arg(required = true, value_name = "FUNCTION")]
    pub patterns: Vec<String>,

    /// Only calls of this process
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub pid: Option<u32>,

    /// Only calls of this thread
    #[arg(short, long, value_name = "TID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub tid: Option<u32>,

    /// Only calls of processes in this cgroup, or below it
    #[arg(short, long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Times in milliseconds
    #[arg(short, long, overrides_with = "microseconds")]
    pub milliseconds: bool,

    /// Times in microseconds
    #[arg(short = 'u', long, overrides_with = "milliseconds")]
    pub microseconds: bool,

    /// Print every so many seconds; 0: once, at the end
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_interval, allow_negative_numbers = true)]
    pub interval: Option<Duration>,

    /// End after so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: Option<Duration>,

    /// Print the time of day with each report
    #[arg(short = 'T', long)]
    pub timestamp: bool,

    /// Use kprobes, no trampolines, for functions of the kernel
    #[arg(short, long)]
    pub kprobes: bool,

    /// Only so many levels of nested calls of the traced functions, from the outermost on
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    pub level: Option<u32>,

    /// A histogram for each function
    #[arg(short = 'F', long)]
    pub function: bool,

    /// Patterns are regular expressions
    #[arg(short, long)]
    pub regexp: bool,

    /// Which calls of a function count that calls itself
    #[arg(long, value_name = "WHICH", value_enum, default_value = "all")]
    pub recursion: Recursion,

    /// A histogram for each of these
    #[arg(long, value_name = "WHAT", value_enum)]
    pub split: Option<SplitBy>,

    /// Print the N slowest calls, with their arguments
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub outliers: Option<u32>,

    /// Print every call that takes so long: nanoseconds, or with a unit, as in 50ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ns)]
    pub threshold: Option<u64>,

    /// With the stacks of those calls
    #[arg(long)]
    pub stack: bool,

    /// Print a heat map at the end: latency over time
    #[arg(long, conflicts_with_all = ["json", "tui"])]
    pub heatmap: bool,

    /// The live view (not with -d, -i, --json, --heatmap and --threshold)
    #[arg(long, conflicts_with_all = ["json", "interval", "duration", "threshold"])]
    pub tui: bool,

    /// Print JSON, an object a line for each interval (docs/json.md)
    #[arg(long)]
    pub json: bool,

    /// No more functions than these
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_functions: u32,

    /// Have room for so many rows with --split
    #[arg(long, value_name = "N", default_value_t = 16384,
          value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub max_rows: u32,

    /// Use return probes also where an exception can pass, which kills the program
    #[arg(long)]
    pub force_uretprobe: bool,

    /// Print where the probes would go, and end
    #[arg(long, conflicts_with = "tui")]
    pub explain: bool,

    /// Say on standard error how functions are traced on this kernel
    #[arg(short, long)]
    pub verbose: bool,
}

/// Which calls count of a function that calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recursion {
    /// Each of them
    All,
    /// That which no other one of the same function has led to
    Outermost,
    /// That which leads to no other one of the same function
    Innermost,
}

impl Cli {
    /// The unit that times are shown in.
    pub fn unit(&self) -> Unit {
        match (self.milliseconds, self.microseconds) {
            (true, _) => Unit::Milliseconds,
            (_, true) => Unit::Microseconds,
            _ => Unit::Nanoseconds,
        }
    }

    /// From one report to the next; none: there is one at the end.
    pub fn report_interval(&self) -> Option<Duration> {
        self.interval.filter(|interval| !interval.is_zero())
    }

    /// Whether single calls are told of.
    pub fn wants_slow(&self) -> bool {
        self.outliers.is_some() || self.threshold.is_some()
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
            &["funclatency", "do_sys_open"],
            &["funclatency", "c:read"],
            &["funclatency", "-u", "vfs_read"],
            &["funclatency", "-m", "do_nanosleep"],
            &["funclatency", "-i", "2", "-d", "10", "c:open"],
            &["funclatency", "-mTi", "5", "vfs_read"],
            &["funclatency", "-p", "181", "vfs_read"],
            &["funclatency", "vfs_fstat*"],
            &["funclatency", "-F", "vfs_r*"],
            &["funclatency", "-r", "^vfs_read$"],
            &["funclatency", "-l", "5", "-p", "181", "vfs_read"],
            &["funclatency", "-k", "-c", "/sys/fs/cgroup/x", "vfs_read"],
            &["funclatency", "-v", "--timestamp", "a", "b"],
        ];
        for line in lines {
            Cli::try_parse_from(*line).unwrap();
        }
        let last = Cli::try_parse_from(["funclatency", "-u", "-m", "x"]).unwrap();
        assert_eq!(last.unit(), Unit::Milliseconds);
        for line in [
            &["funclatency"][..],
            &["funclatency", "-p", "0", "x"],
            &["funclatency", "-i", "-1", "x"],
            &["funclatency", "--threshold", "soon", "x"],
            &["funclatency", "--tui", "--json", "x"],
            &["funclatency", "-l", "0", "x"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
