//! The run: when reports are due, what signals mean, how it ends.

use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use memtools::attach;
use memtools::cli::{EXIT_LEAK, Reader, note, print, watch_signals};
use memtools::output::wall_clock;
use memtools::symbols::Symbolizer;
use memtools::target::command::Child;

use crate::cli::Cli;
use crate::collector::{Collector, Message, Options, Session, TraceEvent, describe, table_cost};
use crate::model::{Frame, History, Order, Report, frames_of};
use crate::report::{self, TextStyle};
use crate::snapshot::{Snapshot, Stack};
use crate::subject::{Started, explained, start};

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    attach::silence_libbpf();
    attach::check_btf()?;
    let options = Options::new(cli, attach::has_bpf_allocator());
    if cli.explain {
        let _ = print(&explained(cli, &options)?).context("writing to standard output")?;
        return Ok(0);
    }
    let (sender, messages) = channel();
    let signals = sender.clone();
    watch_signals(move |signal| {
        let _ = signals.send(Message::Signal(signal));
    })
    .context("watching for signals")?;
    let Started { session, child } = start(cli, &options)?;
    announce(cli, &options, &session);
    let collector = Collector::start(session, sender)?;
    Run::new(cli, collector, child, &messages).until_end()
}

fn announce(cli: &Cli, options: &Options, session: &Session) {
    for line in &session.plan().notes {
        note(&format!("memleak: note: {line}"));
    }
    if cli.verbose || !options.grows {
        note(&format!("memleak: {}", table_cost(options)));
    }
    note(&format!(
        "memleak: tracing {}, {} probes; Ctrl-C ends",
        describe(session.target()),
        session.plan().probes.len(),
    ));
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

struct Run<'a> {
    cli: &'a Cli,
    collector: Option<Collector>,
    child: Option<Child>,
    messages: &'a Receiver<Message>,
    symbolizer: Symbolizer,
    history: History,
    reports: u64,
    last_total: u64,
    next_report: Option<Instant>,
    end: Option<Instant>,
    signals: u32,
    reader: Reader,
}

impl<'a> Run<'a> {
    fn new(
        cli: &'a Cli,
        collector: Collector,
        child: Option<Child>,
        messages: &'a Receiver<Message>,
    ) -> Self {
        let now = Instant::now();
        Self {
            cli,
            collector: Some(collector),
            child,
            messages,
            symbolizer: Symbolizer::default(),
            history: History::default(),
            reports: 0,
            last_total: 0,
            next_report: cli.report_interval().map(|interval| now + interval),
            end: cli.duration.map(|duration| now + duration),
            signals: 0,
            reader: Reader::There,
        }
    }

    fn until_end(mut self) -> Result<u8> {
        while self.step()? == Next::Continue {}
        if self.collector.is_some() && self.reader == Reader::There {
            self.report(true)?;
        }
        // The reader went away, or detaching is all that is left to do.
        if let Some(collector) = self.collector.take() {
            let _ = collector.finish();
        }
        let mut code = 0;
        if let Some(mut child) = self.child.take() {
            code = self.wait_for(&mut child)?;
        }
        match self.cli.fail_above {
            Some(limit) if self.last_total > limit => Ok(EXIT_LEAK),
            _ => Ok(code),
        }
    }

