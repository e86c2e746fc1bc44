//! The kernel's record of a kill, as an event.

use super::Clock;
use super::abi::{self, Kill};
use crate::model::{Comm, Constraint, Domain, During, Event, Fact, Limits, Memory, Task, Unknown};

/// What a page counter says that has no limit, in pages: `PAGE_COUNTER_MAX`, or more.
const NO_LIMIT_PAGES: u64 = i64::MAX as u64 / 4096;

/// Overwrites an event with a record and its texts.
pub fn fill(event: &mut Event, kill: &Kill, text: &[u8], clock: &Clock, page: u64) {
    let has = |flag: u32| kill.flags & flag != 0;
    let mut texts = Texts { rest: text, kill };
    event.time = clock.time_of(kill.time_ns);
    event.time_ns = kill.time_ns;
    event.invocation = kill.invocation;
    event.is_exiting = !has(abi::KILL_SENT);
    event.is_group = has(abi::KILL_IS_GROUP);
    event.siblings.clear();
    event.sibling_count = 0;
    event.unknown = Unknown::default();
    event.trigger.stacks = None;

    fill_victim(event, kill, clock, page);
    path(texts.take(0), &mut event.victim.task.cgroup);
    if !has(abi::KILL_HAS_TASK) {
        event.victim.task.cgroup.clear();
    }
    event.victim.task.unified_cgroup.clear();
    let unified = texts.take(1);
    if !unified.is_empty() {
        path(unified, &mut event.victim.task.unified_cgroup);
    }
    fill_domain(event, kill, texts.take(2), page);
    fill_task(&mut event.trigger.task, &kill.trigger);
    path(texts.take(3), &mut event.trigger.task.cgroup);
    event.trigger.task.unified_cgroup.clear();
    event.trigger.during = if has(abi::KILL_IN_FAULT) {
        During::PageFault
    } else if has(abi::KILL_IN_CALL) {
        During::SystemCall(kill.call)
    } else if has(abi::KILL_BY_KERNEL) {
        During::Kernel
    } else {
        During::Unknown
    };
    event.victim.command_line.clear();
    event.victim.command_line.extend_from_slice(texts.take(4));
    if has(abi::KILL_TEXT_CUT) {
        event.unknown.add(Fact::WholeTexts);
    }
}

/// A record of a kill that never was, with all that a record can have: of this very process, which
/// /proc knows.
pub fn rehearsal() -> Vec<u8> {
    let mut kill = Kill {
        kind: abi::EVENT_KILL,
        flags: abi::KILL_SENT | abi::KILL_HAS_TASK | abi::KILL_HAS_DOMAIN | abi::KILL_HAS_MEMCG,
        ..Kill::default()
    };
    kill.victim.task.process = std::process::id();
    kill.domain.constraint = 3;
    kill.domain.gfp = 0xcc0;
    kill.texts = [2, 0, 2, 2, 0];
    // SAFETY: plain numbers, without padding.
    let mut record = unsafe { plain::as_bytes(&kill) }.to_vec();
    record.extend_from_slice(b"a\0a\0a\0");
    record
}

fn fill_victim(event: &mut Event, kill: &Kill, clock: &Clock, page: u64) {
    let (victim, from) = (&mut event.victim, &kill.victim);
    if kill.flags & abi::KILL_HAS_TASK == 0 {
        let task = abi::Task {
            process: from.task.process,
            thread: from.task.thread,
            ..abi::Task::default()
        };
        fill_task(&mut victim.task, &task);
        victim.memory = Memory::default();
        victim.start = None;
        victim.oom_score_adj = 0;
        event.unknown.add(Fact::Victim);
        return;
    }
    fill_task(&mut victim.task, &from.task);
    victim.start = Some(clock.time_of_boottime(from.task.start_boottime_ns));
    victim.oom_score_adj = from.task.oom_score_adj;
    victim.memory = Memory {
        total_vm: from.total_vm * page,
        anon_rss: from.anon_rss * page,
        file_rss: from.file_rss * page,
        shmem_rss: from.shmem_rss * page,
        swap: from.swap * page,
        pgtables: from.pgtables_bytes,
    };
}

fn fill_task(task: &mut Task, from: &abi::Task) {
    task.pid = from.process;
    task.tid = from.thread;
    task.comm = Comm(from.comm);
    task.uid = from.uid;
}

