use super::*;

fn mmap2(pid: u32, name: &[u8], time: u64) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(pid.to_ne_bytes());
    body.extend(pid.to_ne_bytes());
    for value in [0x1000_u64, 0x2000, 0x3000] {
        body.extend(value.to_ne_bytes());
    }
    body.extend(8_u32.to_ne_bytes());
    body.extend(1_u32.to_ne_bytes());
    body.extend(77_u64.to_ne_bytes());
    body.extend([0; 16]);
    body.extend(name);
    body.extend(time.to_ne_bytes());
    body
}

#[test]
fn a_mapping_is_parsed() {
    let body = mmap2(7, b"/lib/x.so\0\0\0\0\0\0\0", 99);
    let (time, event) = parse(PERF_RECORD_MMAP2, 0, &body).unwrap();
    let MappingEvent::Mapped(record) = event else {
        panic!("not a mapping");
    };
    assert_eq!(time, 99);
    assert_eq!(
        (record.start, record.end, record.file_offset),
        (0x1000, 0x3000, 0x3000)
    );
    assert_eq!(record.file, FileId::new(8, 1, 77));
    assert_eq!(record.path, PathBuf::from("/lib/x.so"));
}

#[test]
fn an_exec_has_the_new_name() {
    let mut body = Vec::new();
    body.extend(7_u32.to_ne_bytes());
    body.extend(7_u32.to_ne_bytes());
    body.extend(b"a name\0\0");
    body.extend(99_u64.to_ne_bytes());
    let misc = PERF_RECORD_MISC_COMM_EXEC;
    let (time, event) = parse(PERF_RECORD_COMM, misc, &body).unwrap();
    let comm = "a name".to_owned();
    assert_eq!((time, event), (99, MappingEvent::Exec { comm }));
    // A thread that only renamed itself.
    assert_eq!(parse(PERF_RECORD_COMM, 0, &body), None);
}

#[test]
fn what_is_younger_than_the_look_waits_for_the_next() {
    let exec = |comm: &str| MappingEvent::Exec { comm: comm.into() };
    let source = MappingEventSource(Arc::default());
    let mut events = source.of(7);
    let mut other = source.of(8);
    let queued = |pid, text: &str, time| {
        let event = (time, exec(text));
        let mut shared = locked(&source.0);
        shared.queues.get_mut(&pid).unwrap().events.push(event);
    };
    queued(7, "future", u64::MAX);
    queued(7, "past", 1);
    queued(8, "another's", 2);
    assert_eq!(events.drain().events, [(1, exec("past"))]);
    assert_eq!(events.drain().events, []);
    assert_eq!(other.drain().events, [(2, exec("another's"))]);
    assert_eq!(
        locked(&source.0).queues[&7].events,
        [(u64::MAX, exec("future"))]
    );
    drop(events);
    assert_eq!(locked(&source.0).queues.len(), 1);
}

#[test]
fn short_records_are_no_panic() {
    let body = mmap2(7, b"/x\0\0\0\0\0\0", 99);
    for length in 0..body.len() {
        let short = &body[..length];
        let _ = parse(PERF_RECORD_MMAP2, 0, short);
        let _ = parse(PERF_RECORD_COMM, PERF_RECORD_MISC_COMM_EXEC, short);
    }
}
