//! A file with code that a target maps, held open so that it stays what it was: deleted, replaced
//! or in another mount namespace.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a file is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device that it is on, as `major << 32 | minor`.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl FileId {
    /// From the two halves that /proc and perf events give.
    pub fn new(major: u32, minor: u32, inode: u64) -> Self {
        Self {
            device: u64::from(major) << 32 | u64::from(minor),
            inode,
        }
    }

    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let device = metadata.dev();
        Ok(Self::new(
            libc::major(device),
            libc::minor(device),
            metadata.ino(),
        ))
    }
}

/// An opened object.
#[derive(Debug)]
pub struct Object {
    id: FileId,
    path: PathBuf,
    file: File,
}

impl Object {
    /// Opens a file by its path in our own mount namespace.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_regular(path)?;
        Ok(Self {
            id: FileId::of(&file)?,
            path: path.to_owned(),
            file,
        })
    }

    /// The same by one path, where people know it by another.
    pub fn open_as(path: &Path, shown: &Path) -> io::Result<Self> {
        let object = Self::open(path)?;
        Ok(Self {
            path: shown.to_owned(),
            ..object
        })
    }

    /// Opens what a thread maps: by its address, which is right for deleted files as well, else
    /// through the thread's root, else by the plain path. The first that is the same inode wins.
    pub fn open_mapped(tid: u32, range: (u64, u64), path: &Path, inode: u64) -> io::Result<Self> {
        let by_address = format!("/proc/{tid}/map_files/{:x}-{:x}", range.0, range.1);
        let by_root = format!("/proc/{tid}/root{}", path.display());
        for candidate in [Path::new(&by_address), Path::new(&by_root), path] {
            let Ok(file) = open_regular(candidate) else {
                continue;
            };
            let id = FileId::of(&file)?;
            if id.inode == inode {
                return Ok(Self {
                    id,
                    path: path.to_owned(),
                    file,
                });
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Its path as the target sees it: for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last part of its path: for people.
    pub fn name(&self) -> String {
        let path = self.path.to_string_lossy();
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        path.rsplit('/').next().unwrap_or(path).to_owned()
    }

    /// A path by which this process and the kernel on its behalf reach the very file.
    pub fn open_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The best path for reading symbols: the real one where it still is the same file, because
    /// separate debug info is looked for beside it.
    pub fn symbol_path(&self) -> PathBuf {
        match open_regular(&self.path).and_then(|file| FileId::of(&file)) {
            Ok(id) if id == self.id => self.path.clone(),
            _ => self.open_path(),
        }
    }

    /// Whether a user means this object by `name`: its path as its process or as we see it, its file name, or the library's
    /// short name (`c` and `libc` for libc.so.6, `jemalloc` for libjemalloc.so.2).
    pub fn is_called(&self, name: &str) -> bool {
        if name.contains('/') {
            return self.path == Path::new(name)
                || Self::open(Path::new(name)).is_ok_and(|other| other.id == self.id);
        }
        let own = self.name();
        let stem = own.split(['.', '-']).next().unwrap_or(&own);
        own == name || stem == name || stem.strip_prefix("lib") == Some(name)
    }
}

/// Opens a regular file to read. Paths are chosen by the target: this does not wait for the other
/// end of a FIFO, does not take a terminal as its own, and does not read from a device.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        let why = "it is not a regular file";
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_reachable_when_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libthing-2.1.so.6");
        std::fs::write(&path, b"x").unwrap();
        let object = Object::open(&path).unwrap();
        assert_eq!(object.symbol_path(), path);
        assert!(object.is_called("thing") && object.is_called("libthing"));
        assert!(object.is_called("libthing-2.1.so.6") && object.is_called(path.to_str().unwrap()));
        assert!(!object.is_called("thin"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(object.symbol_path(), object.open_path());
        assert_eq!(std::fs::read(object.open_path()).unwrap(), b"x");
    }

    /// Would wait for a writer for ever.
    #[test]
    fn a_fifo_is_no_object() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is a string of ours.
        assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
        let error = Object::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let inode = path.metadata().unwrap().ino();
        assert!(Object::open_mapped(std::process::id(), (0, 1), &path, inode).is_err());
        assert!(Object::open(Path::new("/dev/zero")).is_err());
        assert!(Object::open(dir.path()).is_err());
    }
}
