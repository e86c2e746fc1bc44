//! From a command line to a process under observation, and what is left to do after its end.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use memtools::attach;
use memtools::cli::{EXIT_LEAK, Output, UserError, is_interactive, note, print};
use memtools::output::{counted, human_bytes};
use memtools::tui;

use crate::cli::{Cli, Subject};
use crate::collector::{Collector, Message, Options, table_cost};
use crate::exports;
use crate::live;
use crate::model::Ledger;
use crate::printing::Printing;
use crate::recording::{Destination, Header, Writer};
use crate::signals::Signals;
use crate::snapshot::Loss;
use crate::source::{Source, Supply};
use crate::subject::{About, Started, explained, start};
use crate::suppressions::Suppressions;

/// The rules of a file, or none.
pub fn read_suppressions(path: Option<&Path>) -> Result<Suppressions> {
    let Some(path) = path else {
        return Ok(Suppressions::default());
    };
    let name = path.display().to_string();
    let text = std::fs::read(path)
        .map_err(|error| UserError::usage(format!("cannot read {name}: {error}")))?;
    Suppressions::parse(&name, &String::from_utf8_lossy(&text))
        .map_err(|error| UserError::usage(error.to_string()).into())
}

/// What becomes of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reports, or the view.
    Look,
    /// A file: `Cli::output`.
    Record,
}

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli, purpose: Purpose) -> Result<u8> {
    attach::silence_libbpf();
    give_back_large_blocks();
    attach::check_btf()?;
    let options = Options::new(cli, attach::has_bpf_allocator());
    if cli.explain {
        let _ = print(&explained(cli, &options)?).context("writing to standard output")?;
        return Ok(0);
    }
    exports::check(&cli.exports)?;
    let suppressions = read_suppressions(cli.suppressions.as_deref())?;
    let is_live = purpose == Purpose::Look && opens_view(cli)?;
    let reports = (purpose == Purpose::Look).then_some(cli.output.as_deref());
    let output = reports.map(Output::open).transpose()?;
    let recorded = cli.output.as_deref().filter(|_| purpose == Purpose::Record);
    // Before a command is started: it would else have run in vain.
    let destination = recorded.map(Destination::open).transpose()?;
    let channel = Channel::new();
    // The view has its own way with signals.
    let signals = (!is_live).then(|| Signals::watch(channel.sender.clone()));
    let signals = signals.transpose().context("watching for signals")?;
    let Started {
        watched,
        about,
        child,
    } = start(cli, &options)?;
    if let (Some(child), Some(signals)) = (&child, &signals) {
        signals.pass_to(child.handle());
    }
    let begin = |destination| Writer::begin(destination, &header(cli, &about));
    let recording = destination.map(begin).transpose()?;
    announce(cli, &options, &about);
    let collector = Collector::start(watched, channel.sender.clone())?;
    let backlog = collector.backlog();
    let supply = Supply {
        collector,
        scale: u64::from(cli.sample_rate),
        recording,
        max_memory: cli.max_memory,
    };
    let ledger = Ledger::new(suppressions);
    let end = if is_live {
        live::run(cli, supply, channel, ledger)?
    } else {
        Printing::new(
            cli,
            output,
            Source::new(supply),
            ledger,
            backlog,
            child,
            channel,
        )
        .until_end()?
    };
    conclude(cli, &end)
}

/// A snapshot's tables go with it. Left to itself, glibc takes the first that is freed for a sign that
/// more such blocks will come, has the next ones from its heaps, and keeps them there.
fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: i32 = 256 << 10;
        // SAFETY: mallopt takes numbers, and may be called at any time.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    }
}

/// On a terminal, unless the command line asks for something that is printed.
fn opens_view(cli: &Cli) -> Result<bool> {
    if cli.tui {
        // Before anything is attached.
        tui::check()?;
        return Ok(true);
    }
    let is_printed = cli.text
        || cli.json
        || cli.trace
        || cli.show_allocs
        || cli.output.is_some()
        || cli.interval.is_some()
        || cli.duration.is_some();
    let is_command = matches!(cli.subject(), Ok(Subject::Command(_)));
    Ok(!is_command && !is_printed && is_interactive() && tui::check().is_ok())
}

fn header(cli: &Cli, about: &About) -> Header {
    Header {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: memtools::process::kernel_release().unwrap_or_default(),
        architecture: std::env::consts::ARCH.to_owned(),
        sample_rate: u64::from(cli.sample_rate),
        min_age: std::time::Duration::from_millis(cli.older),
        is_combined: cli.combined_only,
        pid: about.pid,
        comm: about.comm.clone(),
        start: jiff::Timestamp::now(),
    }
}

fn announce(cli: &Cli, options: &Options, about: &About) {
    for line in &about.notes {
        note(&format!("memleak: note: {line}"));
    }
    if let Some(bytes) = cli.max_memory {
        let room = options.room;
        note(&format!(
            "memleak: note: in {} there is room for {} and {}",
            human_bytes(bytes),
            counted(u64::from(room.blocks), "live block"),
            counted(u64::from(room.stacks), "stack"),
        ));
    }
    if cli.verbose || !options.grows {
        note(&format!("memleak: {}", table_cost(options)));
    }
    note(&format!("memleak: tracing {}; Ctrl-C ends", about.tracing));
}

/// What the other threads say, and how they say it.
pub struct Channel {
    pub sender: Sender<Message>,
    pub messages: Receiver<Message>,
}

impl Channel {
    fn new() -> Self {
        let (sender, messages) = channel();
        Self { sender, messages }
    }
}

/// How a run ended.
pub struct End {
    /// All that was found.
    pub ledger: Ledger,
    /// The command's exit code; 0 without one.
    pub code: u8,
    /// The probes were taken out early (`--max-overhead`).
    pub was_detached: bool,
}

/// Files, and the exit code.
fn conclude(cli: &Cli, end: &End) -> Result<u8> {
    exports::write_at_end(&cli.exports, &end.ledger)?;
    let Some(limit) = cli.fail_above else {
        return Ok(end.code);
    };
    let loss = end.ledger.moment().map(|moment| moment.loss);
    if end.was_detached || loss.is_some_and(|loss| hides_memory(&loss)) {
        note("memleak: warning: --fail-above saw only a part, its figure may be too low");
    }
    // A code of its own, whatever the command's was: that is what a CI job asks for.
    Ok(if end.ledger.total().bytes > limit {
        EXIT_LEAK
    } else {
        end.code
    })
}

/// Whether there may be live memory that the total does not have.
fn hides_memory(loss: &Loss) -> bool {
    loss.allocs
        + loss.missed_returns
        + loss.threads
        + loss.mapping_events
        + loss.blind_ms
        + loss.late_processes
        + loss.unseen_processes
        > 0
}
