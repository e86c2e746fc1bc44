//! Against our own executable and files made up for it.

use std::io::Write;

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::fixture::{CODE, Image};
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

/// `.debug_abbrev` and `.debug_info` (DWARF 4) of one unit: the function `inlined`, the function
/// `called`, which the source declares inline, and the member function `member`, whose inlined body
/// has its name in its declaration.
fn debug_info() -> (Vec<u8>, Vec<u8>) {
    const UNIT: u8 = 1;
    const NAMED: u8 = 2;
    const DECLARATION: u8 = 3;
    const BODY: u8 = 4;
    // Code, tag, whether it has children; attributes and their forms: the name (a string), whether
    // it is inlined (a byte), the entry of its declaration.
    let abbreviations = [
        &[UNIT, 0x11, 1, 0, 0][..],
        &[NAMED, 0x2e, 0, 0x03, 0x08, 0x20, 0x0b, 0, 0],
        &[DECLARATION, 0x2e, 0, 0x03, 0x08, 0, 0],
        &[BODY, 0x2e, 0, 0x20, 0x0b, 0x47, 0x13, 0, 0],
        &[0],
    ]
    .concat();
    // The version, where the abbreviations begin, the size of an address.
    let mut unit = [&4u16.to_ne_bytes()[..], &0u32.to_ne_bytes(), &[8, UNIT]].concat();
    unit.extend([&[NAMED][..], b"inlined\0\x01"].concat());
    unit.extend([&[NAMED][..], b"called\0\x02"].concat());
    // References count from the unit's length on.
    let declaration = unit.len() as u32 + 4;
    unit.extend([&[DECLARATION][..], b"member\0"].concat());
    unit.extend([&[BODY, 3][..], &declaration.to_ne_bytes()].concat());
    unit.push(0);
    let info = [&(unit.len() as u32).to_ne_bytes()[..], &unit].concat();
    (abbreviations, info)
}

#[test]
fn knows_what_the_compiler_inlined() {
    let (abbreviations, info) = debug_info();
    let file = Image::with_functions(&[0xc3], &[("called", 0, 1)])
        .with_section(".debug_abbrev", 1, &abbreviations)
        .with_section(".debug_info", 1, &info)
        .file();
    let object = ElfObject::open(file.path()).unwrap();
    for (name, is_inlined) in [
        ("inlined", true),
        ("member", true),
        ("called", false),
        ("absent", false),
    ] {
        assert_eq!(object.inlined(name).unwrap(), is_inlined, "{name}");
    }
}

#[test]
fn without_debug_info_nothing_is_known_to_be_inlined() {
    let file = Image::with_functions(&[0xc3], &[("f", 0, 1)]).file();
    let object = ElfObject::open(file.path()).unwrap();
    assert!(!object.inlined("f").unwrap());
    let damaged = Image::with_functions(&[0xc3], &[("f", 0, 1)])
        .with_section(".debug_info", 1, &[0xff; 40])
        .file();
    let error = ElfObject::open(damaged.path()).unwrap().inlined("f");
    assert!(
        matches!(error, Err(ElfError::DebugInfo { .. })),
        "{error:?}"
    );
}

#[test]
fn functions_are_found_by_any_condition_on_their_name() {
    let functions = [
        ("_Z1fv", 0, 4),
        ("b@@V2", 4, 0),
        ("b", 4, 0),
        ("b", 12, 2),
        ("c@V1", 16, 4),
        ("", 20, 4),
        ("beyond", 0x9000, 4),
    ];
    let mut image = Image::with_functions(&(0..64).collect::<Vec<u8>>(), &functions);
    // Data, an indirect function, and a symbol of a thread-local variable.
    for (name, kind) in [("data", 1), ("resolver", 10), ("thread_local", 6)] {
        image.symbols.push((name.into(), CODE + 5, 1, kind));
    }
    let file = image.file();
    let object = ElfObject::open(file.path()).unwrap();
    let all = object.functions_where(|_| true).unwrap();
    let facts: Vec<_> = all
        .iter()
        .map(|f| (f.name.as_str(), f.address - CODE, f.size, f.code.len()))
        .collect();
    // The second ends where the data begins.
    let expected = [
        ("_Z1fv", 0, 4, 4),
        ("b", 4, 0, 1),
        ("b", 12, 2, 2),
        ("c", 16, 4, 4),
    ];
    assert_eq!(facts, expected);
    assert_eq!(all[2].code, [12, 13]);
    let some = object
        .functions_where(|name| name.starts_with('b'))
        .unwrap();
    assert_eq!(some, all[1..3]);
    assert_eq!(
        object.function_names().unwrap(),
        ["_Z1fv", "b", "beyond", "c"]
    );
    assert!(object.functions_where(|_| false).unwrap().is_empty());
    assert!(object.defines("data") && !object.exports("data") && !object.defines("dat"));
}

