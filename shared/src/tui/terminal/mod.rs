//! The terminal while a view has it, and how it gets back what it was.

mod stop;
mod tty;
mod watchdog;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::TuiError;
use watchdog::Watchdog;

pub(super) use stop::stop;
pub(super) use tty::Tty;

/// The alternate screen, empty, without a cursor; pasted text comes as such.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[0m\x1b[2J\x1b[H";
/// Buttons and the wheel, but not each motion, in a form without a limit on the column.
const MOUSE: &str = "\x1b[?1000h\x1b[?1006h";
/// The opposite of both. The cursor comes last: the alternate screen may have one of its own.
const LEAVE: &str = "\x1b[?1006l\x1b[?1000l\x1b[?2004l\x1b[0m\x1b[?1049l\x1b[?25h";
const CLEAR: &str = "\x1b[0m\x1b[2J\x1b[H";

/// What restoring needs: kept where a panic hook finds it. A process has one terminal.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);
/// Whether the view has the terminal at the moment.
static IS_ENTERED: AtomicBool = AtomicBool::new(false);

struct Kept {
    tty: Arc<Tty>,
    /// As it was, and is to be again.
    before: libc::termios,
    raw: libc::termios,
    has_mouse: bool,
    watchdog: Option<Watchdog>,
    wake: Box<dyn Fn() + Send>,
}

/// A view's terminal. Dropping it restores what was before.
pub(super) struct Screen {
    tty: Arc<Tty>,
    terminal: Terminal<CrosstermBackend<Writer>>,
}

impl Screen {
    /// Takes the terminal. `wake` is called when somebody else restores it: [`restore`].
    pub fn enter(has_mouse: bool, wake: impl Fn() + Send + 'static) -> Result<Self, TuiError> {
        refuse_dumb(std::env::var("TERM").ok())?;
        let tty = Arc::new(Tty::open()?);
        let before = tty.settings().map_err(getting)?;
        let raw = tty::raw(before);
        restore_on_panic();
        let terminal = terminal(&tty)?;
        *lock() = Some(Kept {
            tty: Arc::clone(&tty),
            before,
            raw,
            has_mouse,
            watchdog: Watchdog::start(&tty),
            wake: Box::new(wake),
        });
        let mut screen = Self { tty, terminal };
        screen.enter_again()?;
        Ok(screen)
    }

    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Takes the terminal back, whatever became of it in between.
    pub fn enter_again(&mut self) -> Result<(), TuiError> {
        if let Some(kept) = lock().as_mut() {
            kept.enter().map_err(getting)?;
        }
        self.clear()
    }

    /// Nothing that the terminal shows is relied on any more; its size is asked for.
    pub fn clear(&mut self) -> Result<(), TuiError> {
        let writer = self.terminal.backend_mut();
        let written = writer.write_all(CLEAR.as_bytes());
        written
            .and_then(|()| Write::flush(writer))
            .map_err(writing)?;
        self.terminal = terminal(&self.tty)?;
        Ok(())
    }

    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> Result<(), TuiError> {
        self.terminal.draw(picture).map(|_| ()).map_err(writing)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let kept = lock().take();
        if let Some(mut kept) = kept {
            kept.leave();
        }
    }
}

impl Kept {
    fn enter(&mut self) -> io::Result<()> {
        self.tty.wait_for_foreground()?;
        let now = self.tty.settings()?;
        if tty::text(&now) != tty::text(&self.raw) {
            // The user may have changed them while the process was stopped.
            self.before = now;
            self.raw = tty::raw(now);
        }
        self.tty.set(&self.raw)?;
        // As the terminal understood them.
        self.raw = self.tty.settings()?;
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.entered(&self.before, &self.raw);
        }
        IS_ENTERED.store(true, Ordering::SeqCst);
        let mut text = ENTER.to_owned();
        if self.has_mouse {
            text.push_str(MOUSE);
        }
        self.tty.write_all(text.as_bytes())
    }

    /// Whatever of it works: there is nobody to tell about the rest.
    fn leave(&mut self) {
        if !IS_ENTERED.swap(false, Ordering::SeqCst) {
            return;
        }
        let _ = self.tty.write_all(LEAVE.as_bytes());
        let _ = self.tty.set(&self.before);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.left();
        }
    }
}

