//! Which files a user means by the short name of a library or of a program.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::elf::ElfObject;
use super::object::open_regular;
use super::rooted::resolve;
use crate::pattern::Pattern;

/// How deep files of `/etc/ld.so.conf` are followed that include others.
const MAX_INCLUDES: u32 = 8;

/// Where dynamic loaders look without being told to.
const DIRECTORIES: &[&str] = &[
    "/lib64",
    "/usr/lib64",
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

/// Where musl's loader is told directories, by machine.
const MUSL_PATHS: &str = if cfg!(target_arch = "aarch64") {
    "/etc/ld-musl-aarch64.path"
} else {
    "/etc/ld-musl-x86_64.path"
};

/// musl's C library is its dynamic loader.
const MUSL_LIBC: &str = if cfg!(target_arch = "aarch64") {
    "ld-musl-aarch64.so.1"
} else {
    "ld-musl-x86_64.so.1"
};

/// The shared library that `name` stands for in the system with this root directory: a file name
/// (`libc.so.6`), or one without what every library's has (`libc`, `c`). Of several versions the
/// highest. Files that are no objects of this machine are passed over, such as the linker script
/// `libc.so`.
///
/// The path is below `root`, with symbolic links resolved. A name with a slash is a path.
pub fn find_library(name: &str, root: &Path) -> Option<PathBuf> {
    let object = |path: &Path| {
        let path = resolve(root, path)?;
        ElfObject::open(&path).is_ok().then_some(path)
    };
    if name.contains('/') {
        return object(Path::new(name));
    }
    if name.is_empty() {
        return None;
    }
    // Of two systems in one, musl's is the guest.
    let (musl, own): (Vec<PathBuf>, Vec<PathBuf>) = directories(root)
        .into_iter()
        .partition(|directory| directory.to_string_lossy().contains("musl"));
    find_in(name, &own, root, object).or_else(|| find_in(name, &musl, root, object))
}

fn find_in(
    name: &str,
    directories: &[PathBuf],
    root: &Path,
    object: impl Fn(&Path) -> Option<PathBuf> + Copy,
) -> Option<PathBuf> {
    let by_name = |name: &str| {
        let mut paths = directories.iter().map(|directory| directory.join(name));
        paths.find_map(|path| object(&path))
    };
    let stems = [format!("lib{name}.so"), format!("{name}.so")];
    by_name(name)
        .or_else(|| stems.iter().find_map(|stem| by_name(stem)))
        .or_else(|| {
            let mut stems = stems.iter();
            stems.find_map(|stem| highest_version(stem, directories, root, object))
        })
        .or_else(|| matches!(name, "c" | "libc").then(|| by_name(MUSL_LIBC))?)
}

/// The program that a shell would run for `name`: the first executable file of that name in the
/// directories of `path_variable` (`$PATH`), which are those of the system with this root
/// directory. Relative directories are passed over: whose they would be is unknown.
///
/// The path is below `root`, with symbolic links resolved. A name with a slash is a path.
pub fn find_program(name: &str, path_variable: &OsStr, root: &Path) -> Option<PathBuf> {
    let program = |path: &Path| {
        let path = resolve(root, path)?;
        let metadata = path.metadata().ok()?;
        let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        executable.then_some(path)
    };
    if name.contains('/') {
        return program(Path::new(name));
    }
    if name.is_empty() {
        return None;
    }
    std::env::split_paths(path_variable)
        .filter(|directory| directory.is_absolute())
        .find_map(|directory| program(&directory.join(name)))
}

/// Of the files `STEM.N` the one with the highest version that is an object; among equals that of
/// the first directory.
fn highest_version(
    stem: &str,
    directories: &[PathBuf],
    root: &Path,
    object: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<PathBuf> {
    let mut versions: BTreeMap<Vec<u64>, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories {
        let entries = resolve(root, directory).and_then(|path| fs::read_dir(path).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let version = file_name.to_str().and_then(|name| version_of(name, stem));
            if let Some(version) = version {
                let paths = versions.entry(version).or_default();
                paths.push(directory.join(file_name));
            }
        }
    }
    let mut paths = versions.into_values().rev().flatten();
    paths.find_map(|path| object(&path))
}

/// `[1, 2]` of `libx.so.1.2` with the stem `libx.so`.
fn version_of(name: &str, stem: &str) -> Option<Vec<u64>> {
    let version = name.strip_prefix(stem)?.strip_prefix('.')?;
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// The configured directories and then the standard ones, as the system itself knows them.
fn directories(root: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    read_configuration(root, Path::new("/etc/ld.so.conf"), 0, &mut directories);
    let musl = read(root, Path::new(MUSL_PATHS)).unwrap_or_default();
    directories.extend(musl.split([':', '\n']).map(PathBuf::from));
    directories.extend(DIRECTORIES.iter().map(PathBuf::from));
    directories.retain(|directory| directory.is_absolute());
    directories
}

/// A file in the format of `/etc/ld.so.conf`: directories, comments, and includes, whose last part
/// may be a pattern.
fn read_configuration(root: &Path, path: &Path, depth: u32, directories: &mut Vec<PathBuf>) {
    let text = read(root, path).unwrap_or_default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("include") if depth < MAX_INCLUDES => {
                let base = path.parent().unwrap_or(path);
                for file in words.flat_map(|word| included(root, &base.join(word))) {
                    read_configuration(root, &file, depth + 1, directories);
                }
            }
            Some("include" | "hwcap") | None => {}
            // Separated by blanks, colons or commas; an old form names a type behind a `=`.
            Some(_) => {
                let listed = line.split([':', ',', ' ', '\t']);
                let paths = listed.map(|entry| entry.split('=').next().unwrap_or(entry));
                directories.extend(paths.map(PathBuf::from));
            }
        }
    }
}

/// The files that an `include` names, sorted.
fn included(root: &Path, pattern: &Path) -> Vec<PathBuf> {
    let file_name = pattern.file_name().and_then(OsStr::to_str);
    let Some((directory, file_name)) = pattern.parent().zip(file_name) else {
        return Vec::new();
    };
    let entries = resolve(root, directory).and_then(|path| fs::read_dir(path).ok());
    let Ok(wanted) = Pattern::new(file_name, false) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_str().is_some_and(|name| wanted.matches(name)))
        .map(|name| directory.join(name))
        .collect();
    files.sort();
    files
}

