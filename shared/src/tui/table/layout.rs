//! Which columns are shown, and where.

use super::Column;

const GAP: u16 = 1;

/// Where a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub column: usize,
    pub x: u16,
    pub width: u16,
}

/// Places columns from `x` on in `available` terminal columns. Those that do not fit are left out,
/// the highest rank first, among equals the last one; one is always there.
pub fn layout(columns: &[Column], x: u16, available: u16) -> Vec<Place> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    while shown.len() > 1 && needed(columns, &shown) > u32::from(available) {
        let last = shown.iter().copied().max_by_key(|&i| (columns[i].rank, i));
        shown.retain(|&index| Some(index) != last);
    }
    let mut left = u32::from(available).saturating_sub(needed(columns, &shown)) as u16;
    let mut fills = shown.iter().filter(|&&index| columns[index].fills).count() as u16;
    let mut x = x;
    let mut places = Vec::with_capacity(shown.len());
    for column in shown {
        let mut width = columns[column].width;
        if columns[column].fills {
            let share = left / fills;
            width += share;
            left -= share;
            fills -= 1;
        }
        let width = width.min(available);
        places.push(Place { column, x, width });
        x = x.saturating_add(width + GAP);
    }
    places
}

fn needed(columns: &[Column], shown: &[usize]) -> u32 {
    let widths: u32 = shown.iter().map(|&i| u32::from(columns[i].width)).sum();
    widths + u32::from(GAP) * shown.len().saturating_sub(1) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column::number("BYTES", 10),
        Column::number("COUNT", 8).rank(2),
        Column::text("STACK", 20).fill(),
        Column::text("MODULE", 10).rank(1),
    ];

    fn shown(width: u16) -> Vec<(usize, u16)> {
        let places = layout(COLUMNS, 0, width);
        places.iter().map(|p| (p.column, p.width)).collect()
    }

    #[test]
    fn columns_go_by_rank_and_the_rest_is_shared() {
        assert_eq!(shown(80), [(0, 10), (1, 8), (2, 49), (3, 10)]);
        assert_eq!(shown(45), [(0, 10), (2, 23), (3, 10)]);
        assert_eq!(shown(40), [(0, 10), (2, 29)]);
        assert_eq!(shown(20), [(0, 10)]);
        assert_eq!(shown(4), [(0, 4)]);
        assert_eq!(shown(0), [(0, 0)]);
        assert_eq!(layout(&[], 0, 80), []);
    }

    proptest! {
        #[test]
        fn columns_stay_inside_and_apart(width in 0_u16..200, x in 0_u16..10) {
            let places = layout(COLUMNS, x, width);
            for pair in places.windows(2) {
                prop_assert!(pair[0].x + pair[0].width < pair[1].x);
            }
            for place in places {
                prop_assert!(place.x + place.width <= x + width);
            }
        }
    }
}
