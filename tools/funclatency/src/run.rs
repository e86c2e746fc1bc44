//! A run, from the command line to its end.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use memtools::attach;
use memtools::cli::{Reader, next_report, note, print, watch_signals};
use memtools::events::monotonic_ns;
use memtools::output::{clean, counted, rfc3339};

use crate::cli::Cli;
use crate::collector::{Collector, Wanted};
use crate::model::heat::Heat;
use crate::model::outliers::SlowCall;
use crate::model::{Function, Ledger};
use crate::plan::Plan;
use crate::report::{
    About, Shown, heat_map, json, report, slow_call_json, slow_call_line, slow_heads, slowest,
};

/// So many columns has a heat map in text.
const HEAT_COLUMNS: usize = 100;
/// From one of its moments to the next.
const HEAT_STEP: Duration = Duration::from_secs(1);

/// Does what the command line asks for.
pub fn run(cli: &Cli) -> Result<()> {
    attach::silence_libbpf();
    attach::check_btf()?;
    if cli.tui {
        memtools::tui::check()?;
    }
    let wanted = Wanted::of(cli)?;
    let plan = Plan::of(cli)?;
    if cli.explain {
        let _ = print(&plan.explain()).context("writing to standard output")?;
        return Ok(());
    }
    say_notes(cli, &plan);
    if cli.tui {
        return crate::live::run(cli, wanted, plan);
    }
    let (sender, signals) = channel();
    watch_signals(move |_| {
        let _ = sender.send(());
    })
    .context("watching for signals")?;
    let collector = Collector::start(wanted.clone(), &plan, cli.kprobes)?;
    for text in &collector.notes {
        note(&format!("funclatency: note: {}", clean(text)));
    }
    if cli.verbose {
        note(&format!("funclatency: {}", collector.explain()));
    }
    let mut run = Run {
        cli,
        functions: plan
            .functions
            .iter()
            .map(|planned| planned.function.clone())
            .collect(),
        wanted,
        collector,
        ledger: Ledger::default(),
        moments: Ledger::default(),
        heat: Heat::new(HEAT_COLUMNS),
        signals,
        clock: Clock::now(),
    };
    run.announce()?;
    run.until_end()
}

/// What a user should know of the plan, in as many lines as one can read.
fn say_notes(cli: &Cli, plan: &Plan) {
    const MOST: usize = 5;
    for text in plan.notes.iter().take(MOST) {
        note(&format!("funclatency: note: {text}"));
    }
    if let Some(more) = plan.notes.len().checked_sub(MOST + 1) {
        let more = counted(more as u64 + 1, "more note");
        note(&format!("funclatency: note: {more}: see --explain"));
    }
    if let Some(what) = named(&plan.by_instructions()) {
        note(&format!(
            "funclatency: note: each return of {what} has a probe of its own, which costs more than a \
             return probe: that would do harm there (see --explain)"
        ));
    }
    if let Some(what) = named(&plan.by_jumps()) {
        note(&format!(
            "funclatency: note: {what} can end with a jump into another function, and its time then ends \
             there (see --explain)"
        ));
    }
    if cli.force_uretprobe {
        note(
            "funclatency: warning: --force-uretprobe: an exception that passes through a traced \
             function kills its program",
        );
    }
}

/// `one and 3 other functions`.
fn named(functions: &[&str]) -> Option<String> {
    let first = clean(functions.first()?);
    Some(match functions.len() {
        1 => first,
        n => format!("{first} and {}", counted(n as u64 - 1, "other function")),
    })
}

/// Turns times of the kernel into times of day.
#[derive(Clone, Copy)]
struct Clock {
    monotonic_ns: u64,
    time: Timestamp,
}

impl Clock {
    fn now() -> Self {
        Self {
            monotonic_ns: monotonic_ns(),
            time: Timestamp::now(),
        }
    }

    fn time_of(self, monotonic_ns: u64) -> Timestamp {
        let ahead = i128::from(monotonic_ns) - i128::from(self.monotonic_ns);
        let time = self.time.as_nanosecond() + ahead;
        Timestamp::from_nanosecond(time).unwrap_or(self.time)
    }
}

struct Run<'a> {
    cli: &'a Cli,
    functions: Vec<Function>,
    wanted: Wanted,
    collector: Collector,
    ledger: Ledger,
    /// By moments of the heat map.
    moments: Ledger,
    heat: Heat,
    signals: Receiver<()>,
    clock: Clock,
}

