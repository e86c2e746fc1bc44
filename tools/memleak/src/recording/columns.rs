//! Columns of a table, as they are read.

use super::decode::Fault;

const UNEVEN: Fault = Fault::Damaged("a table's columns are of different lengths");

/// One value for each row; all zero if it was left out.
pub struct Column<'a, T>(&'a [T]);

impl<'a, T: Copy + Default> Column<'a, T> {
    /// A column of a table with so many rows.
    pub fn new(values: &'a [T], rows: usize) -> Result<Self, Fault> {
        if values.is_empty() || values.len() == rows {
            Ok(Self(values))
        } else {
            Err(UNEVEN)
        }
    }

    /// A row's value.
    pub fn get(&self, row: usize) -> T {
        self.0.get(row).copied().unwrap_or_default()
    }
}

/// Values of which each row takes some.
pub struct Runs<'a, T> {
    values: &'a [T],
    taken: usize,
}

impl<'a, T> Runs<'a, T> {
    /// All of them.
    pub fn new(values: &'a [T]) -> Self {
        Self { values, taken: 0 }
    }

    /// How many were taken.
    pub fn position(&self) -> usize {
        self.taken
    }

    /// The next so many.
    pub fn next(&mut self, count: u64) -> Result<&'a [T], Fault> {
        let left = &self.values[self.taken..];
        let count = usize::try_from(count).map_err(|_| UNEVEN)?;
        let run = left.get(..count).ok_or(UNEVEN)?;
        self.taken += count;
        Ok(run)
    }

    /// All have to be taken.
    pub fn finish(&self) -> Result<(), Fault> {
        if self.taken == self.values.len() {
            Ok(())
        } else {
            Err(UNEVEN)
        }
    }
}

/// Numbers that are written as differences to the one before, the first to 0.
#[derive(Debug, Default)]
pub struct Differences(u64);

impl Differences {
    /// The next number.
    pub fn next(&mut self, difference: i64) -> u64 {
        self.0 = self.0.wrapping_add(difference as u64);
        self.0
    }
}
