//! A view, and the thread that collects what it shows.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread::Builder;

use super::TuiError;
use super::app::{App, Ending, Options, run};
use super::feed::{Feed, feed};

/// Shows a view of what a thread of its own collects, until it ends.
///
/// `start` makes what collects, and the view, on the thread that then uses the former in `serve`:
/// the kernel side need not move between threads. `serve` has to return when what it was given to
/// wait for is disconnected: the view has ended.
///
/// # Errors
///
/// What `start` fails with; inside, why the view ended early.
pub fn show<C, V, E>(
    start: impl FnOnce() -> Result<(C, V), E> + Send + 'static,
    serve: impl FnOnce(C, &Feed<V::Data>, &Receiver<()>) + Send + 'static,
) -> Result<Result<Ending, TuiError>, E>
where
    V: App + Send + 'static,
    E: From<TuiError> + Send + 'static,
{
    let (feed, inbox) = feed(1);
    let (view_lives, has_ended) = channel::<()>();
    let (sender, started) = channel();
    let thread = Builder::new()
        .name("collector".to_owned())
        .spawn(move || match start() {
            Ok((collector, view)) => {
                let _ = sender.send(Ok(view));
                serve(collector, &feed, &has_ended);
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        })
        .map_err(|source| TuiError::System {
            doing: "starting the thread that collects",
            source,
        })?;
    let mut view = started.recv().map_err(|_| has_died())??;
    let ending = run(&mut view, inbox, Options::default());
    drop(view_lives);
    thread.join().map_err(|_| has_died())?;
    Ok(ending)
}

fn has_died() -> TuiError {
    TuiError::System {
        doing: "waiting for the thread that collects",
        source: io::Error::other("it has ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flow, KeyEvent};
    use super::*;

    struct Blank;

    impl App for Blank {
        type Data = ();

        fn on_data(&mut self, (): ()) -> Flow {
            Flow::Quit
        }

        fn on_key(&mut self, _: KeyEvent) -> Flow {
            Flow::Quit
        }

        fn draw(&mut self, _: &mut ratatui::Frame<'_>) {}
    }

    #[test]
    fn what_does_not_start_is_not_shown() {
        let start = || -> Result<((), Blank), TuiError> { Err(TuiError::Background) };
        let shown = show(start, |(), _, _| unreachable!());
        assert!(matches!(shown, Err(TuiError::Background)));
    }

    #[test]
    fn a_thread_that_dies_is_an_error() {
        let start = || -> Result<((), Blank), TuiError> { panic!("on purpose") };
        let shown = show(start, |(), _, _| unreachable!());
        assert!(matches!(shown, Err(TuiError::System { .. })));
    }
}
