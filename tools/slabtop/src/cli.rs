//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use memtools::cli::values::{parse_pid, parse_seconds};

use crate::model::SortKey;

const EXAMPLES: &str = "\
Examples:
  slabtop                      the live view
  slabtop -o                   one table, of one second
  slabtop 5 3                  a table every 5 seconds, 3 times
  slabtop -s count | head      by allocations, as bcc's slabratetop
  slabtop -p 1234              allocations and frees while PID 1234 runs
  slabtop --leaks 2 30         which caches grow steadily, and who makes what stays
  slabtop --json 10            for programs

Letters after -s are those of procps' slabtop: a active objects, b objects a slab, c bytes held,
l slabs, n name, o objects, p pages a slab, s object size, u use, v active slabs. Words: name, count
(allocations), size (bytes allocated), frees, net, growth, and the columns' names.

Exit codes: 0; 1 the system failed; 2 bad input.";

/// Shows what the kernel's slab caches hold, and how many objects come and go in each.
///
/// Where standard input and output are a terminal the live view opens, unless a COUNT, -o, -C or
/// --json is given; else tables are printed. OBJS, ACTIVE, SLABS, BYTES and NET are the cache's own
/// figures, the whole machine's; ALLOC/s and FREE/s are events.
#[derive(Parser, Debug, Clone)]
#[command(name = "slabtop", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(args_override_self = true)] // the last one holds, as with bcc and procps
#[allow(clippy::struct_excessive_bools)] // a command line is a set of switches
pub struct Cli {
    /// Seconds between two tables
    #[arg(value_name = "INTERVAL", value_parser = parse_seconds)]
    pub interval: Option<Duration>,

    /// How many tables
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Seconds between two tables (as procps has it)
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds, conflicts_with = "interval")]
    pub delay: Option<Duration>,

    /// Print one table, of one interval, and end
    #[arg(short, long, conflicts_with = "count")]
    pub once: bool,

    /// Sort by this: a letter as procps has it, or a word (see below) [default: bytes; with -p and
    /// --cgroup count; with --leaks growth]
    #[arg(short, long, value_name = "KEY", value_parser = SortKey::parse)]
    pub sort: Option<SortKey>,

    /// Print so many caches in a table; 0: all
    #[arg(
        short,
        long,
        visible_alias = "maxrows",
        value_name = "ROWS",
        default_value_t = 20
    )]
    pub rows: usize,

    /// Count only what happens while this process runs
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub pid: Option<u32>,

    /// Count only what happens while a process in this cgroup, or below it, runs: a path as in
    /// /proc/PID/cgroup, or below /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Do not clear the screen between two tables
    #[arg(short = 'C', long)]
    pub noclear: bool,

    /// Rank caches by steady growth, follow the objects of those that grow most, and show where those
    /// that stay were made
    #[arg(long)]
    pub leaks: bool,

    /// Follow the objects of this cache; may be given up to 32 times
    #[arg(long, value_name = "CACHE", value_delimiter = ',')]
    pub follow: Vec<String>,

    /// Follow so many objects at most, about 90 bytes each
    #[arg(long, value_name = "N", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub max_objects: u32,

    /// Print JSON, an object a line for each interval (docs/json.md)
    #[arg(long)]
    pub json: bool,

    /// Say on standard error how events are found on this kernel
    #[arg(short, long)]
    pub verbose: bool,
}

impl Cli {
    /// From one table to the next.
    pub fn step(&self) -> Duration {
        const USUAL: Duration = Duration::from_secs(1);
        self.interval.or(self.delay).unwrap_or(USUAL)
    }

    /// How many tables are printed; `None`: until the end.
    pub fn tables(&self) -> Option<u64> {
        if self.once { Some(1) } else { self.count }
    }

    /// What comes first.
    pub fn sort(&self) -> SortKey {
        let usual = if self.leaks {
            SortKey::Growth
        } else if self.pid.is_some() || self.cgroup.is_some() {
            SortKey::Allocs
        } else {
            SortKey::Bytes
        };
        self.sort.unwrap_or(usual)
    }

    /// Caches that can be followed at a time: the kernel side has room for twice as many, for some
    /// caches are two.
    pub const MOST_FOLLOWED: usize = 32;

    /// Whether tables are asked for, wherever they go.
    pub fn wants_tables(&self) -> bool {
        self.json || self.noclear || self.tables().is_some()
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
            // bcc
            &["slabtop", "-p", "181"],
            &["slabtop", "-C", "-r", "50", "5", "10"],
            &["slabtop", "-s", "count", "1"],
            &["slabtop", "--sort", "name", "--noclear", "--rows", "10"],
            &["slabtop", "--maxrows", "10"],
            &["slabtop", "-v"],
            // procps
            &["slabtop", "-d", "5", "-s", "c"],
            &["slabtop", "--delay=3", "--sort=u"],
            &["slabtop", "-o"],
            &["slabtop", "--once"],
        ];
        for line in lines {
            Cli::try_parse_from(*line).unwrap();
        }
        for line in [
            &["slabtop", "-s", "x"][..],
            &["slabtop", "-d", "0"],
            &["slabtop", "1", "0"],
            &["slabtop", "-o", "1", "2"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn letters_are_those_of_procps_and_words_those_of_slabratetop() {
        let key = |text| Cli::try_parse_from(["slabtop", "-s", text]).unwrap().sort();
        assert_eq!(key("s"), SortKey::ObjectBytes);
        assert_eq!(key("size"), SortKey::AllocBytes);
        assert_eq!(key("n"), key("name"));
        assert_eq!(key("count"), SortKey::Allocs);
        assert_eq!(key("c"), SortKey::Bytes);
    }
}
