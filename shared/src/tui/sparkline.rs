//! Small pictures of a series of figures, in one line of text.

use super::theme::Glyphs;

/// Eight levels from zero to the largest figure; one character for each figure.
pub fn sparkline(figures: &[u64], glyphs: Glyphs) -> String {
    let levels = glyphs.levels();
    let max = figures.iter().copied().max().unwrap_or(0);
    figures
        .iter()
        .map(|&figure| levels[level(figure, max, levels.len())])
        .collect()
}

/// From 0 to `levels - 1`; only zero is at the bottom when there is anything else.
fn level(figure: u64, max: u64, levels: usize) -> usize {
    if max == 0 {
        return 0;
    }
    let top = (levels - 1) as u128;
    (u128::from(figure) * top).div_ceil(u128::from(max)) as usize
}

/// The series in `columns` figures, each the largest of those it stands for, so that no peak is
/// lost; a short series is stretched.
pub fn resample(figures: &[u64], columns: usize) -> Vec<u64> {
    if figures.is_empty() {
        return Vec::new();
    }
    let count = figures.len();
    (0..columns)
        .map(|column| {
            let from = column * count / columns;
            let to = ((column + 1) * count / columns).max(from + 1);
            figures[from..to].iter().copied().max().unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_go_from_zero_to_the_largest() {
        let figures = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(sparkline(&figures, Glyphs::Unicode), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&figures, Glyphs::Ascii), "_.:-=+*#");
        assert_eq!(sparkline(&[0, 0], Glyphs::Unicode), "▁▁");
        assert_eq!(sparkline(&[1, u64::MAX], Glyphs::Unicode), "▂█");
        assert_eq!(sparkline(&[], Glyphs::Unicode), "");
    }

    #[test]
    fn short_series_are_stretched() {
        assert_eq!(resample(&[1, 2], 4), [1, 1, 2, 2]);
        assert_eq!(resample(&[1, 9, 2, 3], 2), [9, 3]);
        assert_eq!(resample(&[], 3), [0; 0]);
    }

    proptest! {
        #[test]
        fn the_peak_stays(
            figures in proptest::collection::vec(any::<u64>(), 1..200),
            columns in 1_usize..100,
        ) {
            let drawn = resample(&figures, columns);
            prop_assert_eq!(drawn.len(), columns);
            prop_assert_eq!(drawn.iter().max(), figures.iter().max());
        }
    }
}
