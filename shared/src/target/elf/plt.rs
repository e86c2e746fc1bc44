//! Stubs that jump to where the dynamic linker says: which function one stands for.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind, Register};
use object::read::ReadCache;
use object::read::elf::{ElfFile64, ElfSymbolTable64};
use object::{NativeEndian, Object, ObjectSymbol, ObjectSymbolTable, Relocation, RelocationTarget};

use super::{ElfError, ElfObject};

type Symbols<'a> = ElfSymbolTable64<'a, 'a, NativeEndian, &'a ReadCache<File>>;

/// A call by a word in memory, the longer of two forms (x86-64).
const CALL_BYTES: usize = 6;
/// What a stub takes, with a landing pad before its jump.
const STUB_BYTES: usize = 16;

impl ElfObject {
    /// The name of the function that the stub at this virtual address jumps to; `None`: no stub is
    /// there, or one that stands for no name.
    ///
    /// # Errors
    /// [`ElfError::Io`] and [`ElfError::Malformed`].
    pub fn stub_target(&self, vaddr: u64) -> Result<Option<String>, ElfError> {
        let Some(slot) = self.stub_slot(vaddr)? else {
            return Ok(None);
        };
        let mut found = None;
        self.each_imported_slot(|place, name| {
            if place == slot {
                found = Some(name.to_owned());
            }
        })?;
        Ok(found)
    }

    /// The virtual addresses of the calls to one of some functions: directly, or by a word that holds its
    /// address; sorted. `None`: the object is too large for that. Whatever has the form of such a call is
    /// one: of four billion others, one is taken for it.
    ///
    /// # Errors
    /// [`ElfError::Io`] and [`ElfError::Malformed`].
    pub fn calls_of(&self, functions: &[u64]) -> Result<Option<Vec<u64>>, ElfError> {
        /// In bytes.
        const MOST_READ: u64 = 256 << 20;
        let bytes = self.layout.segments.iter();
        let bytes: u64 = bytes.map(|s| s.file.end - s.file.start).sum();
        if bytes > MOST_READ {
            return Ok(None);
        }
        let functions: HashSet<u64> = functions.iter().copied().collect();
        let slots = self.slots_of(&functions)?;
        let mut found = Vec::new();
        for segment in self.layout.segments.iter().filter(|s| s.executable) {
            let code = self.read(segment.file.clone(), "read its code")?;
            for (at, bytes) in code.windows(CALL_BYTES).enumerate() {
                let (opcode, wanted) = match bytes {
                    [0xe8, ..] => (1, &functions),
                    [0xff, 0x15, ..] => (2, &slots),
                    _ => continue,
                };
                let Some(distance) = bytes[opcode..].first_chunk() else {
                    continue;
                };
                let distance = i64::from(i32::from_ne_bytes(*distance));
                let place = segment.address.wrapping_add(at as u64);
                let behind = place.wrapping_add((opcode + size_of::<i32>()) as u64);
                if wanted.contains(&behind.wrapping_add_signed(distance)) {
                    found.push(place);
                }
            }
        }
        found.sort_unstable();
        Ok(Some(found))
    }

    /// Words that hold the addresses of some of its own functions.
    fn slots_of(&self, functions: &HashSet<u64>) -> Result<HashSet<u64>, ElfError> {
        let mut slots = HashSet::new();
        self.each_relocation(|place, relocation, symbols| {
            let held = match relocation.target() {
                RelocationTarget::Absolute => Some(relocation.addend() as u64),
                RelocationTarget::Symbol(index) => symbols
                    .and_then(|symbols| symbols.symbol_by_index(index).ok())
                    .map(|symbol| symbol.address()),
                _ => None,
            };
            if held.is_some_and(|held| functions.contains(&held)) {
                slots.insert(place);
            }
        })?;
        // Where relocations are packed the word itself has the address, and in fixed programs.
        for segment in self.layout.segments.iter().filter(|s| !s.executable) {
            let data = self.read(segment.file.clone(), "read its data")?;
            for (index, word) in data.chunks_exact(size_of::<u64>()).enumerate() {
                let word = word.first_chunk().map_or(0, |w| u64::from_ne_bytes(*w));
                if functions.contains(&word) {
                    let at = (index * size_of::<u64>()) as u64;
                    slots.insert(segment.address.wrapping_add(at));
                }
            }
        }
        Ok(slots)
    }

    /// Where the dynamic linker puts the addresses of functions and data whose names are wanted.
    ///
    /// # Errors
    /// [`ElfError::Io`] and [`ElfError::Malformed`].
    pub(in crate::target) fn imported_slots(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<HashSet<u64>, ElfError> {
        let mut slots = HashSet::new();
        self.each_imported_slot(|place, name| {
            if wanted(name) {
                slots.insert(place);
            }
        })?;
        Ok(slots)
    }

    fn each_imported_slot(&self, mut visit: impl FnMut(u64, &str)) -> Result<(), ElfError> {
        self.each_relocation(|place, relocation, symbols| {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                return;
            };
            let symbol = symbols.and_then(|symbols| symbols.symbol_by_index(index).ok());
            if let Some(name) = symbol.and_then(|symbol| symbol.name().ok())
                && !name.is_empty()
            {
                visit(place, name);
            }
        })
    }

    /// What the dynamic linker does before the program begins.
    fn each_relocation(
        &self,
        mut visit: impl FnMut(u64, &Relocation, Option<&Symbols<'_>>),
    ) -> Result<(), ElfError> {
        // Opened again for a file position of its own.
        let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let file = file.map_err(|source| self.unreadable("open it", source))?;
        let cache = ReadCache::new(file);
        let object =
            ElfFile64::<NativeEndian, _>::parse(&cache).map_err(|source| ElfError::Malformed {
                path: self.path.clone(),
                doing: "read its relocations",
                source,
            })?;
        let symbols = object.dynamic_symbol_table();
        for (place, relocation) in object.dynamic_relocations().into_iter().flatten() {
            visit(place, &relocation, symbols.as_ref());
        }
        Ok(())
    }

    /// Where the stub's destination is kept.
    pub(in crate::target) fn stub_slot(&self, vaddr: u64) -> Result<Option<u64>, ElfError> {
        let Some(offset) = self.file_offset(vaddr) else {
            return Ok(None);
        };
        let mut code = [0; STUB_BYTES];
        self.file
            .read_exact_at(&mut code, offset)
            .map_err(|source| self.unreadable("read its code", source))?;
        let mut decoder = Decoder::with_ip(64, &code, vaddr, DecoderOptions::NONE);
        // The jump, with a landing pad before it or not.
        for _ in 0..2 {
            let instruction = decoder.decode();
            let is_jump = instruction.flow_control() == FlowControl::IndirectBranch
                && instruction.op0_kind() == OpKind::Memory
                && instruction.memory_base() == Register::RIP;
            if is_jump {
                return Ok(Some(instruction.memory_displacement64()));
            }
        }
        Ok(None)
    }

    fn unreadable(&self, doing: &'static str, source: std::io::Error) -> ElfError {
        ElfError::Io {
            path: self.path.clone(),
            doing,
            source,
        }
    }
}