/// A regular file: a container may have put anything in its place.
fn read(root: &Path, path: &Path) -> Option<String> {
    io::read_to_string(open_regular(&resolve(root, path)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::target::elf::fixture::Image;

    /// A system with these files, where those that end in `!` are no objects.
    fn system(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file.trim_end_matches('!'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let contents = if file.ends_with('!') {
                b"/* GNU ld script */".to_vec()
            } else {
                Image::default().bytes()
            };
            fs::write(path, contents).unwrap();
        }
        root
    }

    fn found(root: &tempfile::TempDir, name: &str) -> Option<String> {
        let path = find_library(name, root.path())?;
        Some(path.strip_prefix(root).unwrap().to_str().unwrap().into())
    }

    #[test]
    fn libraries_are_found_by_each_of_their_names() {
        let root = system(&["usr/lib/libc.so!", "lib64/libc.so.6", "usr/lib/libssl.so.3"]);
        for name in ["c", "libc", "libc.so.6"] {
            assert_eq!(found(&root, name).unwrap(), "lib64/libc.so.6", "{name}");
        }
        assert_eq!(found(&root, "ssl").unwrap(), "usr/lib/libssl.so.3");
        assert_eq!(
            found(&root, "/usr/lib/libssl.so.3").unwrap(),
            "usr/lib/libssl.so.3"
        );
        for name in ["", "s", "ssl.so.1", "/usr/lib/libc.so", ".."] {
            assert_eq!(found(&root, name), None, "{name}");
        }
    }

    #[test]
    fn the_highest_version_is_taken() {
        let files = [
            "libz.so.1.9",
            "libz.so.1.10.2",
            "libz.so.2!",
            "libz.so.x",
            "libzz.so.3",
        ];
        let root = system(
            &files.map(|file| Box::leak(format!("usr/lib/{file}").into_boxed_str()) as &str),
        );
        assert_eq!(found(&root, "z").unwrap(), "usr/lib/libz.so.1.10.2");
        fs::write(
            root.path().join("usr/lib/libz.so"),
            Image::default().bytes(),
        )
        .unwrap();
        assert_eq!(found(&root, "z").unwrap(), "usr/lib/libz.so");
    }

    #[test]
    fn configured_directories_come_first() {
        let root = system(&[
            "usr/lib/libx.so.1",
            "opt/a/libx.so.1",
            "opt/b/liby.so",
            "opt/m/libm.so",
        ]);
        let etc = root.path().join("etc");
        fs::create_dir_all(etc.join("ld.so.conf.d")).unwrap();
        fs::write(etc.join("ld.so.conf"), "include ld.so.conf.d/*.conf\n").unwrap();
        fs::write(
            etc.join("ld.so.conf.d/a.conf"),
            "# ours\n/opt/a # and so on\n",
        )
        .unwrap();
        // It includes itself, too.
        fs::write(etc.join("ld.so.conf.d/b.conf"), "/opt/b\ninclude *.conf\n").unwrap();
        fs::write(root.path().join(&MUSL_PATHS[1..]), "/lib:/opt/m\n").unwrap();
        assert_eq!(found(&root, "x").unwrap(), "opt/a/libx.so.1");
        assert_eq!(found(&root, "y").unwrap(), "opt/b/liby.so");
        assert_eq!(found(&root, "m").unwrap(), "opt/m/libm.so");
    }

    #[test]
    fn musl_has_its_library_in_its_loader() {
        let loader = format!("lib/{MUSL_LIBC}");
        let root = system(&[&loader]);
        assert_eq!(found(&root, "c").unwrap(), loader);
        assert_eq!(found(&root, "m"), None);
    }

    #[test]
    fn absolute_links_stay_in_the_system() {
        let root = system(&["usr/lib/libblas/libblas.so.3.1"]);
        let lib = root.path().join("usr/lib");
        symlink("/usr/lib/libblas/libblas.so.3.1", lib.join("libblas.so.3")).unwrap();
        symlink("/usr/lib", root.path().join("lib64")).unwrap();
        assert_eq!(
            found(&root, "blas").unwrap(),
            "usr/lib/libblas/libblas.so.3.1"
        );
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn our_own_c_library_is_found() {
        let path = find_library("c", Path::new("/")).unwrap();
        let object = ElfObject::open(&path).unwrap();
        assert!(object.exports("malloc"), "{}", path.display());
    }

    #[test]
    fn programs_are_found_as_a_shell_does() {
        let root = system(&["bin/tool!", "opt/tool", "opt/dir/file"]);
        let executable = root.path().join("opt/tool");
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
        let found = |name, path: &str| find_program(name, path.as_ref(), root.path());
        assert_eq!(
            found("tool", "/bin:relative::/opt"),
            Some(executable.clone())
        );
        assert_eq!(found("/opt/tool", ""), Some(executable));
        for name in ["dir", "", "missing", "/bin/tool"] {
            assert_eq!(found(name, "/opt:/bin"), None, "{name}");
        }
        assert_eq!(found("tool", "/bin"), None, "not executable");
    }
}
