//! The loop: takes all that has come, gives it to the tool's view, draws once.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent};
use ratatui::Frame;
use ratatui::layout::{Alignment, Rect, Size};
use ratatui::text::Text;
use ratatui::widgets::Widget;

use std::collections::VecDeque;
use std::time::Instant;

use super::TuiError;
use super::feed::{Batch, Feed, Inbox, Input, Stop};
use super::input::InputThread;
use super::signals::Signals;
use super::terminal::{self, Screen};
use crate::cli::EndSignal;

/// Whether the view goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// It does.
    Continue,
    /// The user is done with it.
    Quit,
}

/// Why a view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The user asked for it: [`Flow::Quit`], or Ctrl-C.
    Quit,
    /// A signal asked for it.
    Signal(EndSignal),
    /// The terminal is gone.
    HungUp,
}

/// A tool's view: its state, how events change it, and its picture.
pub trait App {
    /// What the tool's other threads send.
    type Data: Send + 'static;

    /// Something new to show. At the view's end, whatever the reason, all that waits still comes
    /// here, in order, and is not drawn; the answer then makes no difference.
    fn on_data(&mut self, data: Self::Data) -> Flow;

    /// A key was pressed. Ctrl-C and Ctrl-Z do not come here: they work everywhere.
    fn on_key(&mut self, key: KeyEvent) -> Flow;

    /// A button went down or up, or the wheel turned.
    fn on_mouse(&mut self, mouse: MouseEvent) -> Flow {
        let _ = mouse;
        Flow::Continue
    }

    /// Text was pasted. It is no sequence of keys: it must not make anything happen.
    fn on_paste(&mut self, text: &str) -> Flow {
        let _ = text;
        Flow::Continue
    }

    /// When to draw although nothing happens, as for a
    /// [`Notice::wake_at`](super::status::Notice::wake_at). Asked after each picture; each moment is
    /// waited for once.
    fn wake_at(&self) -> Option<Instant> {
        None
    }

    /// Draws everything. Called after data, keys and resizes, at [`wake_at`](Self::wake_at), and at
    /// no other time.
    fn draw(&mut self, frame: &mut Frame<'_>);
}

/// How a view uses the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether clicks and the wheel are events; the terminal's own selection then needs Shift.
    pub has_mouse: bool,
    /// In a smaller terminal, a line that says so takes the picture's place.
    pub minimum: Size,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            has_mouse: true,
            minimum: Size::new(60, 15),
        }
    }
}

/// Shows a view until it ends, and leaves the terminal as it was.
///
/// The terminal is restored on every way out: return, panic in any thread, SIGINT, SIGTERM, SIGHUP,
/// while stopped by Ctrl-Z, and, by a watchdog, after SIGKILL. Nothing else may write to the
/// terminal meanwhile.
///
/// What was sent and not given back is in the app when this returns; what is sent later comes back.
///
/// A second SIGINT, SIGTERM or SIGHUP ends the process at once with 128 and the signal's number: the
/// terminal may be one that takes no more bytes, and then nothing else would.
///
/// # Errors
///
/// [`TuiError::NoTerminal`] and [`TuiError::DumbTerminal`] before anything is drawn.
pub fn run<A: App>(
    app: &mut A,
    inbox: Inbox<A::Data>,
    options: Options,
) -> Result<Ending, TuiError> {
    let feed = inbox.feed();
    match start(&feed, options) {
        Ok((screen, _signals, _input)) => Loop {
            app,
            feed,
            screen,
            minimum: options.minimum,
        }
        .until_end(inbox),
        Err(error) => {
            take_rest(app, VecDeque::new(), &inbox);
            Err(error)
        }
    }
}

/// All that lives as long as the view; the threads end after the loop.
fn start<D: Send + 'static>(
    feed: &Feed<D>,
    options: Options,
) -> Result<(Screen, Signals, InputThread), TuiError> {
    let waker = feed.clone();
    let screen = Screen::enter(options.has_mouse, move || waker.note(|_| ()))?;
    let signals = Signals::watch(feed)?;
    let input = InputThread::start(screen.tty(), feed)?;
    Ok((screen, signals, input))
}

struct Loop<'a, A: App> {
    app: &'a mut A,
    feed: Feed<A::Data>,
    screen: Screen,
    minimum: Size,
}

