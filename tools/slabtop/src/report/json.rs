//! JSON, an object for each interval (docs/json.md).

use std::collections::BTreeMap;

use memtools::output::rfc3339;
use memtools::selection::Selection;
use serde::Serialize;

use crate::model::{Ledger, Place, Row, SortKey};

#[derive(Serialize)]
struct Report<'a> {
    v: u32,
    tool: &'static str,
    r#type: &'static str,
    time: String,
    elapsed_ms: u64,
    target: Option<Target<'a>>,
    caches: Vec<Cache<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    followed: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stacks: Vec<Stack<'a>>,
    loss: BTreeMap<&'static str, u64>,
}

/// Whose events are counted, if not all.
#[derive(Serialize)]
struct Target<'a> {
    pid: Option<u32>,
    ended: bool,
    cgroup: Option<&'a str>,
}

#[derive(Serialize)]
struct Cache<'a> {
    name: &'a str,
    aliases: &'a [String],
    object_bytes: u64,
    objects: u64,
    active: Option<u64>,
    slabs: u64,
    bytes: u64,
    allocs: u64,
    frees: u64,
    alloc_bytes: u64,
    free_bytes: u64,
    alloc_per_s: f64,
    free_per_s: f64,
    net_objects: Option<i64>,
    net_bytes: Option<i64>,
    /// Events show fewer than there were.
    allocs_at_least: bool,
    frees_at_least: bool,
    growth: f64,
}

#[derive(Serialize)]
struct Stack<'a> {
    cache: &'a str,
    comm: &'a str,
    pid: u32,
    has_others: bool,
    allocs: u64,
    freed: u64,
    not_followed: u64,
    net_objects: u64,
    frees: u64,
    frames: &'a [String],
}

/// One line, with its end.
pub fn json(ledger: &Ledger, selection: &Selection, sort: SortKey) -> String {
    let target = (!selection.is_all()).then(|| Target {
        pid: selection.process.map(|process| process.pid),
        ended: ledger.has_ended,
        cgroup: selection.cgroup_path.as_deref(),
    });
    let report = Report {
        v: 1,
        tool: "slabtop",
        r#type: "slabs",
        time: rfc3339(ledger.time),
        elapsed_ms: ledger.elapsed.as_millis() as u64,
        target,
        caches: ledger.sorted(sort).into_iter().map(cache).collect(),
        followed: &ledger.followed,
        stacks: ledger.places.iter().map(stack).collect(),
        loss: ledger
            .loss
            .named()
            .into_iter()
            .filter(|(_, lost)| *lost > 0)
            .collect(),
    };
    // Numbers, texts and lists of them: serde_json refuses only maps without text keys.
    let mut line = serde_json::to_string(&report).unwrap_or_default();
    line.push('\n');
    line
}

fn cache(row: &Row) -> Cache<'_> {
    let sizes = &row.sizes;
    let rounded = |rate: f64| (rate * 1000.0).round() / 1000.0;
    Cache {
        name: &sizes.name,
        aliases: &row.aliases,
        object_bytes: sizes.object_bytes,
        objects: sizes.objects,
        active: sizes.active,
        slabs: sizes.slabs,
        bytes: sizes.bytes(),
        allocs: row.moved.allocs,
        frees: row.moved.frees,
        alloc_bytes: row.moved.allocs * sizes.object_bytes,
        free_bytes: row.moved.frees * sizes.object_bytes,
        alloc_per_s: rounded(row.allocs_per_s),
        free_per_s: rounded(row.frees_per_s),
        net_objects: row.net_objects(),
        net_bytes: row.net_bytes(),
        allocs_at_least: row.hides_allocs,
        frees_at_least: row.hides_frees,
        growth: rounded(row.score.growth),
    }
}

fn stack(place: &Place) -> Stack<'_> {
    Stack {
        cache: &place.cache,
        comm: &place.comm,
        pid: place.pid,
        has_others: place.has_others,
        allocs: place.allocs,
        freed: place.freed,
        not_followed: place.not_followed,
        net_objects: place.net(),
        frees: place.frees,
        frames: &place.frames,
    }
}
