//! New text mappings as they are made: MMAP2 and COMM records of a dummy perf event on every CPU,
//! so that no dlopen and no exec is missed between two looks at /proc.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mappings::Record;
use super::object::FileId;
use super::perf_records::{
    ATTR_COMM, ATTR_COMM_EXEC, ATTR_MMAP, ATTR_MMAP2, PERF_RECORD_COMM, PERF_RECORD_MISC_COMM_EXEC,
    PERF_RECORD_MMAP2, Rings, Wanted, number, text_at, time_of, wide,
};

/// Pages of a CPU's buffer: 256 KiB, about 1,500 records.
const BUFFER_PAGES: usize = 64;

/// What happened to a process's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingEvent {
    /// A text mapping was made.
    Mapped(Record),
    /// The process began another image: nothing that was mapped before is there any more.
    Exec {
        /// The new name of its leader, not cleaned.
        comm: String,
    },
}

/// Everything that was read at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events of the target, by time (CLOCK_MONOTONIC, nanoseconds).
    pub events: Vec<(u64, MappingEvent)>,
    /// When records, of any process, were lost since: the time of the last one before the gap.
    pub lost_since: Option<u64>,
    /// When the buffers were read: nothing in them is missing that is older.
    pub read_ns: u64,
}

/// The events of every process, kept for those that are asked for.
#[derive(Clone, Debug)]
pub struct MappingEventSource(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    rings: Rings,
    /// By PID.
    queues: HashMap<u32, Queue>,
    /// How many queues there have been.
    count: u64,
}

/// What was read, and not yet handed out.
#[derive(Debug, Default)]
struct Queue {
    /// Tells it from an earlier one of its PID.
    number: u64,
    events: Vec<(u64, MappingEvent)>,
    lost_since: Option<u64>,
}

impl MappingEventSource {
    /// Opens the events.
    pub fn open() -> io::Result<Self> {
        let rings = Rings::open(Wanted {
            records: ATTR_MMAP | ATTR_MMAP2 | ATTR_COMM | ATTR_COMM_EXEC,
            pages: BUFFER_PAGES,
            wakes_at_once: false,
        })?;
        Ok(Self(Arc::new(Mutex::new(Shared {
            rings,
            ..Shared::default()
        }))))
    }

    /// Those of one process from now on; only one may have them.
    pub fn of(&self, pid: u32) -> MappingEvents {
        let mut shared = locked(&self.0);
        shared.count += 1;
        let number = shared.count;
        let queue = Queue {
            number,
            ..Queue::default()
        };
        shared.queues.insert(pid, queue);
        MappingEvents {
            shared: self.0.clone(),
            pid,
            number,
        }
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Reads the rings.
    fn read(&mut self) {
        let queues = &mut self.queues;
        let lost_since = self.rings.drain(|kind, misc, body| {
            let queue = number(body, 0).and_then(|pid| queues.get_mut(&pid));
            if let (Some(queue), Some(event)) = (queue, parse(kind, misc, body)) {
                queue.events.push(event);
            }
        });
        let Some(since) = lost_since else {
            return;
        };
        for queue in self.queues.values_mut() {
            queue.lost_since = Some(queue.lost_since.unwrap_or(since).min(since));
        }
    }
}

/// The events of one process. The default has none.
#[derive(Debug, Default)]
pub struct MappingEvents {
    shared: Arc<Mutex<Shared>>,
    pid: u32,
    number: u64,
}

impl MappingEvents {
    /// Readable when a buffer is half full; there may be records before that.
    pub fn fds(&self) -> Vec<RawFd> {
        locked(&self.shared).rings.fds()
    }

    /// What happened since the last call, up to the beginning of this one.
    ///
    /// The buffers are read one after the other. What happens meanwhile is held back for the next
    /// call, because something older may be in a buffer that was read before. All that anybody
    /// did in text that was mapped before the call is explained by what it returns.
    pub fn drain(&mut self) -> Batch {
        let mut shared = locked(&self.shared);
        let read_ns = crate::events::monotonic_ns();
        shared.read();
        let Some(queue) = shared.queues.get_mut(&self.pid) else {
            return Batch {
                read_ns,
                ..Batch::default()
            };
        };
        queue.events.sort_by_key(|(time, _)| *time);
        let ready = queue.events.partition_point(|(time, _)| *time <= read_ns);
        let later = queue.events.split_off(ready);
        Batch {
            events: std::mem::replace(&mut queue.events, later),
            lost_since: queue.lost_since.take(),
            read_ns,
        }
    }
}

impl Drop for MappingEvents {
    fn drop(&mut self) {
        let queues = &mut locked(&self.shared).queues;
        // A later process of its number may have one by now.
        if queues
            .get(&self.pid)
            .is_some_and(|queue| queue.number == self.number)
        {
            queues.remove(&self.pid);
        }
    }
}

fn parse(kind: u32, misc: u16, body: &[u8]) -> Option<(u64, MappingEvent)> {
    let event = match kind {
        PERF_RECORD_COMM if misc & PERF_RECORD_MISC_COMM_EXEC != 0 => MappingEvent::Exec {
            comm: text_at(body, 8)?,
        },
        PERF_RECORD_MMAP2 => MappingEvent::Mapped(Record {
            start: wide(body, 8)?,
            end: wide(body, 8)?.checked_add(wide(body, 16)?)?,
            file_offset: wide(body, 24)?,
            file: FileId::new(number(body, 32)?, number(body, 36)?, wide(body, 40)?),
            path: PathBuf::from(text_at(body, 64)?),
        }),
        _ => return None,
    };
    Some((time_of(body)?, event))
}

#[cfg(test)]
mod tests;
