//! What a process samples itself: until when it is believed.

use std::time::{Duration, Instant};

use memtools::events::monotonic_ns;

use super::Session;
use crate::collector::Message;
use crate::plan::Plan;

impl Session {
    /// A program that should have it may be another one, or have it no more.
    pub(super) fn check_sampler(&mut self) {
        if !self.plan.uses_sampler() || self.images < self.first_image {
            return;
        }
        let objects = self.plan.sampler_objects();
        let is_there = self.text.mappings().current().any(|mapping| {
            let object = mapping.object.as_ref();
            object.is_some_and(|object| objects.contains(&object.id()))
        });
        if !is_there {
            let note = "the process has no samples of its own any more: the allocator's functions are \
                        traced";
            self.outbox.push(Message::Note(note.to_owned()));
            self.leave_sampler(monotonic_ns());
        }
    }

    /// Another program need not have one: from now on it is the functions. `since_ns`: nobody has seen
    /// anything since.
    pub(super) fn leave_sampler(&mut self, since_ns: u64) {
        if !self.plan.uses_sampler() || !self.is_recording {
            return;
        }
        self.plan.drop_sampler();
        let functions = Plan {
            probes: std::mem::take(&mut self.plan.withheld),
            ..Plan::default()
        };
        self.attach_plan(functions);
        let since_ns = since_ns.max(self.started_ns);
        self.blind += Duration::from_nanos(monotonic_ns().saturating_sub(since_ns));
        self.sampler_left = Some(Instant::now());
    }

    /// Its probes go when the new program stands: some kernels forget to count down for one whose data is
    /// not mapped yet, and it would believe for ever that somebody listens. Nothing is taken of them meanwhile.
    pub(super) fn let_sampler_go(&mut self) {
        const UNTIL_IT_STANDS: Duration = Duration::from_secs(1);
        if self
            .sampler_left
            .is_some_and(|left| left.elapsed() > UNTIL_IT_STANDS)
        {
            self.sampler_left = None;
            self.kernel.detach_sampler();
        }
    }
}
