//! Which functions the compiler inlined, from DWARF.

use std::borrow::Cow;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use gimli::{AttributeValue, constants as dw};
use object::read::ReadCache;
use object::read::elf::ElfFile64;
use object::{NativeEndian, Object, ObjectSection};

use super::{ElfError, ElfObject};

type Slice<'a> = gimli::EndianSlice<'a, gimli::NativeEndian>;

impl ElfObject {
    /// Whether the debug info, the object's own or that of its separate debug file, knows a
    /// function of this name (as in the source, or mangled) that was inlined somewhere. It may
    /// have a body of its own all the same. False without debug info; what `.dwo` files say is not
    /// looked at.
    ///
    /// # Errors
    /// [`ElfError::Io`], [`ElfError::Malformed`] and [`ElfError::DebugInfo`].
    pub fn inlined(&self, name: &str) -> Result<bool, ElfError> {
        if self.layout.debug_info {
            return inlined_in(&self.path, &self.file, name);
        }
        match self.debug_file() {
            Some(debug) => inlined_in(&debug.path, &debug.file, name),
            None => Ok(false),
        }
    }
}

fn inlined_in(path: &Path, file: &File, name: &str) -> Result<bool, ElfError> {
    // Opened again for a file position of its own.
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|source| {
        ElfError::Io {
            path: path.into(),
            doing: "open it",
            source,
        }
    })?;
    let malformed = |source| ElfError::Malformed {
        path: path.into(),
        doing: "read its debug info",
        source,
    };
    let cache = ReadCache::new(file);
    let object = ElfFile64::<NativeEndian, _>::parse(&cache).map_err(malformed)?;
    let load = |id: gimli::SectionId| match object.section_by_name(id.name()) {
        Some(section) if is_needed(id) => section.uncompressed_data(),
        _ => Ok(Cow::Borrowed(&[][..])),
    };
    let sections = gimli::DwarfSections::load(load).map_err(malformed)?;
    let dwarf = sections.borrow(|section| Slice::new(section, gimli::NativeEndian));
    has_inlined(&dwarf, name).map_err(|source| ElfError::DebugInfo {
        path: path.into(),
        source,
    })
}

/// The sections that names are read from, and the line tables, without which a unit is not
/// accepted. The others may be larger than these together.
fn is_needed(id: gimli::SectionId) -> bool {
    use gimli::SectionId as Id;
    matches!(
        id,
        Id::DebugAbbrev
            | Id::DebugInfo
            | Id::DebugLine
            | Id::DebugStr
            | Id::DebugLineStr
            | Id::DebugStrOffsets
    )
}

fn has_inlined(dwarf: &gimli::Dwarf<Slice<'_>>, name: &str) -> gimli::Result<bool> {
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries_raw(None)?;
        while !entries.is_empty() {
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            let attributes = abbreviation.attributes();
            let is_candidate = abbreviation.tag() == dw::DW_TAG_subprogram
                && attributes.iter().any(|a| a.name() == dw::DW_AT_inline);
            if !is_candidate {
                entries.skip_attributes(attributes)?;
                continue;
            }
            let mut subprogram = Subprogram::default();
            for specification in attributes {
                let attribute = entries.read_attribute(*specification)?;
                subprogram.add(dwarf, &unit, name, attribute.name(), attribute.value());
            }
            if subprogram.inlined && subprogram.is_named(dwarf, &unit, name)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What is wanted of a subprogram's entry.
#[derive(Default)]
struct Subprogram {
    inlined: bool,
    named: bool,
    /// The entry that has its name: that of a member function stands in its class.
    declaration: Option<gimli::UnitOffset>,
}

impl Subprogram {
    fn add<'a>(
        &mut self,
        dwarf: &gimli::Dwarf<Slice<'a>>,
        unit: &gimli::Unit<Slice<'a>>,
        name: &str,
        attribute: gimli::DwAt,
        value: AttributeValue<Slice<'a>>,
    ) {
        match (attribute, value) {
            (dw::DW_AT_inline, AttributeValue::Inline(inline)) => {
                self.inlined |= matches!(inline, dw::DW_INL_inlined | dw::DW_INL_declared_inlined);
            }
            (dw::DW_AT_specification | dw::DW_AT_abstract_origin, AttributeValue::UnitRef(at)) => {
                self.declaration = Some(at);
            }
            (dw::DW_AT_name | dw::DW_AT_linkage_name | dw::DW_AT_MIPS_linkage_name, value) => {
                // A string in the supplementary file of `dwz` is not to be had.
                self.named |= dwarf
                    .attr_string(unit, value)
                    .is_ok_and(|string| string.slice() == name.as_bytes());
            }
            _ => {}
        }
    }

    fn is_named<'a>(
        &self,
        dwarf: &gimli::Dwarf<Slice<'a>>,
        unit: &gimli::Unit<Slice<'a>>,
        name: &str,
    ) -> gimli::Result<bool> {
        let Some(declaration) = self.declaration.filter(|_| !self.named) else {
            return Ok(self.named);
        };
        let mut declared = Self::default();
        for attribute in unit.entry(declaration)?.attrs() {
            declared.add(dwarf, unit, name, attribute.name(), attribute.value());
        }
        Ok(declared.named)
    }
}
