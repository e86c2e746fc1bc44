//! How times are written.

use memtools::tui::text::short_ns;

use crate::model::Unit;
use crate::report::duration_text;

/// In which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Each in that which suits it.
    Fitting,
    /// All in one.
    In(Unit),
}

impl Times {
    /// What a command line with this unit wants to see first: who names none wants to read.
    pub fn of(unit: Unit) -> Self {
        match unit {
            Unit::Nanoseconds => Self::Fitting,
            other => Self::In(other),
        }
    }

    /// The next unit.
    pub fn next(self) -> Self {
        match self {
            Self::Fitting => Self::In(Unit::Nanoseconds),
            Self::In(Unit::Nanoseconds) => Self::In(Unit::Microseconds),
            Self::In(Unit::Microseconds) => Self::In(Unit::Milliseconds),
            Self::In(Unit::Milliseconds) => Self::Fitting,
        }
    }

    /// A time without its unit, unless that is its own.
    pub fn figure(self, ns: u64) -> String {
        match self {
            Self::Fitting => short_ns(ns),
            Self::In(unit) => duration_text(ns, unit),
        }
    }

    /// A time with its unit.
    pub fn text(self, ns: u64) -> String {
        match self {
            Self::Fitting => short_ns(ns),
            Self::In(unit) => format!("{} {}", duration_text(ns, unit), short_name(unit)),
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fitting => "auto units",
            Self::In(unit) => short_name(unit),
        }
    }
}

/// `us`.
pub fn short_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "ns",
        Unit::Microseconds => "us",
        Unit::Milliseconds => "ms",
    }
}

/// The times of a row of powers of two of a unit: from the first on, up to the second, which is no
/// longer among them. Nanoseconds.
pub fn bounds_ns(row: usize, unit: Unit) -> (u64, u64) {
    let power = |exponent: usize| {
        let power = u32::try_from(exponent)
            .ok()
            .and_then(|exponent| 1_u64.checked_shl(exponent));
        power.unwrap_or(u64::MAX).saturating_mul(unit.ns())
    };
    (if row == 0 { 0 } else { power(row) }, power(row + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_go_round() {
        let mut times = Times::of(Unit::Nanoseconds);
        let mut texts = Vec::new();
        for _ in 0..5 {
            texts.push(times.text(1_234_567));
            times = times.next();
        }
        let round = [
            "1.23 ms",
            "1234567 ns",
            "1234.567 us",
            "1.235 ms",
            "1.23 ms",
        ];
        assert_eq!(texts, round);
        assert_eq!(Times::of(Unit::Milliseconds).figure(1_500_000), "1.500");
    }

    #[test]
    fn rows_are_powers_of_two() {
        assert_eq!(bounds_ns(0, Unit::Microseconds), (0, 2000));
        assert_eq!(bounds_ns(3, Unit::Nanoseconds), (8, 16));
        assert_eq!(bounds_ns(63, Unit::Nanoseconds), (1 << 63, u64::MAX));
        assert_eq!(bounds_ns(99, Unit::Milliseconds), (u64::MAX, u64::MAX));
    }
}