/// The room of the cgroup's path is kept, also where there is no domain.
fn fill_domain(event: &mut Event, kill: &Kill, cgroup: &[u8], page: u64) {
    let has = |flag: u32| kill.flags & flag != 0;
    if !has(abi::KILL_HAS_DOMAIN) {
        event.domain = None;
        event.unknown.add(Fact::Domain);
        return;
    }
    let from = &kill.domain;
    let domain = event.domain.get_or_insert_with(Domain::default);
    domain.constraint = Constraint::new(from.constraint);
    domain.total_pages = from.total;
    domain.order = from.order;
    domain.request_bytes = page << from.order.clamp(0, 32);
    domain.gfp = from.gfp;
    domain.nodes = from.nodes;
    domain.is_by_stack = has(abi::KILL_DOMAIN_BY_STACK);
    domain.cgroup.clear();
    domain.limits = None;
    if !has(abi::KILL_HAS_MEMCG) {
        return;
    }
    path(cgroup, &mut domain.cgroup);
    let limit = |pages: u64| (pages < NO_LIMIT_PAGES).then(|| pages * page);
    let failcnt = has(abi::KILL_HAS_FAILCNT).then_some(from.failcnt);
    domain.limits = Some(Limits {
        usage: from.usage * page,
        limit: limit(from.limit),
        peak: from.peak * page,
        failcnt,
        swap_usage: from.swap_usage * page,
        swap_limit: limit(from.swap_limit),
        swap_has_memory: has(abi::KILL_IS_V1),
    });
    if failcnt.is_none() {
        event.unknown.add(Fact::Failcnt);
    }
}

/// The record's texts, one behind the other.
struct Texts<'a> {
    rest: &'a [u8],
    kill: &'a Kill,
}

impl<'a> Texts<'a> {
    /// The next one; `index` is its number.
    fn take(&mut self, index: usize) -> &'a [u8] {
        let bytes = usize::from(self.kill.texts[index]).min(self.rest.len());
        let (text, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        text
    }
}

/// Names of cgroups, each ended by NUL, the innermost first, as a path. Names are the users' own:
/// what is no UTF-8 is marked.
fn path(names: &[u8], to: &mut String) {
    to.clear();
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    if !names.is_empty() {
        for name in names.rsplit(|&byte| byte == 0) {
            to.push('/');
            for chunk in name.utf8_chunks() {
                to.push_str(chunk.valid());
                if !chunk.invalid().is_empty() {
                    to.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }
    if to.is_empty() {
        to.push('/');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together() {
        let mut to = String::from("before");
        path(b"leaf\0middle\0top\0", &mut to);
        assert_eq!(to, "/top/middle/leaf");
        path(b"", &mut to);
        assert_eq!(to, "/");
        path(b"a\xff\n\0", &mut to);
        assert_eq!(to, "/a\u{fffd}\n");
    }

    fn clock() -> Clock {
        Clock {
            wall: jiff::Timestamp::UNIX_EPOCH,
            monotonic_ns: 5_000_000_000,
            boottime_ns: 6_000_000_000,
        }
    }

    #[test]
    fn a_record_is_an_event() {
        let mut kill = Kill {
            flags: abi::KILL_SENT | abi::KILL_HAS_TASK | abi::KILL_HAS_DOMAIN | abi::KILL_HAS_MEMCG,
            time_ns: 4_000_000_000,
            ..Kill::default()
        };
        kill.victim.task.process = 7;
        kill.victim.anon_rss = 3;
        kill.victim.task.start_boottime_ns = 4_000_000_000;
        kill.domain.constraint = 3;
        kill.domain.limit = 10;
        kill.domain.swap_limit = u64::MAX / 4096;
        kill.texts = [4, 0, 2, 4, 5];
        let text = b"b\0a\0a\0b\0a\0x\0-y\0";
        let mut event = Event::with_room();
        fill(&mut event, &kill, text, &clock(), 4096);
        assert_eq!(event.time.as_second(), -1);
        assert_eq!(event.victim.start.unwrap().as_second(), -2);
        assert_eq!(event.victim.memory.anon_rss, 3 * 4096);
        assert_eq!(event.victim.task.cgroup, "/a/b");
        assert_eq!(event.victim.command_line, b"x\0-y\0");
        let domain = event.domain.as_ref().unwrap();
        assert_eq!(domain.cgroup, "/a");
        let limits = domain.limits.as_ref().unwrap();
        assert_eq!((limits.limit, limits.swap_limit), (Some(40960), None));
        assert!(event.unknown.has(Fact::Failcnt) && !event.is_exiting);
        let again = || fill(&mut event, &kill, text, &clock(), 4096);
        assert_eq!(crate::allocations::allocations(again), 0);
        // The next one has nothing of this one.
        fill(&mut event, &Kill::default(), b"", &clock(), 4096);
        assert!(event.is_exiting && event.domain.is_none());
        assert!(event.unknown.has(Fact::Victim) && event.unknown.has(Fact::Domain));
        assert!(event.victim.command_line.is_empty() && event.victim.start.is_none());
    }
}
