//! Names for addresses: function, file and line, inlined functions, demangled.
//!
//! Locations hold the opened object, so that they can be named after the process has ended. Every
//! result is remembered by file and offset.

mod kernel;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized};

use crate::target::mappings::Mappings;
use crate::target::object::{FileId, Object};

pub use kernel::{KernelModules, is_tracing, kernel_symbols};

/// A return address, and what was mapped there.
#[derive(Clone, Debug)]
pub struct Location {
    /// The address.
    pub address: u64,
    /// The file whose code it is, if there is one.
    pub object: Option<Arc<Object>>,
    /// The mapping's name where there is no file.
    pub mapping: Arc<str>,
    /// The byte of the file *before* the address: where a return address is looked up, because
    /// the call may be the last instruction of its function. Without a file, whatever tells apart
    /// what has the same address.
    pub file_offset: u64,
    /// Its name, where that is known already: of the kernel's code, which is no file, and of what is
    /// no code at all (address 0), as whom a stack belongs to.
    pub symbol: Option<Arc<Symbol>>,
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        let file = |location: &Self| location.object.as_ref().map(|object| object.id());
        (self.address, self.file_offset) == (other.address, other.file_offset)
            && file(self) == file(other)
            && self.mapping == other.mapping
    }
}

impl Location {
    /// What a return address meant at a time (CLOCK_MONOTONIC, nanoseconds); `None`: no text.
    pub fn of_return_address(mappings: &Mappings, address: u64, time_ns: u64) -> Option<Self> {
        let mapping = mappings.find(address.checked_sub(1)?, time_ns)?;
        Some(Self {
            address,
            object: mapping.object.clone(),
            mapping: mapping.name.clone(),
            file_offset: mapping.offset_of(address - 1),
            symbol: None,
        })
    }

    /// The name of the file or mapping: for people.
    pub fn module(&self) -> String {
        match &self.object {
            Some(object) => object.name(),
            None => self.mapping.to_string(),
        }
    }
}

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its demangled name.
    pub name: String,
    /// How far the address is into the function, in bytes; 0 for an inlined one.
    pub offset: u64,
    /// The source file, as the debug info names it.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// Whether it was inlined into the next symbol.
    pub inlined: bool,
}

/// The symbols at one address, the innermost inlined function first; empty: none is known.
pub type Symbols = Arc<[Symbol]>;

/// Finds symbols, and remembers them. Belongs to one thread.
pub struct Symbolizer {
    inner: blazesym::symbolize::Symbolizer,
    known: HashMap<(FileId, u64), Symbols>,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self {
            // It takes every name for a mangled one: a C function `f` would become `float`.
            inner: blazesym::symbolize::Symbolizer::builder()
                .enable_demangling(false)
                .build(),
            known: HashMap::new(),
        }
    }
}

impl Symbolizer {
    /// Looks up everything that is not known yet, in one batch a file.
    pub fn prepare<'l>(&mut self, locations: impl IntoIterator<Item = &'l Location>) {
        let mut wanted: HashMap<FileId, (Arc<Object>, Vec<u64>)> = HashMap::new();
        for location in locations {
            let Some(object) = &location.object else {
                continue;
            };
            if self
                .known
                .contains_key(&(object.id(), location.file_offset))
            {
                continue;
            }
            let (_, offsets) = wanted
                .entry(object.id())
                .or_insert_with(|| (object.clone(), Vec::new()));
            offsets.push(location.file_offset);
        }
        for (id, (object, mut offsets)) in wanted {
            offsets.sort_unstable();
            offsets.dedup();
            for (offset, symbols) in offsets.iter().zip(self.look_up(&object, &offsets)) {
                self.known.insert((id, *offset), symbols);
            }
        }
    }

    /// The symbols of a location.
    pub fn symbols(&mut self, location: &Location) -> Symbols {
        if let Some(symbol) = &location.symbol {
            return [Symbol::clone(symbol)].into();
        }
        let Some(object) = &location.object else {
            return Symbols::default();
        };
        let key = (object.id(), location.file_offset);
        if !self.known.contains_key(&key) {
            self.prepare([location]);
        }
        self.known.get(&key).cloned().unwrap_or_default()
    }

    /// Lets go of the files that were read, too: they are read again when they are needed.
    pub fn forget_files(&mut self) {
        *self = Self::default();
    }

    /// Lets go of all results, for whoever keeps names elsewhere.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    fn look_up(&self, object: &Object, offsets: &[u64]) -> Vec<Symbols> {
        let path = object.symbol_path();
        let source = Source::Elf(Elf::new(&path));
        // No symbols can be read: addresses and the module remain.
        let Ok(results) = self.inner.symbolize(&source, Input::FileOffset(offsets)) else {
            return vec![Symbols::default(); offsets.len()];
        };
        let mut by_symbol_table = Elf::new(&path);
        by_symbol_table.debug_syms = false;
        let source = Source::Elf(by_symbol_table);
        let named = results.iter().zip(offsets);
        named
            .map(|(result, &offset)| {
                let Symbolized::Sym(sym) = result else {
                    return Symbols::default();
                };
                // Debug info gives a function in several pieces no start: the symbol table has it.
                let start = (sym.addr == 0)
                    .then(|| {
                        self.inner
                            .symbolize_single(&source, Input::FileOffset(offset))
                            .ok()
                    })
                    .flatten();
                let start = start.as_ref().and_then(Symbolized::as_sym);
                flatten(sym, start.map_or(sym.offset, |start| start.offset)).into()
            })
            .collect()
    }
}

