//! What the headers of an object say.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::read::ReadCache;
use object::read::elf::{
    Dyn, FileHeader, GnuHashTable, HashTable, NoteIterator, ProgramHeader, SectionHeader,
};
use object::{NativeEndian, ReadRef};

use super::ENDIAN;

type Header = FileHeader64<NativeEndian>;
type Cache<'a> = &'a ReadCache<File>;

/// A `PT_LOAD` program header, cut to what the file holds.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) file: Range<u64>,
    pub(super) executable: bool,
    pub(super) writable: bool,
}

/// File ranges of a symbol table and of its strings.
#[derive(Clone, Debug)]
pub(super) struct SymbolTable {
    pub(super) symbols: Range<u64>,
    pub(super) strings: Range<u64>,
}

/// What the headers say.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The file's length in bytes.
    pub(super) length: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) interpreter: Option<String>,
    pub(super) dynamic: bool,
    pub(super) build_id: Option<Vec<u8>>,
    pub(super) dynamic_symbols: Option<SymbolTable>,
    pub(super) all_symbols: Option<SymbolTable>,
    /// Virtual addresses of `.eh_frame_hdr` (a segment) and of `.eh_frame` (a section).
    pub(super) unwind_header: Option<Range<u64>>,
    pub(super) unwind_section: Option<Range<u64>>,
    /// What describes USDT probes: where it lies in the file, and the address against which it is to be
    /// read.
    pub(super) usdt_notes: Option<Range<u64>>,
    pub(super) usdt_base: Option<u64>,
    /// The names of `DT_NEEDED`.
    pub(super) needed: Vec<String>,
    /// Some section is one that the Go linker makes.
    pub(super) go_sections: bool,
    pub(super) debug_info: bool,
    pub(super) debug_link: Option<DebugLink>,
}

/// `.gnu_debuglink`: which separate debug file belongs to the object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DebugLink {
    /// Its file name.
    pub(super) name: OsString,
    /// The CRC-32 of its contents.
    pub(super) checksum: u32,
}

