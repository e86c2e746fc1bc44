//! What belongs in the repository and what does not.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::progress::say;
use crate::workspace::Workspace;

/// A file longer than this has a second reason to change.
const LONG: usize = 400;
const TOO_LONG: usize = 600;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub fn run(workspace: &Workspace) -> Result<()> {
    let places = places_of_this_machine(&workspace.root);
    let mut faults = Vec::new();
    for file in files(&workspace.root)? {
        let bytes = std::fs::read(workspace.root.join(&file))
            .with_context(|| format!("read {}", file.display()))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let name = file.display();
        if has_extension(&file, &["rs", "c", "h", "cpp"]) {
            let lines = text.lines().count();
            if lines > TOO_LONG {
                faults.push(format!(
                    "{name} has {lines} lines, {TOO_LONG} are the limit"
                ));
            } else if lines > LONG {
                say(format_args!("      warning: {name} has {lines} lines"));
            }
        }
        if file.ends_with("Cargo.lock") {
            let foreign = foreign_sources(&text);
            faults.extend(foreign.map(|source| format!("{name} has the source {source}")));
        }
        for place in &places {
            if let Some(line) = line_with_path(&text, place) {
                faults.push(format!("{name}:{line} has this machine's path {place}"));
            }
        }
    }
    for fault in &faults {
        say(format_args!("      {fault}"));
    }
    if !faults.is_empty() {
        bail!("{} faults in the repository's files", faults.len());
    }
    Ok(())
}

/// Every file of the tree, relative to its root, in order; without what is built or git's own.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let context = || format!("list {}", directory.display());
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let kind = entry.file_type().with_context(context)?;
            let path = entry.path();
            if kind.is_dir() && !skipped(&path) {
                directories.push(path);
            } else if kind.is_file() {
                files.push(path.strip_prefix(root).unwrap_or(&path).to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

pub fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    file.extension()
        .is_some_and(|own| extensions.iter().any(|extension| own == *extension))
}

/// A build directory is known by cargo's tag, whatever its name.
fn skipped(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name == ".git")
        || directory.join("CACHEDIR.TAG").exists()
}

/// Directories whose names mean something on this machine only.
fn places_of_this_machine(root: &Path) -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut places = vec![format!("{}/", root.display())];
    if home.len() > 1 {
        places.push(format!("{}/", home.trim_end_matches('/')));
    }
    places
}

/// The number of the first line that has `place` as a path's beginning: `/proc/PID/root/` is not
/// root's home.
fn line_with_path(text: &str, place: &str) -> Option<usize> {
    let inside_path = |c: char| c.is_alphanumeric() || "_-./}>)*".contains(c);
    let at_a_beginning = |line: &str| {
        line.match_indices(place)
            .any(|(at, _)| !line[..at].ends_with(inside_path))
    };
    text.lines().position(at_a_beginning).map(|index| index + 1)
}

/// Sources in a lock file that are not crates.io: a mirror's name works on one machine only.
fn foreign_sources(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(|source| source.trim_matches('"'))
        .filter(|source| *source != REGISTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_told_from_a_process_root() {
        let place = "/srv/ada/";
        assert_eq!(line_with_path("a\nsee /srv/ada/x", place), Some(2));
        assert_eq!(line_with_path("path = \"/srv/ada/x\"", place), Some(1));
        assert_eq!(line_with_path("/proc/1/srv/ada/lib", place), None);
        assert_eq!(
            line_with_path("format!(\"/proc/{pid}/srv/ada/\")", place),
            None
        );
        assert_eq!(line_with_path("{}/srv/ada/lib", place), None);
    }

    #[test]
    fn only_the_one_registry_is_no_stranger() {
        let lock = format!("source = \"{REGISTRY}\"\nsource = \"sparse+https://mirror/\"\n");
        let foreign: Vec<_> = foreign_sources(&lock).collect();
        assert_eq!(foreign, ["sparse+https://mirror/"]);
    }

    #[test]
    fn extensions_are_compared_whole() {
        assert!(has_extension(Path::new("a/b.cpp"), &["c", "cpp"]));
        assert!(!has_extension(Path::new("a/b.cxx"), &["c", "cpp"]));
        assert!(!has_extension(Path::new("c"), &["c"]));
    }
}
