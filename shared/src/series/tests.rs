use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn series(values: &[(u64, u64)]) -> Series {
    let mut series = Series::default();
    for (at, bytes) in values {
        series.push(seconds(*at), *bytes);
    }
    series
}

#[test]
fn nothing_costs_nothing() {
    let mut series = Series::default();
    for at in 0..1000 {
        series.push(seconds(at), 0);
    }
    assert_eq!(series.slots.capacity(), 0);
    assert!(series.points(seconds(1000)).is_empty());
    assert_eq!(series.resampled(seconds(1000), 3), [0, 0, 0]);
    assert_eq!(series.start(), None);
}

#[test]
fn a_row_is_small() {
    assert_eq!(size_of::<Slot>(), 16);
    let mut series = Series::default();
    for at in 0..100_000 {
        series.push(seconds(at), at);
    }
    assert!(series.slots.capacity() <= 64);
}

#[test]
fn a_value_holds_until_the_next() {
    let series = series(&[(10, 100), (20, 50)]);
    let points = series.points(seconds(40));
    assert!(points.windows(2).all(|pair| pair[0].to == pair[1].from));
    assert_eq!(points.last().map(|point| point.to), Some(seconds(40)));
    assert_eq!(series.resampled(seconds(40), 4), [0, 100, 50, 50]);
}

#[test]
fn a_saw_keeps_its_teeth() {
    let mut series = Series::default();
    for at in 0..36_000 {
        series.push(seconds(at), 100 + at % 10 * 10);
    }
    let cells = series.resampled(seconds(36_000), 20);
    assert!(
        cells[1..19]
            .windows(2)
            .all(|pair| pair[0].abs_diff(pair[1]) == 90),
        "{cells:?}"
    );
}

#[test]
fn time_that_goes_back_or_has_no_end_is_no_harm() {
    let mut series = series(&[(10, 5), (3, 7)]);
    assert_eq!(
        series.points(seconds(0)).last().map(|point| point.to),
        Some(seconds(10))
    );
    series.push(Duration::MAX, 9);
    let points = series.points(Duration::MAX);
    assert_eq!(points.last().map(|point| point.last), Some(9));
    assert_eq!(series.resampled(Duration::ZERO, 0), [] as [u64; 0]);
}

proptest! {
    #[test]
    fn points_hold_what_was_pushed(
        pushes in prop::collection::vec((0_u64..50_000, 0_u64..1 << 24), 1..300),
        n in 1_usize..100,
    ) {
        let mut series = Series::default();
        let mut now = 0;
        let mut real = Vec::new();
        for (step, bytes) in pushes {
            now += step;
            series.push(Duration::from_millis(now), bytes);
            real.push((now, bytes));
        }
        let now = Duration::from_millis(now);
        let points = series.points(now);
        prop_assert!(series.slots.len() <= 64);
        prop_assert!(points.windows(2).all(|pair| pair[0].to == pair[1].from));
        prop_assert!(points.iter().all(|p| p.min <= p.last && p.last <= p.max && p.from <= p.to));
        for (at, bytes) in real.iter().filter(|(_, bytes)| *bytes > 0) {
            let at = Duration::from_millis(*at);
            let inside = points.iter().any(|p| {
                p.from <= at && at <= p.to && p.min <= *bytes && *bytes <= p.max
            });
            prop_assert!(inside, "{bytes} at {at:?}");
        }
        let cells = series.resampled(now, n);
        prop_assert_eq!(cells.len(), n);
        prop_assert_eq!(cells.last(), Some(&series.current()));
    }
}
