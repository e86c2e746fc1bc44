//! Events of one call of the OOM killer, and the ends of their victims.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::{Comm, EndedBy, Event, Fact, Reaped, Sibling};

/// How many events may be held back.
const HELD: usize = 64;
/// How many events there are: those that are held back, and one that is being filled.
const POOL: usize = HELD + 8;
/// How long the others of a group are waited for: they follow in one loop of the kernel's, which
/// writes a line to its console for each.
const PATIENCE_NS: u64 = 250_000_000;
/// Of how many victims the end is awaited.
const AWAITED: usize = 4096;

/// Holds back what belongs together, and remembers victims until their memory is back.
#[derive(Debug)]
pub struct Groups {
    /// Not in use.
    spare: Vec<Event>,
    /// Of one call, in order.
    held: VecDeque<Event>,
    /// To be shown, in order.
    ready: VecDeque<Event>,
    victims: VecDeque<Victim>,
    /// Ends of victims whose kill is not told yet.
    ends: VecDeque<Reaped>,
    /// The call whose events were too many to be held together.
    divided: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Victim {
    pid: u32,
    tid: u32,
    comm: Comm,
    time_ns: u64,
    is_shown: bool,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            spare: (0..POOL).map(|_| Event::with_room()).collect(),
            held: VecDeque::with_capacity(HELD),
            ready: VecDeque::with_capacity(2 * HELD),
            victims: VecDeque::with_capacity(AWAITED),
            ends: VecDeque::with_capacity(HELD),
            divided: None,
        }
    }
}

impl Groups {
    /// An event to fill; what it held before is to be overwritten.
    pub fn blank(&mut self) -> Event {
        if self.spare.is_empty() {
            self.release();
        }
        self.spare.pop().unwrap_or_else(Event::with_room)
    }

    /// Takes an event back.
    pub fn recycle(&mut self, event: Event) {
        if self.spare.len() < POOL {
            self.spare.push(event);
        }
    }

    /// An event that is to be shown, with the others of its call if there are any.
    pub fn push(&mut self, event: Event) {
        let is_other = self
            .held
            .front()
            .is_some_and(|first| first.invocation != event.invocation);
        if self.held.len() == HELD {
            self.divided = self.held.front().map(|first| first.invocation);
        }
        if is_other || self.held.len() == HELD {
            self.release();
        }
        let is_alone = self.held.is_empty() && (!event.is_group || event.is_exiting);
        self.held.push_back(event);
        if is_alone {
            self.release();
        }
    }

    /// When what is held back has waited long enough (CLOCK_MONOTONIC, nanoseconds).
    pub fn deadline_ns(&self) -> Option<u64> {
        self.held.back().map(|last| last.time_ns + PATIENCE_NS)
    }

    /// Lets go what has waited long enough.
    pub fn expire(&mut self, now_ns: u64) {
        if self
            .deadline_ns()
            .is_some_and(|deadline| deadline <= now_ns)
        {
            self.release();
        }
    }

    /// The next event to show.
    pub fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Lets go what is held back, each event with the names of the others.
    pub fn release(&mut self) {
        let count = self.held.len();
        for at in 0..count {
            for other in (0..count).filter(|&other| other != at) {
                let task = &self.held[other].victim.task;
                let sibling = Sibling {
                    pid: task.pid,
                    comm: task.comm,
                };
                self.held[at].add_sibling(sibling);
            }
            if self.divided == Some(self.held[at].invocation) {
                self.held[at].unknown.add(Fact::Siblings);
            }
        }
        self.ready.append(&mut self.held);
    }

    /// Awaits the end of a victim.
    pub fn await_end(&mut self, event: &Event, is_shown: bool) {
        let task = &event.victim.task;
        // One of that number has ended without a word.
        self.victims.retain(|victim| victim.pid != task.pid);
        if self.victims.len() == AWAITED {
            self.victims.pop_front();
        }
        self.victims.push_back(Victim {
            pid: task.pid,
            tid: task.tid,
            comm: task.comm,
            time_ns: event.time_ns,
            is_shown,
        });
    }

    /// A thread's memory was reaped, or a process has exited: the first of both counts. Nothing is
    /// said of one that is not shown, and nothing yet of one whose kill is held back.
    pub fn end(&mut self, id: u32, by: EndedBy, time_ns: u64, time: Timestamp) -> Option<Reaped> {
        let is_it = |victim: &Victim| victim.pid == id || victim.tid == id;
        let at = self.victims.iter().position(is_it)?;
        let victim = self.victims.remove(at)?;
        let reaped = victim.is_shown.then(|| Reaped {
            time,
            pid: victim.pid,
            comm: victim.comm,
            after: Duration::from_nanos(time_ns.saturating_sub(victim.time_ns)),
            by,
        })?;
        if self.holds(reaped.pid) {
            self.ends.push_back(reaped);
            return None;
        }
        Some(reaped)
    }

    /// The next end of a victim whose kill has been told meanwhile.
    pub fn next_end(&mut self) -> Option<Reaped> {
        let at = self.ends.iter().position(|end| !self.holds(end.pid))?;
        self.ends.remove(at)
    }

    /// Awaits nobody any more.
    pub fn forget_victims(&mut self) {
        self.victims.clear();
    }

    fn holds(&self, pid: u32) -> bool {
        let waiting = self.held.iter().chain(&self.ready);
        waiting
            .into_iter()
            .any(|event| event.victim.task.pid == pid)
    }
}
