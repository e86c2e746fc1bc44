//! The files that a guest has, most of them at the place where this machine has them.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cpio;
use crate::process;

/// As many symbolic links in one path as the kernel follows.
const LINKS: usize = 40;

enum Entry {
    Directory,
    /// A file of this machine.
    Host(PathBuf),
    Text {
        text: String,
        mode: u32,
    },
    Link(PathBuf),
    Device(u32, u32),
}

/// Absolute paths in the guest, parents before what is in them.
#[derive(Default)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
    /// Programs whose libraries are not in the tree yet.
    programs: Vec<PathBuf>,
}

impl Tree {
    /// A directory and its parents.
    pub fn directory(&mut self, path: &Path) {
        for ancestor in path.ancestors() {
            self.entries
                .entry(ancestor.to_path_buf())
                .or_insert(Entry::Directory);
        }
    }

    pub fn text(&mut self, path: impl AsRef<Path>, mode: u32, text: impl Into<String>) {
        let text = text.into();
        self.put(path.as_ref(), Entry::Text { text, mode });
    }

    pub fn device(&mut self, path: impl AsRef<Path>, major: u32, minor: u32) {
        self.put(path.as_ref(), Entry::Device(major, minor));
    }

    /// A symbolic link, unless there is something at its place.
    pub fn link(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        let path = path.as_ref();
        if !self.entries.contains_key(path) {
            self.put(path, Entry::Link(target.as_ref().to_path_buf()));
        }
    }

    /// A link of this machine, whatever it leads to.
    pub fn link_of_host(&mut self, path: &Path) -> Result<()> {
        let target = path
            .read_link()
            .with_context(|| format!("read the link {}", path.display()))?;
        self.put(path, Entry::Link(target));
        Ok(())
    }

    /// A file of this machine under another path.
    pub fn copy(&mut self, from: &Path, to: &Path) {
        self.programs.push(from.to_path_buf());
        self.put(to, Entry::Host(from.to_path_buf()));
    }

    /// A file or directory of this machine, under the same path, with all links on the way to it.
    pub fn host(&mut self, path: &Path) -> Result<()> {
        let end = self.follow(path)?;
        if !end.is_dir() {
            return Ok(());
        }
        let entries = std::fs::read_dir(&end).with_context(|| format!("list {}", end.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", end.display()))?;
            self.host(&entry.path())?;
        }
        Ok(())
    }

    /// The libraries of all programs that have been added.
    pub fn libraries(&mut self) -> Result<()> {
        let programs = std::mem::take(&mut self.programs);
        for library in libraries_of(&programs)? {
            self.follow(&library)?;
        }
        self.programs.clear();
        Ok(())
    }

    /// Writes everything into an archive for the kernel.
    pub fn write(&self, archive: &Path) -> Result<()> {
        let context = || format!("write {}", archive.display());
        let file = File::create(archive).with_context(context)?;
        let mut writer = cpio::Writer::new(BufWriter::with_capacity(1 << 20, file));
        for (path, entry) in &self.entries {
            if path.parent().is_none() {
                continue;
            }
            match entry {
                Entry::Directory => writer.directory(path, 0o755),
                Entry::Host(from) => {
                    let (mode, bytes) = read(from)?;
                    writer.file(path, mode, &bytes)
                }
                Entry::Text { text, mode } => writer.file(path, *mode, text.as_bytes()),
                Entry::Link(target) => writer.link(path, target),
                Entry::Device(major, minor) => writer.device(path, 0o600, (*major, *minor)),
            }
            .with_context(context)?;
        }
        writer.finish().with_context(context)?;
        Ok(())
    }

    fn put(&mut self, path: &Path, entry: Entry) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entries.insert(path.to_path_buf(), entry);
    }

