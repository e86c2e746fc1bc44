//! The run that prints: when reports are due, what messages mean, how it ends.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use memtools::cli::{EXIT_FAILURE, Output, Reader, note};
use memtools::target::command::{self, Child};

use crate::cli::Cli;
use crate::collector::{Backlog, Message, TraceEvent};
use crate::model::{Ledger, ReportOptions};
use crate::recording::Ending;
use crate::report::{self, TextStyle};
use crate::run::{Channel, End};
use crate::source::Source;
use crate::trace;

/// How often a recording is written, unless the command line says so.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

/// A run that prints reports, or only records.
pub struct Printing<'a> {
    cli: &'a Cli,
    /// Where reports go; `None`: nowhere, they are only recorded.
    output: Option<Output>,
    source: Source,
    ledger: Ledger,
    backlog: Backlog,
    child: Option<Child>,
    channel: Channel,
    reports: u64,
    interval: Option<Duration>,
    next_report: Option<Instant>,
    /// Whether messages had their turn since the last report.
    has_listened: bool,
    end: Option<Instant>,
    reader: Reader,
    /// Why it ends.
    ending: Ending,
}

impl<'a> Printing<'a> {
    pub fn new(
        cli: &'a Cli,
        output: Option<Output>,
        source: Source,
        ledger: Ledger,
        backlog: Backlog,
        child: Option<Child>,
        channel: Channel,
    ) -> Self {
        let now = Instant::now();
        let interval = match output {
            Some(_) => cli.report_interval(),
            None => Some(cli.interval.unwrap_or(RECORD_INTERVAL)),
        };
        Self {
            cli,
            output,
            source,
            ledger,
            backlog,
            child,
            channel,
            reports: 0,
            interval,
            next_report: interval.map(|interval| now + interval),
            has_listened: true,
            end: cli.duration.map(|duration| now + duration),
            reader: Reader::There,
            ending: Ending::Completed,
        }
    }

    /// Goes on until the process, the reader or the user ends it.
    pub fn until_end(mut self) -> Result<End> {
        while self.step()? == Next::Continue {}
        if self.source.is_open() && self.reader == Reader::There {
            self.report(true)?;
        }
        // The reader went away: detaching is all that is left to do.
        let _ = self.source.close(self.ending);
        let mut code = 0;
        if let Some(child) = self.child.take() {
            code = self.wait_for(child)?.exit_code();
        }
        if code == 0 && self.source.has_lost_recording() {
            code = EXIT_FAILURE;
        }
        Ok(End {
            ledger: self.ledger,
            code,
            was_detached: self.ending == Ending::Detached,
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
        let (Some(due), Some(interval)) = (self.next_report, self.interval) else {
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
        // Nobody would see what is found when it is no longer recorded.
        let is_over = is_last || self.reader == Reader::Gone || self.source.has_lost_recording();
        Ok(if is_over { Next::End } else { Next::Continue })
    }

    fn take(&mut self, message: Message) -> Result<Next> {
        match message {
            Message::Ended => {
                self.ending = Ending::TargetEnded;
                return Ok(Next::End);
            }
            Message::Signal => return Ok(self.on_signal()),
            Message::Detached(_) => {
                self.ending = Ending::Detached;
                tell(&message);
                return Ok(Next::End);
            }
            Message::Trace(events) => return self.print_events(&events),
            Message::Note(_) | Message::Silence => tell(&message),
            Message::Order(_) => {}
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
    fn on_signal(&mut self) -> Next {
        // One that has ended awaits nothing; its children may still be traced.
        let has_ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        if self.child.as_mut().is_none_or(has_ended) {
            self.ending = Ending::Interrupted;
            return Next::End;
        }
        note_waiting();
        Next::Continue
    }

    fn report(&mut self, is_final: bool) -> Result<()> {
        let update = if is_final {
            self.source.close(self.ending)?
        } else {
            self.source.next()?
        };
        let Some(update) = update else {
            return Ok(());
        };
        if is_final {
            // What was traced before the end comes before the last report.
            while let Ok(message) = self.channel.messages.try_recv() {
                let _ = self.take(message)?;
            }
        }
        self.ledger.apply(update)?;
        self.reports += 1;
        if self.output.is_none() {
            return Ok(());
        }
        let text = self.text(is_final)?;
        self.print(&text)
    }

    fn text(&self, is_final: bool) -> Result<String> {
        let Some(report) = self.ledger.report(ReportOptions {
            sort: self.cli.sort,
            scale: u64::from(self.cli.sample_rate),
            is_final,
        }) else {
            return Ok(String::new());
        };
        if self.cli.json {
            return report::json(&report).context("writing JSON");
        }
        let style = TextStyle {
            top: self.cli.top as usize,
            lists_blocks: self.cli.show_allocs,
        };
        let gap = if self.reports > 1 { "\n" } else { "" };
        Ok(format!("{gap}{}", report::text(&report, style)))
    }

    fn print(&mut self, text: &str) -> Result<()> {
        if let Some(output) = &mut self.output {
            self.reader = output.print(text).context("writing a report")?;
        }
        Ok(())
    }

    /// The probes are out; signals are still passed on.
    fn wait_for(&self, mut child: Child) -> Result<command::Ending> {
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

fn tell(message: &Message) {
    if let Some(text) = message.text() {
        note(&format!("memleak: {text}"));
    }
}

fn note_waiting() {
    note("memleak: waiting for the command to end; another Ctrl-C kills it");
}
