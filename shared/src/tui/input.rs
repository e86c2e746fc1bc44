//! The thread that reads the keyboard and the mouse.
//!
//! crossterm's own reader spins when the terminal is gone: it reads the end of the file again and
//! again. This one waits with poll(2), where a hangup is an event.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::TuiError;
use super::app::Ending;
use super::decode::Decoder;
use super::feed::Feed;
use super::terminal::Tty;

/// What follows an Escape later than this belongs to the next key. Long enough for a slow network.
const PATIENCE: Duration = Duration::from_millis(50);

/// Reads while it lives.
pub(super) struct InputThread {
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl InputThread {
    pub fn start<D: Send + 'static>(tty: &Arc<Tty>, feed: &Feed<D>) -> Result<Self, TuiError> {
        let (tty, feed) = (Arc::clone(tty), feed.clone());
        let start = || -> io::Result<Self> {
            let (end, wake) = io::pipe()?;
            let thread = std::thread::Builder::new()
                .name("tui-input".to_owned())
                .spawn(move || read(&tty, &end, &feed))?;
            Ok(Self {
                wake: Some(wake),
                thread: Some(thread),
            })
        };
        start().map_err(|source| TuiError::System {
            doing: "starting to read the keyboard",
            source,
        })
    }
}

impl Drop for InputThread {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // It panics only where a panic has been reported.
            let _ = thread.join();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Readable,
    Silence,
    Interrupted,
    HungUp,
    End,
}

fn read<D>(tty: &Tty, end: &PipeReader, feed: &Feed<D>) {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4096];
    loop {
        let patience = decoder.is_waiting().then_some(PATIENCE);
        match wait(tty.input(), end.as_fd(), patience) {
            Event::Readable => match tty.read(&mut buffer) {
                Ok(count) if count > 0 => decoder.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            },
            Event::Silence => decoder.finish(),
            Event::Interrupted => {}
            Event::HungUp => break,
            Event::End => return,
        }
        for input in decoder.take() {
            if feed.input(input).is_err() {
                return;
            }
        }
    }
    feed.note(|batch| {
        batch.end.get_or_insert(Ending::HungUp);
    });
}

fn wait(tty: BorrowedFd<'_>, end: BorrowedFd<'_>, patience: Option<Duration>) -> Event {
    let of = |fd: BorrowedFd<'_>| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [of(tty), of(end)];
    let patience = patience.map_or(-1, |patience| patience.as_millis() as i32);
    // SAFETY: the array is ours, and its length is given.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, patience) };
    let [tty, end] = fds.map(|fd| fd.revents);
    match ready {
        _ if end != 0 => Event::End,
        0 => Event::Silence,
        // What was typed before a hangup cannot be read any more.
        1.. if tty & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 => Event::HungUp,
        1.. => Event::Readable,
        _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Event::Interrupted,
        _ => Event::HungUp,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_hangup_is_told_from_silence_and_from_the_end() {
        let (quiet, quiet_end) = io::pipe().unwrap();
        let (gone, _) = io::pipe().unwrap();
        let soon = Some(Duration::from_millis(1));
        assert_eq!(wait(quiet.as_fd(), quiet.as_fd(), soon), Event::Silence);
        assert_eq!(wait(gone.as_fd(), quiet.as_fd(), None), Event::HungUp);
        assert_eq!(wait(quiet.as_fd(), gone.as_fd(), None), Event::End);
        (&quiet_end).write_all(b"x").unwrap();
        let (other, _other_end) = io::pipe().unwrap();
        assert_eq!(wait(quiet.as_fd(), other.as_fd(), None), Event::Readable);
    }
}
