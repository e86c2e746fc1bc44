//! The last seconds of a figure, exactly: a series that covers days is too coarse for them. Pure.

use std::time::Duration;

/// How long ago matters.
const WINDOW: Duration = Duration::from_secs(10);
/// When a figure changes more often, less time is remembered.
const MOST_POINTS: usize = 16;

/// What a figure was at its last changes.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Time since recording began and the figure from then on, the oldest first. At most one lies before
    /// the window.
    points: Vec<(Duration, u64)>,
    /// Points were dropped that would still count.
    is_cut: bool,
}

impl Recent {
    /// The figure is another from now on.
    pub fn push(&mut self, elapsed: Duration, figure: u64) {
        self.points.push((elapsed, figure));
        let begin = elapsed.saturating_sub(WINDOW);
        let old = self.points.iter().filter(|(time, _)| *time <= begin);
        let old = old.count().saturating_sub(1);
        self.points.drain(..old);
        if old > 0 {
            self.is_cut = false;
        }
        if self.points.len() > MOST_POINTS {
            self.points.remove(0);
            self.is_cut = true;
        }
    }

    /// What it grew by a second, in the last ten seconds, or as far back as is known.
    pub fn growth_per_second(&self, now: Duration) -> f64 {
        let begin = now.saturating_sub(WINDOW);
        let before = self.points.iter().rfind(|(time, _)| *time <= begin);
        let (Some((_, last)), Some(first)) = (self.points.last(), self.points.first()) else {
            return 0.0;
        };
        let (since, base) = match before {
            Some((_, figure)) => (begin, *figure),
            None if self.is_cut => *first,
            // Before its first change it was nothing.
            None => (begin, 0),
        };
        let seconds = now.saturating_sub(since).as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        (*last as f64 - base as f64) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn growth_is_of_the_last_ten_seconds_however_long_it_runs() {
        let mut recent = Recent::default();
        for second in 0..100_000_u32 {
            recent.push(seconds(f64::from(second)), u64::from(second) * 5);
        }
        assert!((recent.growth_per_second(seconds(99_999.0)) - 5.0).abs() < 0.1);
        // A burst that is long ago is none.
        assert!(recent.growth_per_second(seconds(100_009.0)).abs() < 1e-9);
    }

    #[test]
    fn what_is_new_has_grown_from_nothing() {
        let mut recent = Recent::default();
        assert!(recent.growth_per_second(seconds(3.0)).abs() < 1e-9);
        recent.push(seconds(1000.0), 100);
        assert!((recent.growth_per_second(seconds(1001.0)) - 10.0).abs() < 1e-9);
        recent.push(seconds(1002.0), 40);
        assert!((recent.growth_per_second(seconds(1002.0)) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn many_changes_shorten_what_is_remembered() {
        let mut recent = Recent::default();
        for step in 0..200_u32 {
            recent.push(seconds(f64::from(step) * 0.1), u64::from(step));
        }
        assert!(recent.points.len() <= MOST_POINTS);
        assert!((recent.growth_per_second(seconds(19.9)) - 10.0).abs() < 0.1);
    }
}
