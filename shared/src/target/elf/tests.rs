//! Against our own executable and files made up for it.

use std::io::Write;

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::*;

#[unsafe(no_mangle)]
extern "C" fn memtools_elf_test_leaf(number: u64) -> u64 {
    number ^ 1
}

#[unsafe(no_mangle)]
extern "C-unwind" fn memtools_elf_test_cleanup(callback: extern "C-unwind" fn()) -> usize {
    // Or an optimizer that sees through it would leave nothing to clean up.
    let owned = std::hint::black_box(String::from("owned"));
    callback();
    owned.len()
}

fn this_program() -> ElfObject {
    ElfObject::open(&std::env::current_exe().unwrap()).unwrap()
}

/// The file that is mapped at an address of this process, and the offset in it.
fn mapped_at(address: usize) -> Option<(PathBuf, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let offset = u64::from_str_radix(fields[2], 16).ok()?;
        let path = (start..end).contains(&address).then(|| fields.get(5))??;
        Some((path.into(), offset + (address - start) as u64))
    })
}

fn written(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// An ELF header of the given class (1 or 2), byte order (1 little, 2 big) and machine.
fn header(class: u8, order: u8, machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    let machine = match order {
        1 => machine.to_le_bytes(),
        _ => machine.to_be_bytes(),
    };
    bytes[18..20].copy_from_slice(&machine);
    bytes
}

#[test]
fn finds_functions_where_the_kernel_maps_them() {
    let object = this_program();
    let functions = object
        .functions(&["memtools_elf_test_cleanup", "memtools_elf_test_leaf"])
        .unwrap();
    let addresses = [
        memtools_elf_test_cleanup as *const () as usize,
        memtools_elf_test_leaf as *const () as usize,
    ];
    assert_eq!(functions.len(), 2);
    for (function, address) in functions.iter().zip(addresses) {
        assert_eq!(mapped_at(address).unwrap().1, function.file_offset);
        assert_eq!(
            object.file_offset(function.address),
            Some(function.file_offset)
        );
        assert_eq!(
            object.address_of(function.file_offset),
            Some(function.address)
        );
        assert_eq!(function.code.len() as u64, function.size);
    }
    assert_eq!(memtools_elf_test_leaf(2), 3);
}

#[test]
fn tells_functions_that_clean_up_from_those_that_do_not() {
    let object = this_program();
    let has_table = |name| {
        let function = &object.functions(&[name]).unwrap()[0];
        object.has_exception_table(function.address).unwrap()
    };
    assert!(has_table("memtools_elf_test_cleanup"));
    assert!(!has_table("memtools_elf_test_leaf"));
    assert!(!object.has_exception_table(0).unwrap());
    assert!(!object.has_exception_table(u64::MAX).unwrap());
}

#[test]
fn a_name_is_matched_whole() {
    let object = this_program();
    assert!(
        object
            .functions(&["memtools_elf_test_lea", "elf_test_leaf", ""])
            .unwrap()
            .is_empty()
    );
    assert!(object.functions(&[]).unwrap().is_empty());
    assert!(!object.exports("memtools_elf_test_lea"));
}

#[test]
fn addresses_outside_the_segments_have_no_offset() {
    let object = this_program();
    assert_eq!(object.file_offset(u64::MAX), None);
    assert_eq!(object.address_of(u64::MAX), None);
}

#[cfg(target_env = "gnu")]
#[test]
fn reads_a_library_with_and_without_section_headers() {
    let (path, offset) = mapped_at(libc::malloc as *const () as usize).unwrap();
    let library = ElfObject::open(&path).unwrap();
    assert!(library.is_dynamic() && library.build_id().is_some());
    let names = ["malloc", "free"];
    let functions = library.functions(&names).unwrap();
    assert!(
        functions
            .iter()
            .any(|f| f.file_offset == offset && f.name == "malloc")
    );
    assert!(library.exports("malloc") && !library.exports("memtools_no_such_name"));

    let mut stripped = std::fs::read(&path).unwrap();
    stripped[40..48].fill(0); // e_shoff
    stripped[58..64].fill(0); // e_shentsize, e_shnum, e_shstrndx
    let stripped = written(&stripped);
    let stripped = ElfObject::open(stripped.path()).unwrap();
    assert_eq!(stripped.functions(&names).unwrap(), functions);
    assert!(stripped.exports("malloc"));
    for function in functions {
        let here = stripped.has_exception_table(function.address).unwrap();
        assert_eq!(here, library.has_exception_table(function.address).unwrap());
    }
}

#[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
#[test]
fn leaves_out_resolvers_and_imports() {
    let (path, _) = mapped_at(libc::malloc as *const () as usize).unwrap();
    let library = ElfObject::open(&path).unwrap();
    assert!(library.exports("strlen"));
    assert!(library.functions(&["strlen"]).unwrap().is_empty());
    let program = this_program();
    assert!(!program.exports("malloc"));
    assert!(program.functions(&["malloc"]).unwrap().is_empty());
}

#[test]
fn says_what_is_wrong_with_a_file() {
    let open = |bytes: &[u8]| ElfObject::open(written(bytes).path()).unwrap_err();
    assert!(matches!(open(b""), ElfError::NotElf { .. }));
    assert!(matches!(open(&[b'#'; 100]), ElfError::NotElf { .. }));
    assert!(matches!(
        open(&header(1, 1, 3)),
        ElfError::ThirtyTwoBit { .. }
    ));
    assert!(matches!(
        open(&header(1, 1, MACHINE.0)),
        ElfError::ThirtyTwoBit { .. }
    ));
    let foreign = open(&header(2, 2, 22));
    assert!(matches!(
        foreign,
        ElfError::ForeignMachine { machine: 22, .. }
    ));
    let swapped = open(&header(2, 2, MACHINE.0));
    assert!(matches!(swapped, ElfError::ForeignMachine { .. }));
    let missing = ElfObject::open(Path::new("/nonexistent/file")).unwrap_err();
    assert!(matches!(missing, ElfError::Io { .. }));
    assert!(missing.to_string().contains("/nonexistent/file"));
    let directory = ElfObject::open(Path::new("/proc")).unwrap_err();
    assert!(matches!(directory, ElfError::NotElf { .. }));
}

#[test]
fn the_class_is_told_of_foreign_objects_too() {
    let class = |bytes: &[u8]| class_of(written(bytes).path());
    assert_eq!(class(&header(1, 1, 3)).unwrap(), Class::Elf32);
    assert_eq!(class(&header(2, 2, 22)).unwrap(), Class::Elf64);
    assert!(matches!(class(b"#!/bin/sh"), Err(ElfError::NotElf { .. })));
}

#[test]
fn damaged_headers_are_errors_and_no_more() {
    let program = std::env::current_exe().unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::copy(program, file.path()).unwrap();
    let mut intact = vec![0; 2048];
    file.as_file().read_exact_at(&mut intact, 0).unwrap();
    let damage = prop::collection::vec((16..2048usize, any::<u8>()), 1..20);
    let mut runner = prop::test_runner::TestRunner::default();
    let outcome = runner.run(&damage, |damage| {
        let mut bytes = intact.clone();
        for (index, byte) in damage {
            bytes[index] = byte;
        }
        file.as_file().write_all_at(&bytes, 0).unwrap();
        if let Ok(object) = ElfObject::open(file.path()) {
            let _ = object.functions(&["main"]);
            let _ = object.has_exception_table(0x1000);
            let _ = object.exports("main");
        }
        Ok(())
    });
    outcome.unwrap();
}