/// Gives the terminal back for a while.
pub(super) fn leave() {
    if let Some(kept) = lock().as_mut() {
        kept.leave();
    }
}

/// Whether the view has the terminal: nobody has restored it meanwhile.
pub(super) fn is_entered() -> bool {
    IS_ENTERED.load(Ordering::SeqCst)
}

/// Gives the terminal back at once, from any thread; the view then ends with
/// [`TuiError::Interrupted`]. For a process that ends without unwinding; does nothing when there is
/// no view.
pub fn restore() {
    if let Some(kept) = lock().as_mut() {
        kept.leave();
        (kept.wake)();
    }
}

/// A message of a panic is of no use on a screen that goes away.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore_soon();
            next(info);
        }));
    });
}

/// [`restore`], by a thread that may itself be what it would wait for.
fn restore_soon() {
    for _ in 0..50 {
        match KEPT.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            Ok(mut kept) => return restore_kept(kept.as_mut()),
            Err(TryLockError::Poisoned(error)) => return restore_kept(error.into_inner().as_mut()),
        }
    }
}

fn restore_kept(kept: Option<&mut Kept>) {
    if let Some(kept) = kept {
        kept.leave();
        (kept.wake)();
    }
}

fn lock() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The viewport is fixed, because a full one asks for the size, and its way of asking may start
/// other programs.
fn terminal(tty: &Arc<Tty>) -> Result<Terminal<CrosstermBackend<Writer>>, TuiError> {
    let size = tty.size().map_err(|source| TuiError::System {
        doing: "asking for the terminal's size",
        source,
    })?;
    let area = Rect::from((Position::ORIGIN, size));
    let backend = CrosstermBackend::new(Writer {
        tty: Arc::clone(tty),
        buffer: Vec::new(),
    });
    let viewport = Viewport::Fixed(area);
    Terminal::with_options(backend, TerminalOptions { viewport }).map_err(writing)
}

/// Writes a picture at once, and only to a terminal that is the view's.
struct Writer {
    tty: Arc<Tty>,
    buffer: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Held, so that no other thread restores the terminal in the middle.
        let kept = lock();
        let outcome = if is_entered() {
            self.tty.write_all(&self.buffer)
        } else {
            Ok(())
        };
        drop(kept);
        self.buffer.clear();
        outcome
    }
}

/// Whether there is a terminal that a view can be drawn on, for whoever has to know it before all is
/// set up that the view is to show.
///
/// # Errors
///
/// [`TuiError::NoTerminal`] and [`TuiError::DumbTerminal`], as [`run`](super::run) has them, and
/// [`TuiError::Background`], where `run` would be stopped until it is its turn.
pub fn check() -> Result<(), TuiError> {
    refuse_dumb(std::env::var("TERM").ok())?;
    if Tty::open()?.is_in_foreground() {
        Ok(())
    } else {
        Err(TuiError::Background)
    }
}

fn refuse_dumb(term: Option<String>) -> Result<(), TuiError> {
    match term {
        Some(term) if !term.is_empty() && term != "dumb" && term != "unknown" => Ok(()),
        term => Err(TuiError::DumbTerminal(term.unwrap_or_default())),
    }
}

fn getting(source: io::Error) -> TuiError {
    TuiError::System {
        doing: "setting up the terminal",
        source,
    }
}

fn writing(source: io::Error) -> TuiError {
    TuiError::System {
        doing: "writing to the terminal",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_cannot_draw_is_refused() {
        let refused = |term: Option<&str>| refuse_dumb(term.map(str::to_owned)).is_err();
        assert!(refused(None));
        assert!(refused(Some("")));
        assert!(refused(Some("dumb")));
        assert!(!refused(Some("xterm-256color")));
        assert!(!refused(Some("linux")));
    }
}
