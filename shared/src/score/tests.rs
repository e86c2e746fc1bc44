use proptest::prelude::*;

use super::play::Play;
use super::*;

const RUN: u64 = 600;

fn leak() -> Play {
    Play::run(RUN, |play, _| play.allocate(1, 100))
}

fn noisy_leak() -> Play {
    Play::run(RUN, |play, _| {
        play.free_sized(30);
        let young = play.random(60);
        play.allocate(young, 30);
        play.allocate(1, 40);
    })
}

/// 10,000 blocks a second of which one is never freed; a thousand are live at a time.
fn slow_drip() -> Play {
    Play::run(RUN, |play, _| {
        play.free_sized(64);
        play.allocs += 9000;
        play.frees += 9000;
        let young = 950 + play.random(100);
        play.allocate(young, 64);
        play.allocate(1, 65);
    })
}

fn late_leak() -> Play {
    Play::run(RUN, |play, now| {
        if now > 420 {
            play.allocate(1, 100);
        }
    })
}

/// A stack that has long been busy begins to leak.
fn late_leak_in_churn() -> Play {
    Play::run(RUN, |play, now| {
        play.free_sized(30);
        let young = 90 + play.random(20);
        play.allocate(young, 30);
        if now > 300 {
            play.allocate(10, 40);
        }
    })
}

fn exponential() -> Play {
    Play::run(RUN, |play, now| play.allocate(1 << (now / 60), 100))
}

fn leak_in_steps() -> Play {
    Play::run(RUN, |play, now| {
        if now % 60 == 0 {
            play.allocate(50, 100);
        }
    })
}

/// A saw whose lows rise.
fn leak_in_sawtooth() -> Play {
    Play::run(RUN, |play, now| {
        play.allocate(20, 64);
        if now % 30 == 0 {
            play.free_sized(64);
        }
        play.allocate(1, 65);
    })
}

fn cache() -> Play {
    Play::run(RUN, |play, now| {
        if now < 200 {
            play.allocate(5, 100);
        }
    })
}

fn evicting_cache() -> Play {
    Play::run(RUN, |play, _| {
        play.allocate(5, 100);
        let over = play.live.len().saturating_sub(1000) as u64;
        play.free_oldest(over);
    })
}

/// Fills ever more slowly, as a cache of random keys does.
fn saturating_cache() -> Play {
    Play::run(RUN, |play, _| {
        for _ in 0..20 {
            if play.random(2000) >= play.live.len() as u64 {
                play.allocate(1, 100);
            }
        }
    })
}

fn sawtooth() -> Play {
    Play::run(RUN, |play, now| {
        play.allocate(10, 100);
        if now % 45 == 0 {
            play.free_all();
        }
    })
}

fn long_sawtooth() -> Play {
    Play::run(RUN, |play, now| {
        play.allocate(10, 100);
        if now % 230 == 0 {
            play.free_all();
        }
    })
}

fn burst() -> Play {
    Play::run(RUN, |play, now| {
        if now < 3 {
            play.allocate(500, 100);
        }
    })
}

fn churn() -> Play {
    Play::run(RUN, |play, _| {
        play.free_all();
        let young = 950 + play.random(100);
        play.allocate(young, 64);
    })
}

/// One table that is allocated anew, twice as large, whenever it is full.
fn hash_table() -> Play {
    Play::run(RUN, |play, now| {
        if now.is_power_of_two() {
            play.free_all();
            play.allocate(1, now * 64);
        }
    })
}

fn queue(phase: f64, period: f64) -> Play {
    Play::run(RUN, |play, now| {
        let angle = phase + std::f64::consts::TAU * now as f64 / period;
        let wanted = 500.0 + 400.0 * angle.sin();
        play.allocate(100, 100);
        let over = play.live.len().saturating_sub(wanted as usize) as u64;
        play.free_oldest(over);
    })
}

fn leaks() -> Vec<(&'static str, Play)> {
    vec![
        ("leak", leak()),
        ("noisy leak", noisy_leak()),
        ("slow drip", slow_drip()),
        ("late leak", late_leak()),
        ("late leak in churn", late_leak_in_churn()),
        ("exponential", exponential()),
        ("leak in steps", leak_in_steps()),
        ("leak in sawtooth", leak_in_sawtooth()),
    ]
}

fn others() -> Vec<(&'static str, Play)> {
    vec![
        ("cache", cache()),
        ("evicting cache", evicting_cache()),
        ("saturating cache", saturating_cache()),
        ("sawtooth", sawtooth()),
        ("long sawtooth", long_sawtooth()),
        ("burst", burst()),
        ("churn", churn()),
        ("hash table", hash_table()),
        ("queue", queue(0.0, 470.0)),
    ]
}

#[test]
fn leaks_come_before_everything_else_by_a_margin() {
    for (name, play) in leaks().iter().chain(&others()) {
        println!("{name:20} {:?}", play.score());
    }
    for (leak, leaking) in leaks() {
        for (other, harmless) in others() {
            let (high, low) = (leaking.score().total, harmless.score().total);
            assert!(high >= low + 15.0, "{leak} {high:.1}, {other} {low:.1}");
        }
    }
}

