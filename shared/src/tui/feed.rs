//! The way from a tool's threads to its view: bounded, and taken all at once before each picture.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossterm::event::{KeyEvent, MouseEvent};

use super::app::Ending;

/// A user who holds a key down while a picture is slow gets no further ahead than this.
const INPUTS: usize = 256;

/// What a person did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
}

/// Why the process is to stop, as by Ctrl-Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The key: a terminal that is not raw would tell the whole foreground group.
    Key,
    /// SIGTSTP: whoever sent it has told all that it is for.
    Signal,
}

/// All that came since the loop looked last.
#[derive(Debug)]
pub(super) struct Batch<D> {
    pub end: Option<Ending>,
    pub stop: Option<Stop>,
    /// The process went on after a stop; what the terminal shows is not known.
    pub was_continued: bool,
    pub was_resized: bool,
    pub inputs: VecDeque<Input>,
    pub data: VecDeque<D>,
}

impl<D> Default for Batch<D> {
    fn default() -> Self {
        Self {
            end: None,
            stop: None,
            was_continued: false,
            was_resized: false,
            inputs: VecDeque::new(),
            data: VecDeque::new(),
        }
    }
}

#[derive(Debug)]
struct State<D> {
    batch: Batch<D>,
    /// Whether the loop has to look.
    is_due: bool,
    is_closed: bool,
    replaced: u64,
}

#[derive(Debug)]
struct Shared<D> {
    state: Mutex<State<D>>,
    capacity: usize,
    due: Condvar,
    room: Condvar,
}

impl<D> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_room(
        &self,
        has_room: impl Fn(&Batch<D>) -> bool,
    ) -> Option<MutexGuard<'_, State<D>>> {
        let state = self
            .room
            .wait_while(self.lock(), |state| {
                !state.is_closed && !has_room(&state.batch)
            })
            .unwrap_or_else(PoisonError::into_inner);
        (!state.is_closed).then_some(state)
    }

    fn tell(&self, mut state: MutexGuard<'_, State<D>>) {
        state.is_due = true;
        drop(state);
        self.due.notify_one();
    }
}

/// A feed for a view, and the end that the view takes from.
///
/// `capacity` is how many items may wait; at least one may.
pub fn feed<D>(capacity: usize) -> (Feed<D>, Inbox<D>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            batch: Batch::default(),
            is_due: false,
            is_closed: false,
            replaced: 0,
        }),
        capacity: capacity.max(1),
        due: Condvar::new(),
        room: Condvar::new(),
    });
    (Feed(Arc::clone(&shared)), Inbox(shared))
}

/// Where a tool's threads put what the view is to show.
///
/// There are two ways, and a feed uses one: [`send`](Self::send) and [`try_send`](Self::try_send) for
/// items that must all arrive, in order, such as differences; [`replace`](Self::replace) for whole
/// snapshots, where the newest is all that matters.
#[derive(Debug)]
pub struct Feed<D>(Arc<Shared<D>>);

impl<D> Clone for Feed<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// An item that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<D> {
    /// The view is behind: as many wait as may.
    Behind(D),
    /// The view has ended.
    Closed(D),
}

impl<D> Feed<D> {
    /// Adds an item; waits while the view is behind. The item comes back when the view has ended;
    /// one that does not is given to [`App::on_data`](super::App::on_data), if only at the end.
    pub fn send(&self, item: D) -> Result<(), D> {
        let has_room = |batch: &Batch<D>| batch.data.len() < self.0.capacity;
        let Some(mut state) = self.0.wait_for_room(has_room) else {
            return Err(item);
        };
        state.batch.data.push_back(item);
        self.0.tell(state);
        Ok(())
    }

