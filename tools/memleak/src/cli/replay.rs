//! The command lines of those that look at recordings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::{Exports, SortKey};
use memtools::cli::values::parse_moment;

const SHOW_EXAMPLES: &str = "\
Examples:
  memleak show server.leak                 the view, at the end of the recording
  memleak show server.leak --at 60         as it was a minute after the start
  memleak show server.leak --flamegraph server.svg
  memleak show server.leak --json | jq .total";

const DIFF_EXAMPLES: &str = "\
Examples:
  memleak diff before.leak after.leak              what grew most comes first
  memleak diff run.leak@60 run.leak                from the first minute to the end of one recording
  memleak diff a.leak b.leak --flamegraph diff.svg red grew, blue shrank";

/// Shows a recording: on a terminal in the view, else as a report.
#[derive(Parser, Debug, Clone)]
#[command(name = "memleak show", version, after_help = SHOW_EXAMPLES, max_term_width = 110)]
#[allow(clippy::struct_excessive_bools)] // a command line is a set of switches
pub struct Show {
    /// What `memleak record` wrote
    pub file: PathBuf,

    /// How it was so many seconds after the start [default: at its end]
    #[arg(long, value_name = "SECONDS", value_parser = parse_moment)]
    pub at: Option<Duration>,

    /// Print a report for each interval, not only the last
    #[arg(long, conflicts_with_all = ["at", "tui"])]
    pub all: bool,

    /// How many stacks a text report lists
    #[arg(short = 'T', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// What puts a stack first
    #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Bytes)]
    pub sort: SortKey,

    /// Open the view [default on a terminal]
    #[arg(long, conflicts_with_all = ["json", "text"])]
    pub tui: bool,

    /// Print a report, also on a terminal
    #[arg(long)]
    pub text: bool,

    /// Print it as JSON, one object a line (docs/json.md)
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub exports: Exports,

    /// Leave out what these rules name: a file as LeakSanitizer reads it, `leak:PATTERN` a line
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
}

/// Shows what grew between two recordings.
#[derive(Parser, Debug, Clone)]
#[command(name = "memleak diff", version, after_help = DIFF_EXAMPLES, max_term_width = 110)]
pub struct Diff {
    /// The earlier one: FILE, or FILE@SECONDS for a moment in it
    pub old: OsString,

    /// The later one
    pub new: OsString,

    /// How many stacks a text report lists
    #[arg(short = 'T', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// Print it as JSON, one object a line (docs/json.md)
    #[arg(long)]
    pub json: bool,

    /// Write a differential flame graph: red grew, blue shrank
    #[arg(long, value_name = "FILE")]
    pub flamegraph: Option<PathBuf>,

    /// Leave out what these rules name: a file as LeakSanitizer reads it
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
}
