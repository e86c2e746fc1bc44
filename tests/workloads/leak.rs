// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//! Leaks by the ways that Rust has, and lets panics pass through functions that hold memory.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;

mod protocol;

/// Everything by jemalloc's own functions, as its crate for Rust does.
#[cfg(jemalloc)]
mod jemalloc {
    use std::alloc::{GlobalAlloc, Layout};
    use std::ffi::c_int;

    const ZERO: c_int = 0x40;

    unsafe extern "C" {
        fn mallocx(size: usize, flags: c_int) -> *mut u8;
        fn rallocx(block: *mut u8, size: usize, flags: c_int) -> *mut u8;
        fn sdallocx(block: *mut u8, size: usize, flags: c_int);
    }

    struct Jemalloc;

    #[global_allocator]
    static GLOBAL: Jemalloc = Jemalloc;

    fn aligned(layout: Layout) -> c_int {
        layout.align().trailing_zeros() as c_int
    }

    // SAFETY: jemalloc keeps what is asked of an allocator.
    unsafe impl GlobalAlloc for Jemalloc {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            unsafe { mallocx(layout.size(), aligned(layout)) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            unsafe { mallocx(layout.size(), aligned(layout) | ZERO) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            unsafe { rallocx(block, size, aligned(layout)) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            unsafe { sdallocx(block, layout.size(), aligned(layout)) }
        }
    }
}

/// An area of its own, from which nothing is given back: in another crate, or where the compiler can see
/// it all.
#[cfg(pool)]
extern crate pool;
#[cfg(inlined_pool)]
mod pool;

/// The C library's, counted.
#[cfg(counting)]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(AtomicUsize);

    #[global_allocator]
    static GLOBAL: Counting = Counting(AtomicUsize::new(0));

    // SAFETY: the system's own.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.0.fetch_add(layout.size(), Ordering::Relaxed);
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.0.fetch_sub(layout.size(), Ordering::Relaxed);
            unsafe { System.dealloc(block, layout) }
        }
    }
}

#[repr(align(64))]
struct Wide {
    _bytes: [u8; 192],
}

#[inline(never)]
fn leak_box() {
    for _ in 0..10 {
        black_box(Box::leak(Box::new([1_u8; 100])));
    }
    protocol::truth("leak_box", 10 * 100, 10);
}

#[inline(never)]
fn leak_vec() {
    for _ in 0..5 {
        black_box(Vec::<u64>::with_capacity(1000).leak());
    }
    protocol::truth("leak_vec", 5 * 8000, 5);
}

/// Zeroed memory is asked for by calloc.
#[inline(never)]
fn leak_zeroed() {
    for _ in 0..3 {
        black_box(vec![0_u8; 5000].leak());
    }
    protocol::truth("leak_zeroed", 3 * 5000, 3);
}

/// A string that grows is a chain of reallocs.
#[inline(never)]
fn leak_string() {
    let mut text = String::new();
    while text.len() < 10_000 {
        text.push_str("leak");
    }
    protocol::truth("leak_string", text.capacity(), 1);
    black_box(text.leak());
}

#[inline(never)]
fn leak_forgotten() {
    for _ in 0..7 {
        std::mem::forget(black_box(Box::new([2_u8; 300])));
    }
    protocol::truth("leak_forgotten", 7 * 300, 7);
}

/// More alignment than malloc gives: by posix_memalign.
#[inline(never)]
fn leak_aligned() {
    for _ in 0..4 {
        black_box(Box::leak(Box::new(Wide { _bytes: [3; 192] })));
    }
    protocol::truth("leak_aligned", 4 * size_of::<Wide>(), 4);
}

struct Node {
    _other: std::cell::RefCell<Option<Rc<Node>>>,
}

/// Two that hold each other: nobody forgot them, and nobody will free them.
#[inline(never)]
fn leak_cycle() {
    for _ in 0..6 {
        let one = Rc::new(Node {
            _other: None.into(),
        });
        let two = Rc::new(Node {
            _other: Some(one.clone()).into(),
        });
        *one._other.borrow_mut() = Some(two);
    }
    let counted = 2 * size_of::<usize>() + size_of::<Node>();
    protocol::truth("leak_cycle", 12 * counted, 12);
}

#[inline(never)]
fn borrow_map() {
    let map: BTreeMap<usize, usize> = (0..1000).map(|i| (i, i)).collect();
    drop(black_box(map));
    protocol::truth("borrow_map", 0, 0);
}

#[inline(never)]
fn hold_and_panic(depth: usize) {
    let held = black_box(vec![depth; 50]);
    if depth == 0 {
        panic!("passes through");
    }
    hold_and_panic(depth - 1);
    drop(held);
}

#[inline(never)]
fn panic_and_catch() {
    for _ in 0..200 {
        assert!(std::panic::catch_unwind(|| hold_and_panic(5)).is_err());
    }
    protocol::truth("hold_and_panic", 0, 0);
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    protocol::ready();
    leak_box();
    leak_vec();
    leak_zeroed();
    leak_string();
    leak_forgotten();
    leak_aligned();
    leak_cycle();
    borrow_map();
    panic_and_catch();
    protocol::finish();
}