    /// Adds an item, or gives it back at once, so that the caller can merge it with the next.
    pub fn try_send(&self, item: D) -> Result<(), Refused<D>> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(Refused::Closed(item));
        }
        if state.batch.data.len() >= self.0.capacity {
            return Err(Refused::Behind(item));
        }
        state.batch.data.push_back(item);
        self.0.tell(state);
        Ok(())
    }

    /// Puts a snapshot in the place of all that were not taken yet, which are counted. It comes
    /// back when the view has ended.
    pub fn replace(&self, snapshot: D) -> Result<(), D> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(snapshot);
        }
        state.replaced += state.batch.data.len() as u64;
        state.batch.data.clear();
        state.batch.data.push_back(snapshot);
        self.0.tell(state);
        Ok(())
    }

    /// How many snapshots were replaced before the view took them.
    pub fn replaced(&self) -> u64 {
        self.0.lock().replaced
    }

    /// Whether the view has ended.
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// Waits while the view is behind, so that a key that is held down is not remembered for ever.
    pub(super) fn input(&self, input: Input) -> Result<(), Input> {
        let has_room = |batch: &Batch<D>| batch.inputs.len() < INPUTS;
        let Some(mut state) = self.0.wait_for_room(has_room) else {
            return Err(input);
        };
        state.batch.inputs.push_back(input);
        self.0.tell(state);
        Ok(())
    }

    /// Notes what does not have to wait in a row.
    pub(super) fn note(&self, note: impl FnOnce(&mut Batch<D>)) {
        let mut state = self.0.lock();
        note(&mut state.batch);
        self.0.tell(state);
    }
}

/// The view's end of a feed. Dropping it ends the feed.
#[derive(Debug)]
pub struct Inbox<D>(Arc<Shared<D>>);

impl<D> Inbox<D> {
    /// Waits until something has come, and takes all of it; at `until` takes nothing instead.
    pub(super) fn wait(&self, until: Option<Instant>) -> Batch<D> {
        let mut state = self.0.lock();
        while !state.is_due {
            let due = &self.0.due;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = due.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => due.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.is_due = false;
        let batch = std::mem::take(&mut state.batch);
        drop(state);
        self.0.room.notify_all();
        batch
    }

    pub(super) fn feed(&self) -> Feed<D> {
        Feed(Arc::clone(&self.0))
    }

    /// Ends the feed, and takes the data that waits. Whatever is sent goes one way: it is taken here
    /// or earlier, or its sender gets it back.
    pub(super) fn close(&self) -> VecDeque<D> {
        let mut state = self.0.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.batch.data);
        drop(state);
        self.0.room.notify_all();
        waiting
    }
}

impl<D> Drop for Inbox<D> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn differences_all_arrive_in_order_and_the_producer_waits() {
        let (feed, inbox) = feed(2);
        let producer = thread::spawn(move || {
            for item in 0..1000 {
                feed.send(item).unwrap();
            }
        });
        let mut got = Vec::new();
        while got.len() < 1000 {
            let batch = inbox.wait(None);
            assert!(batch.data.len() <= 2);
            got.extend(batch.data);
        }
        producer.join().unwrap();
        assert!(got.is_sorted());
    }

    #[test]
    fn a_producer_that_cannot_wait_is_told() {
        let (feed, inbox) = feed(1);
        assert_eq!(feed.try_send(1), Ok(()));
        assert_eq!(feed.try_send(2), Err(Refused::Behind(2)));
        assert_eq!(inbox.wait(None).data, [1]);
        drop(inbox);
        assert_eq!(feed.try_send(3), Err(Refused::Closed(3)));
        assert_eq!(feed.send(4), Err(4));
        assert!(feed.is_closed());
    }

    #[test]
    fn a_newer_snapshot_replaces_and_is_counted() {
        let (feed, inbox) = feed(1);
        for snapshot in 0..4 {
            feed.replace(snapshot).unwrap();
        }
        assert_eq!(inbox.wait(None).data, [3]);
        assert_eq!(feed.replaced(), 3);
    }

    #[test]
    fn a_producer_that_waits_hears_of_the_end() {
        let (feed, inbox) = feed(1);
        feed.send(1).unwrap();
        let producer = thread::spawn(move || feed.send(2));
        drop(inbox);
        assert_eq!(producer.join().unwrap(), Err(2));
    }

    #[test]
    fn a_wait_ends_in_time_and_does_not_hide_what_came() {
        let (feed, inbox) = feed(1);
        let past = Some(Instant::now());
        assert!(inbox.wait(past).data.is_empty());
        feed.send(1).unwrap();
        assert_eq!(inbox.wait(past).data, [1]);
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(inbox.wait(Some(soon)).data.is_empty());
        assert!(Instant::now() >= soon);
    }
}