impl<A: App> Loop<'_, A> {
    /// The inbox goes first: threads that wait for room in it hear of the end.
    #[allow(clippy::needless_pass_by_value)]
    fn until_end(mut self, inbox: Inbox<A::Data>) -> Result<Ending, TuiError> {
        let mut waiting = VecDeque::new();
        let outcome = self.show(&inbox, &mut waiting);
        take_rest(self.app, waiting, &inbox);
        outcome
    }

    /// What the app was not given by the end is left in `waiting`.
    fn show(
        &mut self,
        inbox: &Inbox<A::Data>,
        waiting: &mut VecDeque<A::Data>,
    ) -> Result<Ending, TuiError> {
        let mut alarm = Alarm::default();
        self.draw()?;
        loop {
            let mut batch = inbox.wait(alarm.set(self.app.wake_at()));
            *waiting = std::mem::take(&mut batch.data);
            if let Some(ending) = self.take(batch)? {
                return Ok(ending);
            }
            if take_data(self.app, waiting) == Flow::Quit {
                return Ok(Ending::Quit);
            }
            self.draw()?;
        }
    }

    /// All but the data.
    fn take(&mut self, batch: Batch<A::Data>) -> Result<Option<Ending>, TuiError> {
        if !terminal::is_entered() {
            return Err(TuiError::Interrupted);
        }
        if batch.end.is_some() {
            return Ok(batch.end);
        }
        if let Some(stop) = batch.stop {
            self.stop(stop)?;
        } else if batch.was_continued {
            self.screen.enter_again()?;
        } else if batch.was_resized {
            self.screen.clear()?;
        }
        // Before the data: they are about what the user saw.
        for input in batch.inputs {
            if self.on_input(input)? == Flow::Quit {
                return Ok(Some(Ending::Quit));
            }
        }
        Ok(None)
    }

    fn on_input(&mut self, input: Input) -> Result<Flow, TuiError> {
        Ok(match input {
            Input::Key(key) if is_control(key, 'c') => Flow::Quit,
            Input::Key(key) if is_control(key, 'z') => {
                self.stop(Stop::Key)?;
                Flow::Continue
            }
            Input::Key(key) => self.app.on_key(key),
            Input::Mouse(mouse) => self.app.on_mouse(mouse),
            Input::Paste(text) => self.app.on_paste(&text),
        })
    }

    /// Returns when the process goes on.
    fn stop(&mut self, stop: Stop) -> Result<(), TuiError> {
        terminal::leave();
        terminal::stop(stop);
        // The signal that made it go on is no second reason to enter.
        self.feed.note(|batch| batch.was_continued = false);
        self.screen.enter_again()
    }

    fn draw(&mut self) -> Result<(), TuiError> {
        let (app, minimum) = (&mut *self.app, self.minimum);
        self.screen.draw(|frame| draw(app, minimum, frame))
    }
}

/// A moment to draw at. One that is past was drawn at: an app that names it still does not make the
/// loop spin.
#[derive(Debug, Default)]
struct Alarm {
    last: Option<Instant>,
}

impl Alarm {
    fn set(&mut self, wanted: Option<Instant>) -> Option<Instant> {
        let until = wanted.filter(|&at| self.last.is_none_or(|last| at > last));
        if until.is_some_and(|at| at <= Instant::now()) {
            self.last = until;
        }
        until
    }
}

fn take_data<A: App>(app: &mut A, waiting: &mut VecDeque<A::Data>) -> Flow {
    while let Some(data) = waiting.pop_front() {
        if app.on_data(data) == Flow::Quit {
            return Flow::Quit;
        }
    }
    Flow::Continue
}

/// Who has sent a difference relies on it that it was not lost.
fn take_rest<A: App>(app: &mut A, waiting: VecDeque<A::Data>, inbox: &Inbox<A::Data>) {
    for data in waiting.into_iter().chain(inbox.close()) {
        // It has ended.
        let _ = app.on_data(data);
    }
}

/// The view's picture, or a word about the size where there is no room for it.
fn draw<A: App>(app: &mut A, minimum: Size, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width >= minimum.width && area.height >= minimum.height {
        app.draw(frame);
    } else {
        too_small(frame, area, minimum);
    }
}

fn too_small(frame: &mut Frame<'_>, area: Rect, minimum: Size) {
    if area.is_empty() {
        return;
    }
    let middle = Rect {
        y: area.y + area.height / 2,
        height: 1,
        ..area
    };
    Text::raw(format!(
        "{}x{} needed, this is {}x{}",
        minimum.width, minimum.height, area.width, area.height
    ))
    .alignment(Alignment::Center)
    .render(middle, frame.buffer_mut());
}

