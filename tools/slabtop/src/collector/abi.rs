//! The kernel side's structures (bpf/slabtop.h), checked for size.

use plain::Plain;

use super::kernel::types;

/// NAME_BYTES.
pub const NAME_BYTES: usize = 64;
/// STACK_DEPTH.
pub const STACK_DEPTH: usize = 64;

/// enum slab_flag.
pub const SLAB_FREE_IS_KNOWN: u32 = 1 << 0;

/// struct slab_sizes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sizes {
    pub cache: u64,
    pub objects: u64,
    pub free: u64,
    pub slabs: u64,
    pub size: u32,
    pub order_objects: u32,
    pub flags: u32,
    pub reserved: u32,
    pub name: [u8; NAME_BYTES],
}

/// enum motion: those that bring objects, then those that take them.
pub const MOTIONS: usize = 6;
pub const FIRST_FREE: usize = 3;

/// struct slab_slot, in words: a cache's address, then its motions.
pub const SLOT_WORDS: usize = 8;
/// struct slab_slots.
pub const SLOTS_WORDS: usize = 2048 * SLOT_WORDS;

/// struct slab_name.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Name {
    pub text: [u8; NAME_BYTES],
}

impl Default for Name {
    fn default() -> Self {
        Self {
            text: [0; NAME_BYTES],
        }
    }
}

/// enum slab_counter.
pub const LOST_CACHES: usize = 0;
pub const LOST_OBJECTS: usize = 1;
pub const LOST_STACKS: usize = 2;
pub const LOST_BULK: usize = 3;
pub const COUNTERS: u32 = 5;

/// struct slab_stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stack {
    pub cache: u64,
    pub allocs: u64,
    pub freed: u64,
    pub not_followed: u64,
    pub frees: u64,
    pub depth: u64,
    pub process: u32,
    pub has_others: u32,
    pub comm: [u8; 16],
    pub frames: [u64; STACK_DEPTH],
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            cache: 0,
            allocs: 0,
            freed: 0,
            not_followed: 0,
            frees: 0,
            depth: 0,
            process: 0,
            has_others: 0,
            comm: [0; 16],
            frames: [0; STACK_DEPTH],
        }
    }
}

const _: () = {
    assert!(size_of::<Sizes>() == size_of::<types::slab_sizes>());
    assert!(SLOTS_WORDS * 8 == size_of::<types::slab_slots>());
    assert!(size_of::<Name>() == size_of::<types::slab_name>());
    assert!(size_of::<Stack>() == size_of::<types::slab_stack>());
};

// SAFETY: structures of numbers without padding, for which all bytes are values.
unsafe impl Plain for Sizes {}
// SAFETY: as above.
unsafe impl Plain for Name {}
// SAFETY: as above.
unsafe impl Plain for Stack {}
