//! Snapshots made up for tests.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memtools::process::Resident;
use memtools::stacks::Frame;
use memtools::symbols::Location;

use crate::cli::SortKey;
use crate::model::{Ledger, ReportOptions};
use crate::namer::{Namer, Naming};
use crate::snapshot::{
    Amount, Births, Block, Class, Events, Loss, MappingCalls, Moment, ProbeLoad, ResidentChange,
    SizeHistogram, Snapshot, Stack, StackAccount,
};

/// A stack of return addresses that no file holds.
pub fn stack(addresses: &[u64]) -> Arc<Stack> {
    let location = |&address| {
        Arc::new(Location {
            address,
            object: None,
            mapping: "app".into(),
            symbol: None,
            file_offset: address,
        })
    };
    Arc::new(Stack {
        locations: addresses.iter().map(location).collect(),
        is_truncated: false,
        is_cut: false,
    })
}

/// Births of blocks of which the oldest has this age when five seconds have passed.
pub fn births(oldest: Duration) -> Births {
    let end = Duration::from_secs(5);
    Births {
        first: end.saturating_sub(oldest),
        last: end,
        mean: end,
    }
}

/// An account with as many live blocks as `live` says.
pub fn account(addresses: &[u64], class: Class, live: (u64, u64)) -> StackAccount {
    StackAccount {
        stack: stack(addresses),
        class,
        live: Amount {
            bytes: live.0,
            count: live.1,
        },
        young: Amount::default(),
        allocs: live.1 + 1,
        alloc_bytes: live.0 + 100,
        frees: 1,
        fresh: Amount::default(),
        births: Some(births(Duration::from_millis(live.0))),
        sizes: SizeHistogram(vec![(4, live.1)]),
        blocks: vec![Block {
            addr: 0x1000 + live.0,
            size: live.0,
        }],
    }
}

/// A snapshot of a process with these accounts.
pub fn snapshot(stacks: Vec<StackAccount>) -> Snapshot {
    let resident = |total: u64| {
        Some(Resident {
            total: total << 20,
            anonymous: (total - 1) << 20,
            file: 1 << 20,
            shared: 0,
        })
    };
    let moment = Moment {
        time: Timestamp::UNIX_EPOCH,
        elapsed: Duration::from_secs(5),
        pid: 42,
        comm: "app\u{1b}[31m".to_owned(),
        has_ended: false,
        events: Events {
            allocs: 1234,
            frees: 1000,
            failed: 2,
        },
        mappings: MappingCalls::default(),
        untracked_frees: 3,
        resident: ResidentChange {
            at_attach: resident(10),
            now: resident(14),
        },
        chunk_overhead: 4096,
        is_sampled: false,
        load: ProbeLoad {
            hits: 3000,
            hits_per_s: 600.0,
            cpu_percent: Some(1.25),
        },
        loss: Loss::default(),
        processes: None,
    };
    Snapshot { moment, stacks }
}

/// Frames named after their addresses; 7 is inlined, 9 has no symbol.
pub struct ByAddress;

impl Naming for ByAddress {
    fn names(&mut self, locations: &[&Location]) -> Vec<Vec<Frame>> {
        let named = locations.iter();
        named
            .map(|location| vec![frame(location.address)])
            .collect()
    }
}

fn frame(address: u64) -> Frame {
    Frame {
        addr: address,
        symbol: (address != 9).then(|| match address {
            1 => "pthread_create".to_owned(),
            2 => "_dl_allocate_tls_init".to_owned(),
            address => format!("f{address}<\u{1b}T>"),
        }),
        offset: (address != 7).then_some(16),
        module: "app".to_owned(),
        file: Some("src/app.c".into()),
        line: Some(address as u32),
        inlined: address == 7,
    }
}

/// What snapshots that follow each other come to.
pub fn ledger(snapshots: Vec<Snapshot>, scale: u64) -> Ledger {
    let mut namer = Namer::new(ByAddress, scale);
    let mut ledger = Ledger::default();
    for snapshot in snapshots {
        ledger.apply(namer.update(snapshot)).unwrap();
    }
    ledger
}

/// The last report, by bytes and unscaled.
pub const LAST: ReportOptions = ReportOptions {
    sort: SortKey::Bytes,
    scale: 1,
    is_final: true,
};
