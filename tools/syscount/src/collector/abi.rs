//! The kernel side's structures (bpf/syscount.h), checked for size.

use std::sync::atomic::{AtomicU64, Ordering};

use plain::Plain;

use super::kernel::types;

const COMM_BYTES: usize = 16;

/// enum call_abi, times CALLS_PER_ABI.
pub const CALL_SLOTS: u32 = 3 * crate::calls::CALLS_PER_ABI;
/// FIRST_ERRNO_CELL.
pub const FIRST_ERRNO_CELL: u16 = 2048;

/// enum row_by.
pub const BY_CALL: u32 = 0;
pub const BY_PROCESS: u32 = 1;
pub const BY_THREAD: u32 = 2;
pub const BY_CGROUP: u32 = 3;

/// enum call_counter.
pub const LOST_ROWS: usize = 0;
pub const LOST_TIMES: usize = 1;
pub const LOST_CELLS: usize = 2;
pub const LOST_FAMILY: usize = 3;
pub const COUNTERS: u32 = 4;

/// struct call_key.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CallKey {
    pub owner: u64,
    pub call: u32,
    pub abi: u32,
}

/// struct call_stats.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CallStats {
    pub count: u64,
    pub ended: u64,
    pub errors: u64,
    pub total_ns: u64,
    pub max_ns: [u64; 2],
    pub interval: [u32; 2],
}

impl CallStats {
    /// So many words.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// From words that the kernel writes.
    pub fn of(words: &[AtomicU64]) -> Self {
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        let intervals = word(6).to_ne_bytes();
        let half = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| intervals[at + byte]));
        Self {
            count: word(0),
            ended: word(1),
            errors: word(2),
            total_ns: word(3),
            max_ns: [word(4), word(5)],
            interval: [half(0), half(4)],
        }
    }
}

/// struct call_table.
pub const TABLE_WORDS: usize = CALL_SLOTS as usize * CallStats::WORDS;

/// struct cell_key.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CellKey {
    pub owner: u64,
    pub call: u32,
    pub abi: u16,
    pub cell: u16,
}

/// struct entered_call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct EnteredCall {
    pub since: u64,
    pub owner: u64,
    pub thread: u32,
    pub process: u32,
    pub call: u32,
    pub abi: u16,
    pub is_inside: u16,
}

/// struct thread_call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ThreadCall {
    pub entered: EnteredCall,
    pub comm: [u8; COMM_BYTES],
}

/// struct owner_name.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OwnerName {
    pub text: [u8; COMM_BYTES],
}

const _: () = {
    assert!(size_of::<CallKey>() == size_of::<types::call_key>());
    assert!(size_of::<CallStats>() == size_of::<types::call_stats>());
    assert!(TABLE_WORDS * 8 == size_of::<types::call_table>());
    assert!(size_of::<CellKey>() == size_of::<types::cell_key>());
    assert!(size_of::<EnteredCall>() == size_of::<types::entered_call>());
    assert!(size_of::<ThreadCall>() == size_of::<types::thread_call>());
    assert!(size_of::<OwnerName>() == size_of::<types::owner_name>());
};

// SAFETY: structures of numbers without padding, for which all bytes are values.
unsafe impl Plain for CallKey {}
// SAFETY: as above.
unsafe impl Plain for CallStats {}
// SAFETY: as above.
unsafe impl Plain for CellKey {}
// SAFETY: as above.
unsafe impl Plain for EnteredCall {}
// SAFETY: as above.
unsafe impl Plain for ThreadCall {}
// SAFETY: as above.
unsafe impl Plain for OwnerName {}
