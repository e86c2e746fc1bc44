use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memtools::process::Resident;
use memtools::stacks::{Frame, FrameId};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::*;
use crate::snapshot::{
    Amount, Births, Block, Class, Events, Loss, MappingCalls, Moment, ProbeLoad, ProcessFigures,
    Processes, ResidentChange, SizeHistogram,
};
use crate::update::{NewRow, RowFigures, RowId, Update};

mod hostile;

const CLASSES: [Class; 5] = [
    Class::Heap,
    Class::Mmap,
    Class::ThreadStack,
    Class::Arena,
    Class::Tls,
];

fn header() -> Header {
    Header {
        tool_version: "0.1.0".to_owned(),
        kernel_release: "6.12.0-test".to_owned(),
        architecture: "x86_64".to_owned(),
        sample_rate: 10,
        min_age: Duration::from_millis(500),
        is_combined: true,
        pid: 42,
        comm: "app\u{1b}[31m".to_owned(),
        start: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
    }
}

/// Every field differs from every other and from its default.
fn moment(seconds: u64) -> Moment {
    let resident = |total| Resident {
        total,
        anonymous: total + 1,
        file: total + 2,
        shared: total + 3,
    };
    Moment {
        time: Timestamp::new(1_700_000_000 + seconds as i64, 7).unwrap(),
        elapsed: Duration::from_secs(seconds) + Duration::from_nanos(9),
        pid: 43,
        comm: "größe".to_owned(),
        has_ended: true,
        events: Events {
            allocs: 11,
            frees: 12,
            failed: 13,
        },
        mappings: MappingCalls {
            maps: 14,
            unmaps: 15,
            remaps: 16,
        },
        untracked_frees: 17,
        resident: ResidentChange {
            at_attach: Some(resident(100)),
            now: Some(resident(200)),
        },
        chunk_overhead: 18,
        is_sampled: true,
        load: ProbeLoad {
            hits: 19,
            hits_per_s: 20.5,
            cpu_percent: Some(0.0),
        },
        loss: Loss {
            allocs: 21,
            alloc_bytes: 22,
            missed_frees: 23,
            missed_returns: 24,
            stacks: 25,
            truncated_stacks: 26,
            threads: 27,
            mapping_events: 28,
            trace_events: 29,
            blind_ms: 30,
            skipped_execs: 31,
            text_mappings: 32,
            skipped_events: 33,
            late_processes: 34,
            unseen_processes: 35,
        },
        processes: Some(Processes {
            chosen_by: "größe and its children".to_owned(),
            list: vec![
                ProcessFigures {
                    pid: 43,
                    ..ProcessFigures::default()
                },
                ProcessFigures {
                    pid: 44,
                    comm: "größe".to_owned(),
                    has_ended: true,
                    was_detached: true,
                    allocs: 36,
                    frees: 37,
                    late: Some(Duration::from_nanos(38)),
                },
            ],
        }),
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    let name = || prop::sample::select(vec!["", "main", "größe", "a\u{1b}<T>", "lib.so"]);
    (
        any::<u64>(),
        prop::option::of(name()),
        prop::option::of(0..u64::MAX),
        name(),
        prop::option::of(name()),
        any::<Option<u32>>(),
        any::<bool>(),
    )
        .prop_map(
            |(addr, symbol, offset, module, file, line, inlined)| Frame {
                addr,
                symbol: symbol.map(str::to_owned),
                offset,
                module: module.to_owned(),
                file: file.map(str::to_owned),
                line,
                inlined,
            },
        )
}

fn figures() -> impl Strategy<Value = RowFigures> {
    let amount =
        || (0..1_u64 << 40, 0..1_u64 << 30).prop_map(|(bytes, count)| Amount { bytes, count });
    let nanoseconds = || any::<u64>().prop_map(Duration::from_nanos);
    let births = (nanoseconds(), nanoseconds(), nanoseconds());
    let births = births.prop_map(|(first, last, mean)| Births { first, last, mean });
    let block = any::<(u64, u64)>().prop_map(|(addr, size)| Block { addr, size });
    (
        [amount(), amount(), amount()],
        (0..1_u64 << 40, 0..1_u64 << 40),
        prop::option::of(births),
        prop::collection::btree_map(0..64_u8, 0..1_u64 << 30, 0..4),
        any::<bool>(),
        prop::collection::vec(block, 0..3),
    )
        .prop_map(
            |([live, young, fresh], (allocs, frees), births, sizes, is_incomplete, blocks)| {
                RowFigures {
                    row: RowId(0),
                    live,
                    young,
                    fresh,
                    allocs,
                    alloc_bytes: allocs.wrapping_mul(7) >> 4,
                    frees,
                    births,
                    sizes: SizeHistogram(sizes.into_iter().collect()),
                    is_incomplete,
                    blocks,
                }
            },
        )
}

type RawRow = (Index, Vec<Index>);
type RawUpdate = (Vec<Frame>, Vec<RawRow>, Vec<RowFigures>);

/// A run whose updates fit each other.
fn run() -> impl Strategy<Value = Vec<Update>> {
    let row = (any::<Index>(), prop::collection::vec(any::<Index>(), 0..6));
    let update = (
        prop::collection::vec(frame(), 0..4),
        prop::collection::vec(row, 0..4),
        prop::collection::vec(figures(), 0..4),
    );
    prop::collection::vec(update, 0..5).prop_map(fitted)
}

fn fitted(raw: Vec<RawUpdate>) -> Vec<Update> {
    let (mut frame_count, mut row_count) = (0, 0);
    let mut seen = HashSet::new();
    let updates = raw.into_iter().enumerate();
    let updates = updates.map(|(number, (mut frames, rows, mut figures))| {
        frames.retain(|frame| seen.insert(frame.clone()));
        frame_count += frames.len();
        let rows = rows.into_iter().map(|(class, frames)| NewRow {
            class: CLASSES[class.index(CLASSES.len())],
            frames: match frame_count {
                0 => Arc::default(),
                count => frames
                    .iter()
                    .map(|i| FrameId(i.index(count) as u32))
                    .collect(),
            },
        });
        let rows: Vec<NewRow> = rows.collect();
        row_count += rows.len();
        figures.truncate(row_count);
        for (index, row) in figures.iter_mut().enumerate() {
            row.row = RowId((row_count - 1 - index) as u32);
        }
        Update {
            moment: moment(number as u64),
            frames: frames.into_iter().map(Arc::new).collect(),
            rows,
            figures,
        }
    });
    updates.collect()
}

/// A recording in a directory that goes with it.
struct Recorded {
    _dir: TempDir,
    path: PathBuf,
}

fn in_new_dir() -> Recorded {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.mleak");
    Recorded { _dir: dir, path }
}

fn record(updates: &[Update], ending: Option<Ending>) -> Recorded {
    let recorded = in_new_dir();
    let mut writer = Writer::create(&recorded.path, &header()).unwrap();
    for update in updates {
        writer.append(update).unwrap();
    }
    if let Some(ending) = ending {
        writer.end(ending).unwrap();
    }
    recorded
}

/// A recording of these bytes.
fn file_of(bytes: &[u8]) -> Recorded {
    let recorded = in_new_dir();
    fs::write(&recorded.path, bytes).unwrap();
    recorded
}

/// The updates before the first error, and how it ends.
fn read(path: &Path) -> (Vec<Update>, Result<Conclusion, RecordingError>) {
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut updates = Vec::new();
    while let Some(update) = reader.next() {
        match update {
            Ok(update) => updates.push(update),
            Err(error) => {
                assert!(reader.next().is_none() && reader.conclusion().is_none());
                return (updates, Err(error));
            }
        }
    }
    let last = updates.last().map(|u| (u.moment.time, u.moment.elapsed));
    assert_eq!(reader.last_moment(), last);
    (updates, Ok(reader.conclusion().unwrap()))
}

fn shown(updates: &[Update]) -> Vec<String> {
    updates.iter().map(|update| format!("{update:?}")).collect()
}

/// A small run of which each part is there.
fn small_run() -> Vec<Update> {
    let frame = |addr, symbol: &str| {
        Arc::new(Frame {
            addr,
            symbol: Some(symbol.to_owned()),
            offset: Some(3),
            module: "app".to_owned(),
            file: Some("src/app.c".to_owned()),
            line: Some(7),
            inlined: false,
        })
    };
    let figures = |row, bytes| RowFigures {
        row: RowId(row),
        live: Amount { bytes, count: 2 },
        young: Amount::default(),
        fresh: Amount { bytes, count: 2 },
        allocs: 3,
        alloc_bytes: bytes + 5,
        frees: 1,
        births: None,
        sizes: SizeHistogram(vec![(4, 2)]),
        is_incomplete: true,
        blocks: vec![Block { addr: 64, size: 16 }],
    };
    let row = |class, frames: &[u32]| NewRow {
        class,
        frames: frames.iter().copied().map(FrameId).collect(),
    };
    let first = Update {
        moment: moment(1),
        frames: vec![frame(0x2000, "leak"), frame(0x1000, "main")],
        rows: vec![row(Class::Heap, &[0, 1]), row(Class::Mmap, &[1])],
        figures: vec![figures(0, 32), figures(1, 4096)],
    };
    let second = Update {
        moment: moment(2),
        frames: vec![],
        rows: vec![],
        figures: vec![figures(1, 8192)],
    };
    let mut third = second.clone();
    third.moment = moment(3);
    vec![first, second, third]
}

proptest! {
    #[test]
    fn what_was_written_is_read(updates in run(), ending in prop::option::of(Just(Ending::Completed))) {
        prop_assume!(ending.is_some() || !updates.is_empty());
        let recorded = record(&updates, ending);
        let (found, conclusion) = read(&recorded.path);
        prop_assert_eq!(shown(&found), shown(&updates));
        let expected = ending.map_or(Conclusion::Truncated, Conclusion::Ended);
        prop_assert_eq!(conclusion.unwrap(), expected);
    }
}

#[test]
fn the_header_is_read() {
    let recorded = record(&small_run(), None);
    assert_eq!(Reader::open(&recorded.path).unwrap().header(), &header());
}

#[test]
fn each_ending_is_read() {
    use Ending::{Completed, Detached, Interrupted, Other, TargetEnded};
    for ending in [TargetEnded, Interrupted, Completed, Detached, Other] {
        let recorded = record(&[], Some(ending));
        let conclusion = read(&recorded.path).1.unwrap();
        assert_eq!(conclusion, Conclusion::Ended(ending));
    }
}

#[test]
fn a_recording_is_its_owners_alone() {
    let recorded = record(&small_run(), None);
    let mode = fs::metadata(&recorded.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_older_recording_goes_when_another_begins() {
    let recorded = record(&small_run(), Some(Ending::Completed));
    let before = fs::read(&recorded.path).unwrap();
    let destination = Destination::open(&recorded.path).unwrap();
    assert_eq!(fs::read(&recorded.path).unwrap(), before);
    let writer = Writer::begin(destination, &header()).unwrap();
    let (found, conclusion) = read(&recorded.path);
    assert!(found.is_empty());
    assert_eq!(conclusion.unwrap(), Conclusion::Truncated);
    // It was there before: it stays, with nothing in it.
    drop(writer);
    assert!(recorded.path.exists());
}

#[test]
fn a_file_that_was_made_for_nothing_goes() {
    let recorded = in_new_dir();
    drop(Destination::open(&recorded.path).unwrap());
    assert!(!recorded.path.exists());
    drop(Writer::create(&recorded.path, &header()).unwrap());
    assert!(!recorded.path.exists());
}

#[test]
fn what_took_the_name_of_a_file_stays() {
    let recorded = in_new_dir();
    let destination = Destination::open(&recorded.path).unwrap();
    let other = recorded.path.with_extension("other");
    fs::write(&other, "other").unwrap();
    fs::rename(&other, &recorded.path).unwrap();
    drop(destination);
    assert_eq!(fs::read(&recorded.path).unwrap(), b"other");
}

#[test]
fn a_file_has_one_recorder() {
    let recorded = in_new_dir();
    let writer = Writer::create(&recorded.path, &header()).unwrap();
    let error = Destination::open(&recorded.path).unwrap_err();
    assert!(
        error.to_string().ends_with("another memleak records to it"),
        "{error}"
    );
    drop(writer);
    Destination::open(&recorded.path).unwrap();
}

#[test]
fn links_are_followed_to_what_is_there() {
    let recorded = record(&small_run(), None);
    let link = recorded.path.with_extension("link");
    std::os::unix::fs::symlink(&recorded.path, &link).unwrap();
    drop(Destination::open(&link).unwrap());
    assert!(link.is_symlink() && recorded.path.exists());
    fs::remove_file(&recorded.path).unwrap();
    let error = Destination::open(&link).unwrap_err().to_string();
    assert!(error.ends_with("it is a link to nothing"), "{error}");
    assert!(link.is_symlink() && !recorded.path.exists());
}

#[test]
fn the_superuser_records_to_own_files_alone() {
    use super::writer::is_alien;
    assert!(is_alien(1000, 0));
    assert!(!is_alien(0, 0) && !is_alien(1000, 1000) && !is_alien(0, 1000));
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let recorded = in_new_dir();
    let directory = recorded.path.parent().unwrap();
    for path in [
        directory,
        Path::new("/dev/null"),
        &directory.join("no/file"),
    ] {
        let error = Writer::create(path, &header()).unwrap_err().to_string();
        assert!(error.starts_with("cannot record to /"), "{error}");
    }
}

#[test]
fn each_update_is_in_the_file_at_once() {
    let updates = small_run();
    let recorded = in_new_dir();
    let mut writer = Writer::create(&recorded.path, &header()).unwrap();
    for count in 1..=updates.len() {
        writer.append(&updates[count - 1]).unwrap();
        let (found, conclusion) = read(&recorded.path);
        assert_eq!(shown(&found), shown(&updates[..count]));
        assert_eq!(conclusion.unwrap(), Conclusion::Truncated);
    }
}
