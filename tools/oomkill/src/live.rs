//! The live view: a thread collects, the view draws.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use memtools::events::wait_readable;
use memtools::tui::{self, Feed};

use crate::cli::Cli;
use crate::collector::{Collector, News};
use crate::command::{Runner, Say};
use crate::model::{Event, Selection};
use crate::protect;
use crate::run::{runner, say_losses};
use crate::tui::{Data, View};

/// How many events may wait for the view.
const WAITING: usize = 1024;

/// Shows the view until the user, or a signal, ends it.
pub fn run(cli: &Cli, selection: Selection) -> Result<u8> {
    let (feed, inbox) = tui::feed(WAITING);
    let (stop, stopped) = UnixStream::pair().context("opening a pair of sockets")?;
    let (sender, started) = channel();
    let cli = cli.clone();
    let messages = Mutex::new(feed.clone());
    let say: Say = Arc::new(move |text| {
        let feed = messages.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = feed.send(Data::Said(text.to_owned()));
    });
    // What a command prints would come over the picture.
    let runner = runner(&cli, protect::shield(), say, false)?;
    // The kernel side belongs to the thread that uses it.
    let thread = std::thread::Builder::new()
        .name("collector".to_owned())
        .spawn(move || collect(&cli, selection, runner, &feed, &stopped, &sender))
        .context("starting the thread that collects")?;
    started
        .recv()
        .map_err(|_| anyhow!("the thread that collects has ended"))??;
    let mut view = View::new(Timestamp::now());
    let ending = tui::run(&mut view, inbox, tui::Options::default());
    let _ = (&stop).write(&[0]);
    thread
        .join()
        .map_err(|_| anyhow!("the thread that collects has ended"))?;
    let _ = ending.context("showing the live view")?;
    Ok(0)
}

fn collect(
    cli: &Cli,
    selection: Selection,
    mut runner: Option<Runner>,
    feed: &Feed<Data>,
    stopped: &UnixStream,
    started: &Sender<Result<()>>,
) {
    let mut collector = match Collector::start(selection, cli.stack) {
        Ok(collector) => collector,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(()));
    for line in collector.notes() {
        let _ = feed.send(Data::Said(line.to_owned()));
    }
    let end = cli.duration.map(|duration| Instant::now() + duration);
    let mut told = 0;
    loop {
        let mut timeout = collector.patience_ms();
        if let Some(end) = end {
            let left = end.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            timeout = if timeout < 0 { left } else { left.min(timeout) };
        }
        let ready = wait_readable(&[collector.fd(), stopped.as_raw_fd()], timeout);
        let is_over = end.is_some_and(|end| end <= Instant::now());
        collector.collect(is_over, |news| {
            let data = match news {
                News::Event(event) => {
                    if let (Some(runner), false) = (&mut runner, event.is_exiting) {
                        runner.tell(event);
                    }
                    Data::Event(Box::new(Event::clone(event)))
                }
                News::Reaped(reaped) => Data::Reaped(**reaped),
            };
            let _ = feed.send(data);
        });
        let loss = collector.loss();
        if loss.total() != told {
            told = loss.total();
            let _ = feed.send(Data::Loss(loss));
        }
        if is_over {
            let _ = feed.send(Data::Ended(Some("--duration is over".to_owned())));
        }
        if is_over || ready[1] {
            break;
        }
    }
    if !feed.is_closed() {
        // What is said now would come over the picture.
        wait_readable(&[stopped.as_raw_fd()], -1);
    }
    say_losses(&collector);
}
