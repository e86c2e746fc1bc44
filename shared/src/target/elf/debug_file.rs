//! The separate debug file of an object: what `objcopy --only-keep-debug` kept, as the `-dbg` and
//! `-debuginfo` packages of distributions install it.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use object::read::ReadCache;

use super::layout::{DebugLink, Layout};
use super::table::Table;
use super::{ElfObject, check_machine, open_regular};
use crate::target::rooted::resolve;

/// Where distributions install debug files.
const DIRECTORY: &str = "/usr/lib/debug";

#[derive(Debug)]
pub(super) struct DebugFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) layout: Layout,
}

impl DebugFile {
    /// `.symtab`, which has the object's own addresses.
    pub(super) fn symbols(&self) -> Option<Table<'_>> {
        let ranges = self.layout.all_symbols.as_ref()?;
        Some(Table {
            path: &self.path,
            file: &self.file,
            ranges,
        })
    }

    /// `None` for what is no object of this machine.
    fn open(path: &Path) -> Option<Self> {
        let file = open_regular(path).ok()?;
        check_machine(path, &file).ok()?;
        let cache = ReadCache::new(file);
        let layout = Layout::read_debug_file(&cache).ok()?;
        Some(Self {
            path: path.into(),
            file: cache.into_inner(),
            layout,
        })
    }

    fn checksum(&self) -> Option<u32> {
        let mut file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok()?;
        let mut checksum = flate2::Crc::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            match file.read(&mut piece).ok()? {
                0 => return Some(checksum.sum()),
                length => checksum.update(&piece[..length]),
            }
        }
    }
}

impl ElfObject {
    /// Looked for at the first question: by build id, then by the name in `.gnu_debuglink`. A file
    /// that does not belong to this very build is none.
    pub(super) fn debug_file(&self) -> Option<&DebugFile> {
        let find = || {
            self.debug_file_by_id()
                .or_else(|| self.debug_file_by_link())
        };
        self.debug_file.get_or_init(find).as_ref()
    }

    fn debug_file_by_id(&self) -> Option<DebugFile> {
        let path = path_by_id(self.layout.build_id.as_deref()?)?;
        let file = DebugFile::open(&resolve(&self.root, &path)?)?;
        (file.layout.build_id == self.layout.build_id).then_some(file)
    }

    fn debug_file_by_link(&self) -> Option<DebugFile> {
        let link = self.layout.debug_link.as_ref()?;
        let beside = self.path.parent()?;
        // As the object's own system knows its directory.
        let directory = match beside.strip_prefix(&self.root) {
            Ok(inside) => inside,
            Err(_) => beside.strip_prefix("/").ok()?,
        };
        let installed = Path::new(DIRECTORY).join(directory).join(&link.name);
        let candidates = [
            Some(beside.join(&link.name)),
            Some(beside.join(".debug").join(&link.name)),
            resolve(&self.root, &installed),
        ];
        candidates
            .into_iter()
            .flatten()
            .filter_map(|path| DebugFile::open(&path))
            .find(|file| self.is_linked_to(file, link))
    }

    /// The checksum is asked for only where build ids do not tell: it takes the whole file.
    fn is_linked_to(&self, file: &DebugFile, link: &DebugLink) -> bool {
        match (&self.layout.build_id, &file.layout.build_id) {
            (Some(own), Some(other)) => own == other,
            _ => file.checksum() == Some(link.checksum),
        }
    }
}

/// `/usr/lib/debug/.build-id/xx/yyyy.debug`.
fn path_by_id(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first()?;
    let mut file_name = String::new();
    for byte in rest {
        // Writing to a string cannot fail.
        let _ = write!(file_name, "{byte:02x}");
    }
    let directory = Path::new(DIRECTORY).join(format!(".build-id/{first:02x}"));
    (!rest.is_empty()).then(|| directory.join(file_name + ".debug"))
}

#[cfg(test)]
mod tests;
