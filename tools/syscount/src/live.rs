//! The live view: a thread collects, the view draws.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use memtools::cli::next_report;
use memtools::tui::{self, Feed};

use crate::cli::Cli;
use crate::collector::{Collector, Wanted};
use crate::model::By;
use crate::tui::{Data, View};

/// From one picture to the next.
const STEP: Duration = Duration::from_secs(1);

/// Shows the view until the user, or a signal, ends it.
pub fn run(cli: &Cli, mut wanted: Wanted) -> Result<()> {
    let by = cli.by();
    // Calls are shown with the processes that make them, and processes with their calls.
    if matches!(by, By::Call | By::Errno) {
        wanted.by = By::Process;
    }
    let view = View::new(by, wanted.text());
    let start = move || Ok::<_, Error>((Collector::start(wanted, true)?, view));
    let ending = tui::show(start, serve)?;
    let _ = ending.context("showing the live view")?;
    Ok(())
}

fn serve(mut collector: Collector, feed: &Feed<Box<Data>>, has_ended: &Receiver<()>) {
    let mut data = Data::default();
    let mut next = Instant::now();
    while feed.replace(Box::new(data.clone())).is_ok() {
        next = next_report(next, STEP);
        let left = next.saturating_duration_since(Instant::now());
        if has_ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        match collector.snapshot() {
            Ok(snapshot) => data.ledger.update(snapshot),
            Err(error) => {
                data.ended = Some(format!("{error:#}"));
                let _ = feed.replace(Box::new(data));
                return;
            }
        }
    }
}
