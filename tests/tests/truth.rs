//! The workloads tell the truth: what they say that they leak is what LeakSanitizer and valgrind
//! find. No tool of ours takes part.

// Outside test functions clippy does not know that this is a test.
#![allow(clippy::expect_used)]

use std::fs;
use std::os::unix::fs::FileExt;

use memtools_tests::{
    LeakedBy, Truth, Workload, altered_code, leak_sanitizer, path_of, skip, valgrind,
};

const NO_ARGS: &[&str] = &[];

fn truth_of(name: &str, args: &[&str]) -> Truth {
    let mut workload = Workload::start(name, args);
    let truth = workload.run();
    workload.quit();
    truth
}

/// LeakSanitizer counts a block of no bytes as one byte.
fn by_function(truth: &Truth, empty_block: u64) -> LeakedBy {
    let mut leaked = LeakedBy::new();
    for function in &truth.functions {
        let (bytes, count) = (function.bytes.unwrap_or(0), function.count.unwrap_or(0));
        if function.function.starts_with("leak_") && count > 0 {
            let bytes = if bytes == 0 {
                count * empty_block
            } else {
                bytes
            };
            leaked.insert(function.function.clone(), (bytes, count));
        }
    }
    leaked
}

#[test]
fn leak_sanitizer_finds_the_same_in_c() {
    let Some(sanitized) = path_of("exact-lsan") else {
        skip("leak_sanitizer_finds_the_same_in_c", "no LeakSanitizer");
        return;
    };
    let found = leak_sanitizer(&sanitized, NO_ARGS);
    assert_eq!(found, by_function(&truth_of("exact", NO_ARGS), 1));
}

#[test]
fn valgrind_finds_the_same_in_cpp() {
    let path = path_of("exceptions").expect("build.rs has built it");
    let Some(found) = valgrind(&path, &["0"]) else {
        skip("valgrind_finds_the_same_in_cpp", "no valgrind");
        return;
    };
    let truth = truth_of("exceptions", &["0"]);
    let mut expected = by_function(&truth, 0);
    // valgrind can walk through libstdc++: it sees the characters with their strings.
    let strings = expected.get_mut("leak_string").expect("it leaks strings");
    strings.0 += truth.fact("string_characters");
    strings.1 *= 2;
    assert_eq!(found, expected);
}

#[test]
fn valgrind_finds_the_same_in_rust() {
    let path = path_of("leak-release").expect("build.rs has built it");
    match valgrind(&path, NO_ARGS) {
        Some(found) => {
            let truth = truth_of("leak-release", NO_ARGS);
            assert_eq!(found, by_function(&truth, 0));
        }
        None => skip("valgrind_finds_the_same_in_rust", "no valgrind"),
    }
}

/// The proof that no breakpoint is left is worth something: one that is there is seen.
#[test]
fn an_altered_byte_of_code_is_seen() {
    let workload = Workload::start("basic", NO_ARGS);
    let pid = workload.pid();
    assert_eq!(altered_code(pid), Vec::<String>::new());

    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let is_code = |line: &&str| line.contains("r-xp") && line.contains("libc");
    let code = maps.lines().find(is_code).expect("it has libc");
    let (start, _) = code.split_once('-').expect("a range of addresses");
    let place = u64::from_str_radix(start, 16).expect("an address") + 0x1234;
    let memory = fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .expect("memory can be opened");
    let mut byte = [0];
    memory
        .read_exact_at(&mut byte, place)
        .expect("it is mapped");
    let altered = byte.map(|byte| !byte);
    memory.write_all_at(&altered, place).expect("it is mapped");
    assert_eq!(altered_code(pid).len(), 1);
    memory.write_all_at(&byte, place).expect("it is mapped");
    assert_eq!(altered_code(pid), Vec::<String>::new());
    workload.quit();
}
