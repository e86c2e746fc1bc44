//! Files for other programs: folded stacks, flame graph, pprof.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use memtools::cli::{UserError, note};
use memtools::output::{write_file, write_regular_file};
use memtools::profile::{Profile, Sample, ValueKind, flamegraph, folded, pprof};

use crate::cli::Exports;
use crate::model::{Ledger, Row};
use crate::snapshot::Class;

/// Bytes that are live: the figure of folded stacks and of flame graphs, and pprof's default.
const LIVE_BYTES: usize = 0;

/// Whether the files can be written, before an hour of tracing depends on it.
pub fn check(exports: &Exports) -> Result<(), UserError> {
    let paths = [&exports.folded, &exports.flamegraph, &exports.pprof];
    for path in paths.into_iter().flatten() {
        let refuse = |why: &str| {
            let path = path.display();
            Err(UserError::usage(format!("cannot write to {path}: {why}")))
        };
        if path.is_dir() {
            return refuse("it is a directory");
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if parent.is_some_and(|parent| !parent.is_dir()) {
            return refuse("its directory is not there");
        }
    }
    Ok(())
}

/// How a file is written.
type Put = fn(&Path, &[u8]) -> io::Result<()>;

/// Writes the files that were asked for, while a view is open: none that would block it or write over it.
pub fn write_beside_view(exports: &Exports, ledger: &Ledger) -> Result<Vec<String>> {
    write(exports, ledger, write_regular_file)
}

/// Writes the files that were asked for; returns their names. One that cannot be written does not keep
/// the others from being written.
fn write(exports: &Exports, ledger: &Ledger, put: Put) -> Result<Vec<String>> {
    let Some(profile) = profile(ledger) else {
        return Ok(Vec::new());
    };
    let written = [
        write_one(exports.folded.as_deref(), put, |file| {
            folded::write(&profile, LIVE_BYTES, file)
        }),
        write_one(exports.flamegraph.as_deref(), put, |file| {
            flamegraph::write(&profile, LIVE_BYTES, file)
        }),
        write_one(exports.pprof.as_deref(), put, |file| {
            pprof::write(&profile, file)
        }),
    ];
    written.into_iter().filter_map(Result::transpose).collect()
}

/// Returns the file's name, if it was asked for.
fn write_one(
    path: Option<&Path>,
    put: Put,
    fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> Result<Option<String>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let doing = || format!("writing {}", path.display());
    let mut bytes = Vec::new();
    fill(&mut bytes).with_context(doing)?;
    put(path, &bytes).with_context(doing)?;
    Ok(Some(path.display().to_string()))
}

/// The same at the end of a run, and says so.
pub fn write_at_end(exports: &Exports, ledger: &Ledger) -> Result<()> {
    let names = write(exports, ledger, write_file)?;
    if !names.is_empty() {
        note(&format!("memleak: wrote {}", names.join(", ")));
    }
    Ok(())
}

/// What `w` writes where the command line names no file: all of them, beside each other.
pub fn named_after(ledger: &Ledger) -> Exports {
    let Some(moment) = ledger.moment() else {
        return Exports::default();
    };
    let whose = if moment.is_of_kernel() {
        "kernel".to_owned()
    } else if moment.pid == 0 {
        "processes".to_owned()
    } else {
        moment.pid.to_string()
    };
    let stem = format!("memleak-{whose}-{}", moment.time.as_second());
    let file = |end: &str| Some(Path::new(&format!("{stem}.{end}")).to_owned());
    Exports {
        folded: file("folded"),
        flamegraph: file("svg"),
        pprof: file("pb.gz"),
    }
}

/// What exporters take; `None` before the first update.
pub fn profile(ledger: &Ledger) -> Option<Profile<'_>> {
    let moment = ledger.moment()?;
    let kind = |name, unit| ValueKind { name, unit };
    let rows = ledger.rows().iter();
    let shown = rows.filter(|row| row.class.can_leak() && row.suppressed_by.is_none());
    Some(Profile {
        stacks: ledger.stacks(),
        kinds: vec![
            kind("inuse_space", "bytes"),
            kind("inuse_objects", "count"),
            kind("alloc_space", "bytes"),
            kind("alloc_objects", "count"),
        ],
        default_kind: LIVE_BYTES,
        samples: shown.map(sample).collect(),
        title: format!("memleak: live bytes of {}", moment.subject()),
        time: moment.time,
        duration_ns: moment.elapsed.as_nanos() as u64,
    })
}

fn sample(row: &Row) -> Sample {
    let figures = &row.figures;
    let values = [
        figures.live.bytes,
        figures.live.count,
        figures.alloc_bytes,
        figures.allocs,
    ];
    Sample {
        stack: row.stack,
        class: match row.class {
            Class::Heap => "",
            class => class.name(),
        },
        values: values
            .iter()
            .map(|value| i64::try_from(*value).unwrap_or(i64::MAX))
            .collect(),
    }
}
