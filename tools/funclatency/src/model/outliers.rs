//! Calls that took long, one by one.

use std::cmp::Reverse;

/// A call that took long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlowCall {
    /// When it ended, on the monotonic clock.
    pub time_ns: u64,
    pub ns: u64,
    pub result: u64,
    pub arguments: [u64; 6],
    pub pid: u32,
    pub tid: u32,
    /// The function's number.
    pub function: u32,
    pub cpu: u32,
    pub comm: String,
    /// Its callers, innermost first, with names.
    pub stack: Vec<String>,
}

/// The slowest.
#[derive(Clone, Debug, Default)]
pub struct Slowest {
    most: usize,
    /// Slowest first.
    calls: Vec<SlowCall>,
}

impl Slowest {
    /// So many of them.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            calls: Vec::new(),
        }
    }

    /// Whether a call is among them.
    pub fn wants(&self, ns: u64) -> bool {
        self.calls.len() < self.most || self.calls.last().is_some_and(|last| ns > last.ns)
    }

    /// Adds a call, if it is among them.
    pub fn add(&mut self, call: SlowCall) {
        if !self.wants(call.ns) {
            return;
        }
        let at = self
            .calls
            .partition_point(|other| Reverse(other.ns) <= Reverse(call.ns));
        self.calls.insert(at, call);
        self.calls.truncate(self.most);
    }

    /// From where on a call is among them, in nanoseconds.
    pub fn floor_ns(&self) -> u64 {
        match self.calls.last() {
            Some(last) if self.calls.len() == self.most => last.ns.saturating_add(1),
            _ => 0,
        }
    }

    /// Slowest first.
    pub fn calls(&self) -> &[SlowCall] {
        &self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_stay() {
        let mut slowest = Slowest::new(3);
        assert_eq!(slowest.floor_ns(), 0);
        for ns in [5, 1, 9, 7, 2, 8] {
            slowest.add(SlowCall {
                ns,
                ..SlowCall::default()
            });
        }
        let times: Vec<u64> = slowest.calls().iter().map(|call| call.ns).collect();
        assert_eq!(times, [9, 8, 7]);
        assert_eq!(slowest.floor_ns(), 8);
        assert!(slowest.wants(8) && !slowest.wants(7));
    }
}