fn is_control(key: KeyEvent, letter: char) -> bool {
    key.code == KeyCode::Char(letter) && key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::feed::feed;
    use super::*;

    struct Star;

    impl App for Star {
        type Data = ();

        fn on_data(&mut self, (): ()) -> Flow {
            Flow::Quit
        }

        fn on_key(&mut self, _key: KeyEvent) -> Flow {
            Flow::Quit
        }

        fn draw(&mut self, frame: &mut Frame<'_>) {
            frame.render_widget("*", frame.area());
        }
    }

    /// Keeps what it is given, and has enough at a certain item.
    #[derive(Default)]
    struct Collector {
        got: Vec<u32>,
        last: Option<u32>,
    }

    impl App for Collector {
        type Data = u32;

        fn on_data(&mut self, item: u32) -> Flow {
            self.got.push(item);
            if self.last == Some(item) {
                Flow::Quit
            } else {
                Flow::Continue
            }
        }

        fn on_key(&mut self, _key: KeyEvent) -> Flow {
            Flow::Quit
        }

        fn draw(&mut self, _frame: &mut Frame<'_>) {}
    }

    #[test]
    fn an_alarm_rings_once() {
        let past = Instant::now();
        let later = past + Duration::from_secs(3600);
        let mut alarm = Alarm::default();
        assert_eq!(alarm.set(Some(later)), Some(later));
        assert_eq!(alarm.set(Some(later)), Some(later));
        assert_eq!(alarm.set(Some(past)), Some(past));
        assert_eq!(alarm.set(Some(past)), None);
        assert_eq!(alarm.set(None), None);
        assert_eq!(alarm.set(Some(later)), Some(later));
    }

    #[test]
    fn an_end_loses_nothing_that_waits() {
        // Items in the batch in which the view ends, and items that came after it was taken.
        for (in_batch, later) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2)] {
            let (feed, inbox) = feed(2);
            let mut app = Collector::default();
            (0..in_batch).for_each(|item| feed.send(item).unwrap());
            let waiting = if in_batch > 0 {
                inbox.wait(None).data
            } else {
                VecDeque::new()
            };
            let sent = in_batch + later;
            (in_batch..sent).for_each(|item| feed.send(item).unwrap());
            // With two items waiting it is blocked, or comes too late, or comes just in time.
            let sender = thread::spawn(move || (feed.send(sent), feed));
            take_rest(&mut app, waiting, &inbox);
            let (outcome, feed) = sender.join().unwrap();
            let expected = sent + u32::from(outcome.is_ok());
            assert_eq!(app.got, (0..expected).collect::<Vec<_>>());
            assert!(outcome.is_ok() || outcome == Err(sent));
            assert_eq!(feed.send(7), Err(7));
        }
    }

    #[test]
    fn a_blocked_sender_gets_its_item_back_at_the_end() {
        let (feed, inbox) = feed(2);
        feed.send(0).unwrap();
        feed.send(1).unwrap();
        let sender = thread::spawn(move || feed.send(2));
        let mut app = Collector::default();
        take_rest(&mut app, VecDeque::new(), &inbox);
        assert_eq!(app.got, [0, 1]);
        assert_eq!(sender.join().unwrap(), Err(2));
    }

    #[test]
    fn data_that_ends_the_view_does_not_hide_what_follows() {
        let (feed, inbox) = feed(4);
        (0..4).for_each(|item| feed.send(item).unwrap());
        let mut app = Collector {
            last: Some(1),
            ..Collector::default()
        };
        let mut waiting = inbox.wait(None).data;
        assert_eq!(take_data(&mut app, &mut waiting), Flow::Quit);
        assert_eq!(app.got, [0, 1]);
        take_rest(&mut app, waiting, &inbox);
        assert_eq!(app.got, [0, 1, 2, 3]);
    }

    fn picture(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let minimum = Options::default().minimum;
        terminal
            .draw(|frame| draw(&mut Star, minimum, frame))
            .unwrap();
        // The backend cannot print nothing.
        if width == 0 {
            return String::new();
        }
        terminal.backend().to_string()
    }

    #[test]
    fn a_view_has_the_room_it_needs_or_says_so() {
        assert!(picture(60, 15).contains('*'));
        assert!(picture(59, 15).contains("60x15 needed, this is 59x15"));
        assert!(picture(80, 14).contains("60x15 needed, this is 80x14"));
        assert!(!picture(1, 1).contains('*'));
        picture(0, 0);
    }
}
