//! A run, from the command line to its end.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use anyhow::{Context, Result};
use memtools::attach;
use memtools::cli::{Reader, UserError, is_interactive, next_report, note, print, watch_signals};
use memtools::selection::Selection;
use memtools::tui;

use crate::cli::Cli;
use crate::collector::Collector;
use crate::live;
use crate::model::Ledger;
use crate::report::{Shown, json, table};

/// So many of those that grow most are followed (`--leaks`),
const FOLLOWED: usize = 3;
/// and so many in all: one that is followed once stays so.
const MOST_GROWING: usize = 8;

/// Does what the command line asks for.
pub fn run(cli: &Cli) -> Result<()> {
    attach::silence_libbpf();
    attach::check_btf()?;
    let selection = Selection::find(cli.pid, cli.cgroup.as_deref())?;
    if is_interactive() && !cli.wants_tables() {
        tui::check()?;
        return live::run(cli, selection);
    }
    let signals = watch()?;
    let mut collector = Collector::start(selection.clone(), cli.max_objects)?;
    let mut ledger = new_ledger(&selection);
    if cli.verbose {
        note(&format!("slabtop: {}", collector.explain()));
    }
    check_followed(cli, &mut collector, &mut ledger)?;
    if let Some(text) = collector.note() {
        note(&format!("slabtop: note: {text}"));
    }
    let mut next = Instant::now();
    let mut left = cli.tables();
    while left != Some(0) {
        next = next_report(next, cli.step());
        if is_over(&signals, next) {
            break;
        }
        ledger.update(collector.snapshot()?);
        if print_table(cli, &selection, &ledger).context("writing to standard output")?
            == Reader::Gone
        {
            break;
        }
        if let Err(error) = follow_growing(cli, &mut collector, &ledger) {
            note(&format!("slabtop: warning: {error:#}"));
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// Empty.
pub fn new_ledger(selection: &Selection) -> Ledger {
    let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1);
    Ledger::new(cpus as u64, !selection.is_all())
}

/// Takes the snapshot that all others are compared with, and follows the caches that the command
/// line names.
pub fn check_followed(cli: &Cli, collector: &mut Collector, ledger: &mut Ledger) -> Result<()> {
    ledger.update(collector.snapshot()?);
    let mut wanted = BTreeSet::new();
    if cli.follow.len() > Cli::MOST_FOLLOWED {
        let most = Cli::MOST_FOLLOWED;
        return Err(UserError::usage(format!("at most {most} caches can be followed")).into());
    }
    for name in &cli.follow {
        // A cache goes by the name under which it was made first.
        let rows = ledger.rows();
        let row = rows.iter().find(|row| row.sizes.name == *name);
        let row = row.or_else(|| rows.iter().find(|row| row.aliases.contains(name)));
        let row = row.ok_or_else(|| UserError::usage(format!("there is no slab cache {name}")))?;
        wanted.insert(row.sizes.name.clone());
    }
    if wanted.is_empty() {
        return Ok(());
    }
    collector.follow(wanted)
}

/// Follows the caches that grow most, beside those that are named.
pub fn follow_growing(cli: &Cli, collector: &mut Collector, ledger: &Ledger) -> Result<()> {
    if !cli.leaks {
        return Ok(());
    }
    let mut wanted: BTreeSet<String> = ledger.followed.iter().cloned().collect();
    let room = (MOST_GROWING + cli.follow.len()).saturating_sub(wanted.len());
    let growing = ledger.growing();
    let top = growing.iter().filter(|row| row.moved.allocs > 0);
    let top = top.take(FOLLOWED).map(|row| &row.sizes.name);
    let new: Vec<String> = top
        .filter(|name| !wanted.contains(*name))
        .cloned()
        .collect();
    if room == 0 || new.is_empty() {
        return Ok(());
    }
    wanted.extend(new.into_iter().take(room));
    collector.follow(wanted)
}

/// Signals that ask for the end.
fn watch() -> Result<Receiver<()>> {
    let (sender, signals) = channel();
    watch_signals(move |_| {
        let _ = sender.send(());
    })
    .context("watching for signals")?;
    Ok(signals)
}

/// Waits until it is time; `true`: a signal came first.
fn is_over(signals: &Receiver<()>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    !matches!(signals.recv_timeout(left), Err(RecvTimeoutError::Timeout))
}

fn print_table(cli: &Cli, selection: &Selection, ledger: &Ledger) -> io::Result<Reader> {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    if cli.json {
        return print(&json(ledger, selection, cli.sort()));
    }
    let shown = Shown {
        sort: cli.sort(),
        rows: cli.rows,
        selection: selection.text(),
        columns: terminal_columns(),
        loadavg: loadavg(),
        leaks: cli.leaks,
    };
    let text = table(ledger, &shown);
    if cli.noclear || cli.once || !io::stdout().is_terminal() {
        print(&text)
    } else {
        print(&format!("{CLEAR}{text}"))
    }
}

/// How wide the terminal is that tables go to, if they go to one.
fn terminal_columns() -> Option<u16> {
    // SAFETY: a structure of numbers, which the call fills in.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: writes into our own variable.
    let outcome = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (outcome == 0 && size.ws_col > 0).then_some(size.ws_col)
}

fn loadavg() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    Some(text.trim_end().to_owned())
}
