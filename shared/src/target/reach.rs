//! What a function comes to in the end: whether it goes to one of some others, by itself or by what it calls.

use std::collections::{HashSet, VecDeque};

use super::elf::{ElfError, ElfObject, Function};
use super::instruction::{branch_targets, data_addresses};

/// Calls deep.
const MOST_DEPTH: u32 = 3;
/// Functions that are looked at.
const MOST_FUNCTIONS: usize = 24;

/// Whether a function, or one that it calls in the same object, goes to a function whose name is wanted: in
/// this object, or in another one by way of the dynamic linker. Calls through pointers are not followed.
///
/// # Errors
/// [`ElfError::Io`], [`ElfError::Malformed`] and [`ElfError::Unwind`].
pub fn reaches(
    elf: &ElfObject,
    function: &Function,
    wanted: impl Fn(&str) -> bool,
) -> Result<bool, ElfError> {
    let own = elf.functions_where(&wanted)?;
    let own: HashSet<u64> = own.iter().map(|function| function.address).collect();
    let slots = elf.imported_slots(&wanted)?;
    let mut seen = HashSet::from([function.address]);
    let mut waiting = VecDeque::from([(function.clone(), 0)]);
    while let Some((function, depth)) = waiting.pop_front() {
        // Where an address is loaded from, a call through a register may follow.
        let mut loaded = data_addresses(&function.code, function.address).into_iter();
        if loaded.any(|address| slots.contains(&address)) {
            return Ok(true);
        }
        for target in branch_targets(&function.code, function.address) {
            if own.contains(&target) {
                return Ok(true);
            }
            let is_inside = target.wrapping_sub(function.address) < function.code.len() as u64;
            if is_inside || !seen.insert(target) || seen.len() > MOST_FUNCTIONS {
                continue;
            }
            if let Some(slot) = elf.stub_slot(target)? {
                if slots.contains(&slot) {
                    return Ok(true);
                }
            } else if depth < MOST_DEPTH
                && let Some(next) = elf.function_at(target)?
            {
                waiting.push_back((next, depth + 1));
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::elf::fixture::{CODE, Image};

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_called_is_followed() {
        // a: call b; ret   b: jmp c   c: ret   d: call a; ret
        let code = [
            0xe8, 0x01, 0, 0, 0, 0xc3, 0xeb, 0x00, 0xc3, 0xe8, 0xf2, 0xff, 0xff, 0xff, 0xc3,
        ];
        let functions = [("a", 0, 6), ("b", 6, 2), ("c", 8, 1), ("d", 9, 6)];
        let file = Image::with_functions(&code, &functions).file();
        let elf = ElfObject::open(file.path()).unwrap();
        let of = |name: &str| elf.functions(&[name]).unwrap().remove(0);
        assert_eq!(of("c").address, CODE + 8);
        for (from, to, wanted) in [
            ("a", "c", true),
            ("d", "c", true),
            ("b", "a", false),
            ("c", "c", false),
        ] {
            let found = reaches(&elf, &of(from), |name| name == to).unwrap();
            assert_eq!(found, wanted, "{from} to {to}");
        }
    }

    /// The test itself asks the C library for memory, by way of Rust's own functions for it.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn memory_comes_from_another_object() {
        let elf = ElfObject::open("/proc/self/exe".as_ref()).unwrap();
        let own = elf.functions_where(|name| name.ends_with("__rdl_alloc"));
        let own = own.unwrap();
        assert!(!own.is_empty());
        for function in own {
            let found = reaches(&elf, &function, |name| name == "malloc");
            assert!(found.unwrap(), "{}", function.name);
            let found = reaches(&elf, &function, |name| name == "fork");
            assert!(!found.unwrap());
        }
    }
}
