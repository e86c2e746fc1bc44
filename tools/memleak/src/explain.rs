//! `--explain`: which probes would be used, and what they cost.

use std::fmt::Write as _;

use memtools::attach::Uprobes;
use memtools::output::clean;

use crate::functions::Role;
use crate::plan::{Plan, PlannedProbe};

/// The plan as a table.
pub fn text(subject: &str, plan: &Plan, uprobes: &Uprobes, table: &str) -> String {
    let mut out = format!("{}\n", clean(subject));
    let cost = &uprobes.cost;
    let _ = writeln!(
        out,
        "attached by {}; a hit costs {} ns on an emulated instruction, {} ns on a single-stepped \
         one, and {} ns more with its return (measured just now)",
        uprobes.way, cost.emulated_ns, cost.stepped_ns, cost.return_ns
    );
    let _ = writeln!(out, "{table}\n");
    let _ = writeln!(
        out,
        "{:<24} {:<34} {:>6}  {:<14} {:<8} {:>9}  instruction",
        "object", "function", "offset", "placement", "probe", "cost"
    );
    let mut probes: Vec<&PlannedProbe> = plan.probes.iter().collect();
    probes.sort_by_key(|probe| (probe.role == Role::Anchor, probe.role, probe.object.name()));
    for probe in probes {
        row(&mut out, probe, uprobes);
    }
    for note in &plan.notes {
        let _ = writeln!(out, "note: {}", clean(note));
    }
    let (event, roles) = if plan.uses_sampler() {
        ("one sample, and its free", [Role::Sample, Role::SampleFree])
    } else {
        ("malloc and free of one block", [Role::Malloc, Role::Free])
    };
    let both: u64 = roles
        .map(|role| plan.event_cost_ns(role, cost))
        .iter()
        .sum();
    let _ = writeln!(out, "\n{event}: about {both} ns. Nothing was attached.");
    out
}

fn row(out: &mut String, probe: &PlannedProbe, uprobes: &Uprobes) {
    let kind = match probe.role {
        Role::Anchor => "anchor",
        Role::Unload => "marker",
        Role::End => "end",
        role if role.has_return() => "entry+ret",
        _ => "entry",
    };
    let returns = if probe.role.has_return() {
        uprobes.cost.return_ns
    } else {
        0
    };
    let _ = writeln!(
        out,
        "{:<24} {:<34} {:>6}  {:<14} {:<9} {:>5} ns  {}",
        clean(&probe.object.name()),
        clean(&probe.names.join(", ")),
        format!("+{:#x}", probe.placement.offset),
        probe.placement.cost,
        kind,
        uprobes.cost.entry_ns(probe.placement.cost) + returns,
        probe.placement.instruction,
    );
}
