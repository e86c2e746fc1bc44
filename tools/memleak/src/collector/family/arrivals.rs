//! Who comes: those that match, and children.

use std::time::{Duration, Instant};

use memtools::events::monotonic_ns;
use memtools::process;
use memtools::target::TargetError;
use memtools::target::process_events::ProcessEvent;

use super::choice;
use super::member::Member;
use super::{Arrival, Candidate, Family, Settled};
use crate::collector::{Message, Session};

/// When one is tried again that cannot be traced just now.
const RETRIES: [Duration; 3] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
];

impl Family {
    pub(super) fn admit(&mut self, mut session: Session, since_ns: Option<u64>) {
        session.set_base_line_ns(self.base_line_ns);
        let pid = session.target().pid();
        self.first
            .get_or_insert_with(|| (pid, session.comm().to_owned()));
        // Those that run the same have the same to tell.
        for note in &session.plan().notes {
            if self.told.insert(note.clone()) {
                self.outbox
                    .push(Message::Note(format!("PID {pid}: {note}")));
            }
        }
        let member = Member::new(session, since_ns);
        self.kin.insert(pid);
        self.members.insert(pid, member);
    }

    /// Begins to record one, unless all of them will begin together.
    fn start(&mut self, pid: u32) {
        let started_ns = self.started_ns;
        let member = self.members.get_mut(&pid);
        if let Some(member) = member.filter(|_| self.has_begun) {
            member.start(started_ns);
        }
    }

    /// Everybody who matches, and is not known.
    pub(super) fn look_around(&mut self) {
        self.looked = Instant::now();
        self.forget_settled();
        if self.choice.filter.is_empty() {
            return;
        }
        for pid in self.matcher.all() {
            self.want(pid, None);
        }
    }

    /// The children that there are.
    pub(super) fn look_for_children(&mut self) {
        if !self.choice.follows {
            return;
        }
        let parents: Vec<(u32, u32)> = choice::all_pids()
            .into_iter()
            .filter_map(|pid| Some((pid, process::parent(pid)?)))
            .collect();
        loop {
            let known = self.kin.len();
            for (pid, parent) in &parents {
                if self.kin.contains(parent) {
                    self.want(*pid, None);
                }
            }
            if self.kin.len() == known {
                return;
            }
        }
    }

    fn is_known(&self, pid: u32) -> bool {
        pid == std::process::id()
            || self.members.contains_key(&pid)
            || self.settled.contains_key(&pid)
            || self.waiting.iter().any(|waiting| waiting.pid == pid)
    }

    /// `is_refused`: it is counted as unseen until it is tried again.
    pub(super) fn settle(&mut self, pid: u32, is_refused: bool) {
        let at_ns = monotonic_ns();
        self.unseen += u64::from(is_refused);
        let start_time = process::start_time_of_any(pid);
        let settled = Settled {
            at_ns,
            start_time,
            is_refused,
        };
        self.settled.insert(pid, settled);
    }

    /// Those whose numbers are nobody's, or another's: no record of them is on its way any more.
    fn forget_settled(&mut self) {
        /// Far longer than a record waits in its buffer.
        const ON_ITS_WAY_NS: u64 = 10_000_000_000;
        let now = monotonic_ns();
        self.settled.retain(|pid, settled| {
            let start_time = process::start_time_of_any(*pid);
            let is_still_there = start_time.is_some() && start_time == settled.start_time;
            is_still_there || now.saturating_sub(settled.at_ns) < ON_ITS_WAY_NS
        });
    }

    fn want(&mut self, pid: u32, since_ns: Option<u64>) {
        if !self.is_known(pid) {
            self.kin.insert(pid);
            self.waiting.push_back(Candidate {
                pid,
                since_ns,
                tries: 0,
                not_before: Instant::now(),
            });
        }
    }

    pub(super) fn take_process_events(&mut self) {
        let (events, has_lost) = self.process_events.drain();
        for (time, event) in events {
            match event {
                ProcessEvent::Forked { pid, parent } => self.take_fork(pid, parent, time),
                ProcessEvent::Named { pid, is_exec, .. } => self.take_name(pid, is_exec, time),
                ProcessEvent::Ended { .. } => {}
            }
        }
        if has_lost {
            // At least.
            self.unseen += 1;
            self.note(
                "more processes came at once than could be told of: some may not be traced"
                    .to_owned(),
            );
            self.look_around();
            self.look_for_children();
        }
    }