    /// Waits for whatever comes next, and acts on it.
    fn step(&mut self) -> Result<Next> {
        let now = Instant::now();
        let deadline = [self.next_report, self.end].into_iter().flatten().min();
        let patience = deadline.map_or(Duration::from_secs(3600), |d| {
            d.saturating_duration_since(now)
        });
        match self.messages.recv_timeout(patience) {
            Ok(message) => self.take(message),
            Err(RecvTimeoutError::Timeout) => self.on_time(),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    fn on_time(&mut self) -> Result<Next> {
        let now = Instant::now();
        if self.end.is_some_and(|end| end <= now) {
            return Ok(Next::End);
        }
        let (Some(due), Some(interval)) = (self.next_report, self.cli.report_interval()) else {
            return Ok(Next::Continue);
        };
        if due > now {
            return Ok(Next::Continue);
        }
        // A report that took longer than the interval skips what it missed.
        let mut next = due + interval;
        while next <= now {
            next += interval;
        }
        self.next_report = Some(next);
        let is_last = self
            .cli
            .count
            .is_some_and(|count| self.reports + 1 >= count);
        self.report(is_last)?;
        Ok(if is_last || self.reader == Reader::Gone {
            Next::End
        } else {
            Next::Continue
        })
    }

    fn take(&mut self, message: Message) -> Result<Next> {
        match message {
            Message::Ended => return Ok(Next::End),
            Message::Signal(signal) => return Ok(self.on_signal(signal)),
            Message::Note(line) => note(&format!("memleak: note: {line}")),
            Message::Silence => note(
                "memleak: no event seen for 5 seconds: the process may be idle (see its CPU in \
                 top), or allocate in another way (--explain shows the probes; -O names the \
                 allocator's object)",
            ),
            Message::Detached(percent) => {
                note(&format!(
                    "memleak: detached: the probes took {percent:.0} % of the target's CPU time \
                     for 3 seconds, more than --max-overhead allows"
                ));
                return Ok(Next::End);
            }
            Message::Trace(events) => {
                self.reader = print(&trace_lines(&events))?;
                if self.reader == Reader::Gone {
                    return Ok(Next::End);
                }
            }
        }
        Ok(Next::Continue)
    }

    /// With a child, the first signal is passed on and its end awaited; the second kills it.
    fn on_signal(&mut self, signal: i32) -> Next {
        let Some(child) = &self.child else {
            return Next::End;
        };
        self.signals += 1;
        if self.signals > 1 {
            child.signal(libc::SIGKILL);
        } else {
            if !(signal == libc::SIGINT && is_from_terminal()) {
                child.signal(signal);
            }
            note("memleak: waiting for the command to end; another Ctrl-C kills it");
        }
        Next::Continue
    }

    fn report(&mut self, is_final: bool) -> Result<()> {
        let snapshot = if is_final {
            self.collector.take().map(Collector::finish)
        } else {
            self.collector.as_ref().map(Collector::snapshot)
        };
        let Some(snapshot) = snapshot.transpose()? else {
            return Ok(());
        };
        if is_final {
            // What was traced before the end comes before the last report.
            while let Ok(message) = self.messages.try_recv() {
                let _ = self.take(message)?;
            }
        }
        let report = self.name(snapshot, is_final);
        self.reports += 1;
        self.last_total = report.total.bytes;
        let text = if self.cli.json {
            report::json(&report).context("writing JSON")?
        } else {
            let style = TextStyle {
                top: self.cli.top as usize,
                lists_blocks: self.cli.show_allocs,
            };
            let gap = if self.reports > 1 { "\n" } else { "" };
            format!("{gap}{}", report::text(&report, style))
        };
        self.reader = print(&text).context("writing to standard output")?;
        Ok(())
    }

    fn name(&mut self, snapshot: Snapshot, is_final: bool) -> Report {
        let order = Order {
            key: self.cli.sort,
            scale: u64::from(self.cli.sample_rate),
        };
        let symbolizer = &mut self.symbolizer;
        symbolizer.prepare(
            snapshot
                .stacks
                .iter()
                .flat_map(|account| &account.stack.locations),
        );
        let frames = |stack: &Stack| -> Vec<Frame> {
            let named = stack.locations.iter();
            named
                .flat_map(|location| frames_of(location, &symbolizer.symbols(location)))
                .collect()
        };
        self.history.report(snapshot, order, is_final, frames)
    }

    /// The probes are out; signals are still passed on.
    fn wait_for(&mut self, child: &mut Child) -> Result<u8> {
        const POLL: Duration = Duration::from_millis(20);
        loop {
            if let Some(ending) = child.try_wait().context("waiting for the command")? {
                return Ok(ending.exit_code());
            }
            match self.messages.recv_timeout(POLL) {
                Ok(Message::Signal(signal)) => {
                    self.signals += 1;
                    let signal = if self.signals > 1 {
                        libc::SIGKILL
                    } else {
                        signal
                    };
                    child.signal(signal);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
            }
        }
    }
}

/// Whether Ctrl-C reaches the command by itself: the terminal sends it to the whole group.
fn is_from_terminal() -> bool {
    // SAFETY: plain queries about our own terminal and group.
    unsafe { (0..3).any(|fd| libc::isatty(fd) == 1 && libc::tcgetpgrp(fd) == libc::getpgrp()) }
}

fn trace_lines(events: &[TraceEvent]) -> String {
    let now = Timestamp::now();
    let mut out = String::new();
    for event in events {
        let time = now.checked_sub(event.age).unwrap_or(now);
        let what = if event.is_alloc { "alloc" } else { "free " };
        let _ = writeln!(
            out,
            "{}.{:06} ({}) {what} {:#x} {} bytes",
            wall_clock(time),
            time.subsec_nanosecond() / 1000,
            event.thread,
            event.address,
            event.bytes
        );
    }
    out
}