    /// Adds what is on the way to a path, and returns where the way ends.
    fn follow(&mut self, path: &Path) -> Result<PathBuf> {
        let mut place = PathBuf::from("/");
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                place.pop();
                continue;
            }
            let next = place.join(name);
            let kind = next
                .symlink_metadata()
                .with_context(|| format!("look at {}", next.display()))?
                .file_type();
            if kind.is_symlink() {
                links += 1;
                if links > LINKS {
                    bail!("{} is a circle of symbolic links", path.display());
                }
                let target = next
                    .read_link()
                    .with_context(|| format!("read the link {}", next.display()))?;
                if target.is_absolute() {
                    place = PathBuf::from("/");
                }
                let mut before = names(&target);
                before.append(&mut rest);
                rest = before;
                self.put(&next, Entry::Link(target));
            } else if kind.is_dir() {
                self.directory(&next);
                place = next;
            } else if kind.is_file() {
                self.copy(&next, &next);
                place = next;
            } else {
                bail!("{} is neither a file nor a directory", next.display());
            }
        }
        Ok(place)
    }
}

/// The names that a path is made of.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn read(path: &Path) -> Result<(u32, Vec<u8>)> {
    let context = || format!("read {}", path.display());
    let mode = path.metadata().with_context(context)?.permissions().mode();
    let bytes = std::fs::read(path).with_context(context)?;
    Ok((mode & 0o7777, bytes))
}

/// What the dynamic linker would load for these programs. It passes over what is no program.
fn libraries_of(programs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("ldd");
    command.args(programs).stderr(Stdio::null());
    // It fails when one of them is static, which says nothing about the others.
    let output = command
        .output()
        .with_context(|| process::cannot_run(&command))?;
    libraries_in(&String::from_utf8_lossy(&output.stdout))
}

/// `\tlibc.so.6 => /lib/libc.so.6 (0x7f…)` and `\t/lib64/ld-linux-x86-64.so.2 (0x7f…)`
fn libraries_in(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('\t')) {
        let (name, path) = line.split_once(" => ").unwrap_or(("", line));
        let path = path.trim();
        if path.starts_with("not found") {
            bail!("the library {} is not on this machine", name.trim());
        }
        let Some((path, _)) = path.rsplit_once(" (0x") else {
            continue;
        };
        let path = PathBuf::from(path);
        // The kernel's own object has no file.
        if path.is_absolute() && !libraries.contains(&path) {
            libraries.push(path);
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_once_each() {
        let text = "/x/one:\n\
            \tlinux-vdso.so.1 (0x00007f06)\n\
            \tlibz.so.1 => /lib/libz.so.1 (0x00007f07)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f08)\n\
            /x/static:\n\tnot a dynamic executable\n/x/two:\n\
            \tlibz.so.1 => /lib/libz.so.1 (0x00007f09)\n";
        assert_eq!(
            libraries_in(text).unwrap(),
            ["/lib/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        let error = libraries_in("\tlibx.so => not found\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the library libx.so is not on this machine"
        );
    }

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.text("/a/b/c", 0o644, "text");
        tree.link("/a/b/c", "/never");
        tree.device("/a-1", 5, 1);
        let paths: Vec<_> = tree.entries.keys().collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a-1"].map(Path::new));
        assert!(matches!(
            tree.entries[Path::new("/a/b/c")],
            Entry::Text { .. }
        ));
    }

    #[test]
    fn links_on_the_way_are_kept() {
        let base = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        std::fs::create_dir_all(base.join("usr/lib")).unwrap();
        std::fs::write(base.join("usr/lib/x.1"), "x").unwrap();
        let _ = std::os::unix::fs::symlink("usr/lib", base.join("lib"));
        let _ = std::os::unix::fs::symlink("../../lib/x.1", base.join("usr/lib/x"));
        let mut tree = Tree::default();
        let end = tree.follow(&base.join("lib/x")).unwrap();
        let has = |path: &str| tree.entries.contains_key(&base.join(path));
        assert!(has("lib") && has("usr/lib/x"));
        std::fs::remove_dir_all(&base).unwrap();
        assert!(end.ends_with("usr/lib/x.1"));
    }
}
