//! How many kills there were lately.

use std::collections::VecDeque;

use jiff::Timestamp;

/// A minute, in seconds.
pub const MINUTE: i64 = 60;
/// An hour, in seconds.
pub const HOUR: i64 = 60 * MINUTE;

/// Kills by second, over an hour: exact however many there are, in a room that time bounds.
#[derive(Debug, Default)]
pub struct Recent {
    /// Seconds since 1970 with their kills, in the order in which they came.
    seconds: VecDeque<(i64, u64)>,
}

impl Recent {
    /// Counts a kill.
    pub fn add(&mut self, time: Timestamp) {
        let second = time.as_second();
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        while let Some((first, _)) = self.seconds.front() {
            // A clock that is set back again and again must not make it grow for ever.
            let is_over = first + HOUR <= second || self.seconds.len() > 2 * HOUR as usize;
            if !is_over {
                break;
            }
            self.seconds.pop_front();
        }
    }

    /// How many there were in the last so many seconds, [`HOUR`] at most.
    pub fn within(&self, seconds: i64, now: Timestamp) -> u64 {
        let after = now.as_second() - seconds;
        let inside = self.seconds.iter().filter(|(second, _)| *second > after);
        inside.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_leave_the_minute_and_then_the_hour() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut recent = Recent::default();
        for second in [1000, 1000, 1030, 4000] {
            recent.add(at(second));
        }
        assert_eq!(recent.within(MINUTE, at(1031)), 4);
        assert_eq!(recent.within(MINUTE, at(4059)), 1);
        assert_eq!(recent.within(MINUTE, at(4060)), 0);
        assert_eq!(recent.within(HOUR, at(4599)), 4);
        assert_eq!(recent.within(HOUR, at(4600)), 2);
        recent.add(at(9000));
        assert_eq!(recent.seconds.len(), 1);
    }
}
