//! The live view: a thread collects, the view draws.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use memtools::cli::next_report;
use memtools::cli::note;
use memtools::events::monotonic_ns;
use memtools::output::clean;
use memtools::tui::{self, Feed};

use crate::cli::Cli;
use crate::collector::{Collector, Wanted};
use crate::plan::Plan;
use crate::tui::{About, Data, STEP, View};

/// So often single calls are taken: there is room for a limited number.
const SLOW_STEP: Duration = Duration::from_millis(50);

/// Shows the view until the user, or a signal, ends it.
pub fn run(cli: &Cli, wanted: Wanted, plan: Plan) -> Result<()> {
    let functions = plan.functions.iter();
    let mut about = About {
        functions: functions.map(|planned| planned.function.clone()).collect(),
        patterns: cli.patterns.join(" "),
        selection: wanted.text(),
        way: String::new(),
        row_unit: cli.unit(),
        split: cli.split,
        has_outliers: cli.outliers.is_some(),
    };
    let whose = wanted.text().unwrap_or_default();
    let kprobes = cli.kprobes;
    let start = move || {
        let collector = Collector::start(wanted, &plan, kprobes)?;
        for text in &collector.notes {
            note(&format!("funclatency: note: {}", clean(text)));
        }
        about.way = collector.explain();
        Ok::<_, Error>((collector, View::new(about)))
    };
    let serve = move |collector, feed: &Feed<Box<Data>>, has_ended: &Receiver<()>| {
        serve(collector, &whose, feed, has_ended);
    };
    let ending = tui::show(start, serve)?;
    let _ = ending.context("showing the live view")?;
    Ok(())
}

fn serve(mut collector: Collector, whose: &str, feed: &Feed<Box<Data>>, has_ended: &Receiver<()>) {
    let mut data = Data::default();
    let mut next = Instant::now();
    while data.ended.is_none() {
        next = next_report(next, STEP);
        if !wait(&mut collector, next, has_ended) {
            return;
        }
        // What the last calls did may have come after the figures were read.
        let is_last = data.snapshot.has_ended;
        match collector.snapshot(true) {
            Ok(snapshot) => data.take(snapshot, monotonic_ns(), collector.slowest()),
            Err(error) => data.ended = Some(format!("ended: {error:#}")),
        }
        if let Some(danger) = collector.danger() {
            data.ended = Some(clean(&danger));
        }
        if is_last && data.ended.is_none() {
            data.ended = Some(format!("{whose} has ended"));
        }
        if feed.replace(Box::new(data.clone())).is_err() {
            return;
        }
    }
}

/// Waits until it is time; `false`: the view has ended.
fn wait(collector: &mut Collector, until: Instant, has_ended: &Receiver<()>) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let patience = match collector.slow_fd() {
            Some(_) => left.min(SLOW_STEP),
            None => left,
        };
        if has_ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
        collector.drain_slow();
        if Instant::now() >= until {
            return true;
        }
    }
}
