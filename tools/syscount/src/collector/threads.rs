//! Calls that go on: what threads have entered since the start, and what they were inside already.

use std::collections::HashMap;
use std::fs;
use std::io::Read;

use anyhow::{Context, Result};
use libbpf_rs::{Iter, Link};
use memtools::events::monotonic_ns;
use memtools::maps;
use memtools::process::start_time;

use super::abi::ThreadCall;
use super::wanted::Wanted;
use crate::calls::{Abi, Call};
use crate::model::{By, InFlight, Key};
use memtools::cgroup::Names as Owners;

/// A thread that was inside a call when all programs were there.
#[derive(Clone, Debug)]
struct Old {
    call: Call,
    process: u32,
    comm: String,
    cgroup: u64,
    /// Tells it from a later one with its TID: the 22nd field of /proc/TID/stat.
    started: u64,
}

/// What goes on.
pub struct Threads {
    link: Link,
    /// By TID.
    old: HashMap<u32, Old>,
    /// When they were found, CLOCK_MONOTONIC.
    found_at: u64,
}

impl Threads {
    /// Looks at what all threads of interest are inside now.
    pub fn start(link: Link, wanted: &Wanted, owners: &mut Owners) -> Self {
        let found_at = monotonic_ns();
        let mut old = HashMap::new();
        // Failures are counted when they are there, and a command's calls from its exec on.
        if !wanted.only_errors && !wanted.waits_for_exec {
            for process in wanted.processes() {
                find_old(process, wanted, owners, &mut old);
            }
        }
        Self {
            link,
            old,
            found_at,
        }
    }

    /// What goes on now; the names of the processes it goes on in.
    pub fn read(
        &mut self,
        wanted: &Wanted,
        names: &mut HashMap<u64, String>,
    ) -> Result<Vec<InFlight>> {
        let mut bytes = Vec::new();
        Iter::new(&self.link)
            .and_then(|mut threads| threads.read_to_end(&mut bytes).map_err(Into::into))
            .context("reading what threads are inside")?;
        let now = monotonic_ns();
        let mut found = Vec::new();
        for record in bytes.chunks_exact(size_of::<ThreadCall>()) {
            let mut thread = ThreadCall::default();
            if plain::copy_from_bytes(&mut thread, record).is_err() {
                continue;
            }
            // It has made a call since: what it was inside has ended.
            let entered = thread.entered;
            self.old.remove(&entered.thread);
            if entered.is_inside == 0 || wanted.only_errors {
                continue;
            }
            let owner = entered.owner;
            if matches!(wanted.by, By::Process | By::Thread) {
                let name = names.entry(owner);
                name.or_insert_with(|| maps::text(&thread.comm));
            }
            found.push(InFlight {
                key: Key {
                    owner,
                    call: Call::new(Abi::of(entered.abi.into()), entered.call),
                },
                thread: entered.thread,
                elapsed_ns: now.saturating_sub(entered.since),
                at_least: false,
            });
        }
        self.old
            .retain(|thread, old| start_time(*thread) == Some(old.started));
        for (thread, old) in &self.old {
            let owner = match wanted.by {
                By::Call | By::Errno => 0,
                By::Process => old.process.into(),
                By::Thread => (*thread).into(),
                By::Cgroup => old.cgroup,
            };
            if matches!(wanted.by, By::Process | By::Thread) {
                names.entry(owner).or_insert_with(|| old.comm.clone());
            }
            found.push(InFlight {
                key: Key {
                    owner,
                    call: old.call,
                },
                thread: *thread,
                elapsed_ns: now.saturating_sub(self.found_at),
                at_least: true,
            });
        }
        Ok(found)
    }
}

fn find_old(process: u32, wanted: &Wanted, owners: &mut Owners, old: &mut HashMap<u32, Old>) {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return;
    };
    let abi = if is_32_bit(process) {
        Abi::Compat
    } else {
        Abi::Native
    };
    let threads = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for thread in threads.filter(|thread| wanted.is_thread(*thread)) {
        let Some(call) = call_of(process, thread, abi) else {
            continue;
        };
        if !wanted.calls.is_empty() && !wanted.calls.contains(&call) {
            continue;
        }
        let Some(started) = start_time(thread) else {
            continue;
        };
        let named = match wanted.by {
            By::Thread => thread,
            _ => process,
        };
        let cgroup = if wanted.by == By::Cgroup {
            owners.cgroup_of(process).unwrap_or(0)
        } else {
            0
        };
        old.insert(
            thread,
            Old {
                call,
                process,
                comm: memtools::process::comm(named).unwrap_or_default(),
                cgroup,
                started,
            },
        );
    }
}

/// What a thread waits in: `NUMBER ARGUMENTS… SP PC`; `running`, or -1 where it is in no call.
fn call_of(process: u32, thread: u32, abi: Abi) -> Option<Call> {
    const X32_BIT: u32 = 0x4000_0000;
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall")).ok()?;
    let number: i64 = text.split_whitespace().next()?.parse().ok()?;
    let number = u32::try_from(number).ok()?;
    Some(if abi == Abi::Native && number & X32_BIT != 0 {
        Call::new(Abi::X32, number & !X32_BIT)
    } else {
        Call::new(abi, number)
    })
}

/// By its program's header.
fn is_32_bit(process: u32) -> bool {
    const CLASS: usize = 4;
    const CLASS_32: u8 = 1;
    let mut header = [0; CLASS + 1];
    let file = fs::File::open(format!("/proc/{process}/exe"));
    file.and_then(|mut file| file.read_exact(&mut header))
        .is_ok_and(|()| header[CLASS] == CLASS_32)
}
