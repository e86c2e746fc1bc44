//! The events that the view keeps, and what is counted of all that came.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::recent::Recent;
use crate::model::{Event, Fact, Reaped};

/// How many events are kept.
pub const KEPT: usize = 10_000;
/// How many ends may wait for their events: these are held back until their group is complete.
const EARLY: usize = 64;

/// Which event it is, counted from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(pub u64);

/// An event, and what became of its victim.
#[derive(Debug)]
pub struct Entry {
    /// Which one it is.
    pub id: EntryId,
    /// What happened.
    pub event: Event,
    /// How its memory came back, once it has.
    pub reaped: Option<Reaped>,
    /// One call of the OOM killer made it and the one before.
    pub is_follower: bool,
}

impl Entry {
    /// Whether a fact is known.
    pub fn knows(&self, fact: Fact) -> bool {
        !self.event.unknown.has(fact)
    }

    fn is_of(&self, reaped: &Reaped) -> bool {
        let task = &self.event.victim.task;
        task.pid == reaped.pid && task.comm == reaped.comm
    }

    /// Where it counts: its victim's cgroup.
    fn cgroup(&self) -> Option<&str> {
        let cgroup = self.event.victim.task.cgroup.as_str();
        (!self.event.is_exiting && !cgroup.is_empty()).then_some(cgroup)
    }
}

/// The newest events.
#[derive(Debug, Default)]
pub struct Log {
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// How many had to go, the oldest.
    gone: u64,
    kills: u64,
    exits: u64,
    recent: Recent,
    /// Kills of those that are kept.
    by_cgroup: HashMap<String, u64>,
    /// Ends whose events have not come yet.
    early: VecDeque<Reaped>,
}

impl Log {
    /// Adds an event; the oldest goes where there are too many.
    pub fn push(&mut self, event: &Event) {
        if self.entries.len() == KEPT {
            self.drop_oldest();
        }
        if event.is_exiting {
            self.exits += 1;
        } else {
            self.kills += 1;
            self.recent.add(event.time);
        }
        let last = self.entries.back();
        let mut entry = Entry {
            id: self.next_id(),
            is_follower: last.is_some_and(|last| last.event.invocation == event.invocation),
            // A copy has only the room that it needs; this one has room for the longest texts.
            event: event.clone(),
            reaped: None,
        };
        // An older end is of another process, which had the same PID.
        let is_its = |reaped: &Reaped| entry.is_of(reaped) && reaped.time >= event.time;
        if let Some(at) = self.early.iter().position(is_its) {
            entry.reaped = self.early.remove(at);
        }
        if let Some(cgroup) = entry.cgroup() {
            *self.by_cgroup.entry(cgroup.to_owned()).or_default() += 1;
        }
        self.entries.push_back(entry);
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        self.gone += 1;
        let Some(cgroup) = entry.cgroup() else {
            return;
        };
        if let Some(count) = self.by_cgroup.get_mut(cgroup) {
            *count -= 1;
            if *count == 0 {
                self.by_cgroup.remove(cgroup);
            }
        }
    }

    /// A victim's memory is back.
    pub fn end(&mut self, reaped: Reaped) {
        let is_its = |entry: &&mut Entry| entry.reaped.is_none() && entry.is_of(&reaped);
        if let Some(entry) = self.entries.iter_mut().rev().find(is_its) {
            entry.reaped = Some(reaped);
            return;
        }
        if self.early.len() == EARLY {
            self.early.pop_front();
        }
        self.early.push_back(reaped);
    }

    /// Those that are kept, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// An event, if it is kept.
    pub fn entry(&self, id: EntryId) -> Option<&Entry> {
        let at = id.0.checked_sub(self.gone)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// What the next event will be known by.
    pub fn next_id(&self) -> EntryId {
        EntryId(self.gone + self.entries.len() as u64)
    }

    /// How many are kept from an event on.
    pub fn count_from(&self, id: EntryId) -> u64 {
        self.next_id().0 - id.0.clamp(self.gone, self.next_id().0)
    }

    /// How many are not kept any more.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many were killed, of all that came.
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// How many were about to exit and not killed, of all that came.
    pub fn exits(&self) -> u64 {
        self.exits
    }

    /// How many were killed in the last so many seconds, an hour at most.
    pub fn kills_within(&self, seconds: i64, now: Timestamp) -> u64 {
        self.recent.within(seconds, now)
    }

    /// The cgroups with most kills of those that are kept, the one with most first.
    pub fn top_cgroups(&self, count: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self
            .by_cgroup
            .iter()
            .map(|(path, kills)| (path.as_str(), *kills))
            .collect();
        all.sort_unstable_by_key(|&(path, kills)| (Reverse(kills), path));
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Comm, EndedBy};

    fn event(pid: u32, invocation: u64) -> Event {
        let mut event = Event::with_room();
        event.time = Timestamp::from_second(1000 + i64::from(pid)).unwrap();
        event.invocation = invocation;
        event.victim.task.pid = pid;
        event.victim.task.cgroup = format!("/group-{}", pid % 3);
        event
    }

    fn reaped(pid: u32, second: i64) -> Reaped {
        Reaped {
            time: Timestamp::from_second(second).unwrap(),
            pid,
            comm: Comm::default(),
            after: Duration::from_millis(7),
            by: EndedBy::Reaper,
        }
    }

    fn is_back(log: &Log, id: u64) -> bool {
        log.entry(EntryId(id)).unwrap().reaped.is_some()
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut log = Log::default();
        for pid in 0..KEPT as u32 + 5 {
            log.push(&event(pid, u64::from(pid)));
        }
        assert_eq!(log.gone(), 5);
        assert_eq!(log.kills(), KEPT as u64 + 5);
        assert!(log.entry(EntryId(4)).is_none());
        assert_eq!(log.entry(EntryId(5)).unwrap().event.victim.task.pid, 5);
        assert_eq!(log.newest_first().count(), KEPT);
        assert_eq!(log.count_from(EntryId(KEPT as u64 + 3)), 2);
        assert_eq!(log.count_from(EntryId(1)), KEPT as u64);
        let counted: u64 = log.top_cgroups(9).iter().map(|(_, kills)| kills).sum();
        assert_eq!(counted, KEPT as u64);
    }

    #[test]
    fn an_end_finds_the_newest_of_its_pid() {
        let mut log = Log::default();
        log.push(&event(7, 1));
        log.push(&event(7, 2));
        log.end(reaped(7, 2000));
        assert!(!is_back(&log, 0) && is_back(&log, 1));
        log.end(reaped(7, 2001));
        assert!(is_back(&log, 0));
    }

    #[test]
    fn an_end_may_come_before_its_event() {
        let mut log = Log::default();
        log.end(reaped(7, 1008));
        log.push(&event(7, 1));
        assert!(is_back(&log, 0));
        log.end(reaped(8, 900));
        log.push(&event(8, 2));
        assert!(!is_back(&log, 1));
    }

    #[test]
    fn what_was_exiting_is_no_kill() {
        let mut log = Log::default();
        log.push(&Event {
            is_exiting: true,
            ..event(7, 1)
        });
        assert_eq!((log.kills(), log.exits()), (0, 1));
        assert!(log.top_cgroups(3).is_empty());
    }

    #[test]
    fn the_others_of_a_call_follow_the_first() {
        let mut log = Log::default();
        for (pid, invocation) in [(1, 9), (2, 9), (3, 10)] {
            log.push(&event(pid, invocation));
        }
        let followers: Vec<bool> = log.newest_first().map(|entry| entry.is_follower).collect();
        assert_eq!(followers, [false, true, false]);
    }
}