impl Layout {
    pub(super) fn segment_at(&self, vaddr: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|s| s.file_offset(vaddr).is_some())
    }

    pub(super) fn read(data: Cache) -> object::read::Result<Self> {
        let header = Header::parse(data)?;
        let programs = header.program_headers(ENDIAN, data)?;
        let mut layout = Self {
            length: data.len().unwrap_or(0),
            ..Self::default()
        };
        layout.read_segments(programs, data);
        layout.read_sections(header, data);
        layout.read_dynamic(programs, data);
        Ok(layout)
    }

    /// What the sections of a separate debug file say. Its program headers are copies of the
    /// object's, and lead nowhere.
    pub(super) fn read_debug_file(data: Cache) -> object::read::Result<Self> {
        let header = Header::parse(data)?;
        let mut layout = Self {
            length: data.len().unwrap_or(0),
            ..Self::default()
        };
        layout.read_sections(header, data);
        Ok(layout)
    }

    fn read_segments(&mut self, programs: &[ProgramHeader64<NativeEndian>], data: Cache) {
        for program in programs {
            let start = program.p_offset(ENDIAN).min(self.length);
            let end = start
                .saturating_add(program.p_filesz(ENDIAN))
                .min(self.length);
            if program.p_type(ENDIAN) == elf::PT_LOAD {
                self.segments.push(Segment {
                    address: program.p_vaddr(ENDIAN),
                    file: start..end,
                    executable: program.p_flags(ENDIAN).contains(elf::PF_X),
                    writable: program.p_flags(ENDIAN).contains(elf::PF_W),
                });
            }
            if program.p_type(ENDIAN) == elf::PT_GNU_EH_FRAME {
                let address = program.p_vaddr(ENDIAN);
                self.unwind_header = Some(address..address.saturating_add(end - start));
            }
            if let Ok(Some(path)) = program.interpreter(ENDIAN, data) {
                self.interpreter = Some(String::from_utf8_lossy(path).into_owned());
            }
        }
        self.build_id = programs
            .iter()
            .filter_map(|program| program.notes(ENDIAN, data).ok().flatten())
            .find_map(build_id);
    }

    fn read_dynamic(&mut self, programs: &[ProgramHeader64<NativeEndian>], data: Cache) {
        let dynamic = programs
            .iter()
            .find_map(|program| program.dynamic(ENDIAN, data).ok().flatten());
        if let Some(list) = dynamic {
            let entries = dynamic_entries(list);
            let pie = entries
                .get(&elf::DT_FLAGS_1.0)
                .is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0);
            self.dynamic = self.interpreter.is_some() || !pie;
            self.needed = self.needed_names(list, &entries, data);
            if self.dynamic_symbols.is_none() {
                self.dynamic_symbols = self.symbols_by_dynamic(&entries, data);
            }
        }
    }

    fn read_sections(&mut self, header: &Header, data: Cache) {
        let Ok(sections) = header.sections(ENDIAN, data) else {
            return;
        };
        let range = |section: &SectionHeader64<NativeEndian>| {
            let (start, size) = section.file_range(ENDIAN)?;
            let end = start.checked_add(size)?;
            (end <= self.length).then_some(start..end)
        };
        let table = |kind| {
            let section = sections.iter().find(|s| s.sh_type(ENDIAN) == kind)?;
            Some(SymbolTable {
                symbols: range(section)?,
                strings: range(sections.section(section.link(ENDIAN)).ok()?)?,
            })
        };
        self.dynamic_symbols = table(elf::SHT_DYNSYM);
        self.all_symbols = table(elf::SHT_SYMTAB);
        self.unwind_section = sections
            .section_by_name(ENDIAN, b".eh_frame")
            .map(|(_, s)| s.sh_addr(ENDIAN)..s.sh_addr(ENDIAN).saturating_add(s.sh_size(ENDIAN)));
        let named = |name: &str| sections.section_by_name(ENDIAN, name.as_bytes());
        self.usdt_notes = named(".note.stapsdt").and_then(|(_, section)| range(section));
        self.usdt_base = named(".stapsdt.base").map(|(_, section)| section.sh_addr(ENDIAN));
        let has = |name: &str| sections.section_by_name(ENDIAN, name.as_bytes()).is_some();
        self.go_sections = [".go.buildinfo", ".gopclntab", ".note.go.buildid"]
            .into_iter()
            .any(has);
        self.debug_info = has(".debug_info") || has(".zdebug_info");
        self.debug_link = sections
            .section_by_name(ENDIAN, b".gnu_debuglink")
            .and_then(|(_, section)| debug_link(section.data(ENDIAN, data).ok()?));
        if self.build_id.is_none() {
            self.build_id = sections
                .iter()
                .filter_map(|section| section.notes(ENDIAN, data).ok().flatten())
                .find_map(build_id);
        }
    }

    fn needed_names(
        &self,
        list: &[elf::Dyn64<NativeEndian>],
        entries: &HashMap<i64, u64>,
        data: Cache,
    ) -> Vec<String> {
        let strings = entries
            .get(&elf::DT_STRTAB.0)
            .and_then(|address| self.segment_at(*address)?.file_offset(*address));
        let Some(strings) = strings else {
            return Vec::new();
        };
        let name = |entry: &elf::Dyn64<NativeEndian>| {
            let start = strings.checked_add(entry.d_val(ENDIAN))?;
            let name = data.read_bytes_at_until(start..self.length, 0).ok()?;
            Some(String::from_utf8_lossy(name).into_owned())
        };
        list.iter()
            .take_while(|entry| entry.d_tag(ENDIAN) != elf::DT_NULL)
            .filter(|entry| entry.d_tag(ENDIAN) == elf::DT_NEEDED)
            .filter_map(name)
            .collect()
    }

    /// `.dynsym` as the dynamic loader finds it. Its length is stated nowhere: it follows from the
    /// hash table.
    fn symbols_by_dynamic(&self, entries: &HashMap<i64, u64>, data: Cache) -> Option<SymbolTable> {
        let to_segment_end = |tag: elf::DynamicTag| {
            let address = *entries.get(&tag.0)?;
            let segment = self.segment_at(address)?;
            Some(segment.file_offset(address)?..segment.file.end)
        };
        let hash = |tag| {
            let range = to_segment_end(tag)?;
            data.read_bytes_at(range.start, range.end - range.start)
                .ok()
        };
        let count = hash(elf::DT_HASH)
            .and_then(|bytes| HashTable::<Header>::parse(ENDIAN, bytes).ok())
            .map(|table| table.symbol_table_length())
            .or_else(|| {
                let bytes = hash(elf::DT_GNU_HASH)?;
                let table = GnuHashTable::<Header>::parse(ENDIAN, bytes).ok()?;
                table.symbol_table_length(ENDIAN)
            })?;
        let symbols = to_segment_end(elf::DT_SYMTAB)?;
        let strings = to_segment_end(elf::DT_STRTAB)?;
        let symbols_size = u64::from(count) * size_of::<Sym64<NativeEndian>>() as u64;
        let strings_size = *entries.get(&elf::DT_STRSZ.0)?;
        Some(SymbolTable {
            symbols: symbols.start..symbols.start.checked_add(symbols_size)?.min(symbols.end),
            strings: strings.start..strings.start.checked_add(strings_size)?.min(strings.end),
        })
    }
}

impl Segment {
    pub(super) fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let offset = self
            .file
            .start
            .checked_add(vaddr.checked_sub(self.address)?)?;
        (offset < self.file.end).then_some(offset)
    }
}

fn build_id(mut notes: NoteIterator<Header>) -> Option<Vec<u8>> {
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(ENDIAN) == elf::NT_GNU_BUILD_ID {
            return Some(note.desc().to_vec());
        }
    }
    None
}

/// A file name with its terminator, zeros up to a multiple of four bytes, and the checksum.
fn debug_link(section: &[u8]) -> Option<DebugLink> {
    let name = CStr::from_bytes_until_nul(section).ok()?.to_bytes();
    let checksum = section.get((name.len() + 1).next_multiple_of(4)..)?;
    // No path: the name comes from the object and must not lead elsewhere.
    let name = Path::new(OsStr::from_bytes(name)).file_name()?;
    Some(DebugLink {
        name: name.to_owned(),
        checksum: u32::from_ne_bytes(*checksum.first_chunk()?),
    })
}

/// The dynamic section as a table; of a tag that may stand there repeatedly, the last one.
fn dynamic_entries(entries: &[elf::Dyn64<NativeEndian>]) -> HashMap<i64, u64> {
    let entry = |entry: &elf::Dyn64<NativeEndian>| (entry.d_tag(ENDIAN), entry.d_val(ENDIAN));
    let entries = entries.iter().map(entry);
    entries
        .take_while(|(tag, _)| *tag != elf::DT_NULL)
        .map(|(tag, value)| (tag.0, value))
        .collect()
}
