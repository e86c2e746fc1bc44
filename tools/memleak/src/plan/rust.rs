//! The functions that Rust code calls for memory: traced where its allocator is none that is known.

use memtools::target::elf::{ElfError, Function};
use memtools::target::reach::reaches;

use super::Planner;
use crate::functions::{ALLOCATOR, JEMALLOC, MIMALLOC, PREFIXES, RUST, Role, rust_name};

/// What all code calls that is about to allocate (from 1.88 on), so that it can be told.
const MARKER: &str = "__rust_no_alloc_shim_is_unstable";
/// The standard library's own, which asks the C library.
const DEFAULT: &str = "__rdl_alloc";

/// Whether a symbol is that of one of them.
pub fn is_rusts(symbol: &str) -> bool {
    role_of(symbol).is_some()
}

fn role_of(symbol: &str) -> Option<Role> {
    let name = rust_name(symbol);
    let known = RUST.iter().find(|(known, _)| *known == name);
    known.map(|(_, role)| *role)
}

/// Whether a function is seen anyway, or goes to one that is.
fn is_known(symbol: &str) -> bool {
    let prefixes = std::iter::once(&"").chain(PREFIXES);
    let mut plain = prefixes.filter_map(|prefix| symbol.strip_prefix(prefix));
    let is_allocators = |name: &str| {
        let mut own = ALLOCATOR.iter().chain(JEMALLOC);
        own.any(|(known, _)| *known == name)
    };
    plain.any(is_allocators)
        || MIMALLOC.iter().any(|(known, _)| *known == symbol)
        || rust_name(symbol) == DEFAULT
}

impl Planner<'_> {
    pub(super) fn add_rust_allocator(&mut self) -> Result<(), ElfError> {
        let functions = self.elf.functions_where(is_rusts)?;
        let has = |role| {
            let mut all = functions.iter();
            all.any(|function| role_of(&function.name) == Some(role))
        };
        if !has(Role::Malloc) || !has(Role::Free) {
            return Ok(());
        }
        let mut allocs = functions
            .iter()
            .filter(|function| rust_name(&function.name) == "__rust_alloc");
        // What cannot be read is traced: what is called inside counts once.
        if allocs.all(|alloc| reaches(&self.elf, alloc, is_known).unwrap_or(false)) {
            return Ok(());
        }
        if self.has_inlined_some(&functions)? {
            self.notes.push(format!(
                "the allocator of the Rust code in {} is compiled into the functions that call it: what \
                 they allocate by it is not seen",
                self.object.name()
            ));
            return Ok(());
        }
        for function in &functions {
            if let Some(role) = role_of(&function.name) {
                self.add(role, function, 0);
            }
        }
        Ok(())
    }

    /// Whether code that allocates does not call the functions for it. Such code goes to the marker first,
    /// as all code that allocates does, and then to none of them.
    fn has_inlined_some(&self, functions: &[Function]) -> Result<bool, ElfError> {
        /// So near behind the marker a call stands, in bytes.
        const NEAR: u64 = 128;
        let markers = self
            .elf
            .functions_where(|name| rust_name(name).starts_with(MARKER))?;
        let addresses = |functions: &[Function]| -> Vec<u64> {
            functions.iter().map(|function| function.address).collect()
        };
        let markers = self.elf.references(&addresses(&markers))?;
        let calls = self.elf.references(&addresses(functions))?;
        let has_call = |marker: u64| {
            let next = calls.partition_point(|call| *call < marker);
            calls.get(next).is_some_and(|call| call - marker < NEAR)
        };
        Ok(markers.iter().any(|marker| !has_call(*marker)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_known_by_old_names_and_new() {
        let mangled = "_RNvCsfLfy6EI15iL_7___rustc14___rust_realloc";
        for (symbol, role) in [
            ("__rust_alloc", Some(Role::Malloc)),
            (mangled, Some(Role::RustRealloc)),
            ("_RNvCs1_7___rustc14___rust_dealloc", Some(Role::Free)),
            ("_RNvCs1_7___rustc12___rust_alloc", Some(Role::Malloc)),
            ("_RNvCs1_7___rustc26___rust_alloc_error_handler", None),
            ("_RNvNtCs1_3std5alloc8rust_oom", None),
            ("rust_alloc", None),
        ] {
            assert_eq!(role_of(symbol), role, "{symbol}");
        }
        for symbol in [
            "malloc",
            "_rjem_mallocx",
            "mi_zalloc_aligned",
            "_RNvCs1_7___rustc11___rdl_alloc",
            "posix_memalign",
        ] {
            assert!(is_known(symbol), "{symbol}");
        }
        assert!(!is_known("mallocate") && !is_known("mi_collect"));
    }
}
