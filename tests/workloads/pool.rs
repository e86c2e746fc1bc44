// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//! An area of its own, from which nothing is given back.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

const BYTES: usize = 64 << 20;

#[repr(align(64))]
struct Pool {
    area: UnsafeCell<[u8; BYTES]>,
    used: AtomicUsize,
}

// SAFETY: no byte of the area is given to two.
unsafe impl Sync for Pool {}

#[global_allocator]
static GLOBAL: Pool = Pool {
    area: UnsafeCell::new([0; BYTES]),
    used: AtomicUsize::new(0),
};

// SAFETY: each block is another's neighbour, and aligned to 64 bytes.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let whole = layout.size().next_multiple_of(64);
        let at = self.used.fetch_add(whole, Ordering::Relaxed);
        if layout.align() > 64 || at + whole > BYTES {
            return ptr::null_mut();
        }
        unsafe { self.area.get().cast::<u8>().add(at) }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        std::hint::black_box(block);
    }
}
