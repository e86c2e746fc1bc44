//! One of several processes: its session, and what it tells with its name on it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use memtools::symbols::{Location, Symbol};

use crate::collector::{Session, Watched};
use crate::snapshot::{ProcessFigures, Snapshot, Stack, StackAccount, process_label};

/// A process under observation.
pub struct Member {
    pub session: Session,
    /// When its program began, if that was under our eyes (CLOCK_MONOTONIC, nanoseconds).
    pub since_ns: Option<u64>,
    /// When it had its probes, likewise.
    pub attached_ns: u64,
    /// Its recording began so long after the family's, in nanoseconds.
    offset_ns: u64,
    owner: Owner,
    pub was_silent: bool,
    pub was_detached: bool,
}

/// A process's part of a snapshot.
pub struct Part {
    pub figures: ProcessFigures,
    pub snapshot: Snapshot,
}

impl Member {
    pub fn new(session: Session, since_ns: Option<u64>) -> Self {
        Self {
            attached_ns: session.started_ns(),
            offset_ns: 0,
            owner: Owner::default(),
            since_ns,
            session,
            was_silent: false,
            was_detached: false,
        }
    }

    /// Begins recording, after the family.
    pub fn start(&mut self, family_started_ns: u64) {
        self.session.start();
        let started_ns = self.session.started_ns();
        self.offset_ns = started_ns.saturating_sub(family_started_ns);
    }

    /// How long its program had run before all of it was seen.
    fn late(&self) -> Option<Duration> {
        /// An allocator that comes later than that is not what the program has begun with.
        const BEGINNING_NS: u64 = 1_000_000_000;
        let (since, started) = (self.since_ns?, self.session.started_ns());
        let complete = self.session.complete_since_ns();
        let begun = since.max(started);
        let seen = if complete.saturating_sub(begun) < BEGINNING_NS {
            complete
        } else {
            started
        };
        seen.checked_sub(since).map(Duration::from_nanos)
    }

    /// What it has now; `is_last`: recording ends with it.
    pub fn part(&mut self, is_last: bool) -> Result<Part> {
        let mut snapshot = if is_last {
            self.session.close()?
        } else {
            self.session.snapshot()?
        };
        let moment = &snapshot.moment;
        let figures = ProcessFigures {
            pid: moment.pid,
            comm: moment.comm.clone(),
            has_ended: moment.has_ended,
            was_detached: self.was_detached,
            allocs: moment.events.allocs,
            frees: moment.events.frees,
            late: self.late(),
        };
        self.owner.begin(&figures.comm, figures.pid);
        for account in &mut snapshot.stacks {
            self.own(account);
        }
        self.owner.let_go(snapshot.stacks.len());
        Ok(Part { figures, snapshot })
    }

    fn own(&mut self, account: &mut StackAccount) {
        account.stack = self.owner.stack(&account.stack);
        if let Some(births) = &mut account.births {
            let offset = Duration::from_nanos(self.offset_ns);
            births.first += offset;
            births.last += offset;
            births.mean += offset;
        }
    }
}

/// Puts the process's name at the outer end of its stacks.
#[derive(Default)]
struct Owner {
    label: String,
    location: Option<Arc<Location>>,
    /// By the address of the session's stack, which is kept for that.
    known: HashMap<usize, (Arc<Stack>, Arc<Stack>)>,
    /// Where there is no stack.
    none: Arc<Stack>,
}

impl Owner {
    /// The process is called this now; another program has another name.
    fn begin(&mut self, comm: &str, pid: u32) {
        let label = process_label(comm, pid);
        if self.label == label {
            return;
        }
        let mut hasher = DefaultHasher::new();
        label.hash(&mut hasher);
        let location = Arc::new(Location {
            address: 0,
            object: None,
            mapping: "process".into(),
            file_offset: hasher.finish(),
            symbol: Some(Arc::new(Symbol {
                name: label.clone(),
                offset: 0,
                file: None,
                line: None,
                inlined: false,
            })),
        });
        self.none = Arc::new(Stack {
            locations: vec![location.clone()],
            ..Stack::default()
        });
        self.location = Some(location);
        self.label = label;
        self.known.clear();
    }

    fn stack(&mut self, stack: &Arc<Stack>) -> Arc<Stack> {
        if stack.locations.is_empty() {
            return self.none.clone();
        }
        let known = self.known.entry(Arc::as_ptr(stack) as usize);
        let (_, owned) = known.or_insert_with(|| {
            let mut owned = Stack::clone(stack);
            owned.locations.extend(self.location.clone());
            (stack.clone(), Arc::new(owned))
        });
        owned.clone()
    }

    /// Stacks that only this still has were resolved anew since.
    fn let_go(&mut self, in_use: usize) {
        const SLACK: usize = 1024;
        if self.known.len() > 2 * in_use + SLACK {
            self.known
                .retain(|_, (stack, _)| Arc::strong_count(stack) > 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_owned_once_until_the_process_has_another_name() {
        let mut whose = Owner::default();
        whose.begin("a", 7);
        let location = Arc::new(Location {
            address: 7,
            object: None,
            mapping: "text".into(),
            file_offset: 7,
            symbol: None,
        });
        let stack = Arc::new(Stack {
            locations: vec![location],
            is_cut: true,
            ..Stack::default()
        });
        let owned = whose.stack(&stack);
        assert!(owned.is_cut && owned.locations.len() == 2);
        let name = |stack: &Stack| {
            stack
                .locations
                .last()?
                .symbol
                .as_ref()
                .map(|s| s.name.clone())
        };
        assert_eq!(name(&owned).as_deref(), Some("a (PID 7)"));
        whose.begin("a", 7);
        assert!(Arc::ptr_eq(&whose.stack(&stack), &owned));
        whose.begin("b", 7);
        assert_eq!(name(&whose.stack(&stack)).as_deref(), Some("b (PID 7)"));
        let none = whose.stack(&Arc::default());
        assert_eq!(name(&none).as_deref(), Some("b (PID 7)"));
    }
}
