//! Stubs that jump to where the dynamic linker says: which function one stands for.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind, Register};
use object::read::ReadCache;
use object::read::elf::ElfFile64;
use object::{NativeEndian, Object, ObjectSymbol, ObjectSymbolTable, RelocationTarget};

use super::{ElfError, ElfObject};

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
        let mut relocations = object.dynamic_relocations().into_iter().flatten();
        let found = relocations.find(|(place, _)| *place == slot);
        let Some((_, relocation)) = found else {
            return Ok(None);
        };
        let RelocationTarget::Symbol(index) = relocation.target() else {
            return Ok(None);
        };
        let symbol = object
            .dynamic_symbol_table()
            .and_then(|table| table.symbol_by_index(index).ok());
        Ok(symbol
            .and_then(|symbol| symbol.name().ok().map(str::to_owned))
            .filter(|name| !name.is_empty()))
    }

    /// Where the stub's destination is kept.
    fn stub_slot(&self, vaddr: u64) -> Result<Option<u64>, ElfError> {
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
