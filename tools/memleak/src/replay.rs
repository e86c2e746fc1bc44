//! `memleak show` and `memleak diff`: recordings, read again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use memtools::cli::{UserError, is_interactive, note, print};
use memtools::output::{human_duration, write_file};
use memtools::profile::flamegraph;
use memtools::tui::{self, Feed};

use crate::cli::{Diff, Show};
use crate::diff::{Holding, State, diff};
use crate::exports;
use crate::model::{Ledger, ReportOptions};
use crate::recording::{Conclusion, Header, Reader, RecordingError};
use crate::report::{self, TextStyle};
use crate::run::read_suppressions;
use crate::suppressions::Suppressions;
use crate::tui::{Data, Order, Origin, View};
use crate::update::Update;

/// `memleak show`; returns the exit code.
pub fn show(cli: &Show) -> Result<u8> {
    let suppressions = read_suppressions(cli.suppressions.as_deref())?;
    if cli.all {
        return show_all(cli, suppressions);
    }
    let recording = Recording::read(&cli.file, cli.at, suppressions)?;
    let is_printed = cli.text || cli.json;
    let can_view = || is_interactive() && tui::check().is_ok();
    if cli.tui || !is_printed && !cli.exports.any() && can_view() {
        exports::write_at_end(&cli.exports, &recording.ledger)?;
        return view(cli, recording);
    }
    if is_printed || !cli.exports.any() {
        let _ = print(&text(cli, &recording.ledger, &recording.header, true)?)?;
    }
    exports::write_at_end(&cli.exports, &recording.ledger)?;
    Ok(0)
}

/// A report for each moment.
fn show_all(cli: &Show, suppressions: Suppressions) -> Result<u8> {
    let mut reader = open(&cli.file)?;
    let header = reader.header().clone();
    let mut ledger = Ledger::new(suppressions);
    let mut next = read_next(&mut reader)?;
    while let Some(update) = next {
        apply(&mut ledger, update, &cli.file)?;
        next = read_next(&mut reader)?;
        let gap = if cli.json || ledger.updates() == 1 {
            ""
        } else {
            "\n"
        };
        let report = text(cli, &ledger, &header, next.is_none())?;
        if print(&format!("{gap}{report}"))? == memtools::cli::Reader::Gone {
            return Ok(0);
        }
    }
    if ledger.moment().is_none() {
        return Err(no_figures(&cli.file));
    }
    warn_if_torn(&cli.file, &reader);
    exports::write_at_end(&cli.exports, &ledger)?;
    Ok(0)
}

fn text(cli: &Show, ledger: &Ledger, header: &Header, is_final: bool) -> Result<String> {
    let report = ledger.report(ReportOptions {
        sort: cli.sort,
        scale: header.sample_rate,
        is_final,
    });
    let Some(report) = report else {
        return Ok(String::new());
    };
    if cli.json {
        return report::json(&report).context("writing JSON");
    }
    let style = TextStyle {
        top: cli.top as usize,
        lists_blocks: false,
    };
    Ok(report::text(&report, style))
}

/// A recording up to some moment.
struct Recording {
    header: Header,
    ledger: Ledger,
}

impl Recording {
    /// Up to a time after the start, or to its end. One that breaks off is read as far as it goes.
    fn read(path: &Path, at: Option<Duration>, suppressions: Suppressions) -> Result<Self> {
        let mut reader = open(path)?;
        let mut ledger = Ledger::new(suppressions);
        while let Some(update) = read_next(&mut reader)? {
            if let (Some(at), Some(last)) = (at, ledger.moment()) {
                // The nearest moment: at 10 nobody means what was known at 9.003 and not at 10.003.
                let next = update.moment.elapsed;
                if next.saturating_sub(at) > at.saturating_sub(last.elapsed) {
                    break;
                }
            }
            apply(&mut ledger, update, path)?;
        }
        if ledger.moment().is_none() {
            return Err(no_figures(path));
        }
        warn_if_torn(path, &reader);
        Ok(Self {
            header: reader.header().clone(),
            ledger,
        })
    }
}

fn no_figures(path: &Path) -> anyhow::Error {
    UserError::usage(format!(
        "{} holds no figures: recording ended before the first, or has just begun",
        path.display()
    ))
    .into()
}

