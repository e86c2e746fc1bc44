//! Reading one symbol table.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use object::elf::{self, Sym64};
use object::read::elf::Sym;
use object::{NativeEndian, pod};

use super::layout::SymbolTable;
use super::{ENDIAN, ElfError, read_range};

/// How much of a string table, in bytes, and of a symbol table, in entries, is held at once.
const STRINGS_AT_ONCE: u64 = 256 << 10;
const SYMBOLS_AT_ONCE: u64 = 4096;

/// A symbol table and the file that it is in: the object itself or its separate debug file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a File,
    pub(super) ranges: &'a SymbolTable,
}

impl Table<'_> {
    /// Every place in the string table at which one of `names` stands to its end, with the index of
    /// the name. Not only where a string begins: linkers let `free` share the end of `xfree`.
    pub(super) fn name_positions(&self, names: &[&str]) -> Result<HashMap<u32, usize>, ElfError> {
        let strings = &self.ranges.strings;
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
            let piece = self.read_strings(at..end)?;
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

    pub(super) fn each_symbol(
        &self,
        mut visit: impl FnMut(&Sym64<NativeEndian>),
    ) -> Result<(), ElfError> {
        let entry = size_of::<Sym64<NativeEndian>>() as u64;
        let mut at = self.ranges.symbols.start;
        let mut left = (self.ranges.symbols.end - at) / entry;
        let mut symbols = vec![Sym64::default(); left.min(SYMBOLS_AT_ONCE) as usize];
        while left > 0 {
            let count = left.min(SYMBOLS_AT_ONCE);
            let piece = &mut symbols[..count as usize];
            self.file
                .read_exact_at(pod::bytes_of_slice_mut(piece), at)
                .map_err(|source| ElfError::Io {
                    path: self.path.into(),
                    doing: "read its symbol table",
                    source,
                })?;
            piece.iter().for_each(&mut visit);
            at += count * entry;
            left -= count;
        }
        Ok(())
    }

    /// Every function that the table defines: its name without a version, and its symbol. Names
    /// that are no UTF-8, which nobody could ask for, are left out.
    pub(super) fn each_function(
        &self,
        mut visit: impl FnMut(&str, &Sym64<NativeEndian>),
    ) -> Result<(), ElfError> {
        let strings = self.read_strings(self.ranges.strings.clone())?;
        let name_at = |position: u32| {
            let rest = strings.get(position as usize..)?;
            let name = CStr::from_bytes_until_nul(rest).ok()?.to_str().ok()?;
            // `.symtab` holds names with their versions: `memcpy@@GLIBC_2.14`.
            let name = name.split('@').next().unwrap_or(name);
            (!name.is_empty()).then_some(name)
        };
        self.each_symbol(|symbol| {
            if is_function(symbol)
                && let Some(name) = name_at(symbol.st_name.get(ENDIAN))
            {
                visit(name, symbol);
            }
        })
    }

    fn read_strings(&self, range: Range<u64>) -> Result<Vec<u8>, ElfError> {
        read_range(self.path, self.file, range, "read its symbol names")
    }
}

pub(super) fn is_defined(symbol: &Sym64<NativeEndian>) -> bool {
    let section = symbol.st_shndx(ENDIAN);
    section != elf::SHN_UNDEF && section != elf::SHN_ABS && section != elf::SHN_COMMON
}

/// A defined `STT_FUNC`: no `STT_GNU_IFUNC`.
pub(super) fn is_function(symbol: &Sym64<NativeEndian>) -> bool {
    is_defined(symbol) && symbol.st_type() == elf::STT_FUNC
}
