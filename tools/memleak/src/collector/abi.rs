//! The kernel side's structures (bpf/memleak.h, bpf/include/stack.h), checked for size.

use std::mem::offset_of;

use memtools::target::elf::usdt::{Argument, FramePointer, Place, Site};
use plain::Plain;

use super::kernel::types;

/// MAX_FRAMES in stack.h.
pub const MAX_FRAMES: usize = 127;
/// STACK_CACHE_SLOTS in stack.bpf.h.
pub const STACK_CACHE_SLOTS: u32 = 4096;
/// STACK_UNKNOWN: the slot of stacks that found no room.
pub const UNKNOWN_STACK: u32 = 0;
/// enum stack_flag.
pub const STACK_TRUNCATED: u32 = 1;
pub const STACK_CUT: u32 = 2;

/// enum event_kind.
pub const EVENT_MAP: u32 = 1;
pub const EVENT_UNMAP: u32 = 2;
pub const EVENT_REMAP_BEGIN: u32 = 3;
pub const EVENT_REMAP_END: u32 = 4;
pub const EVENT_EXEC: u32 = 5;
pub const EVENT_ALLOC: u32 = 6;
pub const EVENT_FREE: u32 = 7;

/// enum event_flag.
pub const EVENT_NESTED: u32 = 1;
pub const EVENT_FILE: u32 = 2;
pub const EVENT_FILTERED: u32 = 4;

/// enum counter, in order.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
#[allow(missing_docs)] // described in memleak.h
pub enum Counter {
    NestedCalls,
    AnchorHits,
    MappingHits,
    SampleHits,
    SampledAllocs,
    SampledFrees,
    Failed,
    UntrackedFrees,
    Maps,
    Unmaps,
    Remaps,
    Unrecorded,
    LossAllocs,
    LossAllocBytes,
    LossMissedFrees,
    LossSampleFrees,
    LossMissedReturns,
    LossStacks,
    LossTruncatedStacks,
    LossThreads,
    LossMappingEvents,
    LossTraceEvents,
}

/// COUNTERS.
pub const COUNTERS: u32 = Counter::LossTraceEvents as u32 + 1;

/// struct block_key.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BlockKey {
    pub address: u64,
    pub process: u32,
    pub generation: u32,
}

/// struct block.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Block {
    pub bytes: u64,
    pub born_ns: u64,
    pub stack: u32,
    pub further: u32,
}

/// struct block_set: its words, its ways, and where in words its parts lie.
pub const BLOCK_SET_WORDS: usize = 8;
pub const SET_WAYS: usize = 2;
pub const SET_GENERATION_SHIFT: u32 = 56;
pub const SET_STACK_SHIFT: u32 = 40;

/// enum usdt_place.
const USDT_CONSTANT: u8 = 0;
const USDT_REGISTER: u8 = 1;
const USDT_MEMORY: u8 = 2;

/// struct usdt_argument.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UsdtArgument {
    pub value: u64,
    pub place: u8,
    pub base: u8,
    pub index: u8,
    pub has_index: u8,
    pub index_shift: u8,
    pub bytes: u8,
    pub is_signed: u8,
    pub reserved: u8,
}

impl UsdtArgument {
    fn new(argument: &Argument) -> Self {
        let known = Self {
            bytes: argument.bytes,
            is_signed: argument.is_signed.into(),
            ..Self::default()
        };
        match argument.place {
            Place::Constant(value) => Self {
                value: value as u64,
                place: USDT_CONSTANT,
                ..known
            },
            Place::Register(base) => Self {
                place: USDT_REGISTER,
                base,
                ..known
            },
            Place::Memory {
                base,
                index,
                offset,
            } => Self {
                value: offset as u64,
                place: USDT_MEMORY,
                base,
                index: index.map_or(0, |(index, _)| index),
                has_index: index.is_some().into(),
                index_shift: index.map_or(0, |(_, shift)| shift),
                ..known
            },
        }
    }
}

/// struct usdt_site.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UsdtSite {
    pub arguments: [UsdtArgument; 3],
    pub frame_end: i32,
    pub frame_pointer: i32,
    pub frame_base: u8,
    pub knows_caller: u8,
    pub saves_frame_pointer: u8,
    pub loses_frame_pointer: u8,
    pub reserved: [u8; 4],
}

impl UsdtSite {
    pub fn new(site: &Site) -> Self {
        let mut new = Self::default();
        let arguments = site.arguments.iter().flatten();
        for (place, argument) in new.arguments.iter_mut().zip(arguments) {
            *place = UsdtArgument::new(argument);
        }
        if let Some(frame) = site.frame {
            new.knows_caller = 1;
            (new.frame_base, new.frame_end) = frame.end;
            match frame.frame_pointer {
                FramePointer::Kept => {}
                FramePointer::Saved(offset) => {
                    (new.saves_frame_pointer, new.frame_pointer) = (1, offset);
                }
                FramePointer::Lost => new.loses_frame_pointer = 1,
            }
        }
        new
    }
}

/// struct stack_totals.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct StackTotals {
    pub allocs: u64,
    pub alloc_bytes: u64,
    pub frees: u64,
    pub free_bytes: u64,
}

/// struct stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stack {
    pub hash: u64,
    pub first_seen_ns: u64,
    pub depth: u32,
    pub flags: u32,
    pub generation: u32,
    pub reserved: u32,
    pub frames: [u64; MAX_FRAMES],
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            hash: 0,
            first_seen_ns: 0,
            depth: 0,
            flags: 0,
            generation: 0,
            reserved: 0,
            frames: [0; MAX_FRAMES],
        }
    }
}

/// struct event.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Event {
    pub kind: u32,
    pub flags: u32,
    pub time_ns: u64,
    pub address: u64,
    pub bytes: u64,
    pub old_address: u64,
    pub old_bytes: u64,
    pub stack: u32,
    pub thread: u32,
    pub generation: u32,
    pub map_flags: u32,
}

// SAFETY: each is repr(C), of integers alone, without padding (the sizes below say so): any bytes
// are a value.
unsafe impl Plain for BlockKey {}
// SAFETY: as above.
unsafe impl Plain for Block {}
// SAFETY: as above.
unsafe impl Plain for UsdtSite {}
// SAFETY: as above.
unsafe impl Plain for StackTotals {}
// SAFETY: as above.
unsafe impl Plain for Stack {}
// SAFETY: as above.
unsafe impl Plain for Event {}

const _: () = {
    assert!(size_of::<BlockKey>() == size_of::<types::block_key>());
    assert!(size_of::<Block>() == size_of::<types::block>());
    assert!(BLOCK_SET_WORDS * 8 == size_of::<types::block_set>());
    assert!(offset_of!(types::block_set, born_ns) == SET_WAYS * 8);
    assert!(offset_of!(types::block_set, what) == 2 * SET_WAYS * 8);
    assert!(offset_of!(types::block_set, claims) == 3 * SET_WAYS * 8);
    assert!(size_of::<UsdtSite>() == size_of::<types::usdt_site>());
    assert!(size_of::<UsdtSite>() == 3 * 16 + 16);
    assert!(offset_of!(UsdtSite, frame_end) == offset_of!(types::usdt_site, frame_end));
    assert!(size_of::<StackTotals>() == size_of::<types::stack_totals>());
    assert!(size_of::<Stack>() == size_of::<types::stack>());
    assert!(size_of::<Stack>() == 32 + 8 * MAX_FRAMES);
    assert!(size_of::<Event>() == size_of::<types::event>());
};
