//! ELF objects on disk: where a function's code lies in the file, and what may be done to it.
//!
//! Everything is read piece by piece: a binary of a gigabyte costs its headers, and its symbol
//! tables only while they are searched.
//!
//! Addresses are the object's own virtual addresses (`st_value`, before relocation); file offsets
//! are what a uprobe is placed by. One is turned into the other by program headers alone, since
//! those are what the kernel maps by: section headers may be stripped or untrue.

mod cold;
mod debug_file;
mod inlined;
mod layout;
mod plt;
mod symbols;
mod table;
mod unwind;
pub mod usdt;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use object::NativeEndian;
use object::elf;
use object::read::ReadCache;

use debug_file::DebugFile;
use layout::Layout;
use unwind::{Frame, UnwindTables, frames_address};

/// The most code that [`ElfObject::functions`] reads for one function, in bytes.
pub const MAX_CODE: u64 = 64 << 10;

const ENDIAN: NativeEndian = NativeEndian;

/// The machine whose objects can run here.
const MACHINE: elf::Machine = if cfg!(target_arch = "x86_64") {
    elf::EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64
} else {
    elf::EM_NONE
};

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file itself could not be opened or read.
    #[error("{}: cannot {doing}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    /// Not a regular file, or without the ELF magic.
    #[error("{}: not an ELF file", path.display())]
    NotElf { path: PathBuf },
    /// A 32-bit object: i386, or the x32 ABI.
    #[error("{}: a 32-bit object, only 64-bit ones are supported", path.display())]
    ThirtyTwoBit { path: PathBuf },
    /// A 64-bit object of a machine, or a byte order, that is not this one's.
    #[error("{}: built for another machine (ELF machine {machine})", path.display())]
    ForeignMachine { path: PathBuf, machine: u16 },
    /// The headers contradict themselves or the file's length.
    #[error("{}: damaged ELF file, cannot {doing}", path.display())]
    Malformed {
        path: PathBuf,
        doing: &'static str,
        source: object::read::Error,
    },
    /// The unwind tables do not parse.
    #[error("{}: damaged unwind table", path.display())]
    Unwind { path: PathBuf, source: gimli::Error },
    /// The debug info does not parse.
    #[error("{}: damaged debug info", path.display())]
    DebugInfo { path: PathBuf, source: gimli::Error },
}

/// The width of an object's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Elf32,
    Elf64,
}

/// The class of the object at `path`, from its first bytes alone: tells a 32-bit object from a
/// file that is no object, whatever machine it is for.
///
/// # Errors
/// [`ElfError::Io`] and [`ElfError::NotElf`].
pub fn class_of(path: &Path) -> Result<Class, ElfError> {
    let file = open_regular(path)?;
    Ok(read_ident(path, &file)?.0)
}

/// A function of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The symbol's name, without a version.
    pub name: String,
    /// The object's virtual address of its first instruction.
    pub address: u64,
    /// `st_size` in bytes; 0 for hand-written assembly that does not state one.
    pub size: u64,
    /// Where its first instruction lies in the file.
    pub file_offset: u64,
    /// Its bytes, [`MAX_CODE`] at most and never beyond its segment. Where `size` is 0, those up
    /// to the next symbol, or 64 where none follows.
    pub code: Vec<u8>,
}

/// A 64-bit ELF executable or shared library of this machine.
#[derive(Debug)]
pub struct ElfObject {
    path: PathBuf,
    file: File,
    layout: Layout,
    unwind: OnceLock<Option<UnwindTables>>,
    /// Where symbols begin.
    starts: OnceLock<Vec<u64>>,
    root: PathBuf,
    debug_file: OnceLock<Option<DebugFile>>,
}

