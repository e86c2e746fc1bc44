//! What signals mean. The first ends the run in good order; when that does not come to an end,
//! because nobody reads the output or the command does not obey, the next ones end it at once. One that
//! comes together with the first is the same one, sent to a process and to its group (timeout does that).

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memtools::cli::{EndSignal, watch_signals};
use memtools::target::command::ChildHandle;

use crate::collector::Message;

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// End the run, or the command and with it the run.
    End,
    /// Kill the command.
    Kill,
    /// End this process; the kernel takes the probes out.
    Exit,
    /// It is none of its own.
    Nothing,
}

/// So soon after the first nobody has lost patience.
const TOGETHER: Duration = Duration::from_millis(500);

/// What a session sends when it ends: both, one after the other.
fn is_hangup(signal: EndSignal) -> bool {
    matches!(signal.number, libc::SIGTERM | libc::SIGHUP)
}

#[derive(Default)]
struct State {
    command: Option<ChildHandle>,
    first: Option<(EndSignal, Instant)>,
    count: u32,
}

impl State {
    /// With a command, the first signal is passed on and its end awaited; the second kills it.
    fn take(&mut self, signal: EndSignal, now: Instant) -> Action {
        let (first, at) = *self.first.get_or_insert((signal, now));
        let is_same = first.number == signal.number || is_hangup(first) && is_hangup(signal);
        if self.count > 0 && is_same && now.duration_since(at) < TOGETHER {
            return Action::Nothing;
        }
        self.count += 1;
        match self.count {
            1 => Action::End,
            2 if self.command.is_some() => Action::Kill,
            _ => Action::Exit,
        }
    }
}

/// The signals that ask for the end. They are acted on in a thread of their own, for the main one
/// may wait for a reader.
#[derive(Clone, Default)]
pub struct Signals(Arc<Mutex<State>>);

impl Signals {
    /// Begins to watch; the first signal is also a message.
    pub fn watch(messages: Sender<Message>) -> io::Result<Self> {
        let signals = Self::default();
        let watching = signals.clone();
        watch_signals(move |signal| watching.on_signal(signal, &messages))?;
        Ok(signals)
    }

    /// From now on signals are also for this command, those that have come among them.
    pub fn pass_to(&self, command: ChildHandle) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((signal, _)) = state.first {
            pass_on(signal, &command);
        }
        state.command = Some(command);
    }

    fn on_signal(&self, signal: EndSignal, messages: &Sender<Message>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let action = state.take(signal, Instant::now());
        match (action, &state.command) {
            (Action::End, command) => {
                if let Some(command) = command {
                    pass_on(signal, command);
                }
                let _ = messages.send(Message::Signal);
            }
            (Action::Kill, Some(command)) => command.signal(libc::SIGKILL),
            (Action::Kill | Action::Exit, _) => std::process::exit(128 + signal.number),
            (Action::Nothing, _) => {}
        }
    }
}

/// Ctrl-C reaches the command by itself. A hangup may be sent to a session's leader alone, and
/// one too many does no harm.
fn pass_on(signal: EndSignal, command: &ChildHandle) {
    let has_it = signal.number == libc::SIGINT && signal.is_from_terminal;
    if !(has_it && command.is_in_our_group()) {
        command.signal(signal.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_signal_ends_it_at_once() {
        let signal = EndSignal {
            number: libc::SIGINT,
            is_from_terminal: true,
        };
        let mut state = State::default();
        let now = Instant::now();
        assert_eq!(state.take(signal, now), Action::End);
        let together = now + TOGETHER / 2;
        assert_eq!(state.take(signal, together), Action::Nothing);
        let other = EndSignal {
            number: libc::SIGTERM,
            ..signal
        };
        assert_eq!(state.take(other, together), Action::Exit);
        assert_eq!(state.take(signal, now + TOGETHER), Action::Exit);
        let mut state = State::default();
        for (number, action) in [
            (libc::SIGTERM, Action::End),
            (libc::SIGHUP, Action::Nothing),
        ] {
            assert_eq!(state.take(EndSignal { number, ..signal }, now), action);
        }
    }
}
