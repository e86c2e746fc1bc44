//! Latency over time: for each moment, how many calls took about so long.

/// Columns of powers of two, the oldest first. When there are too many, each two become one.
#[derive(Clone, Debug)]
pub struct Heat {
    most: usize,
    /// So many moments make a column.
    per_column: u32,
    /// Moments in the last column.
    filled: u32,
    columns: Vec<Vec<u64>>,
}

impl Heat {
    /// With at most so many columns, from two on.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(2),
            per_column: 1,
            filled: 1,
            columns: Vec::new(),
        }
    }

    /// A moment has passed: how many calls there were of each power of two.
    pub fn add(&mut self, rows: &[u64]) {
        if self.filled < self.per_column
            && let Some(last) = self.columns.last_mut()
        {
            add_rows(last, rows);
            self.filled += 1;
            return;
        }
        if self.columns.len() == self.most {
            self.fold();
            // An odd one is half full.
            if self.columns.len() * 2 > self.most {
                self.filled = self.per_column / 2;
                return self.add(rows);
            }
        }
        self.columns.push(rows.to_vec());
        self.filled = 1;
    }

    fn fold(&mut self) {
        let folded = self.columns.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            for other in &pair[1..] {
                add_rows(&mut sum, other);
            }
            sum
        });
        self.columns = folded.collect();
        self.per_column *= 2;
    }

    /// How many moments a column stands for.
    pub fn per_column(&self) -> u32 {
        self.per_column
    }

    /// The columns, the oldest first.
    pub fn columns(&self) -> &[Vec<u64>] {
        &self.columns
    }

    /// The powers of two that have calls, from the least to the most.
    pub fn rows(&self) -> Option<(usize, usize)> {
        let used = |row: usize| {
            self.columns
                .iter()
                .any(|column| column.get(row).is_some_and(|count| *count > 0))
        };
        let longest = self.columns.iter().map(Vec::len).max()?;
        let first = (0..longest).find(|row| used(*row))?;
        let last = (0..longest).rev().find(|row| used(*row))?;
        Some((first, last))
    }

    /// The most calls in one place.
    pub fn hottest(&self) -> u64 {
        let all = self.columns.iter().flatten();
        all.copied().max().unwrap_or(0)
    }
}

fn add_rows(sum: &mut Vec<u64>, rows: &[u64]) {
    sum.resize(sum.len().max(rows.len()), 0);
    for (sum, row) in sum.iter_mut().zip(rows) {
        *sum += row;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_columns_are_folded() {
        for most in [2, 3, 4, 7] {
            let mut heat = Heat::new(most);
            for moment in 0..100_u64 {
                heat.add(&[0, moment, 1]);
                assert!(heat.columns().len() <= most);
                let sum = |row: usize| heat.columns().iter().map(|c| c[row]).sum::<u64>();
                assert_eq!(sum(1), moment * (moment + 1) / 2);
                assert_eq!(sum(2), moment + 1);
                let full = &heat.columns()[..heat.columns().len() - 1];
                assert!(full.iter().all(|c| c[2] == u64::from(heat.per_column())));
            }
            assert_eq!(heat.rows(), Some((1, 2)));
        }
    }

    #[test]
    fn nothing_has_no_rows() {
        let mut heat = Heat::new(8);
        assert_eq!(heat.rows(), None);
        heat.add(&[0, 0]);
        assert_eq!(heat.rows(), None);
    }
}
