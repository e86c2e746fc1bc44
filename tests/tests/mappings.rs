//! Blocks that malloc maps, and mappings that the program makes itself.

use memtools_tests::{Class, trace};

#[test]
fn a_block_that_malloc_maps_is_one_allocation_of_the_program() {
    let session = trace("bigblocks", &["heap"], &[]).agrees().lost_nothing();
    let report = session.report();
    assert_eq!(report.total_bytes(), session.truth.total_bytes());
    // Five, one, three, and one that was moved.
    assert_eq!(report.total_count(), 10);
    let stacks = report.stacks();
    let mapped = stacks.iter().find(|stack| stack.class == Class::Mmap);
    assert!(mapped.is_none(), "a mapping inside malloc: {mapped:#?}");
    for stack in report.stacks_of("leak_mib") {
        assert!(stack.frames[0].is("leak_mib"), "{:#?}", stack.frames);
    }
}

#[test]
fn mappings_are_exact_when_they_shrink_grow_and_move() {
    let session = trace("bigblocks", &["maps"], &[]).agrees().lost_nothing();
    assert_eq!(session.report().total_bytes(), session.truth.total_bytes());
}

#[test]
fn thread_stacks_and_arenas_are_no_leaks() {
    let session = trace("bigblocks", &["stacks"], &[]).agrees().lost_nothing();
    let report = session.report();
    let stacks = report.stacks();
    let of_class = |class| {
        let stacks = stacks.iter().filter(move |stack| stack.class == class);
        stacks.map(|stack| stack.figures.bytes).sum::<u64>()
    };
    let thread_stacks = session.truth.fact("thread_stacks");
    assert!(of_class(Class::ThreadStack) >= thread_stacks);
    // Beside a thread's blocks there is only what libc keeps to know it by.
    assert!(of_class(Class::Mmap) == 0, "{stacks:#?}");
    assert!(report.total_bytes() < 64 * 1024, "{}", report.total_bytes());
}

#[test]
fn arenas_that_are_made_inside_free_are_no_leaks() {
    let report = trace("free_first", &[] as &[&str], &[])
        .agrees()
        .lost_nothing()
        .report();
    let stacks = report.stacks();
    let mapped: Vec<_> = stacks
        .iter()
        .filter(|stack| stack.class == Class::Mmap)
        .collect();
    assert!(mapped.is_empty(), "{mapped:#?}");
    assert!(
        stacks.iter().any(|stack| stack.class == Class::Arena),
        "{stacks:#?}"
    );
}

#[test]
fn totals_are_those_of_heap_and_mappings() {
    for mode in ["heap", "maps", "stacks"] {
        let report = trace("bigblocks", &[mode], &[]).report();
        let mut stacks = report.stacks();
        stacks.retain(|stack| stack.class.is_of_the_program());
        let bytes: u64 = stacks.iter().map(|stack| stack.figures.bytes).sum();
        let count: u64 = stacks.iter().map(|stack| stack.figures.count).sum();
        assert_eq!(report.total_bytes(), bytes, "{mode}");
        assert_eq!(report.total_count(), count, "{mode}");
    }
}
