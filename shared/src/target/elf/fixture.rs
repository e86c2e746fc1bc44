//! Small ELF files made up for tests.

use std::io::Write;
use std::ops::Range;

use tempfile::NamedTempFile;

use super::MACHINE;

/// Where the code of an [`Image`] is loaded. It begins at the same offset of the file.
pub const CODE: u64 = 0x1000;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;

/// An object of this machine.
#[derive(Clone, Default)]
pub struct Image {
    pub code: Vec<u8>,
    /// Name, address, size in bytes and `st_info`.
    pub symbols: Vec<(String, u64, u64, u8)>,
    /// Name, type and contents.
    pub sections: Vec<(&'static str, u32, Vec<u8>)>,
}

impl Image {
    /// With functions in `.symtab`: names, offsets in the code, and sizes in bytes.
    pub fn with_functions(code: &[u8], functions: &[(&str, u64, u64)]) -> Self {
        let symbol = |(name, at, size): &(&str, u64, u64)| ((*name).into(), CODE + at, *size, 2);
        Self {
            code: code.to_vec(),
            symbols: functions.iter().map(symbol).collect(),
            sections: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_section(mut self, name: &'static str, kind: u32, contents: &[u8]) -> Self {
        self.sections.push((name, kind, contents.to_vec()));
        self
    }

    #[must_use]
    pub fn with_build_id(self, id: &[u8]) -> Self {
        let mut note = Vec::new();
        for word in [4, id.len() as u32, 3] {
            note.extend(word.to_ne_bytes());
        }
        note.extend(b"GNU\0");
        note.extend(id);
        self.with_section(".note.gnu.build-id", 7, &note)
    }

    /// With an unwind table for x86-64, of entries for ranges of offsets in the code. At the
    /// beginning of each the return address is on top of the stack, and its instructions go on from
    /// there.
    #[must_use]
    pub fn with_frames(self, entries: &[(Range<u64>, &[u8])]) -> Self {
        let mut table = Vec::new();
        let mut add = |start: &[u8], instructions: &[u8]| {
            let mut record = [start, instructions].concat();
            record.resize((record.len() + 4).next_multiple_of(8) - 4, 0);
            table.extend((record.len() as u32).to_ne_bytes());
            table.extend(record);
            table.len() as u32
        };
        // Version 1, plain addresses, the return address in register 16; CFA at register 7 + 8.
        let common = b"\0\0\0\0\x01zR\0\x01\x78\x10\x01\0";
        let mut end = add(common, &[0x0c, 7, 8, 0x90, 1]);
        for (range, instructions) in entries {
            let mut start = (end + 4).to_ne_bytes().to_vec();
            start.extend((CODE + range.start).to_ne_bytes());
            start.extend((range.end - range.start).to_ne_bytes());
            start.push(0);
            end = add(&start, instructions);
        }
        table.extend([0; 4]);
        self.with_section(".eh_frame", 1, &table)
    }

    pub fn file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&self.bytes()).unwrap();
        file
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut sections = self.sections.clone();
        if !self.symbols.is_empty() {
            let (symbols, strings) = self.symbol_table();
            sections.insert(0, (".strtab", STRTAB, strings));
            sections.insert(0, (".symtab", SYMTAB, symbols));
        }
        let mut names = vec![0];
        let mut headers = section_header(0, 0, 0, 0, 0);
        let mut body = self.code.clone();
        sections.push((".shstrtab", STRTAB, Vec::new()));
        let count = sections.len();
        for (index, (name, kind, mut contents)) in sections.into_iter().enumerate() {
            let position = names.len() as u32;
            names.extend(name.as_bytes());
            names.push(0);
            if index + 1 == count {
                contents.clone_from(&names);
            }
            body.resize(body.len().next_multiple_of(8), 0);
            let at = CODE + body.len() as u64;
            // The strings stand right behind the symbols.
            let link = if kind == SYMTAB { index as u32 + 2 } else { 0 };
            headers.extend(section_header(position, kind, at, contents.len(), link));
            body.extend(contents);
        }
        body.resize(body.len().next_multiple_of(8), 0);
        let headers_at = CODE + body.len() as u64;
        let mut bytes = self.headers(headers_at, count as u16 + 1);
        bytes.resize(CODE as usize, 0);
        bytes.extend(body);
        bytes.extend(headers);
        bytes
    }

    /// The ELF header, an executable segment with the code, and one with the sections.
    fn headers(&self, sections_at: u64, count: u16) -> Vec<u8> {
        let order = if cfg!(target_endian = "little") { 1 } else { 2 };
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, order, 1];
        bytes.resize(16, 0);
        bytes.extend(3u16.to_ne_bytes());
        bytes.extend(MACHINE.0.to_ne_bytes());
        bytes.extend(1u32.to_ne_bytes());
        for word in [0, 64, sections_at] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(0u32.to_ne_bytes());
        for half in [64, 56, 2, 64, count, count - 1] {
            bytes.extend(half.to_ne_bytes());
        }
        let end = CODE + self.code.len() as u64;
        for (flags, start, end) in [(5u32, CODE, end), (4, end, sections_at)] {
            bytes.extend(1u32.to_ne_bytes());
            bytes.extend(flags.to_ne_bytes());
            for word in [start, start, start, end - start, end - start, 0x1000] {
                bytes.extend(word.to_ne_bytes());
            }
        }
        bytes
    }

    fn symbol_table(&self) -> (Vec<u8>, Vec<u8>) {
        let mut symbols = vec![0; 24];
        let mut strings = vec![0];
        for (name, address, size, info) in &self.symbols {
            symbols.extend((strings.len() as u32).to_ne_bytes());
            symbols.extend([*info, 0]);
            symbols.extend(1u16.to_ne_bytes());
            symbols.extend(address.to_ne_bytes());
            symbols.extend(size.to_ne_bytes());
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        (symbols, strings)
    }
}

fn section_header(name: u32, kind: u32, at: u64, size: usize, link: u32) -> Vec<u8> {
    let entry_size: u64 = if kind == SYMTAB { 24 } else { 0 };
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(name.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    for word in [0, at, at, size as u64] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(link.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(8u64.to_ne_bytes());
    bytes.extend(entry_size.to_ne_bytes());
    bytes
}
