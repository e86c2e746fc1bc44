//! When the picture is made anew though nothing came, and what the tool costs meanwhile.

use std::time::{Duration, Instant};

use memtools::tui::own_cost::{Cost, OwnCost};

/// As often as the seconds of the status line change.
const STEP: Duration = Duration::from_secs(1);

/// Measures at even distances: over the time between two keys, a share would mean nothing.
#[derive(Debug)]
pub struct Pace {
    meter: OwnCost,
    cost: Cost,
    next: Instant,
}

impl Pace {
    /// The first step is that much later.
    pub fn new(first: Duration) -> Self {
        Self {
            meter: OwnCost::default(),
            cost: Cost::default(),
            next: Instant::now() + first,
        }
    }

    /// Takes a step, if it is time.
    pub fn step(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            self.cost = self.meter.sample();
            self.next = now + STEP;
        }
    }

    /// When the next step is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// What the tool cost over the last step.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}