impl Run<'_> {
    /// What bcc says first.
    fn announce(&self) -> Result<()> {
        if self.cli.json {
            return Ok(());
        }
        let what = clean(&self.cli.patterns.join("\", \""));
        let end = if self.cli.duration.is_some() {
            ""
        } else {
            " Hit Ctrl-C to end."
        };
        let count = self.functions.len();
        let mut text = format!("Tracing {count} functions for \"{what}\"...{end}\n");
        if self.cli.threshold.is_some() {
            text.push_str(&slow_heads(self.cli.unit()));
        }
        let _ = print(&text).context("writing to standard output")?;
        Ok(())
    }

    fn until_end(&mut self) -> Result<()> {
        let started = Instant::now();
        let end = self.cli.duration.map(|duration| started + duration);
        let step = match (self.cli.report_interval(), self.cli.heatmap) {
            (Some(interval), _) => Some(interval),
            (None, true) => Some(HEAT_STEP),
            (None, false) => None,
        };
        let mut next = started;
        loop {
            next = match step {
                Some(interval) => next_report(next, interval),
                None => started + Duration::from_secs(1 << 30),
            };
            let until = end.map_or(next, |end| end.min(next));
            let Some(is_over) = self.wait(until)? else {
                return Ok(());
            };
            let is_over = is_over || end.is_some_and(|end| Instant::now() >= end);
            if self.report(is_over)? == Reader::Gone || is_over {
                return Ok(());
            }
        }
    }

    /// An interval ends.
    fn report(&mut self, is_over: bool) -> Result<Reader> {
        let is_shown = is_over || self.cli.report_interval().is_some();
        let snapshot = self.collector.snapshot(is_shown)?;
        // What is in the figures is told of as well.
        if self.tell_slow()? == Reader::Gone {
            return Ok(Reader::Gone);
        }
        if self.cli.heatmap {
            self.moments.update(snapshot.clone());
            self.heat.add(&self.moments.total().rows);
        }
        let mut text = String::new();
        if is_shown {
            self.ledger.update(snapshot);
            text = self.text(is_over);
        }
        if is_over && self.cli.heatmap {
            let step = self.cli.report_interval().unwrap_or(HEAT_STEP);
            let map = heat_map(&self.heat, self.cli.unit(), step.as_millis() as u64);
            text.push_str(&map);
        }
        if is_over && self.ledger.has_ended {
            let whose = self.wanted.text().unwrap_or_default();
            note(&format!("funclatency: note: {} has ended", clean(&whose)));
        }
        print(&text).context("writing to standard output")
    }

    fn text(&self, is_over: bool) -> String {
        let cli = self.cli;
        let slow: Vec<(SlowCall, String)> = match (cli.outliers, is_over) {
            (Some(_), true) => {
                let calls = self.collector.slowest().iter();
                calls
                    .map(|call| (call.clone(), self.time_text(call)))
                    .collect()
            }
            _ => Vec::new(),
        };
        let has_slow = cli.outliers.is_some() && is_over;
        if cli.json {
            let selection = self.wanted.text();
            return json(
                &self.ledger,
                About {
                    functions: &self.functions,
                    selection: selection.as_deref(),
                    split: cli.split,
                    outliers: has_slow.then_some(&slow),
                },
            );
        }
        let mut text = report(
            &self.functions,
            &self.ledger,
            Shown {
                unit: cli.unit(),
                by_function: cli.function,
                split: cli.split,
                timestamp: cli.timestamp,
            },
        );
        if has_slow {
            text.push_str(&slowest(&self.functions, &slow, cli.unit()));
        }
        text
    }

    fn time_text(&self, call: &SlowCall) -> String {
        let time = self.clock.time_of(call.time_ns);
        if self.cli.json {
            return rfc3339(time);
        }
        let zoned = time.to_zoned(jiff::tz::TimeZone::system());
        zoned.strftime("%H:%M:%S%.6f").to_string()
    }

    /// Waits until it is time; `true`: something ends the run first; `None`: nobody reads any more.
    fn wait(&mut self, until: Instant) -> Result<Option<bool>> {
        /// So often it is looked whether the process is still there, and for slow calls.
        const PATIENCE: Duration = Duration::from_millis(200);
        const SHORT_PATIENCE: Duration = Duration::from_millis(20);
        let patience = match self.collector.slow_fd() {
            Some(_) => SHORT_PATIENCE,
            None => PATIENCE,
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let signal = self.signals.recv_timeout(left.min(patience));
            if self.tell_slow()? == Reader::Gone {
                return Ok(None);
            }
            match signal {
                Ok(()) => return Ok(Some(true)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("the thread that watches for signals has ended"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= until {
                return Ok(Some(false));
            }
            if self.wanted.has_ended() || self.is_endangered() {
                return Ok(Some(true));
            }
        }
    }

    /// Whether return probes can do harm from now on; says so.
    fn is_endangered(&mut self) -> bool {
        let danger = self.collector.danger();
        if let Some(danger) = &danger {
            note(&format!("funclatency: warning: {}", clean(danger)));
        }
        danger.is_some()
    }

    /// Prints the calls that took longer than the threshold.
    fn tell_slow(&mut self) -> Result<Reader> {
        let mut text = String::new();
        for call in self.collector.drain_slow() {
            let time = self.time_text(&call);
            text.push_str(&if self.cli.json {
                slow_call_json(&self.functions, &call, &time)
            } else {
                slow_call_line(&self.functions, &call, &time, self.cli.unit())
            });
        }
        if text.is_empty() {
            return Ok(Reader::There);
        }
        print(&text).context("writing to standard output")
    }
}
