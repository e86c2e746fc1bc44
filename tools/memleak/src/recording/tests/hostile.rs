//! Files that were cut, damaged, or made up.

use prost::Message;

use super::*;
use crate::recording::format::{self, Kind, Record};

fn bytes_of(updates: &[Update]) -> Vec<u8> {
    let recorded = record(updates, Some(Ending::Completed));
    fs::read(&recorded.path).unwrap()
}

/// A recording of these messages, with checksums that are right.
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format::MAGIC.to_vec();
    bytes.extend([1, 0, 0, 0]);
    for message in messages {
        let mut head = (message.len() as u32).to_le_bytes().to_vec();
        head.extend(crc32fast::hash(message).to_le_bytes());
        let own = crc32fast::hash(&head).to_le_bytes();
        bytes.extend(head);
        bytes.extend(own);
        bytes.extend(message);
    }
    bytes
}

fn message(kind: Kind) -> Vec<u8> {
    Record { kind: Some(kind) }.encode_to_vec()
}

fn header_message() -> Vec<u8> {
    message(Kind::Header(crate::recording::encode::header(&header())))
}

fn update_message(update: format::Update) -> Vec<u8> {
    message(Kind::Update(Box::new(update)))
}

/// What reading says of an update that nobody wrote.
fn fault(update: format::Update) -> String {
    let file = file_of(&framed(&[header_message(), update_message(update)]));
    let error = read(&file.path).1.unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1);
    error.rsplit(": ").next().unwrap().to_owned()
}

/// Where each record begins, and where the last one ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = format::PREAMBLE_BYTES;
    let mut all = vec![at];
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        at += format::RECORD_HEADER_BYTES + length as usize;
        all.push(at);
    }
    all
}

#[test]
fn a_torn_file_gives_what_is_whole_in_it() {
    let updates = small_run();
    let bytes = bytes_of(&updates);
    let boundaries = boundaries(&bytes);
    for length in 0..bytes.len() {
        let (found, conclusion) = read(&file_of(&bytes[..length]).path);
        // The header is a record, and no update.
        let whole = boundaries[1..].iter().filter(|end| **end <= length).count();
        assert_eq!(shown(&found), shown(&updates[..whole.saturating_sub(1)]));
        match conclusion {
            Ok(conclusion) => assert!(whole > 0 && conclusion == Conclusion::Truncated),
            Err(RecordingError::Empty(_)) => assert_eq!(length, 0),
            Err(RecordingError::NoHeader(_)) => assert!(length > 0 && whole == 0),
            Err(error) => panic!("{length}: {error}"),
        }
    }
}

#[test]
fn zeros_behind_what_was_written_are_a_torn_tail() {
    let updates = small_run();
    let bytes = bytes_of(&updates);
    let boundaries = boundaries(&bytes);
    for written in [boundaries[2], boundaries[2] + 14, boundaries[2] + 40] {
        let mut torn = bytes[..written].to_vec();
        torn.resize(bytes.len() + 100_000, 0);
        let (found, conclusion) = read(&file_of(&torn).path);
        assert_eq!(
            (found.len(), conclusion.unwrap()),
            (1, Conclusion::Truncated)
        );
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let updates = small_run();
    let bytes = bytes_of(&updates);
    let last = boundaries(&bytes)[updates.len() + 1];
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (found, conclusion) = read(&file_of(&damaged).path);
        assert_eq!(shown(&found), shown(&updates[..found.len()]));
        let is_minor_version = (10..12).contains(&(bit / 8));
        match conclusion {
            Ok(Conclusion::Ended(_)) => assert!(is_minor_version),
            Ok(Conclusion::Truncated) => assert!(bit / 8 >= last),
            Err(_) => assert!(!is_minor_version),
        }
    }
}

