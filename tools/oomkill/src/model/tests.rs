use super::*;

fn process(pid: u32, resident: u64) -> Process {
    Process {
        pid,
        resident,
        ..Process::default()
    }
}

fn event(pid: u32, invocation: u64, time_ns: u64, is_group: bool) -> Event {
    let mut event = Event::with_room();
    event.victim.task.pid = pid;
    event.victim.task.tid = pid;
    event.invocation = invocation;
    event.time_ns = time_ns;
    event.is_group = is_group;
    event
}

fn pids(groups: &mut Groups) -> Vec<(u32, Vec<u32>)> {
    std::iter::from_fn(|| groups.next())
        .map(|event| {
            let siblings = event.siblings.iter().map(|sibling| sibling.pid);
            (event.victim.task.pid, siblings.collect())
        })
        .collect()
}

#[test]
fn the_biggest_are_ranked() {
    let mut event = Event::default();
    for (pid, resident) in [(1, 10), (2, 50), (3, 20), (4, 40), (5, 30), (6, 5), (7, 60)] {
        event.rank(process(pid, resident));
    }
    let order: Vec<_> = event.top().iter().map(|p| (p.pid, p.resident)).collect();
    assert_eq!(order, [(7, 60), (2, 50), (4, 40), (5, 30), (3, 20)]);
    // The victim was bigger before it began to go.
    event.rank(process(5, 55));
    event.rank(process(2, 1));
    let order: Vec<_> = event.top().iter().map(|p| (p.pid, p.resident)).collect();
    assert_eq!(order, [(7, 60), (5, 55), (2, 50), (4, 40), (3, 20)]);
}

#[test]
fn a_kill_alone_is_shown_at_once() {
    let mut groups = Groups::default();
    groups.push(event(1, 100, 100, false));
    assert_eq!(groups.deadline_ns(), None);
    assert_eq!(pids(&mut groups), [(1, vec![])]);
}

#[test]
fn a_group_is_shown_when_it_is_complete() {
    let mut groups = Groups::default();
    for pid in 1..=3 {
        groups.push(event(pid, 100, 100 + u64::from(pid), true));
    }
    assert_eq!(pids(&mut groups), []);
    let deadline = groups.deadline_ns().unwrap();
    groups.expire(deadline - 1);
    assert_eq!(pids(&mut groups), []);
    groups.expire(deadline);
    let expected = [(1, vec![2, 3]), (2, vec![1, 3]), (3, vec![1, 2])];
    assert_eq!(pids(&mut groups), expected);
}

#[test]
fn another_call_ends_a_group() {
    let mut groups = Groups::default();
    groups.push(event(1, 100, 100, true));
    groups.push(event(2, 100, 101, true));
    groups.push(event(3, 200, 200, false));
    assert_eq!(pids(&mut groups), [(1, vec![2]), (2, vec![1]), (3, vec![])]);
}

#[test]
fn a_group_of_any_size_loses_nobody() {
    let mut groups = Groups::default();
    let mut shown = Vec::new();
    let mut show = |groups: &mut Groups| {
        while let Some(event) = groups.next() {
            shown.push((event.victim.task.pid, event.siblings.len()));
            groups.recycle(event);
        }
    };
    for pid in 1..=1000 {
        let mut blank = groups.blank();
        blank.clone_from(&event(pid, 100, 100, true));
        groups.push(blank);
        show(&mut groups);
    }
    groups.release();
    show(&mut groups);
    assert_eq!(shown.len(), 1000);
    assert!(shown.iter().all(|(_, siblings)| *siblings >= 39));
}

#[test]
fn the_first_end_counts() {
    let mut groups = Groups::default();
    let time = Timestamp::UNIX_EPOCH;
    groups.await_end(&event(7, 1, 1_000, false), true);
    groups.await_end(&event(8, 1, 1_000, false), false);
    let reaped = groups.end(7, EndedBy::Reaper, 6_000, time).unwrap();
    assert_eq!((reaped.pid, reaped.after), (7, Duration::from_micros(5)));
    assert_eq!(groups.end(7, EndedBy::Exit, 9_000, time), None);
    assert_eq!(groups.end(8, EndedBy::Exit, 9_000, time), None);
}

#[test]
fn oom_scores_are_those_of_proc() {
    // 16 GiB of RAM, a process with a quarter of it.
    let total = 4 << 20;
    assert_eq!(oom_score(total / 4, 0, total), 833);
    assert_eq!(oom_score(0, 0, total), 666);
    assert_eq!(oom_score(total / 4, -1000, total), 0);
    assert_eq!(oom_score(0, 1000, total), 1333 - 1);
}

#[test]
fn a_selection_is_of_victims() {
    let mut event = event(7, 1, 1, false);
    event.victim.task.cgroup = "/a/bc".to_owned();
    event.victim.task.comm = Comm(*b"perl\0\0\0\0\0\0\0\0\0\0\0\0");
    let by_cgroup = |cgroup: &str| Selection {
        cgroup: Some(cgroup.to_owned()),
        ..Selection::default()
    };
    assert!(by_cgroup("/").has(&event) && by_cgroup("/a").has(&event));
    assert!(by_cgroup("/a/bc/").has(&event));
    assert!(!by_cgroup("/a/b").has(&event) && !by_cgroup("/a/bc/d").has(&event));
    let by_comm = |comm: &str| Selection {
        comm: Some(comm.to_owned()),
        ..Selection::default()
    };
    assert!(by_comm("perl").has(&event) && !by_comm("per").has(&event));
}

#[test]
fn every_fact_has_a_place() {
    let mut unknown = Unknown::default();
    for fact in Fact::ALL {
        unknown.add(fact);
    }
    assert_eq!(unknown.iter().count(), Fact::ALL.len());
    for fact in Fact::ALL {
        assert!(unknown.has(fact));
    }
}
