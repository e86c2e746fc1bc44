//! Lines of another process, with deadlines.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use crate::deadline;

/// Reads all along in a thread of its own, so that the writer never waits for the test.
pub struct Lines {
    receiver: Receiver<String>,
    whose: String,
}

impl Lines {
    pub fn of(stream: impl Read + Send + 'static, whose: &str) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Self {
            receiver,
            whose: whose.to_owned(),
        }
    }

    /// The next line, or nothing at the end of the stream.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        match self.receiver.recv_timeout(deadline()) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} said nothing for {:?}", self.whose, deadline())
            }
        }
    }

    /// All lines up to the end of the stream.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next_line()).collect()
    }
}
