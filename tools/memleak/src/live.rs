//! The live view of a process: a thread takes snapshots and names them, the view draws.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use memtools::cli::{EXIT_FAILURE, note};
use memtools::output::{counted, human_bytes, human_duration};
use memtools::tui::{self, Feed};

use crate::cli::Cli;
use crate::collector::Message;
use crate::model::Ledger;
use crate::recording::Ending;
use crate::run::{Channel, End};
use crate::source::{Source, Supply};
use crate::tui::{Data, Order, Origin, View};
use crate::update::Update;

/// How often the view is given new figures, unless the command line says so.
const INTERVAL: Duration = Duration::from_secs(1);
/// The first figures come sooner: nobody likes to look at nothing.
const FIRST: Duration = Duration::from_millis(200);
/// How many updates may wait for the view.
const WAITING: usize = 2;
/// A snapshot that takes long comes less often, so that it takes a fifth of a CPU at most.
const SHARE: u32 = 5;

/// Shows the view until the user, or a signal, ends it.
pub fn run(cli: &Cli, supply: Supply, channel: Channel, ledger: Ledger) -> Result<End> {
    let (feed, inbox) = tui::feed(WAITING);
    let Channel { sender, messages } = channel;
    let orders = sender.clone();
    let (interval, duration) = (cli.interval.unwrap_or(INTERVAL), cli.duration);
    let thread = std::thread::Builder::new()
        .name("refresher".to_owned())
        .spawn(move || {
            let refresher = Refresher {
                source: Source::new(supply),
                messages,
                feed,
                interval,
                next: Some(Instant::now() + FIRST),
                end: duration.map(|duration| Instant::now() + duration),
                outcome: Outcome::default(),
            };
            refresher.until_view_ends()
        })
        .context("starting the thread that takes snapshots")?;
    let origin = Origin::Live {
        has_ages: !cli.combined_only,
    };
    let mut view = View::new(ledger, origin, cli.exports.clone(), move |order| {
        let _ = orders.send(Message::Order(order));
    });
    view.sort_by(cli.sort);
    let ending = tui::run(&mut view, inbox, tui::Options::default());
    // Its words would have come over the picture: they come now, or never.
    let _ = sender.send(Message::Signal);
    let outcome = thread
        .join()
        .map_err(|_| anyhow!("the thread that takes snapshots has ended"))?;
    let _ = ending.context("showing the live view")?;
    let mut ledger = view.ledger;
    for update in outcome.updates {
        ledger.apply(update)?;
    }
    summarize(&ledger);
    if let Some(error) = &outcome.error {
        note(&format!("memleak: error: {error:#}"));
    }
    Ok(End {
        ledger,
        code: outcome.error.map_or(0, |_| EXIT_FAILURE),
        was_detached: outcome.was_detached,
    })
}

/// What remains on the terminal.
fn summarize(ledger: &Ledger) {
    let Some(moment) = ledger.moment() else {
        return;
    };
    let total = ledger.total();
    note(&format!(
        "memleak: {}: {} in {} outstanding after {}",
        moment.subject(),
        human_bytes(total.bytes),
        counted(total.count, "block"),
        human_duration(moment.elapsed),
    ));
}

/// What the view has not got.
#[derive(Default)]
struct Outcome {
    /// To be applied after what it has, in this order.
    updates: Vec<Update>,
    /// Why there are no more.
    error: Option<Error>,
    was_detached: bool,
}

/// The thread between collector and view.
struct Refresher {
    source: Source,
    messages: Receiver<Message>,
    feed: Feed<Data>,
    interval: Duration,
    /// When the next snapshot is due; `None` while the view is paused.
    next: Option<Instant>,
    end: Option<Instant>,
    outcome: Outcome,
}

impl Refresher {
    fn until_view_ends(mut self) -> Outcome {
        if let Err(error) = self.until_end() {
            let _ = self.feed.send(Data::Ended(Some(format!("{error:#}"))));
            self.outcome.error = Some(error);
        }
        while !self.feed.is_closed() {
            if matches!(self.messages.recv(), Ok(Message::Signal) | Err(_)) {
                break;
            }
        }
        match self.source.close(Ending::Interrupted) {
            Ok(update) => self.outcome.updates.extend(update),
            Err(error) => self.outcome.error = self.outcome.error.or(Some(error)),
        }
        self.outcome
    }

    /// An update that the view takes no more is kept: those after it build on it.
    fn send(&mut self, update: Update) {
        if let Err(Data::Update(update)) = self.feed.send(Data::Update(Box::new(update))) {
            self.outcome.updates.push(*update);
        }
    }

    /// Sends updates until there are no more.
    fn until_end(&mut self) -> Result<()> {
        loop {
            let now = Instant::now();
            if self.end.is_some_and(|end| end <= now) {
                return self.close(Ending::Completed);
            }
            if self.next.is_some_and(|next| next <= now) {
                self.refresh()?;
            }
            let due = [self.next, self.end].into_iter().flatten().min();
            let patience = due.map_or(Duration::from_secs(3600), |due| {
                due.saturating_duration_since(Instant::now())
            });
            match self.messages.recv_timeout(patience) {
                Ok(Message::Signal) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Message::Ended) => return self.close(Ending::TargetEnded),
                Ok(Message::Order(order)) => self.obey(order)?,
                Ok(message) => {
                    if let Some(text) = message.text() {
                        let _ = self.feed.send(Data::Said(text));
                    }
                    if matches!(message, Message::Detached(_)) {
                        self.outcome.was_detached = true;
                        return self.close(Ending::Detached);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn refresh(&mut self) -> Result<()> {
        let began = Instant::now();
        if let Some(update) = self.source.next()? {
            self.send(update);
        }
        self.next = Some(Instant::now() + self.interval.max(began.elapsed() * SHARE));
        Ok(())
    }

    fn close(&mut self, ending: Ending) -> Result<()> {
        if let Some(update) = self.source.close(ending)? {
            self.send(update);
        }
        let why = match ending {
            Ending::Detached => Some("taken out: --max-overhead".to_owned()),
            Ending::Completed => Some("--duration is over".to_owned()),
            Ending::TargetEnded | Ending::Interrupted | Ending::Other => None,
        };
        let _ = self.feed.send(Data::Ended(why));
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Pause(is_paused) => self.next = (!is_paused).then(Instant::now),
            Order::BaseLine(is_set) => {
                self.source.set_base_line(is_set);
                // Told before the first figures that heed it, and in a pause these come all the same.
                let _ = self.feed.send(Data::BaseLine(is_set));
                let is_paused = self.next.is_none();
                self.refresh()?;
                if is_paused {
                    self.next = None;
                }
            }
            Order::Step(_) => {}
        }
        Ok(())
    }
}
