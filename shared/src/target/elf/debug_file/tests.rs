use std::path::PathBuf;

use super::*;
use crate::target::elf::fixture::{CODE, Image};

const ID: [u8; 4] = [0xab, 0xcd, 0x01, 0x02];

fn with_symbols() -> Image {
    Image::with_functions(&[0x90; 64], &[("hidden", 16, 8)])
}

fn stripped() -> Image {
    Image {
        code: (0..64).collect(),
        ..Image::default()
    }
}

/// `.gnu_debuglink` with a file name of ten bytes at most.
fn link(image: Image, name: &str, checksum: u32) -> Image {
    let mut contents = name.as_bytes().to_vec();
    contents.resize(12, 0);
    contents.extend(checksum.to_ne_bytes());
    image.with_section(".gnu_debuglink", 1, &contents)
}

fn place(root: &Path, path: &str, image: &Image) -> PathBuf {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, image.bytes()).unwrap();
    path
}

/// The bytes of the function that only the debug file knows.
fn hidden(object: &Path, root: &Path) -> Option<Vec<u8>> {
    let object = ElfObject::open(object).unwrap().with_root(root);
    let functions = object.functions(&["hidden"]).unwrap();
    assert_eq!(
        functions,
        object.functions_where(|name| name == "hidden").unwrap()
    );
    assert_eq!(object.defines("hidden"), !functions.is_empty());
    functions.into_iter().next().map(|f| {
        assert_eq!(
            (f.address, f.file_offset, f.size),
            (CODE + 16, CODE + 16, 8)
        );
        f.code
    })
}

#[test]
fn a_debug_file_is_found_by_build_id_below_the_root() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let object = place(root, "usr/bin/thing", &stripped().with_build_id(&ID));
    assert_eq!(hidden(&object, root), None);
    let at = "usr/lib/debug/.build-id/ab/cd0102.debug";
    place(root, at, &with_symbols().with_build_id(&[1, 2, 3, 4]));
    assert_eq!(hidden(&object, root), None, "of another build");
    place(root, at, &with_symbols().with_build_id(&ID));
    // The code is the object's.
    assert_eq!(hidden(&object, root), Some((16..24).collect()));
    assert_eq!(hidden(&object, Path::new("/")), None);
}

#[test]
fn a_debug_file_is_found_by_its_name() {
    for at in [
        "opt/thing.dbg",
        "opt/.debug/thing.dbg",
        "usr/lib/debug/opt/thing.dbg",
    ] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut checksum = flate2::Crc::new();
        checksum.update(&with_symbols().bytes());
        let object = place(
            root,
            "opt/thing",
            &link(stripped(), "thing.dbg", checksum.sum()),
        );
        place(root, at, &with_symbols());
        assert_eq!(hidden(&object, root), Some((16..24).collect()), "{at}");
        let other = place(root, "opt/other", &link(stripped(), "thing.dbg", 1));
        assert_eq!(hidden(&other, root), None, "another checksum");
        let image = link(stripped(), "thing.dbg", 1).with_build_id(&ID);
        let built = place(root, "opt/built", &image);
        assert_eq!(hidden(&built, root), None, "no build id there");
        place(root, at, &with_symbols().with_build_id(&ID));
        assert_eq!(hidden(&built, root), Some((16..24).collect()));
    }
}

#[test]
fn an_object_with_symbols_needs_no_debug_file() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let own = Image::with_functions(&[0x90; 64], &[("own", 0, 8)]).with_build_id(&ID);
    let object = place(root, "thing", &own);
    let at = "usr/lib/debug/.build-id/ab/cd0102.debug";
    place(root, at, &with_symbols().with_build_id(&ID));
    assert_eq!(hidden(&object, root), None);
}

#[test]
fn a_link_with_a_path_stays_in_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mut checksum = flate2::Crc::new();
    checksum.update(&with_symbols().bytes());
    let object = place(
        root,
        "opt/thing",
        &link(stripped(), "../x.dbg", checksum.sum()),
    );
    place(root, "x.dbg", &with_symbols());
    assert_eq!(hidden(&object, root), None);
}