    fn take_fork(&mut self, pid: u32, parent: u32, time: u64) {
        // What memleak itself starts to try something is nobody's.
        if parent == std::process::id() && !self.kin.contains(&pid) {
            return;
        }
        let is_child = self.choice.follows && self.kin.contains(&parent);
        if self.is_found_already(pid, time) {
            return;
        }
        self.kin.remove(&pid);
        if is_child || self.matcher.matches(pid) {
            self.want(pid, Some(time));
        }
    }

    /// Whether a process was found before the record of its fork was read. If the number was another
    /// process's before, that one is let go.
    fn is_found_already(&mut self, pid: u32, time: u64) -> bool {
        if let Some(settled) = self.settled.get(&pid) {
            if time < settled.at_ns {
                return true;
            }
            self.settled.remove(&pid);
        }
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.pid == pid) {
            let waiting = &mut self.waiting[at];
            if waiting.since_ns.is_none_or(|since| time <= since) {
                waiting.since_ns.get_or_insert(time);
                return true;
            }
            self.waiting.remove(at);
            self.unseen += 1;
            return false;
        }
        let Some(member) = self.members.get_mut(&pid) else {
            return false;
        };
        if time <= member.since_ns.unwrap_or(member.attached_ns) {
            member.since_ns.get_or_insert(time);
            return true;
        }
        self.retire(pid);
        self.settled.remove(&pid);
        false
    }

    fn take_name(&mut self, pid: u32, is_exec: bool, time: u64) {
        let mut was_refused = false;
        if is_exec {
            if let Some(settled) = self.settled.get(&pid) {
                if !settled.is_refused && time < settled.at_ns {
                    // Its programs were seen, to the end of the last.
                    return;
                }
                // What could not be traced was the program before.
                was_refused = settled.is_refused;
                self.settled.remove(&pid);
            }
            // What the program before it has missed is gone with it.
            if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.pid == pid) {
                waiting.since_ns = Some(time);
                waiting.tries = 0;
            }
            if let Some(member) = self.members.get_mut(&pid) {
                member.since_ns = Some(time);
            }
        }
        let is_kin = self.choice.follows && self.kin.contains(&pid);
        if !self.is_known(pid) && (is_exec && is_kin || self.matcher.matches(pid)) {
            // It is tried once more, and counted once.
            self.unseen -= u64::from(was_refused);
            self.want(pid, is_exec.then_some(time));
        }
    }

    /// The first who waits and is due; false: there is none.
    pub(super) fn try_next(&mut self) -> bool {
        let now = Instant::now();
        let due = self
            .waiting
            .iter()
            .position(|waiting| waiting.not_before <= now);
        let Some(candidate) = due.and_then(|at| self.waiting.remove(at)) else {
            return false;
        };
        self.try_to_attach(&candidate);
        true
    }

    fn try_to_attach(&mut self, candidate: &Candidate) {
        let pid = candidate.pid;
        if self.members.len() >= self.most_processes {
            self.settle(pid, true);
            if !std::mem::replace(&mut self.was_full, true) {
                let most = self.most_processes;
                self.note(format!(
                    "{most} processes are traced, others are not; raise --max-processes"
                ));
            }
            return;
        }
        let comm = process::comm(pid).unwrap_or_default();
        let arrival = if self.has_begun {
            Arrival::Later
        } else {
            Arrival::AtBeginning
        };
        match (self.attach)(pid, self.mapping_events.of(pid), arrival) {
            Ok(session) => {
                self.admit(session, candidate.since_ns);
                self.start(pid);
            }
            // In the middle of an exec it has no objects.
            Err(error) if (candidate.tries as usize) < RETRIES.len() && !has_ended(pid, &error) => {
                self.waiting.push_back(Candidate {
                    tries: candidate.tries + 1,
                    not_before: Instant::now() + RETRIES[candidate.tries as usize],
                    ..*candidate
                });
            }
            Err(error) => {
                self.settle(pid, true);
                if !has_ended(pid, &error) {
                    self.note(format!("{comm} (PID {pid}) is not traced: {error:#}"));
                }
            }
        }
    }
}

/// Whether a process could not be traced because it is there no more.
fn has_ended(pid: u32, error: &anyhow::Error) -> bool {
    let is_gone = matches!(
        error.downcast_ref(),
        Some(TargetError::NoSuchProcess(_) | TargetError::Zombie(_))
    );
    is_gone || process::start_time(pid).is_none()
}