fn open(path: &Path) -> Result<Reader> {
    Reader::open(path).map_err(|error| as_user_error(&error))
}

fn read_next(reader: &mut Reader) -> Result<Option<Update>> {
    match reader.next() {
        None => Ok(None),
        Some(Ok(update)) => Ok(Some(update)),
        // What came before the damage is whole, and better than nothing.
        Some(Err(error)) if reader.last_moment().is_some() => {
            note(&format!(
                "memleak: warning: {error}; shown is what comes before"
            ));
            Ok(None)
        }
        Some(Err(error)) => Err(as_user_error(&error)),
    }
}

/// What does not fit is the file's fault.
fn apply(ledger: &mut Ledger, update: Update, path: &Path) -> Result<()> {
    ledger
        .apply(update)
        .map_err(|error| UserError::usage(format!("{} is damaged: {error}", path.display())).into())
}

fn as_user_error(error: &RecordingError) -> anyhow::Error {
    UserError::usage(error.to_string()).into()
}

fn warn_if_torn(path: &Path, reader: &Reader) {
    if let (Some(Conclusion::Truncated), Some((_, elapsed))) =
        (reader.conclusion(), reader.last_moment())
    {
        note(&format!(
            "memleak: warning: {} breaks off after {}: its recorder was killed, could not write on, or still runs",
            path.display(),
            human_duration(elapsed)
        ));
    }
}

// ---- the view ----

fn view(cli: &Show, recording: Recording) -> Result<u8> {
    const WAITING: usize = 2;
    let (feed, inbox) = tui::feed(WAITING);
    let (sender, orders) = channel();
    let player = Player {
        path: cli.file.clone(),
        suppressions: cli.suppressions.clone(),
        feed,
        at: recording.ledger.updates() as i64,
    };
    let thread = std::thread::Builder::new()
        .name("player".to_owned())
        .spawn(move || player.play(&orders))
        .context("starting the thread that reads the recording")?;
    let mut view = View::new(
        recording.ledger,
        Origin::Recording,
        cli.exports.clone(),
        move |order| {
            let _ = sender.send(order);
        },
    );
    let ending = tui::run(&mut view, inbox, tui::Options::default());
    // With the view its sender goes, which ends the thread.
    drop(view);
    thread
        .join()
        .map_err(|_| anyhow!("the thread that reads the recording has ended"))?;
    let _ = ending.context("showing the view")?;
    Ok(0)
}

/// Goes to other moments of a recording.
struct Player {
    path: PathBuf,
    suppressions: Option<PathBuf>,
    feed: Feed<Data>,
    /// How many updates the view has.
    at: i64,
}

impl Player {
    fn play(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            let Some(moments) = steps(order, orders.try_iter()) else {
                continue;
            };
            let data = match self.read(self.at.saturating_add(moments)) {
                Ok(ledger) => {
                    self.at = ledger.updates() as i64;
                    Data::Ledger(Box::new(ledger))
                }
                Err(error) => Data::Said(format!("{error:#}")),
            };
            if self.feed.send(data).is_err() {
                return;
            }
        }
    }

    /// The first updates, so many of them; one at least.
    fn read(&self, updates: i64) -> Result<Ledger> {
        let mut reader = open(&self.path)?;
        let mut ledger = Ledger::new(read_suppressions(self.suppressions.as_deref())?);
        for update in reader.by_ref() {
            let Ok(update) = update else {
                break;
            };
            apply(&mut ledger, update, &self.path)?;
            if ledger.updates() as i64 >= updates {
                break;
            }
        }
        Ok(ledger)
    }
}

/// All steps that were asked for by now as one, which takes as long as one: a key that is held down asks
/// for more than are read meanwhile.
fn steps(first: Order, more: impl Iterator<Item = Order>) -> Option<i64> {
    let all = std::iter::once(first).chain(more);
    let moments = all.filter_map(|order| match order {
        Order::Step(moments) => Some(moments),
        _ => None,
    });
    moments.reduce(i64::saturating_add)
}

// ---- two recordings ----

