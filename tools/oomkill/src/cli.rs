//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use memtools::cli::values::{parse_pid, parse_seconds};

const EXAMPLES: &str = "\
Examples:
  oomkill                      a few lines for each kill, until Ctrl-C
  oomkill --brief              one line, as bcc's oomkill prints it
  oomkill --json --log /var/log/oomkill.log    for programs, for weeks
  oomkill --cgroup /system.slice/db.service    only what is killed in there
  oomkill --exec '/usr/local/bin/alert oom'    run it for each kill, with JSON on its input
  oomkill --tui                the live view

Exit codes: 0; 1 the system failed; 2 bad input.";

/// Logs every kill of the OOM killer: who was killed, who asked for memory, and whose memory ran out.
///
/// Events go to standard output, everything else to standard error.
#[derive(Parser, Debug, Clone)]
#[command(name = "oomkill", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(args_override_self = true)] // the last one holds, as with bcc
#[allow(clippy::struct_excessive_bools)] // a command line is a set of switches
pub struct Cli {
    /// Only victims in this memory cgroup, or below it: a path as in /proc/PID/cgroup, or below
    /// /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Only the victim with this PID
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, allow_negative_numbers = true)]
    pub pid: Option<u32>,

    /// Only victims of this name (at most 15 bytes, as in /proc/PID/comm)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,

    /// Print one line for each event
    #[arg(long)]
    pub brief: bool,

    /// Print events as JSON, one object a line (docs/json.md)
    #[arg(long, conflicts_with = "brief")]
    pub json: bool,

    /// Show the stacks of the thread that asked for memory, in the kernel and in its program
    #[arg(long)]
    pub stack: bool,

    /// Append to this file, and open it anew on SIGHUP (log rotation)
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Run a command (split at blanks, without a shell) for each kill, one at a time, with the event
    /// as JSON on its standard input
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,

    /// Kill that command when it runs for longer
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "10", requires = "exec")]
    pub exec_timeout: Duration,

    /// Run that command no more often than this in a minute
    #[arg(long, value_name = "N", default_value_t = 60, requires = "exec",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub exec_rate: u32,

    /// Open the live view
    #[arg(long, conflicts_with_all = ["json", "brief", "log"])]
    pub tui: bool,

    /// End after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: Option<Duration>,

    /// Say more on standard error: how events are found on this kernel
    #[arg(short, long)]
    pub verbose: bool,
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
    fn bcc_command_lines_work() {
        for line in [
            &["oomkill"][..],
            &["oomkill", "-v"],
            &["oomkill", "--verbose"],
        ] {
            Cli::try_parse_from(line).unwrap();
        }
        assert!(Cli::try_parse_from(["oomkill", "--exec-rate", "1"]).is_err());
        assert!(Cli::try_parse_from(["oomkill", "-p", "0"]).is_err());
    }
}
