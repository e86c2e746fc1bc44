//! What was found, for people and for programs.

use std::fmt::{Display, Write as _};

use memtools::attach::{ProbeCost, Seen, Way};
use memtools::output::{clean, grouped};
use serde_json::{Value, json};

use crate::survey::{Survey, Trial};

/// For people.
pub fn text(survey: &Survey) -> String {
    let mut out = String::new();
    let cpus = survey.cpus;
    line(
        &mut out,
        &format!(
            "Linux {} ({}), {cpus} CPUs",
            survey.kernel,
            std::env::consts::ARCH
        ),
    );
    row(&mut out, "types (BTF)", &yes_or(&survey.types));
    let grows = if survey.has_growing_maps {
        "yes"
    } else {
        "no: tables take all their memory at once (before 6.1)"
    };
    row(&mut out, "maps that grow", grows);
    let cookies = if survey.has_attach_cookie {
        "yes"
    } else {
        "no: probes are told apart by address (before 5.15)"
    };
    row(&mut out, "attach cookies", cookies);
    group(
        &mut out,
        "functions of user space",
        &survey.uprobes,
        survey.best_uprobe().as_ref(),
        |way, found| cost(*way, found),
    );
    group(
        &mut out,
        "events of the kernel",
        &survey.tracepoints,
        survey.best_tracepoint().as_ref(),
        |_, seen| share_seen(*seen),
    );
    group(
        &mut out,
        "functions of the kernel",
        &survey.functions,
        survey.best_function().as_ref(),
        |_, seen| share_seen(*seen),
    );
    line(&mut out, "tools");
    for tool in &survey.tools {
        let state = match &tool.by {
            Ok(by) => format!("can work, by {by}"),
            Err(why) => format!("CANNOT WORK: {why}"),
        };
        row(&mut out, tool.name, &state);
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(&clean(text));
    out.push('\n');
}

fn row(out: &mut String, name: &str, state: &str) {
    line(out, &format!("  {name:<20} {state}"));
}

fn yes_or(state: &Result<(), String>) -> String {
    match state {
        Ok(()) => "yes".to_owned(),
        Err(why) => format!("no: {why}"),
    }
}

fn group<W: Display + PartialEq, T>(
    out: &mut String,
    title: &str,
    trials: &[Trial<W, T>],
    best: Option<&W>,
    describe: impl Fn(&W, &T) -> String,
) {
    line(out, title);
    for (way, outcome) in trials {
        let mut state = match outcome {
            Ok(found) => describe(way, found),
            Err(why) => format!("no: {why}"),
        };
        if best == Some(way) {
            let _ = write!(state, "  <- the best here");
        }
        row(out, &way.to_string(), &state);
    }
}

fn cost(way: Way, cost: &ProbeCost) -> String {
    let ProbeCost {
        emulated_ns,
        stepped_ns,
        return_ns,
    } = *cost;
    if way == Way::Session {
        return format!(
            "works: {} ns an entry and its return, {} where an instruction is single-stepped",
            emulated_ns + return_ns,
            stepped_ns + return_ns
        );
    }
    format!(
        "works: {emulated_ns} ns a hit, {stepped_ns} where an instruction is single-stepped, \
         {return_ns} a return"
    )
}

fn share_seen(seen: Seen) -> String {
    let counts = format!("{} of {} events", grouped(seen.seen), grouped(seen.made));
    if seen.is_exact() {
        format!("works: {counts}")
    } else {
        format!("attaches, but saw {counts}")
    }
}

/// For programs.
pub fn json(survey: &Survey) -> serde_json::Result<String> {
    let uprobes = survey.uprobes.iter().map(|(way, outcome)| {
        let found = outcome.as_ref().map(|cost| {
            json!({
                "entry_ns": cost.emulated_ns,
                "stepped_ns": cost.stepped_ns,
                "return_ns": cost.return_ns,
            })
        });
        way_json(way, found, true)
    });
    let value = json!({
        "v": 1,
        "tool": "memtools-check",
        "type": "check",
        "time": survey.time.to_string(),
        "kernel": survey.kernel,
        "arch": std::env::consts::ARCH,
        "cpus": survey.cpus,
        "btf": survey.types.is_ok(),
        "growing_maps": survey.has_growing_maps,
        "attach_cookies": survey.has_attach_cookie,
        "uprobes": ways_json(survey.best_uprobe(), &uprobes.collect::<Vec<_>>()),
        "tracepoints": ways_json(survey.best_tracepoint(), &hooks_json(&survey.tracepoints)),
        "functions": ways_json(survey.best_function(), &hooks_json(&survey.functions)),
        "tools": survey
            .tools
            .iter()
            .map(|tool| json!({
                "tool": tool.name,
                "works": tool.by.is_ok(),
                "by": tool.by.as_ref().ok(),
                "why_not": tool.by.as_ref().err(),
            }))
            .collect::<Vec<_>>(),
    });
    serde_json::to_string(&value).map(|line| line + "\n")
}

fn hooks_json<W: Display>(trials: &[Trial<W, Seen>]) -> Vec<Value> {
    let trials = trials.iter().map(|(way, outcome)| {
        let found = outcome
            .as_ref()
            .map(|seen| json!({"made": seen.made, "seen": seen.seen}));
        let is_exact = outcome.as_ref().is_ok_and(|seen| seen.is_exact());
        way_json(way, found, is_exact)
    });
    trials.collect()
}

fn ways_json(best: Option<impl Display>, ways: &[Value]) -> Value {
    json!({"best": best.map(|way| way.to_string()), "ways": ways})
}

fn way_json(way: impl Display, found: Result<Value, &String>, is_good: bool) -> Value {
    let (mut value, why) = match found {
        Ok(value) => (value, None),
        Err(why) => (json!({}), Some(why)),
    };
    value["way"] = json!(way.to_string());
    value["works"] = json!(why.is_none() && is_good);
    value["why_not"] = json!(why);
    value
}