impl ElfObject {
    /// Opens the object and reads its headers. Section headers that are missing or that make no
    /// sense are done without.
    ///
    /// # Errors
    /// Each variant of [`ElfError`] but `Unwind` and `DebugInfo`.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let file = open_regular(path)?;
        check_machine(path, &file)?;
        let cache = ReadCache::new(file);
        let layout = Layout::read(&cache).map_err(|source| ElfError::Malformed {
            path: path.into(),
            doing: "read its program headers",
            source,
        })?;
        Ok(Self {
            path: path.into(),
            file: cache.into_inner(),
            layout,
            unwind: OnceLock::new(),
            starts: OnceLock::new(),
            root: "/".into(),
            debug_file: OnceLock::new(),
        })
    }

    /// Looks for the separate debug file below this directory in place of `/`: for an object of a
    /// container, `/proc/PID/root`.
    #[must_use]
    pub fn with_root(mut self, root: &Path) -> Self {
        root.clone_into(&mut self.root);
        self
    }

    /// The dynamic loader that the program asks for (`PT_INTERP`).
    pub fn interpreter(&self) -> Option<String> {
        self.layout.interpreter.clone()
    }

    /// Whether other objects are loaded with it: a shared library, or a program that is linked
    /// dynamically. False for a static program, a position-independent one included.
    pub fn is_dynamic(&self) -> bool {
        self.layout.dynamic
    }

    /// The GNU build id, from the note segments.
    pub fn build_id(&self) -> Option<Vec<u8>> {
        self.layout.build_id.clone()
    }

    /// Where the byte at virtual address `vaddr` lies in the file. `None` outside the loaded
    /// segments and in their zero-filled ends.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        self.layout.segment_at(vaddr)?.file_offset(vaddr)
    }

    /// The virtual addresses of the executable segment that holds `vaddr`.
    pub fn text_segment(&self, vaddr: u64) -> Option<Range<u64>> {
        let segment = self.layout.segment_at(vaddr).filter(|s| s.executable)?;
        let length = segment.file.end - segment.file.start;
        Some(segment.address..segment.address.checked_add(length)?)
    }

    /// The virtual address at which the byte at `file_offset` is loaded: the inverse of
    /// [`Self::file_offset`].
    pub fn address_of(&self, file_offset: u64) -> Option<u64> {
        let segment = self
            .layout
            .segments
            .iter()
            .find(|s| s.file.contains(&file_offset))?;
        segment
            .address
            .checked_add(file_offset - segment.file.start)
    }

    /// The libraries that it asks the dynamic loader for (`DT_NEEDED`), in their order.
    pub fn needed(&self) -> Vec<String> {
        self.layout.needed.clone()
    }

    /// Whether the unwind table entry that covers `vaddr` has a language-specific data area: the
    /// function catches exceptions or cleans up when one passes. False where no entry covers the
    /// address.
    ///
    /// False does not mean that no exception can leave the function: C++ code with nothing to
    /// clean up has no such area.
    ///
    /// # Errors
    /// [`ElfError::Io`] and [`ElfError::Unwind`].
    pub fn has_exception_table(&self, vaddr: u64) -> Result<bool, ElfError> {
        let Some(tables) = self.unwind_tables()? else {
            return Ok(false);
        };
        let answer = tables.has_exception_table(vaddr);
        Ok(self.if_covered(answer)?.unwrap_or(false))
    }

    /// Whether exceptions matter to any of its functions: C++, Rust, or C built for that.
    ///
    /// # Errors
    /// [`ElfError::Io`] and [`ElfError::Unwind`].
    pub fn has_personalities(&self) -> Result<bool, ElfError> {
        let Some(tables) = self.unwind_tables()? else {
            return Ok(false);
        };
        tables
            .has_personalities()
            .map_err(|source| ElfError::Unwind {
                path: self.path.clone(),
                source,
            })
    }

    /// The length in bytes of the function that begins at `vaddr`, as its unwind table entry gives
    /// it. `None` where no entry begins there.
    fn unwound_length(&self, vaddr: u64) -> Result<Option<u64>, ElfError> {
        let extent = self.unwound_extent(vaddr)?;
        Ok(extent
            .filter(|extent| extent.start == vaddr)
            .map(|extent| extent.end - extent.start))
    }

    /// The virtual addresses of the unwind table entry that covers `vaddr`. `None` where there is
    /// none.
    fn unwound_extent(&self, vaddr: u64) -> Result<Option<Range<u64>>, ElfError> {
        let Some(tables) = self.unwind_tables()? else {
            return Ok(None);
        };
        let extent = self.if_covered(tables.extent(vaddr))?;
        Ok(extent.filter(|extent| !extent.is_empty()))
    }

    /// The stack before the instruction at `vaddr`, as the unwind table gives it.
    fn frame(&self, vaddr: u64) -> Result<Option<Frame>, ElfError> {
        let Some(tables) = self.unwind_tables()? else {
            return Ok(None);
        };
        self.if_covered(tables.frame(vaddr))
    }

    /// `None` where no unwind table entry covers the address that was asked for.
    fn if_covered<T>(&self, answer: gimli::Result<T>) -> Result<Option<T>, ElfError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(gimli::Error::NoUnwindInfoForAddress) => Ok(None),
            Err(source) => Err(ElfError::Unwind {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Reads them at the first question and keeps them: callers ask for many functions in a row.
    fn unwind_tables(&self) -> Result<Option<&UnwindTables>, ElfError> {
        if self.unwind.get().is_none() {
            let tables = self.read_unwind_tables()?;
            // Where two threads came here at once, the first answer stays; they are equal.
            let _ = self.unwind.set(tables);
        }
        Ok(self.unwind.get().and_then(Option::as_ref))
    }

    fn read_unwind_tables(&self) -> Result<Option<UnwindTables>, ElfError> {
        let header = match &self.layout.unwind_header {
            Some(range) => Some((range.start, self.read_loaded(range)?)),
            None => None,
        };
        let frames = match (&self.layout.unwind_section, &header) {
            (Some(range), _) => range.clone(),
            // Without section headers its end is unknown; a terminator stands there.
            (None, Some((address, bytes))) => match frames_address(*address, bytes) {
                Some(start) => start..u64::MAX,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let frames = (frames.start, self.read_loaded(&frames)?);
        Ok(Some(UnwindTables { header, frames }))
    }

    /// The bytes of a range of virtual addresses, as far as its first segment holds them.
    fn read_loaded(&self, range: &Range<u64>) -> Result<Vec<u8>, ElfError> {
        let Some(segment) = self.layout.segment_at(range.start) else {
            return Ok(Vec::new());
        };
        let start = segment.file.start + (range.start - segment.address);
        let end = start
            .saturating_add(range.end - range.start)
            .min(segment.file.end);
        self.read(start..end, "read its unwind tables")
    }

    /// The range has been cut to the file's length, so that a damaged header cannot ask for more
    /// memory than the file is long.
    fn read(&self, range: Range<u64>, doing: &'static str) -> Result<Vec<u8>, ElfError> {
        read_range(&self.path, &self.file, range, doing)
    }
}

fn read_range(
    path: &Path,
    file: &File,
    range: Range<u64>,
    doing: &'static str,
) -> Result<Vec<u8>, ElfError> {
    let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
    match file.read_exact_at(&mut bytes, range.start) {
        Ok(()) => Ok(bytes),
        Err(source) => Err(ElfError::Io {
            path: path.into(),
            doing,
            source,
        }),
    }
}

/// Does not wait for the other end of a FIFO, and does not read from a device.
fn open_regular(path: &Path) -> Result<File, ElfError> {
    let error = |source| ElfError::Io {
        path: path.into(),
        doing: "open it",
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(error)?;
    if file.metadata().map_err(error)?.is_file() {
        Ok(file)
    } else {
        Err(ElfError::NotElf { path: path.into() })
    }
}

/// The class, whether the bytes are in this machine's order, and `e_machine`.
fn read_ident(path: &Path, file: &File) -> Result<(Class, bool, u16), ElfError> {
    let not_elf = || ElfError::NotElf { path: path.into() };
    let mut start = [0; 20];
    file.read_exact_at(&mut start, 0)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => not_elf(),
            _ => ElfError::Io {
                path: path.into(),
                doing: "read its header",
                source,
            },
        })?;
    let class = match start[..5] {
        [0x7f, b'E', b'L', b'F', 1] => Class::Elf32,
        [0x7f, b'E', b'L', b'F', 2] => Class::Elf64,
        _ => return Err(not_elf()),
    };
    let little = start[5] == elf::ELFDATA2LSB.0;
    let machine = if little {
        u16::from_le_bytes([start[18], start[19]])
    } else {
        u16::from_be_bytes([start[18], start[19]])
    };
    Ok((class, little == cfg!(target_endian = "little"), machine))
}

fn check_machine(path: &Path, file: &File) -> Result<(), ElfError> {
    match read_ident(path, file)? {
        (Class::Elf32, ..) => Err(ElfError::ThirtyTwoBit { path: path.into() }),
        (_, native, machine) if !native || machine != MACHINE.0 => Err(ElfError::ForeignMachine {
            path: path.into(),
            machine,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