#[test]
fn words_say_what_a_row_does() {
    for (name, play) in leaks() {
        assert_eq!(play.score().verdict, Verdict::GrowsSteadily, "{name}");
    }
    for (play, verdict) in [
        (cache(), Verdict::LevelledOff),
        (evicting_cache(), Verdict::ComesAndGoes),
        (sawtooth(), Verdict::ComesAndGoes),
        (churn(), Verdict::ComesAndGoes),
        (queue(0.0, 470.0), Verdict::ComesAndGoes),
        (burst(), Verdict::SinceTheStart),
    ] {
        assert_eq!(play.score().verdict, verdict, "{:?}", play.score());
    }
    assert_eq!(format!("{:>16}", Verdict::LevelledOff), "    levelled off");
}

/// Also where the load only ever rose while anyone looked.
#[test]
fn a_queue_that_breathes_is_no_leak() {
    for period in [60.0, 290.0, 470.0, 700.0, 1200.0] {
        for phase in 0..12 {
            let score = queue(f64::from(phase) * 0.523, period).score();
            assert!(score.total < 25.0, "{period} {phase}: {score:?}");
        }
    }
}

#[test]
fn chance_is_no_growth() {
    for seed in 1..20 {
        let churn = Play::run(RUN, |play, now| {
            if now == 0 {
                play.random ^= seed << 40;
            }
            play.free_all();
            let young = 500 + play.random(1000);
            play.allocate(young, 64);
        });
        let score = churn.score();
        assert!(score.total < 20.0, "{seed}: {score:?}");
    }
}

#[test]
fn a_leak_that_stopped_comes_between() {
    let stopped = Play::run(RUN, |play, now| {
        if now < 400 {
            play.allocate(1, 100);
        }
    });
    let score = stopped.score();
    assert_eq!(score.verdict, Verdict::LevelledOff);
    assert!(score.total < leak().score().total - 30.0, "{score:?}");
    assert!(score.total > burst().score().total, "{score:?}");
    assert!(score.total > churn().score().total, "{score:?}");
}

#[test]
fn little_time_says_little() {
    let short = Play::run(2, |play, _| play.allocate(1, 100)).score();
    assert_eq!(short.verdict, Verdict::TooEarly);
    assert!(short.total < leak().score().total - 20.0, "{short:?}");
    let none = Play::run(0, |play, _| play.allocate(1, 100)).score();
    assert_eq!((none.verdict, none.total), (Verdict::TooEarly, 0.0));
    let nothing = Play::run(0, |_, _| {}).score();
    assert_eq!((nothing.verdict, nothing.total), (Verdict::TooEarly, 0.0));
    let gone = Play::run(RUN, |play, now| {
        play.free_all();
        if now < 500 {
            play.allocate(now, 1);
        }
    });
    assert!(gone.score().total < 1e-9);
    assert_eq!(gone.score().verdict, Verdict::ComesAndGoes);
}

#[test]
fn without_births_growth_and_frees_decide() {
    let without = |play: &Play| {
        score(&Evidence {
            births: None,
            ..play.evidence()
        })
    };
    let steady = without(&leak());
    assert!(steady.total > 90.0, "{steady:?}");
    assert_eq!(steady.spread, None);
    for (name, play) in others() {
        let score = without(&play);
        assert!(score.total < 60.0, "{name}: {score:?}");
    }
}

#[test]
fn sampling_does_not_change_the_order() {
    let sampled = |play: &Play| {
        let mut series = Series::default();
        for point in play.series.points(Duration::from_secs(RUN)) {
            series.push(point.to, point.last * 10);
        }
        let evidence = play.evidence();
        score(&Evidence {
            series: &series,
            live: evidence.live.scaled(10),
            allocs: evidence.allocs * 10,
            frees: evidence.frees * 10,
            ..evidence
        })
    };
    for leaking in [leak(), exponential(), late_leak()] {
        for harmless in [cache(), burst(), hash_table()] {
            assert!(sampled(&leaking).total > sampled(&harmless).total + 15.0);
        }
    }
}

proptest! {
    #[test]
    fn a_score_is_a_number_in_its_range(
        pushes in prop::collection::vec((0_u64..100_000, any::<u64>()), 0..100),
        (allocs, frees, count) in any::<(u64, u64, u64)>(),
        births in prop::option::of(any::<(u32, u32, u32)>()),
        more in 0_u64..100_000,
    ) {
        let mut series = Series::default();
        let mut now = 0;
        for (step, bytes) in pushes {
            now += step;
            series.push(Duration::from_millis(now), bytes);
        }
        let millis = |millis: u32| Duration::from_millis(millis.into());
        let births = births.map(|(first, last, mean)| Births {
            first: millis(first),
            last: millis(last),
            mean: millis(mean),
        });
        let live = Amount { bytes: series.current(), count };
        let elapsed = Duration::from_millis(now + more);
        let score = score(&Evidence { series: &series, live, allocs, frees, births, elapsed });
        for (part, top) in [
            (score.total, 100.0),
            (score.growth, 1.0),
            (score.unfreed, 1.0),
            (score.spread.unwrap_or(0.0), 1.0),
        ] {
            prop_assert!((0.0..=top).contains(&part), "{score:?}");
        }
    }

    #[test]
    fn the_unit_does_not_matter(
        sizes in prop::collection::vec(0_u64..10_000, 2..200),
        factor in 2_u64..1000,
    ) {
        let total = |factor: u64| {
            Play::run(sizes.len() as u64 - 1, |play, now| {
                if now % 3 == 0 {
                    play.free_oldest(1);
                }
                play.allocate(1, sizes[now as usize] * factor);
            })
            .score()
            .total
        };
        prop_assert!((total(1) - total(factor)).abs() < 1.0);
    }
}
