//! The kernel side's structures (bpf/memleak_kernel.h), checked for size.

use plain::Plain;

use super::programs::types;

/// enum allocator.
pub const SLAB: u64 = 1;
pub const PAGES: u64 = 2;
pub const PERCPU: u64 = 3;
pub const VMALLOC: u64 = 4;

/// KERNEL_FRAMES.
pub const FRAMES: usize = 127;

/// enum charge.
pub const CHARGE_NOBODY: u32 = 0;
pub const CHARGE_COMM: u32 = 1;
pub const CHARGE_CGROUP: u32 = 2;

/// enum kernel_counter, in order.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
#[allow(missing_docs)] // described in memleak_kernel.h
pub enum Counter {
    Failed,
    UntrackedFrees,
    Unrecorded,
    LostAllocs,
    LostAllocBytes,
    LostStacks,
    LostCalls,
    NotFollowed,
    LostEvents,
    MissedFrees,
    TruncatedStacks,
}

/// KERNEL_COUNTERS.
pub const COUNTERS: u32 = Counter::TruncatedStacks as u32 + 1;

/// struct kernel_block_key.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BlockKey {
    pub address: u64,
    pub allocator: u64,
}

/// struct kernel_block.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Block {
    pub bytes: u64,
    pub born_ns: u64,
    pub stack: u64,
    pub order: u64,
}

/// struct kernel_stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stack {
    pub allocs: u64,
    pub alloc_bytes: u64,
    pub frees: u64,
    pub free_bytes: u64,
    pub pieces: u64,
    pub piece_bytes: u64,
    pub cgroup: u64,
    pub allocator: u32,
    pub depth: u32,
    pub comm: [u8; 16],
    pub frames: [u64; FRAMES],
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            allocs: 0,
            alloc_bytes: 0,
            frees: 0,
            free_bytes: 0,
            pieces: 0,
            piece_bytes: 0,
            cgroup: 0,
            allocator: 0,
            depth: 0,
            comm: [0; 16],
            frames: [0; FRAMES],
        }
    }
}

/// struct unseen_frees.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UnseenFrees {
    pub count: u64,
    pub name: [u8; 32],
}

/// struct kernel_event.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Event {
    pub time_ns: u64,
    pub address: u64,
    pub bytes: u64,
    pub is_alloc: u32,
    pub thread: u32,
}

// SAFETY: each is repr(C), of integers alone, without padding (the sizes below say so): any bytes
// are a value.
unsafe impl Plain for BlockKey {}
// SAFETY: as above.
unsafe impl Plain for Block {}
// SAFETY: as above.
unsafe impl Plain for Stack {}
// SAFETY: as above.
unsafe impl Plain for UnseenFrees {}
// SAFETY: as above.
unsafe impl Plain for Event {}

const _: () = {
    assert!(size_of::<BlockKey>() == size_of::<types::kernel_block_key>());
    assert!(size_of::<Block>() == size_of::<types::kernel_block>());
    assert!(size_of::<Stack>() == size_of::<types::kernel_stack>());
    assert!(size_of::<UnseenFrees>() == size_of::<types::unseen_frees>());
    assert!(size_of::<Event>() == size_of::<types::kernel_event>());
};
