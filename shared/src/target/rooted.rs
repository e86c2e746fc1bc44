//! Paths of another root directory, as of a container's at `/proc/PID/root`.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as the kernel follows for one path.
const MAX_LINKS: u32 = 40;

/// Where `path`, as a process with this root directory knows it, lies for us. Symbolic links are
/// followed within the root: the kernel would follow absolute ones, and `..`, out of it.
///
/// `None` where there is no such file, or one that may not be looked at.
pub(crate) fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut resolved = root.to_owned();
    let mut depth = 0;
    let mut links = 0;
    let mut pending = parts(path);
    while let Some(part) = pending.pop() {
        if part == ".." {
            if depth > 0 {
                resolved.pop();
                depth -= 1;
            }
            continue;
        }
        let next = resolved.join(&part);
        if !next.symlink_metadata().ok()?.is_symlink() {
            resolved = next;
            depth += 1;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        let target = next.read_link().ok()?;
        if target.is_absolute() {
            root.clone_into(&mut resolved);
            depth = 0;
        }
        pending.extend(parts(&target));
    }
    Some(resolved)
}

/// The components that lead somewhere, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::fs::write(root.join("usr/lib/file"), "").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/lib/../../lib/file", root.join("usr/absolute")).unwrap();
        symlink("/etc/passwd", root.join("outside")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let file = root.join("usr/lib/file");
        let resolve = |path: &str| resolve(root, Path::new(path));
        assert_eq!(resolve("/lib/file"), Some(file.clone()));
        assert_eq!(resolve("/../../usr/absolute"), Some(file.clone()));
        assert_eq!(resolve("/usr/./lib/../lib/file"), Some(file));
        assert_eq!(resolve("/"), Some(root.to_owned()));
        assert_eq!(resolve("/outside"), None);
        assert_eq!(resolve("/loop"), None);
        assert_eq!(resolve("/missing"), None);
    }

    #[test]
    fn our_own_root_is_one_too() {
        let here = std::env::current_exe().unwrap().canonicalize().unwrap();
        assert_eq!(resolve(Path::new("/"), &here), Some(here));
    }
}