#[test]
fn a_function_is_found_by_its_address() {
    let functions = [("__libc_f", 0, 4), ("f", 0, 6), ("__f", 0, 4), ("_g", 8, 4)];
    let file = Image::with_functions(&[0x90; 64], &functions).file();
    let object = ElfObject::open(file.path()).unwrap();
    let function = object.function_at(CODE).unwrap().unwrap();
    assert_eq!((function.name.as_str(), function.size), ("f", 6));
    assert_eq!(object.function_at(CODE + 8).unwrap().unwrap().name, "_g");
    assert_eq!(object.function_at(CODE + 1).unwrap(), None);
    assert_eq!(object.function_at(u64::MAX).unwrap(), None);
}

/// As in a stripped program: from its unwind table alone.
#[test]
fn a_function_without_a_symbol_is_found_by_its_address() {
    let object = this_program();
    let named = &object.functions(&["memtools_elf_test_cleanup"]).unwrap()[0];
    let mut headless = vec![0; 64];
    object.file.read_exact_at(&mut headless, 0).unwrap();
    headless[40..48].fill(0); // e_shoff
    headless[58..64].fill(0); // e_shentsize, e_shnum, e_shstrndx
    let file = NamedTempFile::new().unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), file.path()).unwrap();
    file.as_file().write_all_at(&headless, 0).unwrap();
    let stripped = ElfObject::open(file.path()).unwrap();
    assert!(
        stripped
            .functions(&["memtools_elf_test_cleanup"])
            .unwrap()
            .is_empty()
    );
    let unnamed = stripped.function_at(named.address).unwrap().unwrap();
    assert_eq!(unnamed.name, format!("{:#x}", named.address));
    assert_eq!((unnamed.size, &unnamed.code), (named.size, &named.code));
    assert_eq!(stripped.function_at(named.address + 1).unwrap(), None);
}

#[test]
fn programs_made_by_go_are_known() {
    let go = |image: Image| ElfObject::open(image.file().path()).unwrap().is_go();
    assert!(!this_program().is_go());
    assert!(!go(Image::with_functions(&[0xc3], &[("main", 0, 1)])));
    assert!(go(Image::with_functions(
        &[0xc3],
        &[("runtime.gopanic", 0, 1)]
    )));
    assert!(go(Image::default().with_section(".gopclntab", 1, &[0; 8])));
}

#[test]
fn the_libraries_that_it_needs_are_named() {
    let file = Image::default().file();
    assert!(ElfObject::open(file.path()).unwrap().needed().is_empty());
    if cfg!(target_env = "gnu") {
        let needed = this_program().needed();
        assert!(needed.iter().any(|name| name == "libc.so.6"), "{needed:?}");
    }
}

/// 100,000 functions, of which a third has no size.
#[test]
fn large_symbol_tables_are_read_once() {
    let names: Vec<String> = (0..100_000).map(|n| format!("function_{n}")).collect();
    let symbol = |(index, name): (usize, &String)| {
        let size = if index % 3 == 0 { 0 } else { 4 };
        (name.clone(), CODE + 4 * index as u64, size, 2)
    };
    let image = Image {
        code: vec![0x90; 400_000],
        symbols: names.iter().enumerate().map(symbol).collect(),
        ..Image::default()
    };
    let file = image.file();
    let object = ElfObject::open(file.path()).unwrap();
    let start = std::time::Instant::now();
    let functions = object.functions_where(|_| true).unwrap();
    assert_eq!(functions.len(), 100_000);
    assert!(functions[..99_999].iter().all(|f| !f.code.is_empty()));
    // Looking through the table for each function would take hours.
    assert!(start.elapsed() < std::time::Duration::from_secs(60));
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
            let _ = object.needed();
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn damaged_sections_are_errors_and_no_more() {
    let functions = [("f", 0, 8), ("f.cold", 8, 0), ("g", 20, 90)];
    let mut code = [0x90; 64];
    code[2..4].copy_from_slice(&[0xeb, 8]);
    let intact = Image::with_functions(&code, &functions)
        .with_frames(&[(0..8, &[0x0e, 16]), (12..16, &[0x0e, 16, 0x83, 2])])
        .with_section(
            ".debug_info",
            1,
            &[11, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0],
        )
        .with_section(".debug_abbrev", 1, &[1, 0x11, 1, 3, 8, 0, 0, 0])
        .with_section(".gnu_debuglink", 1, b"f.dbg\0\0\0\x12\x34\x56\x78")
        .with_build_id(&[1, 2, 3])
        .bytes();
    let body = CODE as usize..intact.len();
    let damage = prop::collection::vec((body, any::<u8>()), 0..20);
    let mut runner = prop::test_runner::TestRunner::default();
    let outcome = runner.run(&damage, |damage| {
        let mut bytes = intact.clone();
        for (index, byte) in damage {
            bytes[index] = byte;
        }
        let file = written(&bytes);
        if let Ok(object) = ElfObject::open(file.path()) {
            let _ = object.functions_where(|_| true);
            let _ = object.function_names();
            for function in object.function_at(CODE).into_iter().flatten() {
                let _ = object.cold_parts(&function);
            }
            let _ = (object.is_go(), object.defines("f"), object.inlined("f"));
        }
        Ok(())
    });
    outcome.unwrap();
}
