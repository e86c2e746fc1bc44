//! The functions that an object has symbols for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use object::elf;

use super::table::{Table, is_defined, is_function};
use super::{ENDIAN, ElfError, ElfObject, Function, MAX_CODE};

/// The code read for a function without a size and without a symbol behind it, in bytes.
const UNSIZED_CODE: u64 = 64;

impl ElfObject {
    /// The functions with exactly one of these names, from `.dynsym` and from `.symtab`, local
    /// ones included; in the order of `names`, then by address. Each version of a name
    /// (`memcpy@GLIBC_2.2.5` and `memcpy@@GLIBC_2.14`) is one function unless they share an
    /// address. Undefined symbols and `STT_GNU_IFUNC` resolvers are left out: a probe on a
    /// resolver fires once a process, not once a call.
    ///
    /// Where the object has no `.symtab`, that of its separate debug file takes the place.
    ///
    /// # Errors
    /// [`ElfError::Io`] where a table or the code cannot be read.
    pub fn functions(&self, names: &[&str]) -> Result<Vec<Function>, ElfError> {
        let mut sizes: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for table in self.symbol_tables() {
            let positions = table.name_positions(names)?;
            if positions.is_empty() {
                continue;
            }
            table.each_symbol(|symbol| {
                if is_function(symbol)
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

    /// The functions whose name is wanted, from the tables that [`Self::functions`] looks through;
    /// by name, then by address. `wanted` is asked once for each symbol, with its name without a
    /// version.
    ///
    /// # Errors
    /// [`ElfError::Io`] where a table or the code cannot be read.
    pub fn functions_where(
        &self,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Vec<Function>, ElfError> {
        let mut sizes: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for table in self.symbol_tables() {
            table.each_function(|name, symbol| {
                if wanted(name) {
                    let key = (name.to_owned(), symbol.st_value.get(ENDIAN));
                    let size = sizes.entry(key).or_default();
                    *size = (*size).max(symbol.st_size.get(ENDIAN));
                }
            })?;
        }
        let mut functions = Vec::with_capacity(sizes.len());
        for ((name, address), size) in sizes {
            functions.extend(self.function(&name, address, size)?);
        }
        Ok(functions)
    }

    /// The names of all functions that [`Self::functions`] would find, sorted, each once.
    ///
    /// # Errors
    /// [`ElfError::Io`] where a table cannot be read.
    pub fn function_names(&self) -> Result<Vec<String>, ElfError> {
        let mut names = Vec::new();
        for table in self.symbol_tables() {
            table.each_function(|name, _| names.push(name.to_owned()))?;
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The function that begins at this virtual address. Of several names for it the plainest is
    /// taken (`malloc`, not `__libc_malloc`). Where no symbol stands there, the function is called
    /// `0xADDRESS` and its size comes from the unwind table entry that begins there.
    ///
    /// # Errors
    /// [`ElfError::Io`] and [`ElfError::Unwind`].
    pub fn function_at(&self, vaddr: u64) -> Result<Option<Function>, ElfError> {
        let underscores = |name: &str| name.len() - name.trim_start_matches('_').len();
        let plainness = |name: &str| (underscores(name), name.len(), name.to_owned());
        let mut plainest: Option<String> = None;
        let mut size = 0;
        for table in self.symbol_tables() {
            table.each_function(|name, symbol| {
                if symbol.st_value.get(ENDIAN) == vaddr {
                    size = size.max(symbol.st_size.get(ENDIAN));
                    if plainest
                        .as_ref()
                        .is_none_or(|old| plainness(name) < plainness(old))
                    {
                        plainest = Some(name.to_owned());
                    }
                }
            })?;
        }
        if let Some(name) = plainest {
            return self.function(&name, vaddr, size);
        }
        match self.unwound_length(vaddr)? {
            Some(size) => self.function(&format!("{vaddr:#x}"), vaddr, size),
            None => Ok(None),
        }
    }

    /// Whether `.dynsym` defines this name, as a function or as anything else. A table that cannot
    /// be read defines nothing.
    pub fn exports(&self, name: &str) -> bool {
        self.dynamic_table()
            .is_some_and(|table| defines_any(table, &[name]))
    }

    /// Whether `.dynsym` or `.symtab`, its separate debug file's included, defines this name, as a
    /// function or as anything else. A table that cannot be read defines nothing.
    pub fn defines(&self, name: &str) -> bool {
        self.symbol_tables()
            .any(|table| defines_any(table, &[name]))
    }

    /// Whether it asks other objects for one of these names. A table that cannot be read asks for
    /// none.
    pub fn imports_any(&self, names: &[&str]) -> bool {
        let Some(table) = self.dynamic_table() else {
            return false;
        };
        let Ok(positions) = table.name_positions(names) else {
            return false;
        };
        let mut found = false;
        let read = table.each_symbol(|symbol| {
            found |= !is_defined(symbol) && positions.contains_key(&symbol.st_name.get(ENDIAN));
        });
        found && read.is_ok()
    }

    /// Whether the Go compiler made it. Go moves the stacks of its threads about and checks the
    /// return addresses on them: a return probe kills such a program.
    pub fn is_go(&self) -> bool {
        self.layout.go_sections
            || self
                .symbol_tables()
                .any(|table| defines_any(table, &["runtime.gopanic", "runtime.main"]))
    }

    fn dynamic_table(&self) -> Option<Table<'_>> {
        let ranges = self.layout.dynamic_symbols.as_ref()?;
        Some(Table {
            path: &self.path,
            file: &self.file,
            ranges,
        })
    }

    /// `.dynsym` and `.symtab` or, in the place of the latter, that of the separate debug file.
    pub(super) fn symbol_tables(&self) -> impl Iterator<Item = Table<'_>> {
        let own = self.layout.all_symbols.as_ref().map(|ranges| Table {
            path: &self.path,
            file: &self.file,
            ranges,
        });
        let all = own.or_else(|| self.debug_file()?.symbols());
        self.dynamic_table().into_iter().chain(all)
    }

    /// `None` where the symbol does not lie in executable bytes of the file.
    pub(super) fn function(
        &self,
        name: &str,
        address: u64,
        size: u64,
    ) -> Result<Option<Function>, ElfError> {
        let Some(segment) = self.layout.segment_at(address).filter(|s| s.executable) else {
            return Ok(None);
        };
        let Some(file_offset) = segment.file_offset(address) else {
            return Ok(None);
        };
        let extent = match size {
            0 => self
                .next_start(address)?
                .map_or(UNSIZED_CODE, |next| next - address),
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

    /// Where the first symbol behind an address begins.
    fn next_start(&self, address: u64) -> Result<Option<u64>, ElfError> {
        let starts = self.starts()?;
        let behind = starts.partition_point(|start| *start <= address);
        Ok(starts.get(behind).copied())
    }

    /// Whether a symbol begins at one of these addresses.
    pub(super) fn has_symbol_in(&self, range: &Range<u64>) -> Result<bool, ElfError> {
        let starts = self.starts()?;
        let first = starts.partition_point(|start| *start < range.start);
        Ok(starts.get(first).is_some_and(|start| range.contains(start)))
    }

    /// The addresses at which symbols begin, sorted. Read at the first question and kept.
    fn starts(&self) -> Result<&[u64], ElfError> {
        if let Some(starts) = self.starts.get() {
            return Ok(starts);
        }
        let mut all = BTreeSet::new();
        for table in self.symbol_tables() {
            table.each_symbol(|symbol| {
                if is_defined(symbol) && symbol.st_type() != elf::STT_TLS {
                    all.insert(symbol.st_value.get(ENDIAN));
                }
            })?;
        }
        Ok(self.starts.get_or_init(|| all.into_iter().collect()))
    }
}

/// Whether a table defines one of these names.
fn defines_any(table: Table<'_>, names: &[&str]) -> bool {
    let Ok(positions) = table.name_positions(names) else {
        return false;
    };
    if positions.is_empty() {
        return false;
    }
    let mut found = false;
    let read = table.each_symbol(|symbol| {
        found |= is_defined(symbol) && positions.contains_key(&symbol.st_name.get(ENDIAN));
    });
    found && read.is_ok()
}