/// `memleak diff`; returns the exit code.
pub fn compare(cli: &Diff) -> Result<u8> {
    let [old, new] = [&cli.old, &cli.new].map(|name| Side::read(name, cli));
    let (old, new) = (old?, new?);
    let compared = diff(old.holdings(), new.holdings());
    if let Some(path) = &cli.flamegraph {
        let doing = || format!("writing {}", path.display());
        let mut picture = Vec::new();
        let (before, after) = (old.profile()?, new.profile()?);
        flamegraph::write_difference(&before, &after, 0, &mut picture).with_context(doing)?;
        write_file(path, &picture).with_context(doing)?;
        note(&format!("memleak: wrote {}", path.display()));
    }
    let (before, after) = (old.state()?, new.state()?);
    let text = if cli.json {
        report::diff_json(&compared, before, after).context("writing JSON")?
    } else {
        report::diff_text(&compared, before, after, cli.top as usize)
    };
    let _ = print(&text).context("writing to standard output")?;
    Ok(0)
}

/// One of the two.
struct Side {
    name: String,
    recording: Recording,
}

impl Side {
    fn read(name: &OsStr, cli: &Diff) -> Result<Self> {
        let (path, at) = moment_of(name)?;
        let suppressions = read_suppressions(cli.suppressions.as_deref())?;
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            recording: Recording::read(&path, at, suppressions)?,
        })
    }

    fn holdings(&self) -> Vec<Holding<'_>> {
        let ledger = &self.recording.ledger;
        let rows = ledger.rows().iter();
        rows.filter(|row| row.suppressed_by.is_none())
            .map(|row| Holding {
                class: row.class,
                frames: ledger.frames(row).collect(),
                live: row.figures.live,
            })
            .collect()
    }

    fn state(&self) -> Result<State<'_>> {
        let ledger = &self.recording.ledger;
        let moment = ledger.moment();
        Ok(State {
            source: &self.name,
            moment: moment.ok_or_else(|| anyhow!("{} holds no figures", self.name))?,
            sample_rate: self.recording.header.sample_rate,
            suppressed: ledger.suppressed(),
            suppressions: ledger.suppressions(),
        })
    }

    fn profile(&self) -> Result<memtools::profile::Profile<'_>> {
        exports::profile(&self.recording.ledger)
            .ok_or_else(|| anyhow!("{} holds no figures", self.name))
    }
}

/// `FILE`, or `FILE@SECONDS`. A file that has such a name comes first.
fn moment_of(name: &OsStr) -> Result<(PathBuf, Option<Duration>)> {
    let bytes = name.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'@');
    let Some(at) = at.filter(|_| !Path::new(name).exists()) else {
        return Ok((name.into(), None));
    };
    let path = PathBuf::from(OsStr::from_bytes(&bytes[..at]));
    let seconds = std::str::from_utf8(&bytes[at + 1..])
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|seconds| (0.0..1e9).contains(seconds));
    match seconds {
        Some(seconds) => Ok((path, Some(Duration::from_secs_f64(seconds)))),
        None => Err(UserError::usage(format!(
            "{}: what stands behind @ is a number of seconds after the start",
            name.to_string_lossy()
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::namer::Namer;
    use crate::snapshot::Class;

    #[test]
    fn what_does_not_fit_is_bad_input() {
        let snapshot = fixture::snapshot(vec![fixture::account(&[3], Class::Heap, (64, 1))]);
        let mut update = Namer::new(fixture::ByAddress, 1).update(snapshot);
        update.frames.clear();
        let error = apply(&mut Ledger::default(), update, Path::new("x.leak")).unwrap_err();
        assert!(error.to_string().starts_with("x.leak is damaged: "));
        let error = error.downcast_ref::<UserError>().unwrap();
        assert_eq!(error.code(), memtools::cli::EXIT_USAGE);
    }

    #[test]
    fn steps_that_wait_are_one() {
        let (sender, orders) = channel();
        for moments in [1, 1, -3, 5] {
            sender.send(Order::Step(moments)).unwrap();
        }
        let first = orders.recv().unwrap();
        assert_eq!(steps(first, orders.try_iter()), Some(4));
        assert!(orders.try_recv().is_err());
    }

    #[test]
    fn a_moment_stands_behind_the_file() {
        let of = |name: &str| moment_of(OsStr::new(name)).ok();
        assert_eq!(of("a.leak"), Some(("a.leak".into(), None)));
        let at = Some(Duration::from_millis(1500));
        assert_eq!(of("x@y@1.5"), Some(("x@y".into(), at)));
        assert_eq!(of("a@b"), None);
        assert_eq!(of("a@-1"), None);
    }
}
