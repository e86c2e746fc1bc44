//! Processes as they come and go: FORK, EXIT and COMM records of a dummy perf event on every CPU.

use std::io;
use std::os::fd::RawFd;

use super::perf_records::{
    ATTR_COMM, ATTR_COMM_EXEC, ATTR_TASK, PERF_RECORD_COMM, PERF_RECORD_EXIT, PERF_RECORD_FORK,
    PERF_RECORD_MISC_COMM_EXEC, Rings, Wanted, number, text_at, time_of,
};

/// Pages of a CPU's buffer: 128 KiB, about 2,000 records.
const BUFFER_PAGES: usize = 32;

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It was made.
    Forked {
        /// The process.
        pid: u32,
        /// Which one has made it.
        parent: u32,
    },
    /// It has another name.
    Named {
        /// The process.
        pid: u32,
        /// The name of its first thread, not cleaned.
        comm: String,
        /// It has begun another program.
        is_exec: bool,
    },
    /// Its first thread has ended.
    Ended {
        /// The process.
        pid: u32,
    },
}

/// The events of all processes.
#[derive(Debug)]
pub struct ProcessEvents {
    rings: Rings,
    /// Younger than the last look at the rings, by time.
    held_back: Vec<(u64, ProcessEvent)>,
}

impl ProcessEvents {
    /// Opens them.
    pub fn open() -> io::Result<Self> {
        let rings = Rings::open(Wanted {
            records: ATTR_TASK | ATTR_COMM | ATTR_COMM_EXEC,
            pages: BUFFER_PAGES,
            wakes_at_once: true,
        })?;
        let held_back = Vec::new();
        Ok(Self { rings, held_back })
    }

    /// Readable as soon as something has happened.
    pub fn fds(&self) -> Vec<RawFd> {
        self.rings.fds()
    }

    /// What happened from the last call to the beginning of this one, by time (CLOCK_MONOTONIC,
    /// nanoseconds), and whether some of it was lost. What happens while CPU after CPU is read waits for
    /// the next call: something older may be where was read before.
    pub fn drain(&mut self) -> (Vec<(u64, ProcessEvent)>, bool) {
        let read_ns = crate::events::monotonic_ns();
        let mut events = std::mem::take(&mut self.held_back);
        let lost_since = self.rings.drain(|kind, misc, body| {
            events.extend(parse(kind, misc, body));
        });
        events.sort_by_key(|(time, _)| *time);
        let ready = events.partition_point(|(time, _)| *time <= read_ns);
        self.held_back = events.split_off(ready);
        (events, lost_since.is_some())
    }
}

/// FORK and EXIT: the process, its parent, and a thread of each; COMM: process, thread, name.
fn parse(kind: u32, misc: u16, body: &[u8]) -> Option<(u64, ProcessEvent)> {
    let (pid, second) = (number(body, 0)?, number(body, 4)?);
    let is_first_thread = |at| number(body, at).map(|tid| tid == pid);
    let event = match kind {
        PERF_RECORD_FORK if second != pid && is_first_thread(8)? => ProcessEvent::Forked {
            pid,
            parent: second,
        },
        PERF_RECORD_EXIT if is_first_thread(8)? => ProcessEvent::Ended { pid },
        PERF_RECORD_COMM if second == pid => ProcessEvent::Named {
            pid,
            comm: text_at(body, 8)?,
            is_exec: misc & PERF_RECORD_MISC_COMM_EXEC != 0,
        },
        _ => return None,
    };
    Some((time_of(body)?, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(words: &[u32], text: &[u8], time: u64) -> Vec<u8> {
        let words = words.iter().flat_map(|word| word.to_ne_bytes());
        words
            .chain(text.iter().copied())
            .chain(time.to_ne_bytes())
            .collect()
    }

    #[test]
    fn only_processes_are_told_of() {
        let parent = 3;
        let fork = |pid, tid| {
            let body = record(&[pid, parent, tid, parent, 0, 0], b"", 5);
            parse(PERF_RECORD_FORK, 0, &body)
        };
        let pid = 7;
        assert_eq!(
            fork(pid, pid),
            Some((5, ProcessEvent::Forked { pid, parent }))
        );
        // A thread of the parent's own.
        assert_eq!(fork(parent, 8), None);
        let exit = |tid| {
            let body = record(&[pid, parent, tid, parent, 0, 0], b"", 6);
            parse(PERF_RECORD_EXIT, 0, &body)
        };
        assert_eq!(exit(pid), Some((6, ProcessEvent::Ended { pid })));
        assert_eq!(exit(9), None);
    }

    #[test]
    fn an_exec_is_told_from_another_name() {
        for is_exec in [false, true] {
            let body = record(&[7, 7], b"name\0\0\0\0", 5);
            let misc = if is_exec {
                PERF_RECORD_MISC_COMM_EXEC
            } else {
                0
            };
            let comm = "name".to_owned();
            let event = ProcessEvent::Named {
                pid: 7,
                comm,
                is_exec,
            };
            assert_eq!(parse(PERF_RECORD_COMM, misc, &body), Some((5, event)));
        }
        let of_thread = record(&[7, 8], b"name\0\0\0\0", 5);
        assert_eq!(parse(PERF_RECORD_COMM, 0, &of_thread), None);
        for length in 0..of_thread.len() {
            let _ = parse(PERF_RECORD_COMM, 0, &of_thread[..length]);
            let _ = parse(PERF_RECORD_FORK, 0, &of_thread[..length]);
        }
    }

    /// A child that does nothing but exec is forked, named and ended.
    #[test]
    fn a_child_comes_and_goes() {
        let Ok(mut events) = ProcessEvents::open() else {
            eprintln!("skipped: perf events cannot be opened");
            return;
        };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let (seen, _) = events.drain();
        let own: Vec<&ProcessEvent> = seen
            .iter()
            .map(|(_, event)| event)
            .filter(|event| match event {
                ProcessEvent::Forked { pid: p, .. }
                | ProcessEvent::Named { pid: p, .. }
                | ProcessEvent::Ended { pid: p } => *p == pid,
            })
            .collect();
        let parent = std::process::id();
        assert_eq!(own[0], &ProcessEvent::Forked { pid, parent });
        assert!(own.iter().any(
            |e| matches!(e, ProcessEvent::Named { comm, is_exec: true, .. } if comm == "true")
        ));
        assert_eq!(own.last(), Some(&&ProcessEvent::Ended { pid }));
    }
}
