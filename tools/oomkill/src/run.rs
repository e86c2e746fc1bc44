//! A run, from the command line to its end.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context, Result};
use memtools::attach;
use memtools::cgroup::Mounts;
use memtools::cli::{EXIT_FAILURE, EndSignal, Reader, UserError, note, watch_signals};
use memtools::events::wait_readable;
use memtools::process::trim_heap;
use memtools::tui;

use crate::cli::Cli;
use crate::collector::{Collector, News};
use crate::command::{self, Runner, Say};
use crate::live;
use crate::log::{Format, Log};
use crate::model::Selection;
use crate::protect;

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    attach::silence_libbpf();
    attach::check_btf()?;
    let selection = selection(cli)?;
    if cli.tui {
        tui::check()?;
        return live::run(cli, selection);
    }
    let mut log = Log::open(format(cli), cli.log.clone())?;
    let oom_score_adj = protect::shield();
    let warn: Say = Arc::new(|text| note(&format!("oomkill: warning: {text}")));
    let mut runner = runner(cli, oom_score_adj, warn, true)?;
    let (wake, signals) = watch()?;
    let mut collector = Collector::start(selection, cli.stack)?;
    collector.rehearse(|news| log.rehearse(news));
    // The start has read more than is needed from now on, as the kernel's types and symbols.
    trim_heap();
    protect::lock_memory();
    announce(cli, &collector);
    let mut state = State {
        log: &mut log,
        runner: runner.as_mut(),
        reader: Reader::There,
        has_failed: false,
    };
    let end = cli.duration.map(|duration| Instant::now() + duration);
    loop {
        let timeout = timeout_ms(collector.patience_ms(), end);
        wait_readable(&[collector.fd(), wake.as_raw_fd()], timeout);
        let is_over = end.is_some_and(|end| end <= Instant::now()) | state.obey(&wake, &signals);
        collector.collect(is_over, |news| state.tell(news));
        if is_over || state.reader == Reader::Gone {
            break;
        }
    }
    say_losses(&collector);
    Ok(if state.has_failed { EXIT_FAILURE } else { 0 })
}

fn format(cli: &Cli) -> Format {
    match (cli.json, cli.brief) {
        (true, _) => Format::Json,
        (_, true) => Format::Brief,
        _ => Format::Text,
    }
}

/// What is shown.
fn selection(cli: &Cli) -> Result<Selection, UserError> {
    const LONGEST: usize = 15;
    if let Some(comm) = &cli.comm
        && comm.len() > LONGEST
    {
        return Err(UserError::usage(format!(
            "--comm {comm:?} is longer than the {LONGEST} bytes that the kernel keeps of a name"
        )));
    }
    let mounts = Mounts::find();
    let cgroup = cli.cgroup.as_deref().map(|path| mounts.cgroup_of(path));
    if let Some(cgroup) = &cgroup
        && !mounts.has(cgroup)
    {
        note(&format!("oomkill: note: there is no cgroup {cgroup} yet"));
    }
    Ok(Selection {
        cgroup,
        pid: cli.pid,
        comm: cli.comm.clone(),
    })
}

/// The thread for `--exec`, if there is to be one.
pub fn runner(
    cli: &Cli,
    oom_score_adj: Option<String>,
    say: Say,
    may_print: bool,
) -> Result<Option<Runner>> {
    let Some(command) = cli.exec.clone() else {
        return Ok(None);
    };
    let options = command::Options {
        command,
        timeout: cli.exec_timeout,
        per_minute: cli.exec_rate,
        oom_score_adj,
        say,
        may_print,
    };
    Runner::start(options).map(Some)
}

/// Signals, and a descriptor that is readable when there are some.
fn watch() -> Result<(UnixStream, Receiver<EndSignal>)> {
    let (wake, waker) = UnixStream::pair().context("opening a pair of sockets")?;
    wake.set_nonblocking(true)
        .context("opening a pair of sockets")?;
    let (sender, signals) = channel();
    let mut ends = 0;
    watch_signals(move |signal| {
        ends += u32::from(signal.number != libc::SIGHUP);
        if ends > 1 {
            // Whatever the rest is waiting for: a reader, a command.
            command::kill_running();
            // SAFETY: ends the process, and nothing else.
            unsafe { libc::_exit(128 + signal.number) };
        }
        let _ = sender.send(signal);
        let _ = (&waker).write(&[0]);
    })
    .context("watching for signals")?;
    Ok((wake, signals))
}

fn timeout_ms(patience_ms: i32, end: Option<Instant>) -> i32 {
    let Some(end) = end else {
        return patience_ms;
    };
    let left = end.saturating_duration_since(Instant::now());
    let left = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
    if patience_ms < 0 {
        left
    } else {
        left.min(patience_ms)
    }
}

fn announce(cli: &Cli, collector: &Collector) {
    for line in collector.notes() {
        note(&format!("oomkill: note: {line}"));
    }
    if cli.verbose {
        note(&format!("oomkill: {}", collector.way().explain()));
    }
    note("oomkill: tracing OOM kills; Ctrl-C ends");
}

/// What was lost, at the end.
pub fn say_losses(collector: &Collector) {
    let loss = collector.loss();
    if loss.total() > 0 {
        note(&format!(
            "oomkill: warning: lost {} events (buffer full), {} missed by the kernel, {} ends of \
             victims",
            loss.events, loss.missed, loss.reaps
        ));
    }
}

/// What comes of news.
struct State<'a> {
    log: &'a mut Log,
    runner: Option<&'a mut Runner>,
    reader: Reader,
    has_failed: bool,
}

impl State<'_> {
    fn tell(&mut self, news: &News<'_>) {
        match self.log.write(news) {
            Ok(reader) => self.reader = reader,
            Err(error) => {
                self.has_failed = true;
                note(&format!(
                    "oomkill: error: an event could not be logged: {error}"
                ));
            }
        }
        if let (News::Event(event), Some(runner)) = (news, &mut self.runner)
            && !event.is_exiting
        {
            runner.tell(event);
        }
    }

    /// Whether a signal asks for the end. SIGHUP opens the log anew.
    fn obey(&mut self, wake: &UnixStream, signals: &Receiver<EndSignal>) -> bool {
        let mut buffer = [0; 64];
        while let Ok(1..) = (&*wake).read(&mut buffer) {}
        let mut is_over = false;
        for signal in signals.try_iter() {
            if signal.number != libc::SIGHUP || !self.log.is_file() {
                is_over = true;
            } else if let Err(error) = self.log.open_again() {
                self.has_failed = true;
                note(&format!("oomkill: error: {error}"));
            }
        }
        is_over
    }
}