#[test]
fn each_way_to_be_no_recording_has_its_own_words() {
    let bytes = bytes_of(&small_run());
    let mut newer = bytes.clone();
    newer[8] = 2;
    let mut doubled = bytes.clone();
    doubled.extend(&bytes);
    let mut damaged = bytes.clone();
    damaged[boundaries(&bytes)[1] + 20] ^= 1;
    let cases: [(&[u8], &str); 7] = [
        (b"", "is empty"),
        (b"\x7fELF rest", "is not a recording of memleak"),
        (&newer, "has format 2; this memleak reads format 1"),
        (&bytes[..30], "breaks off before its first update"),
        (&doubled, "it goes on behind its end"),
        (&damaged, "a record is not as it was written"),
        (
            &framed(&[update_message(format::Update::default())]),
            "the header is missing",
        ),
    ];
    for (bytes, words) in cases {
        let error = read(&file_of(bytes).path).1.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let nowhere = in_new_dir();
    let error = read(&nowhere.path).1.unwrap_err().to_string();
    assert!(error.starts_with("cannot read /"), "{error}");
}

#[test]
fn what_a_newer_version_adds_is_skipped() {
    // Field 99, length-delimited, in an update; and a record that holds nothing else.
    let unknown = [0x9a, 0x06, 3, 1, 2, 3];
    let mut inner = format::Update::default().encode_to_vec();
    inner.extend(unknown);
    let mut update = vec![0x12, inner.len() as u8];
    update.extend(inner);
    let end = message(Kind::End(format::End { reason: 99 }));
    let bytes = framed(&[header_message(), unknown.to_vec(), update, end]);
    let (found, conclusion) = read(&file_of(&bytes).path);
    assert_eq!(found.len(), 1);
    assert_eq!(conclusion.unwrap(), Conclusion::Ended(Ending::Other));
}

#[test]
fn numbers_that_fit_nothing_are_refused() {
    let rows = |frame_count: &[u64], frame: &[i64]| format::Rows {
        frame_count: frame_count.to_vec(),
        frame: frame.to_vec(),
        ..format::Rows::default()
    };
    let with_rows = |rows| format::Update {
        rows: Some(rows),
        ..format::Update::default()
    };
    let figures = |figures| format::Update {
        figures: Some(figures),
        ..with_rows(rows(&[0], &[]))
    };
    let row = format::Figures {
        row: vec![0],
        ..format::Figures::default()
    };
    assert_eq!(fault(with_rows(rows(&[1], &[0]))), "a frame is not there");
    assert_eq!(
        fault(with_rows(rows(&[u64::MAX], &[0]))),
        "a table's columns are of different lengths"
    );
    let shared = format::Rows {
        shared_count: vec![1],
        ..rows(&[0], &[])
    };
    assert_eq!(fault(with_rows(shared)), "a stack is not there");
    let classed = format::Rows {
        class: vec![10],
        ..rows(&[0], &[])
    };
    assert_eq!(fault(with_rows(classed)), "a class is unknown");
    for row in [vec![1], vec![-1], vec![0, 0]] {
        let row = format::Figures {
            row,
            ..format::Figures::default()
        };
        assert_eq!(fault(figures(row)), "a row is not there");
    }
    let huge = format::Figures {
        live_bytes: vec![u64::MAX / 4],
        ..row.clone()
    };
    assert_eq!(fault(figures(huge)), "a figure is out of range");
    let negative = format::Figures {
        unexplained: vec![1],
        ..row.clone()
    };
    assert_eq!(fault(figures(negative)), "a figure is out of range");
    let histogram = format::Figures {
        sizes: vec![1],
        size_bucket: vec![64],
        ..row
    };
    assert_eq!(fault(figures(histogram)), "a histogram is not in order");
}

#[test]
fn names_and_moments_that_cannot_be_are_refused() {
    let frames = format::Frames {
        addr: vec![1],
        ..format::Frames::default()
    };
    let nameless = format::Update {
        frames: Some(frames.clone()),
        ..format::Update::default()
    };
    assert_eq!(fault(nameless), "a name is not there");
    let twice = format::Update {
        names: vec![String::new()],
        frames: Some(format::Frames {
            addr: vec![1, 0],
            ..format::Frames::default()
        }),
        ..format::Update::default()
    };
    assert_eq!(fault(twice), "a frame is there twice");
    let lined = format::Update {
        names: vec![String::new()],
        frames: Some(format::Frames {
            line: vec![u64::MAX],
            ..frames
        }),
        ..format::Update::default()
    };
    assert_eq!(fault(lined), "a line is out of range");
    let with_moment = |moment| format::Update {
        moment: Some(moment),
        ..format::Update::default()
    };
    let rate = format::Moment {
        probe_hits_per_s: f64::NAN,
        ..format::Moment::default()
    };
    assert_eq!(fault(with_moment(rate)), "a rate is out of range");
    let late = format::Time {
        seconds: i64::MAX,
        nanoseconds: 0,
    };
    let late = format::Moment {
        time: Some(late),
        ..format::Moment::default()
    };
    assert_eq!(fault(with_moment(late)), "a time is out of range");
    let mut updates = small_run();
    updates.swap(0, 1);
    updates[0].figures.clear();
    let (found, conclusion) = read(&record(&updates, None).path);
    assert_eq!(found.len(), 1);
    assert!(
        conclusion
            .unwrap_err()
            .to_string()
            .ends_with("time goes back")
    );
}

#[test]
fn a_small_file_cannot_take_all_memory() {
    // Each frame names a megabyte again, in three bytes.
    let count = 10_000;
    let update = format::Update {
        names: vec!["x".repeat(1 << 20)],
        frames: Some(format::Frames {
            addr: vec![1; count],
            symbol: vec![1; count],
            ..format::Frames::default()
        }),
        ..format::Update::default()
    };
    // The limit is reached in steps: what is dropped at once is never there.
    let mut decoder = crate::recording::decode::Decoder::with_budget(&header(), 8 << 20);
    let error = decoder.update(update).unwrap_err();
    assert_eq!(error, crate::recording::decode::Fault::TooLarge);
    let mut decoder = crate::recording::decode::Decoder::with_budget(&header(), 8 << 20);
    let error = decoder
        .update(stacks(format::MOST_FRAMES, count))
        .unwrap_err();
    assert_eq!(error, crate::recording::decode::Fault::TooLarge);
}

/// A row with a stack of one frame again and again, and more that share all of it.
fn stacks(depth: usize, more: usize) -> format::Update {
    format::Update {
        names: vec![String::new()],
        frames: Some(format::Frames {
            addr: vec![1],
            ..format::Frames::default()
        }),
        rows: Some(format::Rows {
            frame_count: [vec![depth as u64], vec![0; more]].concat(),
            shared_count: [vec![0], vec![depth as u64; more]].concat(),
            frame: vec![0; depth],
            ..format::Rows::default()
        }),
        ..format::Update::default()
    }
}

#[test]
fn a_stack_is_as_deep_as_stacks_can_be() {
    let file = file_of(&framed(&[
        header_message(),
        update_message(stacks(format::MOST_FRAMES, 1)),
    ]));
    assert_eq!(read(&file.path).0.len(), 1);
    let deeper = stacks(format::MOST_FRAMES + 1, 0);
    assert_eq!(fault(deeper), "a stack is too deep");
    // Of what is shared and what is its own.
    let mut grown = stacks(format::MOST_FRAMES, 1);
    let rows = grown.rows.as_mut().unwrap();
    rows.frame_count[1] = 1;
    rows.frame.push(0);
    assert_eq!(fault(grown), "a stack is too deep");
}

#[test]
fn after_an_error_nothing_is_written() {
    let updates = small_run();
    let recorded = record(&updates[..1], None);
    let mut writer = Writer::create(&recorded.path, &header()).unwrap();
    let before = fs::read(&recorded.path).unwrap();
    // As good as a disk that is full.
    writer.replace_file(fs::File::open(&recorded.path).unwrap());
    let error = writer.append(&updates[0]).unwrap_err().to_string();
    assert!(error.contains("run.mleak: "), "{error}");
    let error = writer.append(&updates[1]).unwrap_err().to_string();
    assert!(error.ends_with("recording has stopped"), "{error}");
    assert_eq!(fs::read(&recorded.path).unwrap(), before);
}

fn made_up() -> impl Strategy<Value = format::Update> {
    let numbers = || prop::collection::vec(prop_oneof![0..4_u64, any::<u64>()], 0..4);
    let signed = || prop::collection::vec(prop_oneof![-2..4_i64, any::<i64>()], 0..4);
    let frames = (signed(), prop::collection::vec(numbers(), 5));
    let rows = (numbers(), numbers(), numbers(), signed());
    let figures = (
        signed(),
        prop::collection::vec(numbers(), 17),
        signed(),
        signed(),
    );
    (frames, rows, figures).prop_map(|(frames, rows, figures)| {
        let [symbol, offset, module, file, line] = frames.1.try_into().unwrap();
        let mut columns = figures.1.into_iter();
        let mut next = || columns.next().unwrap();
        format::Update {
            moment: None,
            names: vec!["a".to_owned(), "b".to_owned()],
            frames: Some(format::Frames {
                addr: frames.0,
                symbol,
                offset,
                module,
                file,
                line,
                inlined: vec![],
            }),
            rows: Some(format::Rows {
                frame_count: rows.0,
                shared_count: rows.1,
                class: rows.2,
                frame: rows.3,
            }),
            figures: Some(format::Figures {
                row: figures.0,
                flags: next(),
                live_bytes: next(),
                live_count: next(),
                young_bytes: next(),
                young_count: next(),
                stale_bytes: next(),
                stale_count: next(),
                allocs: next(),
                unexplained: figures.2,
                first_birth: next(),
                last_birth: next(),
                mean_birth: next(),
                sizes: next(),
                size_bucket: next(),
                size_count: next(),
                blocks: next(),
                block_addr: figures.3,
                block_size: next(),
                gone_bytes: next(),
            }),
        }
    })
}

proptest! {
    /// Nothing here may panic; what comes out was checked.
    #[test]
    fn made_up_updates_are_read_or_refused(updates in prop::collection::vec(made_up(), 1..4)) {
        let mut decoder = crate::recording::decode::Decoder::new(&header());
        for update in updates {
            if decoder.update(update).is_err() {
                break;
            }
        }
    }

    #[test]
    fn scrambled_messages_with_good_checksums_are_read_or_refused(
        updates in run(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let bytes = bytes_of(&updates);
        let boundaries = boundaries(&bytes);
        let records = boundaries.windows(2);
        let mut messages: Vec<Vec<u8>> =
            records.map(|pair| bytes[pair[0] + format::RECORD_HEADER_BYTES..pair[1]].to_vec()).collect();
        for (index, value) in changes {
            let at = index.index(messages.iter().map(Vec::len).sum());
            let mut left = at;
            for message in &mut messages {
                if left < message.len() {
                    message[left] = value;
                    break;
                }
                left -= message.len();
            }
        }
        let _ = read(&file_of(&framed(&messages)).path);
    }

    #[test]
    fn any_bytes_are_read_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = framed(&[header_message()]);
        bytes.extend(tail);
        let (found, _) = read(&file_of(&bytes).path);
        prop_assert!(found.is_empty());
    }
}
