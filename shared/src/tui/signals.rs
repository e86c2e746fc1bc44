//! Signals that concern a view: those that end it, stop it, let it go on or resize it.
//!
//! The view may be stuck in writing to a terminal that nobody reads from. So that it can still be
//! ended, a second signal that asks for the end ends the process from the thread that got it.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;
use signal_hook::iterator::{Handle, SignalsInfo};

use super::TuiError;
use super::app::Ending;
use super::feed::{Feed, Stop};
use crate::cli::{EndSignal, is_ignored};

/// Watches while it lives, beside whoever else in this process watches the same signals.
pub(super) struct Signals {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    pub fn watch<D: Send + 'static>(feed: &Feed<D>) -> Result<Self, TuiError> {
        let feed = feed.clone();
        let mut asked = Asked::default();
        Self::start(move |origin| tell(&feed, &mut asked, origin)).map_err(|source| {
            TuiError::System {
                doing: "watching for signals",
                source,
            }
        })
    }

    fn start(mut on_signal: impl FnMut(&Origin) + Send + 'static) -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGCONT, SIGWINCH])?;
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGTSTP] {
            // nohup, and shells without job control, have their reasons.
            if !is_ignored(signal) {
                default_afterwards::watch(signal)?;
                signals.add_signal(signal)?;
            }
        }
        let handle = signals.handle();
        let thread = std::thread::Builder::new()
            .name("tui-signals".to_owned())
            .spawn(move || {
                for origin in signals.forever() {
                    on_signal(&origin);
                }
            })?;
        default_afterwards::suspend();
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        default_afterwards::resume();
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It panics only where a panic has been reported.
            let _ = thread.join();
        }
    }
}

/// The end signals so far.
#[derive(Debug, Default)]
struct Asked {
    first: Option<i32>,
}

impl Asked {
    /// Whether this end signal is one after the first. A terminal that goes away sends SIGHUP, and
    /// so does the shell for the same reason: that is one wish.
    fn again(&mut self, signal: i32) -> bool {
        match self.first {
            None => {
                self.first = Some(signal);
                false
            }
            Some(first) => (first, signal) != (SIGHUP, SIGHUP),
        }
    }
}

/// Ends the process without a wait for anybody: the terminal is the watchdog's to restore, and the
/// probes are the kernel's to take out.
fn end_at_once(signal: i32) -> ! {
    // SAFETY: it runs no code of this process.
    unsafe { libc::_exit(128 + signal) }
}

fn tell<D>(feed: &Feed<D>, asked: &mut Asked, origin: &Origin) {
    match origin.signal {
        SIGCONT => feed.note(|batch| batch.was_continued = true),
        SIGWINCH => feed.note(|batch| batch.was_resized = true),
        SIGTSTP => feed.note(|batch| batch.stop = Some(Stop::Signal)),
        signal if asked.again(signal) => end_at_once(signal),
        _ => {
            let signal = EndSignal::of(origin);
            feed.note(|batch| {
                batch.end.get_or_insert(Ending::Signal(signal));
            });
        }
    }
}

/// Handlers stay installed when nobody listens any more. So that a signal after the view's end does
/// what it did before the view, its default action is carried out by hand.
mod default_afterwards {
    use std::collections::BTreeSet;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, LazyLock, Mutex, PoisonError};

    use crate::cli::is_default;

    static IS_OVER: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
    static WATCHED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

    /// To be called before a signal's first handler is installed: later its default is not seen.
    pub fn watch(signal: i32) -> io::Result<()> {
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        if is_default(signal) && watched.insert(signal) {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&IS_OVER))?;
        }
        Ok(())
    }

    pub fn suspend() {
        IS_OVER.store(false, Ordering::SeqCst);
    }

    pub fn resume() {
        IS_OVER.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_end_signal_is_told_from_the_first() {
        for (signals, again) in [
            (vec![SIGTERM, SIGTERM], vec![false, true]),
            (vec![SIGINT, SIGHUP], vec![false, true]),
            (vec![SIGHUP, SIGHUP, SIGTERM], vec![false, false, true]),
        ] {
            let mut asked = Asked::default();
            let told: Vec<_> = signals.iter().map(|&signal| asked.again(signal)).collect();
            assert_eq!(told, again, "{signals:?}");
        }
    }
}
