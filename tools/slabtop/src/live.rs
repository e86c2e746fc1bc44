//! The live view: a thread collects, the view draws.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use memtools::cli::next_report;
use memtools::selection::Selection;
use memtools::tui::{self, Feed};

use crate::cli::Cli;
use crate::collector::Collector;
use crate::run::{check_followed, follow_growing, new_ledger};
use crate::tui::{Data, View};

/// What the view asks of the thread that collects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Follow this cache for as long as its details are open, beside those that are followed anyway;
    /// `None`: no other.
    Show(Option<String>),
}

/// Shows the view until the user, or a signal, ends it.
pub fn run(cli: &Cli, selection: Selection) -> Result<()> {
    let (feed, inbox) = tui::feed(1);
    let (requests, asked) = channel();
    let (sender, started) = channel();
    let mut view = View::new(cli.sort(), selection.text(), requests);
    let cli = cli.clone();
    // The kernel side belongs to the thread that uses it.
    let thread = std::thread::Builder::new()
        .name("collector".to_owned())
        .spawn(move || match Session::start(cli, selection) {
            Ok(session) => {
                let _ = sender.send(Ok(()));
                session.serve(&feed, &asked);
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        })
        .context("starting the thread that collects")?;
    started
        .recv()
        .map_err(|_| anyhow!("the thread that collects has ended"))??;
    let ending = tui::run(&mut view, inbox, tui::Options::default());
    // Its requests end with it.
    drop(view);
    thread
        .join()
        .map_err(|_| anyhow!("the thread that collects has ended"))?;
    let _ = ending.context("showing the live view")?;
    Ok(())
}

/// What the thread that collects has.
struct Session {
    cli: Cli,
    collector: Collector,
    data: Data,
    /// The caches that the command line names.
    named: BTreeSet<String>,
    /// The cache whose details are open.
    shown: Option<String>,
}

impl Session {
    fn start(cli: Cli, selection: Selection) -> Result<Self> {
        let mut data = Data {
            ledger: new_ledger(&selection),
            ..Data::default()
        };
        let mut collector = Collector::start(selection, cli.max_objects)?;
        check_followed(&cli, &mut collector, &mut data.ledger)?;
        if let Some(text) = collector.note() {
            data.said = (1, text.to_owned());
        }
        Ok(Self {
            named: collector.wanted().clone(),
            cli,
            collector,
            data,
            shown: None,
        })
    }

    /// Until the view has ended.
    fn serve(mut self, feed: &Feed<Box<Data>>, asked: &Receiver<Request>) {
        let mut next = Instant::now();
        while feed.replace(Box::new(self.data.clone())).is_ok() {
            next = next_report(next, self.cli.step());
            loop {
                let left = next.saturating_duration_since(Instant::now());
                match asked.recv_timeout(left.max(Duration::from_millis(1))) {
                    Ok(request) => self.obey(request),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            if let Err(error) = self.step() {
                self.data.ended = Some(format!("{error:#}"));
                let _ = feed.replace(Box::new(self.data));
                return;
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        let ledger = &mut self.data.ledger;
        ledger.update(self.collector.snapshot()?);
        if let Err(error) = follow_growing(&self.cli, &mut self.collector, ledger) {
            self.say(format!("{error:#}"));
        }
        Ok(())
    }

    fn say(&mut self, words: String) {
        let (number, text) = &mut self.data.said;
        *number += 1;
        *text = words;
    }

    fn obey(&mut self, request: Request) {
        let Request::Show(cache) = request;
        let before = std::mem::replace(&mut self.shown, cache);
        let mut wanted = self.collector.wanted().clone();
        // What is followed for other reasons stays so.
        if let Some(before) = before
            && !self.cli.leaks
            && !self.named.contains(&before)
        {
            wanted.remove(&before);
        }
        wanted.extend(self.shown.clone());
        if let Err(error) = self.collector.follow(wanted) {
            self.say(format!("{error:#}"));
        }
    }
}
