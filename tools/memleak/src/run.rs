//! The run: when reports are due, what signals mean, how it ends.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use memtools::attach;
use memtools::cli::{EXIT_LEAK, Output, Reader, note, print};
use memtools::symbols::Symbolizer;
use memtools::target::command::{Child, Ending};

use crate::cli::Cli;
use crate::collector::{
    Backlog, Collector, Message, Options, Session, TraceEvent, describe, table_cost,
};
use crate::model::{Frame, History, Order, Report, frames_of};
use crate::report::{self, TextStyle};
use crate::signals::Signals;
use crate::snapshot::{Loss, Snapshot, Stack};
use crate::subject::{Started, explained, start};
use crate::trace;

/// Does what the command line asks for; returns the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    attach::silence_libbpf();
    attach::check_btf()?;
    let options = Options::new(cli, attach::has_bpf_allocator());
    if cli.explain {
        let _ = print(&explained(cli, &options)?).context("writing to standard output")?;
        return Ok(0);
    }
    let output = Output::open(cli.output.as_deref())?;
    let (sender, messages) = channel();
    let signals = Signals::watch(sender.clone()).context("watching for signals")?;
    let Started { session, child } = start(cli, &options)?;
    if let Some(child) = &child {
        signals.pass_to(child.handle());
    }
    announce(cli, &options, &session);
    let collector = Collector::start(session, sender.clone())?;
    let channel = Channel { sender, messages };
    Run::new(cli, output, collector, child, channel).until_end()
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

/// What the other threads say, and how they say it.
struct Channel {
    sender: Sender<Message>,
    messages: Receiver<Message>,
}

struct Run<'a> {
    cli: &'a Cli,
    output: Output,
    backlog: Backlog,
    collector: Option<Collector>,
    child: Option<Child>,
    channel: Channel,
    symbolizer: Symbolizer,
    history: History,
    reports: u64,
    last_total: u64,
    last_loss: Loss,
    was_detached: bool,
    next_report: Option<Instant>,
    /// Whether messages had their turn since the last report.
    has_listened: bool,
    end: Option<Instant>,
    reader: Reader,
}

impl<'a> Run<'a> {
    fn new(
        cli: &'a Cli,
        output: Output,
        collector: Collector,
        child: Option<Child>,
        channel: Channel,
    ) -> Self {
        let now = Instant::now();
        Self {
            cli,
            output,
            backlog: collector.backlog(),
            collector: Some(collector),
            child,
            channel,
            symbolizer: Symbolizer::default(),
            history: History::default(),
            reports: 0,
            last_total: 0,
            last_loss: Loss::default(),
            was_detached: false,
            next_report: cli.report_interval().map(|interval| now + interval),
            has_listened: true,
            end: cli.duration.map(|duration| now + duration),
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
        if let Some(child) = self.child.take() {
            code = self.wait_for(child)?.exit_code();
        }
        let Some(limit) = self.cli.fail_above else {
            return Ok(code);
        };
        if self.was_detached || hides_memory(&self.last_loss) {
            note("memleak: warning: --fail-above saw only a part, its figure may be too low");
        }
        // A code of its own, whatever the command's was: that is what a CI job asks for.
        Ok(if self.last_total > limit {
            EXIT_LEAK
        } else {
            code
        })
    }

    /// Waits for whatever comes next, and acts on it.
    fn step(&mut self) -> Result<Next> {
        let now = Instant::now();
        let deadline = [self.next_report, self.end].into_iter().flatten().min();
        let patience = deadline.map_or(Duration::from_secs(3600), |d| {
            d.saturating_duration_since(now)
        });
        // By turns, or a flood of messages would put off what is due, and reports that are always due
        // would put off a signal.
        if patience.is_zero() && std::mem::take(&mut self.has_listened) {
            return self.on_time();
        }
        self.has_listened = true;
        match self.channel.messages.recv_timeout(patience) {
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
        let is_last = self
            .cli
            .count
            .is_some_and(|count| self.reports + 1 >= count);
        self.report(is_last)?;
        // One that took longer than the interval skips what it missed. Counted from its end on, or
        // nobody would listen to a signal between two of them.
        let now = Instant::now();
        let mut next = due + interval;
        while next <= now {
            next += interval;
        }
        self.next_report = Some(next);
        Ok(if is_last || self.reader == Reader::Gone {
            Next::End
        } else {
            Next::Continue
        })
    }

    fn take(&mut self, message: Message) -> Result<Next> {
        match message {
            Message::Ended => return Ok(Next::End),
            Message::Signal => return Ok(self.on_signal()),
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
                self.was_detached = true;
                return Ok(Next::End);
            }
            Message::Trace(events) => return self.print_events(&events),
        }
        Ok(Next::Continue)
    }

    fn print_events(&mut self, events: &[TraceEvent]) -> Result<Next> {
        let now = Timestamp::now();
        let lines = if self.cli.json {
            trace::json(events, now).context("writing JSON")?
        } else {
            trace::text(events, now)
        };
        self.print(&lines)?;
        self.backlog.done(events.len());
        Ok(match self.reader {
            Reader::There => Next::Continue,
            Reader::Gone => Next::End,
        })
    }

    /// With a child, its end is awaited: it has got the signal as well.
    fn on_signal(&self) -> Next {
        if self.child.is_none() {
            return Next::End;
        }
        note_waiting();
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
            while let Ok(message) = self.channel.messages.try_recv() {
                let _ = self.take(message)?;
            }
        }
        let report = self.name(snapshot, is_final);
        self.reports += 1;
        self.last_total = report.total.bytes;
        self.last_loss = report.snapshot.loss;
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
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<()> {
        self.reader = self.output.print(text).context("writing a report")?;
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
    fn wait_for(&self, mut child: Child) -> Result<Ending> {
        const DOING: &str = "waiting for the command";
        if let Some(ending) = child.try_wait().context(DOING)? {
            return Ok(ending);
        }
        note("memleak: detached; waiting for the command to end");
        let sender = self.channel.sender.clone();
        let waiter = std::thread::spawn(move || {
            let ending = child.wait();
            let _ = sender.send(Message::Ended);
            ending
        });
        for message in &self.channel.messages {
            match message {
                Message::Ended => break,
                Message::Signal => note_waiting(),
                _ => {}
            }
        }
        let ending = waiter.join();
        ending
            .map_err(|_| anyhow!("the thread that waits for the command has ended"))?
            .context(DOING)
    }
}

fn note_waiting() {
    note("memleak: waiting for the command to end; another Ctrl-C kills it");
}

/// Whether there may be live memory that the total does not have.
fn hides_memory(loss: &Loss) -> bool {
    loss.allocs + loss.missed_returns + loss.threads + loss.mapping_events + loss.blind_ms > 0
}
