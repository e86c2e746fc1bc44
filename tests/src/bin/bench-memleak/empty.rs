//! The floor: well-placed probes whose programs do nothing.

use anyhow::Result;
use memtools::attach::{Kind, Links};
use memtools_tests::EmptyProbes;

use crate::allocator::Allocator;

/// At the entry and the return of malloc, and in free.
pub fn attach(empty: &EmptyProbes<'_>, pid: u32) -> Result<Links> {
    let allocator = Allocator::of(pid)?;
    let places = [
        (Kind::Entry, allocator.malloc),
        (Kind::Return, allocator.malloc),
        (Kind::Entry, allocator.free),
    ];
    empty.attach(pid, &allocator.object.open_path(), &places)
}
