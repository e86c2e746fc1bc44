//! A heat map: how often what happened when, as signs that are the denser the more there is.

use ratatui::text::Span;

use super::theme::Theme;

/// A heat map in the room that there is: columns are put together, and rows, until they fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// So many columns have become one.
    pub columns_each: usize,
    /// So many rows have become one.
    pub rows_each: usize,
    first: usize,
    /// By rows, the lowest first.
    cells: Vec<Vec<u64>>,
}

impl Grid {
    /// `columns`: the counts of each moment by row, the oldest first. `rows`: the lowest and the
    /// highest that are shown. `most`: so many columns and rows fit.
    pub fn new(columns: &[Vec<u64>], rows: (usize, usize), most: (usize, usize)) -> Self {
        let (first, last) = rows;
        let row_count = (last + 1).saturating_sub(first);
        let columns_each = columns.len().div_ceil(most.0.max(1)).max(1);
        let rows_each = row_count.div_ceil(most.1.max(1)).max(1);
        let width = columns.len().div_ceil(columns_each);
        let mut cells = vec![vec![0; width]; row_count.div_ceil(rows_each)];
        for (at, column) in columns.iter().enumerate() {
            let counts = column.iter().enumerate().skip(first).take(row_count);
            for (row, count) in counts {
                cells[(row - first) / rows_each][at / columns_each] += count;
            }
        }
        Self {
            columns_each,
            rows_each,
            first,
            cells,
        }
    }

    /// The most in one place.
    pub fn hottest(&self) -> u64 {
        self.cells.iter().flatten().copied().max().unwrap_or(0)
    }

    /// The lines from the highest to the lowest, each with the lowest row that it stands for.
    pub fn lines(&self, theme: &Theme) -> Vec<(usize, Vec<Span<'static>>)> {
        let hottest = self.hottest();
        let sign = |count: &u64| {
            let (sign, style) = theme.shade(shade(*count, hottest, theme.shades()));
            Span::styled(sign, style)
        };
        let lines = self.cells.iter().enumerate().rev();
        lines
            .map(|(at, cells)| {
                let row = self.first + at * self.rows_each;
                (row, cells.iter().map(sign).collect())
            })
            .collect()
    }
}

/// Which of so many shades; by logarithm, so that single events are seen beside thousands.
pub fn shade(count: u64, hottest: u64, shades: usize) -> usize {
    if count == 0 {
        return 0;
    }
    let log = |count: u64| (count as f64 + 1.0).ln();
    let part = log(count) / log(hottest.max(1));
    ((part * (shades - 1) as f64).round() as usize).clamp(1, shades - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::theme::Glyphs;
    use super::*;

    #[test]
    fn one_event_is_seen_beside_thousands() {
        assert_eq!(shade(0, 10_000, 10), 0);
        assert_eq!(shade(1, 10_000, 10), 1);
        assert_eq!(shade(10_000, 10_000, 10), 9);
        assert_eq!(shade(1, 1, 10), 9);
        assert_eq!(shade(u64::MAX, u64::MAX, 10), 9);
    }

    #[test]
    fn what_is_high_stands_above() {
        let columns = [vec![0, 9], vec![], vec![0, 9, 0, 1]];
        let grid = Grid::new(&columns, (1, 3), (10, 10));
        let lines = grid.lines(&Theme::new(false, Glyphs::Ascii));
        let text = |(row, spans): &(usize, Vec<Span<'_>>)| {
            let signs: String = spans.iter().map(|span| span.content.as_ref()).collect();
            (*row, signs)
        };
        let lines: Vec<(usize, String)> = lines.iter().map(text).collect();
        let wanted = [(3, "  -"), (2, "   "), (1, "@ @")];
        assert_eq!(lines, wanted.map(|(row, signs)| (row, signs.to_owned())));
    }

    proptest! {
        #[test]
        fn all_fits_and_nothing_is_lost(
            columns in prop::collection::vec(prop::collection::vec(0_u64..9, 0..12), 0..40),
            most in (0_usize..50, 0_usize..20),
        ) {
            let grid = Grid::new(&columns, (0, 11), most);
            prop_assert!(grid.cells.len() <= most.1.max(1));
            prop_assert!(grid.cells.iter().all(|row| row.len() <= most.0.max(1)));
            let all: u64 = columns.iter().flatten().sum();
            prop_assert_eq!(grid.cells.iter().flatten().sum::<u64>(), all);
        }
    }
}
