use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::model::{Comm, Loss, Memory, Pressure, Sibling, Stacks, Stall};

fn comm(name: &[u8]) -> Comm {
    let mut comm = Comm::default();
    comm.0[..name.len()].copy_from_slice(name);
    comm
}

/// A kill with everything that there can be.
pub fn whole() -> Event {
    let time = Timestamp::from_second(1_800_000_000).unwrap();
    let mut event = Event::with_room();
    event.time = time;
    let task = &mut event.victim.task;
    task.pid = 22516;
    task.tid = 22517;
    task.comm = comm(b"pe\x1b[31m\nrl\xff");
    task.uid = 1000;
    task.user.push_str("alice");
    let id = "0123456789abcdef".repeat(4);
    task.cgroup = format!("/docker/{id}");
    event
        .victim
        .command_line
        .extend_from_slice(b"perl\0-e\0'x' x\n1e9\0");
    event.victim.start = Some(time - Duration::from_secs(724));
    event.victim.oom_score = Some(734);
    event.victim.oom_score_adj = -5;
    event.victim.memory = Memory {
        total_vm: 100_851_712,
        anon_rss: 33_292_288,
        file_rss: 6_742_016,
        shmem_rss: 4096,
        swap: 1 << 20,
        pgtables: 131_072,
    };
    let trigger = &mut event.trigger;
    trigger.task.pid = 3297;
    trigger.task.comm = comm(b"ntpd");
    trigger.task.cgroup.push_str("/system.slice/ntpd.service");
    trigger.during = During::SystemCall(9);
    trigger.stacks = Some(Box::new(Stacks {
        kernel: vec!["out_of_memory+0x1".to_owned(), "do_mmap+0x2".to_owned()],
        user: vec!["main+0x3 [ntpd] a.c:1".to_owned()],
    }));
    let domain = event.domain.as_mut().unwrap();
    domain.constraint = Constraint::Memcg;
    domain.cgroup = format!("/docker/{id}");
    domain.limits = Some(Limits {
        usage: 32 << 20,
        limit: Some(32 << 20),
        peak: 33 << 20,
        failcnt: Some(7),
        swap_usage: 1 << 20,
        swap_limit: Some(2 << 20),
        swap_has_memory: false,
    });
    domain.total_pages = 8192;
    domain.order = 1;
    domain.request_bytes = 8192;
    domain.gfp = 0xcc0;
    event.loadavg.push_str("0.99 0.39 0.30 3/282 22724");
    let pressure = Pressure {
        some: Stall {
            avg10: 1.5,
            avg60: 0.25,
            avg300: 0.0,
            total_us: 12345,
        },
        full: Stall::default(),
    };
    event.system_pressure = Some(pressure);
    event.cgroup_pressure = Some(pressure);
    for (pid, megabytes) in [(22516, 38), (1, 12), (7, 9)] {
        event.rank(Process {
            pid,
            comm: comm(if pid == 22516 { b"perl" } else { b"other" }),
            resident: megabytes << 20,
            swap: u64::from(pid == 7) << 20,
            oom_score_adj: 0,
        });
    }
    event.add_sibling(Sibling {
        pid: 22600,
        comm: comm(b"worker"),
    });
    event.unknown.add(Fact::WholeTexts);
    event.loss = Loss {
        events: 2,
        ..Loss::default()
    };
    event
}

/// Without its wall clock, which is the machine's own.
fn text(event: &Event, is_brief: bool) -> String {
    let mut text = String::new();
    write_event(&mut text, event, is_brief).unwrap();
    text.split_off(9)
}

#[test]
fn an_event_with_everything() {
    insta::assert_snapshot!(text(&whole(), false));
}

#[test]
fn the_first_line_is_bccs() {
    let mut event = whole();
    event.victim.task.comm = comm(b"perl");
    event.domain.as_mut().unwrap().total_pages = 3_850_642;
    assert_eq!(
        text(&event, true),
        "Triggered by PID 3297 (\"ntpd\"), OOM kill of PID 22516 (\"perl\"), 3850642 pages, \
         loadavg: 0.99 0.39 0.30 3/282 22724\n"
    );
}

#[test]
fn what_is_not_known_is_not_said() {
    let mut event = Event::with_room();
    event.domain = None;
    event.victim.task.pid = 7;
    for fact in [Fact::Victim, Fact::Domain, Fact::Loadavg] {
        event.unknown.add(fact);
    }
    insta::assert_snapshot!(text(&event, false));
}

#[test]
fn one_that_was_exiting_was_not_killed() {
    let mut event = whole();
    event.is_exiting = true;
    let line = text(&event, true);
    assert!(
        line.contains("no OOM kill, exiting already: PID 22516"),
        "{line}"
    );
    assert!(!line.contains("OOM kill of"), "{line}");
}

#[test]
fn no_text_of_others_is_obeyed() {
    let shown = text(&whole(), false);
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "{shown}"
    );
    let mut json = Vec::new();
    write_json(&mut json, &whole()).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert_eq!(json.matches('\n').count(), 1);
    assert!(!json.contains('\u{1b}'));
}

#[test]
fn json_with_everything() {
    let mut json = Vec::new();
    write_json(&mut json, &whole()).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn an_end_in_both_ways() {
    let reaped = Reaped {
        time: Timestamp::UNIX_EPOCH,
        pid: 7,
        comm: comm(b"perl"),
        after: Duration::from_millis(35),
        by: EndedBy::Exit,
    };
    let mut line = String::new();
    write_reaped(&mut line, &reaped).unwrap();
    assert_eq!(
        line.split_off(9),
        "Memory of PID 7 (\"perl\") is back after 35 ms: freed at its exit\n"
    );
    let mut json = Vec::new();
    write_json_reaped(&mut json, &reaped).unwrap();
    assert_eq!(
        String::from_utf8(json).unwrap(),
        "{\"v\":1,\"tool\":\"oomkill\",\"type\":\"reaped\",\"time\":\"1970-01-01T00:00:00.000Z\",\
         \"pid\":7,\"comm\":\"perl\",\"after_ns\":35000000,\"by\":\"exit\"}\n"
    );
}

#[test]
fn nothing_is_allocated_on_the_way() {
    let event = whole();
    let mut text = String::with_capacity(1 << 16);
    let mut json = Vec::with_capacity(1 << 16);
    let mut write = || {
        text.clear();
        json.clear();
        write_event(&mut text, &event, false).unwrap();
        write_json(&mut json, &event).unwrap();
    };
    // Time zone and names of flags are read once.
    write();
    assert_eq!(crate::allocations::allocations(write), 0);
}