/// The name as it stands in the source, of Rust and C++; all others are as they are.
pub fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let (whole, short) = (rust.to_string(), format!("{rust:#}"));
        // C++'s older sibling of this mangling has no hash at its end.
        if name.starts_with("_R") || whole != short {
            return short;
        }
    }
    let is_cpp = name.starts_with("_Z") || name.starts_with("__Z");
    let symbol = is_cpp
        .then(|| cpp_demangle::Symbol::new(name).ok())
        .flatten();
    symbol
        .and_then(|symbol| symbol.demangle().ok())
        .unwrap_or_else(|| name.to_owned())
}

/// From the innermost inlined function to the function that the address belongs to.
fn flatten(sym: &Sym<'_>, offset: usize) -> Vec<Symbol> {
    let inlined = sym.inlined.iter().rev().map(|inlined| Symbol {
        name: demangled(&inlined.name),
        offset: 0,
        file: inlined
            .code_info
            .as_ref()
            .map(CodeInfo::to_path)
            .map(Into::into),
        line: inlined.code_info.as_ref().and_then(|info| info.line),
        inlined: true,
    });
    let function = Symbol {
        name: demangled(&sym.name),
        // The address itself is one byte further on than where it was looked up.
        offset: offset as u64 + 1,
        file: sym.code_info.as_ref().map(|info| info.to_path().into()),
        line: sym.code_info.as_ref().and_then(|info| info.line),
        inlined: false,
    };
    inlined.chain([function]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::mappings::read_text_mappings;

    #[inline(never)]
    fn known_function() -> u64 {
        known_function as *const () as u64
    }

    #[test]
    fn own_functions_have_names() {
        let pid = std::process::id();
        let mut mappings = Mappings::default();
        for record in read_text_mappings(pid).unwrap() {
            mappings.insert(pid, &record, 0);
        }
        let location = Location::of_return_address(&mappings, known_function() + 4, 1).unwrap();
        let symbols = Symbolizer::default().symbols(&location);
        let outermost = symbols.last().unwrap();
        assert!(outermost.name.contains("known_function"), "{outermost:?}");
        assert_eq!(outermost.offset, 4);
        assert!(!outermost.inlined);
    }

    #[test]
    fn only_mangled_names_are_demangled() {
        for name in ["f", "St", "x", "Pi", "N3fooE", "main", ""] {
            assert_eq!(demangled(name), name);
        }
        assert_eq!(demangled("_ZN3foo3barEv"), "foo::bar()");
        assert_eq!(demangled("_Znwm"), "operator new(unsigned long)");
        let rust = "_ZN4core3fmt5Write9write_str17h0123456789abcdefE";
        assert_eq!(demangled(rust), "core::fmt::Write::write_str");
        assert_eq!(demangled("_RNvC6_123foo3bar"), "123foo::bar");
    }

    #[test]
    fn addresses_outside_text_have_no_location() {
        assert!(Location::of_return_address(&Mappings::default(), 0, 0).is_none());
        assert!(Location::of_return_address(&Mappings::default(), 4096, 0).is_none());
    }
}
