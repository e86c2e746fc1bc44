//! ELF objects on disk: where a function's code lies in the file, and what may be done to it.
//!
//! Everything is read piece by piece: a binary of a gigabyte costs its headers, and its symbol
//! tables only while they are searched.
//!
//! Addresses are the object's own virtual addresses (`st_value`, before relocation); file offsets
//! are what a uprobe is placed by. One is turned into the other by program headers alone, since
//! those are what the kernel maps by: section headers may be stripped or untrue.

mod layout;
mod unwind;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use object::elf::{self, Sym64};
use object::read::ReadCache;
use object::read::elf::Sym;
use object::{NativeEndian, pod};

use layout::{Layout, SymbolTable};
use unwind::{UnwindTables, frames_address};

/// The most code that [`ElfObject::functions`] reads for one function, in bytes.
pub const MAX_CODE: u64 = 64 << 10;
/// The code read for a function without a size and without a symbol behind it, in bytes.
const UNSIZED_CODE: u64 = 64;
/// How much of a string table, in bytes, and of a symbol table, in entries, is held at once.
const STRINGS_AT_ONCE: u64 = 256 << 10;
const SYMBOLS_AT_ONCE: u64 = 4096;

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
}

impl ElfObject {
    /// Opens the object and reads its headers. Section headers that are missing or that make no
    /// sense are done without.
    ///
    /// # Errors
    /// Each variant of [`ElfError`] but `Unwind`.
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
        })
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

    /// The functions with exactly one of these names, from `.dynsym` and from `.symtab`, local
    /// ones included; in the order of `names`, then by address. Each version of a name
    /// (`memcpy@GLIBC_2.2.5` and `memcpy@@GLIBC_2.14`) is one function unless they share an
    /// address. Undefined symbols and `STT_GNU_IFUNC` resolvers are left out: a probe on a
    /// resolver fires once a process, not once a call.
    ///
    /// # Errors
    /// [`ElfError::Io`] where a table or the code cannot be read.
    pub fn functions(&self, names: &[&str]) -> Result<Vec<Function>, ElfError> {
        let mut sizes: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for table in self.layout.symbol_tables() {
            let positions = self.name_positions(&table.strings, names)?;
            if positions.is_empty() {
                continue;
            }
            self.each_symbol(table, |symbol| {
                if is_defined(symbol)
                    && symbol.st_type() == elf::STT_FUNC
                    && let Some(&name) = positions.get(&symbol.st_name.get(ENDIAN))
                {
                    let size = sizes
                        .entry((name, symbol.st_value.get(ENDIAN)))
                        .or_default();
                    *size = (*size).max(symbol.st_size.get(ENDIAN));
                }
            })?;
        }
        let mut functions = Vec::with_capacity(sizes.len());
        for ((name, address), size) in sizes {
            functions.extend(self.function(names[name], address, size)?);
        }
        Ok(functions)
    }

    /// Whether `.dynsym` defines this name, as a function or as anything else. A table that cannot
    /// be read defines nothing.
    pub fn exports(&self, name: &str) -> bool {
        let Some(table) = &self.layout.dynamic_symbols else {
            return false;
        };
        let Ok(positions) = self.name_positions(&table.strings, &[name]) else {
            return false;
        };
        let mut found = false;
        let read = self.each_symbol(table, |symbol| {
            found |= is_defined(symbol) && positions.contains_key(&symbol.st_name.get(ENDIAN));
        });
        found && read.is_ok()
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
        match tables.has_exception_table(vaddr) {
            Err(gimli::Error::NoUnwindInfoForAddress) => Ok(false),
            answer => answer.map_err(|source| ElfError::Unwind {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Every place in a string table at which one of `names` stands to its end, with the index of
    /// the name. Not only where a string begins: linkers let `free` share the end of `xfree`.
    fn name_positions(
        &self,
        strings: &Range<u64>,
        names: &[&str],
    ) -> Result<HashMap<u32, usize>, ElfError> {
        let mut positions = HashMap::new();
        // Pieces overlap, so that each name lies whole in one of them.
        let overlap = names
            .iter()
            .map(|name| name.len() as u64 + 1)
            .max()
            .unwrap_or(0);
        let mut at = strings.start;
        while at < strings.end && !names.is_empty() {
            let end = at
                .saturating_add(STRINGS_AT_ONCE + overlap)
                .min(strings.end);
            let piece = self.read(at..end, "read its symbol names")?;
            let ends = piece.iter().enumerate().filter(|(_, byte)| **byte == 0);
            for (end, _) in ends {
                let text = &piece[..end];
                for (index, name) in names.iter().enumerate() {
                    if !name.is_empty() && text.ends_with(name.as_bytes()) {
                        let position = at - strings.start + (end - name.len()) as u64;
                        positions.insert(position as u32, index);
                    }
                }
            }
            at += STRINGS_AT_ONCE;
        }
        Ok(positions)
    }

    fn each_symbol(
        &self,
        table: &SymbolTable,
        mut visit: impl FnMut(&Sym64<NativeEndian>),
    ) -> Result<(), ElfError> {
        let entry = size_of::<Sym64<NativeEndian>>() as u64;
        let mut left = (table.symbols.end - table.symbols.start) / entry;
        let mut at = table.symbols.start;
        let mut symbols = vec![Sym64::default(); left.min(SYMBOLS_AT_ONCE) as usize];
        while left > 0 {
            let count = left.min(SYMBOLS_AT_ONCE);
            let piece = &mut symbols[..count as usize];
            self.file
                .read_exact_at(pod::bytes_of_slice_mut(piece), at)
                .map_err(|source| self.io_error("read its symbol table", source))?;
            piece.iter().for_each(&mut visit);
            at += count * entry;
            left -= count;
        }
        Ok(())
    }

    /// `None` where the symbol does not lie in executable bytes of the file.
    fn function(&self, name: &str, address: u64, size: u64) -> Result<Option<Function>, ElfError> {
        let Some(segment) = self.layout.segment_at(address).filter(|s| s.executable) else {
            return Ok(None);
        };
        let Some(file_offset) = segment.file_offset(address) else {
            return Ok(None);
        };
        let extent = match size {
            0 => self
                .distance_to_next_symbol(address)?
                .unwrap_or(UNSIZED_CODE),
            size => size,
        };
        let end = file_offset
            .saturating_add(extent.min(MAX_CODE))
            .min(segment.file.end);
        Ok(Some(Function {
            name: name.to_owned(),
            address,
            size,
            file_offset,
            code: self.read(file_offset..end, "read a function's code")?,
        }))
    }

    fn distance_to_next_symbol(&self, address: u64) -> Result<Option<u64>, ElfError> {
        let mut next: Option<u64> = None;
        for table in self.layout.symbol_tables() {
            self.each_symbol(table, |symbol| {
                let value = symbol.st_value.get(ENDIAN);
                if is_defined(symbol) && symbol.st_type() != elf::STT_TLS && value > address {
                    next = Some(next.map_or(value, |next| next.min(value)));
                }
            })?;
        }
        Ok(next.map(|next| next - address))
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
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        match self.file.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Ok(bytes),
            Err(source) => Err(self.io_error(doing, source)),
        }
    }

    fn io_error(&self, doing: &'static str, source: io::Error) -> ElfError {
        ElfError::Io {
            path: self.path.clone(),
            doing,
            source,
        }
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

fn is_defined(symbol: &Sym64<NativeEndian>) -> bool {
    let section = symbol.st_shndx(ENDIAN);
    section != elf::SHN_UNDEF && section != elf::SHN_ABS && section != elf::SHN_COMMON
}

#[cfg(test)]
mod tests;
