//! The figures on the terminal.

use crate::rounds::{Case, CaseResult, Series, median};
use crate::tracers::Tracer;

/// What memleak may cost, in relation to a peer.
struct Limit {
    peer: Tracer,
    ratio: f64,
}

const LIMITS: [Limit; 2] = [
    Limit {
        peer: Tracer::Empty,
        ratio: 1.5,
    },
    Limit {
        peer: Tracer::Bpftrace,
        ratio: 0.2,
    },
];

impl Limit {
    /// The ratio and whether it keeps to the limit; `None` where the peer did not run.
    fn judge(&self, result: &CaseResult) -> Option<(f64, &'static str)> {
        let ratio = result.ratio(Tracer::Memleak, self.peer)?;
        Some((
            ratio,
            if ratio <= self.ratio {
                "within"
            } else {
                "ABOVE"
            },
        ))
    }
}

/// What three well-placed probes alone take of bpftrace's time: no tool can be below that.
const FLOOR: &str = "empty probes / bpftrace";

fn floor(result: &CaseResult) -> Option<f64> {
    result.ratio(Tracer::Empty, Tracer::Bpftrace)
}

fn plural(case: Case) -> String {
    let s = if case.threads == 1 { "" } else { "s" };
    format!("{} thread{s}, {} frames", case.threads, case.frames)
}

fn least_and_most(series: &Series) -> (f64, f64) {
    let rounds = series.rounds.iter().copied();
    (
        rounds.clone().fold(f64::INFINITY, f64::min),
        rounds.fold(0.0, f64::max),
    )
}

/// One case as soon as it is measured.
pub fn print_case(result: &CaseResult) {
    let title = plural(result.case);
    println!(
        "\n{title:<24}{:>10}{:>10}{:>10}   ns a pair",
        "median", "least", "most"
    );
    for series in &result.series {
        let (least, most) = least_and_most(series);
        let middle = median(series.rounds.iter().copied());
        let name = series.tracer.name();
        println!("  {name:<22}{middle:>10.0}{least:>10.0}{most:>10.0}");
    }
    for limit in &LIMITS {
        if let Some((ratio, verdict)) = limit.judge(result) {
            let name = format!("memleak / {}", limit.peer.name());
            println!("  {name:<22}{ratio:>10.2}   {verdict} {}", limit.ratio);
        }
    }
    if let Some(ratio) = floor(result) {
        println!("  {FLOOR:<23}{ratio:>9.2}   no tool can be below");
    }
}

/// All cases, as a table that can stand in a document.
pub fn print_summary(results: &[CaseResult]) {
    let Some(first) = results.first() else {
        return;
    };
    let mut head = vec!["threads".to_owned(), "frames".to_owned()];
    head.extend(
        first
            .series
            .iter()
            .map(|series| series.tracer.name().to_owned()),
    );
    head.extend(
        LIMITS
            .iter()
            .map(|limit| format!("memleak / {} (limit {})", limit.peer.name(), limit.ratio)),
    );
    head.push(FLOOR.to_owned());
    println!(
        "\nThreads share the cores: the time is that of a pair in each thread. Medians, in ns:\n"
    );
    println!("| {} |", head.join(" | "));
    println!("|{}", "---:|".repeat(head.len()));
    for result in results {
        println!("| {} |", summary_row(result).join(" | "));
    }
}

fn summary_row(result: &CaseResult) -> Vec<String> {
    let mut row = vec![
        result.case.threads.to_string(),
        result.case.frames.to_string(),
    ];
    let medians = result
        .series
        .iter()
        .map(|series| median(series.rounds.iter().copied()));
    row.extend(medians.map(|middle| format!("{middle:.0}")));
    row.extend(LIMITS.iter().map(|limit| {
        let judged = limit.judge(result);
        judged.map_or("-".to_owned(), |(ratio, verdict)| {
            format!("{ratio:.2} {verdict}")
        })
    }));
    row.push(floor(result).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
    row
}
