//! What must be right, and what a user waits for.

use std::time::{Duration, Instant};

use memtools_tests::Memleak;

use crate::rounds::{Case, median, start};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
}

const THREADS: usize = 2;
const FRAMES: usize = 5;

/// Attaching and detaching together.
const LIMIT: Duration = Duration::from_millis(500);
const ATTACHMENTS: usize = 5;

/// The program's own figures against memleak's, over `pairs` pairs.
pub fn exactness(pairs: u64) -> Verdict {
    let case = Case {
        threads: THREADS,
        frames: FRAMES,
    };
    let mut workload = start(case, pairs / THREADS as u64, &[]);
    let memleak = Memleak::attach(workload.pid(), &["--json"]);
    let truth = workload.run();
    let report = memleak.interrupt().expect_code(0).report();
    workload.quit();

    let loss = report.loss();
    let rows = [
        ("allocations", truth.fact("allocs"), report.allocs()),
        ("frees", truth.fact("frees"), report.frees()),
    ];
    let right = loss.is_empty() && rows.iter().all(|(_, said, counted)| said == counted);
    println!("\nEvery event, {pairs} pairs in {THREADS} threads:");
    for (what, said, counted) in rows {
        println!("  {what:<14}{said:>12} made {counted:>12} counted");
    }
    println!("  loss: {}", serde_json::Value::Object(loss));
    println!("  {}", if right { "right" } else { "WRONG" });
    if right {
        Verdict::Right
    } else {
        Verdict::Wrong
    }
}

/// How long the tool takes to start and to stop, on a program at work and on one that waits.
pub fn attach_and_detach() {
    println!(
        "\n{:<24}{:>10}{:>10}{:>10}   ms",
        "memleak -p", "attach", "detach", "together"
    );
    for (name, is_busy) in [("on a waiting program", false), ("on a busy program", true)] {
        let case = Case {
            threads: 1,
            frames: FRAMES,
        };
        // More pairs than it will ever get to: its end is that of the workload's handle.
        let mut workload = start(case, u64::from(u32::MAX), &[]);
        if is_busy {
            workload.go();
        }
        let times: Vec<(Duration, Duration)> = (0..ATTACHMENTS)
            .map(|_| attach_once(workload.pid()))
            .collect();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let attach = median(times.iter().map(|(attach, _)| ms(*attach)));
        let detach = median(times.iter().map(|(_, detach)| ms(*detach)));
        let together = median(times.iter().map(|(attach, detach)| ms(*attach + *detach)));
        let verdict = if together < ms(LIMIT) {
            "within"
        } else {
            "ABOVE"
        };
        let limit = ms(LIMIT);
        println!("  {name:<22}{attach:>10.0}{detach:>10.0}{together:>10.0}   {verdict} {limit:.0}");
    }
}

/// From the start of the tool to its word that it records, and from Ctrl-C to its end.
fn attach_once(pid: u32) -> (Duration, Duration) {
    let begin = Instant::now();
    let memleak = Memleak::attach(pid, &["--json"]);
    let attach = begin.elapsed();
    let begin = Instant::now();
    memleak.interrupt().expect_code(0);
    (attach, begin.elapsed())
}
