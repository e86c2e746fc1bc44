//! A run, from the command line to its end.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use memtools::attach;
use memtools::cli::{Reader, UserError, next_report, note, print, watch_signals};
use memtools::output::clean;
use memtools::target::command::{Child, ChildHandle, Ending, Program};
use memtools::tui;

use crate::calls::errno_name;
use crate::cli::Cli;
use crate::collector::{Collector, Wanted};
use crate::live;
use crate::model::Ledger;
use crate::report::{Shown, Target, json, list, table};

/// What a run waits for.
enum Event {
    Signal,
    CommandEnded(Result<Ending>),
}

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    if cli.list {
        let _ = print(&list()).context("writing to standard output")?;
        return Ok(0);
    }
    if cli.own_command().is_empty()
        && std::env::args_os()
            .next_back()
            .is_some_and(|last| last == "--")
    {
        return Err(UserError::usage("there is no command after --").into());
    }
    attach::silence_libbpf();
    attach::check_btf()?;
    if cli.tui {
        tui::check()?;
        live::run(cli, Wanted::of(cli, None)?)?;
        return Ok(0);
    }
    let (sender, events) = channel();
    let mut child = prepare(cli)?;
    watch(&sender, child.as_ref().map(Child::handle))?;
    let wanted = Wanted::of(cli, child.as_ref().map(Child::pid))?;
    let has_intervals = cli.interval.is_some_and(|interval| !interval.is_zero());
    let mut run = Run {
        cli,
        collector: Collector::start(wanted.clone(), has_intervals)?,
        wanted,
        ledger: Ledger::default(),
        events,
        ending: None,
    };
    if cli.verbose {
        note(&format!("syscount: {}", run.collector.explain()));
    }
    run.announce()?;
    if let Some(child) = &mut child {
        child.release()?;
    }
    if let Some(mut child) = child {
        std::thread::Builder::new()
            .name("command".to_owned())
            .spawn(move || {
                let ending = child.wait().map_err(Into::into);
                let _ = sender.send(Event::CommandEnded(ending));
            })
            .context("waiting for the command")?;
    }
    run.until_end()?;
    run.wait_for_command()
}

/// The command, waiting for its gate to open.
fn prepare(cli: &Cli) -> Result<Option<Child>> {
    if cli.own_command().is_empty() {
        return Ok(None);
    }
    let program = Program::find_any(cli.own_command())?;
    Ok(Some(Child::prepare(&program, None)?))
}

/// Signals that ask for the end; what the terminal does not send to the command is passed on.
fn watch(sender: &Sender<Event>, child: Option<ChildHandle>) -> Result<()> {
    let sender = sender.clone();
    watch_signals(move |signal| match &child {
        Some(child) => {
            if !(signal.is_from_terminal && child.is_in_our_group()) {
                child.signal(signal.number);
            }
        }
        None => {
            let _ = sender.send(Event::Signal);
        }
    })
    .context("watching for signals")
}

struct Run<'a> {
    cli: &'a Cli,
    wanted: Wanted,
    collector: Collector,
    ledger: Ledger,
    events: Receiver<Event>,
    ending: Option<Ending>,
}

impl Run<'_> {
    /// What bcc says first.
    fn announce(&self) -> Result<()> {
        if self.cli.json {
            return Ok(());
        }
        let what = if self.cli.only_errors() {
            "failed syscalls".to_owned()
        } else {
            "syscalls".to_owned()
        };
        let what = match self.cli.errno {
            Some(errno) => format!("{what} with {}", errno_name(errno)),
            None => what,
        };
        let top = match self.cli.top {
            0 => "all".to_owned(),
            top => format!("top {top}"),
        };
        let calls = match &self.cli.syscall[..] {
            [] => String::new(),
            names => format!(" ({})", clean(&names.join(", "))),
        };
        let whose = self.wanted.text();
        let whose = whose.map_or_else(String::new, |whose| format!(" of {}", clean(&whose)));
        let end = if self.cli.duration.is_some() || !self.cli.own_command().is_empty() {
            ""
        } else {
            " Ctrl+C to quit."
        };
        let line = format!("Tracing {what}{calls}{whose}, printing {top}...{end}\n");
        let _ = print(&line).context("writing to standard output")?;
        Ok(())
    }

    fn until_end(&mut self) -> Result<()> {
        let started = Instant::now();
        let end = self.cli.duration.map(|duration| started + duration);
        let mut next = started;
        loop {
            next = match self.cli.interval.filter(|interval| !interval.is_zero()) {
                Some(interval) => next_report(next, interval),
                None => started + Duration::from_secs(1 << 30),
            };
            let until = end.map_or(next, |end| end.min(next));
            // An interval that would end with the run is the last one.
            let is_over = self.wait(until)? || end.is_some_and(|end| Instant::now() >= end);
            self.ledger.update(self.collector.snapshot()?);
            let text = self.text();
            let reader = print(&text).context("writing to standard output")?;
            if is_over || reader == Reader::Gone {
                return Ok(());
            }
            if self.ledger.has_ended && self.cli.own_command().is_empty() {
                let whose = self.wanted.text().unwrap_or_default();
                note(&format!("syscount: note: {whose} has ended"));
                return Ok(());
            }
        }
    }

    /// After the last table, with nothing attached any more, for the command and its exit code.
    fn wait_for_command(self) -> Result<u8> {
        let Self {
            cli,
            collector,
            events,
            mut ending,
            ..
        } = self;
        drop(collector);
        while ending.is_none() && !cli.own_command().is_empty() {
            match events.recv().context("waiting for the command")? {
                Event::CommandEnded(ended) => ending = Some(ended?),
                Event::Signal => {}
            }
        }
        Ok(ending.map_or(0, Ending::exit_code))
    }

    /// Waits until it is time; `true`: something ends the run first.
    fn wait(&mut self, until: Instant) -> Result<bool> {
        /// So often it is looked whether the process is still there.
        const PATIENCE: Duration = Duration::from_millis(200);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left.min(PATIENCE)) {
                Ok(Event::Signal) => return Ok(true),
                Ok(Event::CommandEnded(ending)) => {
                    self.ending = Some(ending?);
                    return Ok(true);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("the thread that watches for signals has ended"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            if self.cli.own_command().is_empty() && self.wanted.has_ended() {
                return Ok(false);
            }
            self.collector.tidy()?;
        }
    }

    fn text(&self) -> String {
        let cli = self.cli;
        if cli.json {
            let target = self.wanted.text().map(|selection| Target {
                pid: self.wanted.shown_process(),
                ended: self.ledger.has_ended,
                cgroup: self.wanted.shown_cgroup().map(str::to_owned),
                selection,
            });
            return json(&self.ledger, cli.by(), target.as_ref());
        }
        table(
            &self.ledger,
            Shown {
                by: cli.by(),
                times: cli.times(),
                milliseconds: cli.milliseconds,
                hist: cli.hist,
                top: cli.top,
            },
        )
    }
}
