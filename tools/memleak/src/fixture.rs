//! Snapshots made up for tests.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memtools::process::Resident;
use memtools::symbols::Location;

use crate::model::Frame;
use crate::snapshot::{
    Amount, Block, Class, Events, Loss, MappingCalls, ProbeLoad, ResidentChange, Snapshot, Stack,
    StackAccount,
};

/// A stack of return addresses that no file holds.
pub fn stack(addresses: &[u64]) -> Arc<Stack> {
    let location = |&address| Location {
        address,
        object: None,
        mapping: "app".into(),
        file_offset: address,
    };
    Arc::new(Stack {
        locations: addresses.iter().map(location).collect(),
        is_truncated: false,
        is_cut: false,
    })
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
        frees: 1,
        oldest: Some(Duration::from_millis(live.0)),
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
    Snapshot {
        time: Timestamp::UNIX_EPOCH,
        elapsed: Duration::from_secs(5),
        pid: 42,
        comm: "app\u{1b}[31m".to_owned(),
        has_ended: false,
        stacks,
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
        load: ProbeLoad {
            hits: 3000,
            hits_per_s: 600.0,
            cpu_percent: Some(1.25),
        },
        loss: Loss::default(),
    }
}

/// Frames named after their addresses; 7 is inlined, 9 has no symbol.
pub fn named(stack: &Stack) -> Vec<Frame> {
    let frames = stack.locations.iter().map(|location| Frame {
        addr: location.address,
        symbol: (location.address != 9).then(|| match location.address {
            1 => "pthread_create".to_owned(),
            2 => "_dl_allocate_tls_init".to_owned(),
            address => format!("f{address}<\u{1b}T>"),
        }),
        offset: (location.address != 7).then_some(16),
        module: "app".to_owned(),
        file: Some("src/app.c".into()),
        line: Some(location.address as u32),
        inlined: location.address == 7,
    });
    frames.collect()
}
