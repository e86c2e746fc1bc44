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
fn is_rusts(symbol: &str) -> bool {
    role_of(symbol).is_some()
}

fn role_of(symbol: &str) -> Option<Role> {
    let name = rust_name(symbol);
    let known = RUST.iter().find(|(known, _)| *known == name);
    known.map(|(_, role)| *role)
}

/// Whether a function is one of an allocator that has all memory of those who use it: not malloc, which
/// an allocator may ask for a part of what it gives.
fn is_whole_allocators(symbol: &str) -> bool {
    let mut plain = PREFIXES
        .iter()
        .filter_map(|prefix| symbol.strip_prefix(prefix));
    let is_in = |table: &[(&str, Role)], name: &str| table.iter().any(|(known, _)| *known == name);
    plain.any(|name| is_in(ALLOCATOR, name) || is_in(JEMALLOC, name))
        || is_in(JEMALLOC, symbol)
        || is_in(MIMALLOC, symbol)
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
        if allocs.all(|alloc| self.is_seen_anyway(alloc).unwrap_or(false)) {
            return Ok(());
        }
        if self.has_inlined_some(&functions)? {
            self.notes.push(format!(
                "the allocator of the Rust code in {} is compiled into functions that call it: what they \
                 allocate is seen only as far as it asks another allocator",
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

    /// Whether all that Rust code allocates comes to functions that are traced: those of the C library,
    /// which the default goes to at once, or of another allocator, here or in another object.
    fn is_seen_anyway(&self, alloc: &Function) -> Result<bool, ElfError> {
        let is_planned = |name: &str| {
            let mut names = self.probes.iter().flat_map(|probe| &probe.names);
            names.any(|planned| planned == name)
        };
        reaches(&self.elf, alloc, |name| {
            rust_name(name) == DEFAULT
                || is_whole_allocators(name) && (!self.elf.defines(name) || is_planned(name))
        })
    }

    /// Whether code that allocates does not call the functions for it. Such code calls the marker first,
    /// as all code that allocates does, and then none of them. Of other code some loads the address of
    /// what it calls before it is there, or shares a call with other code: that is little.
    fn has_inlined_some(&self, functions: &[Function]) -> Result<bool, ElfError> {
        /// So near behind the marker a call stands, in bytes.
        const NEAR: u64 = 128;
        /// Of the markers, in percent.
        const MUCH: usize = 10;
        let markers = self
            .elf
            .functions_where(|name| rust_name(name).starts_with(MARKER))?;
        let addresses = |functions: &[Function]| -> Vec<u64> {
            functions.iter().map(|function| function.address).collect()
        };
        let markers = self.elf.calls_of(&addresses(&markers))?;
        let calls = self.elf.calls_of(&addresses(functions))?;
        let (Some(markers), Some(calls)) = (markers, calls) else {
            return Ok(false);
        };
        let has_no_call = |marker: &&u64| {
            let next = calls.partition_point(|call| call < *marker);
            calls.get(next).is_none_or(|call| call - **marker >= NEAR)
        };
        let without = markers.iter().filter(has_no_call).count();
        Ok(without * 100 > markers.len() * MUCH)
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
            "_rjem_mallocx",
            "mallocx",
            "mi_malloc",
            "mi_zalloc_aligned",
            "je_posix_memalign",
        ] {
            assert!(is_whole_allocators(symbol), "{symbol}");
        }
        for symbol in ["malloc", "posix_memalign", "mallocate", "mi_collect"] {
            assert!(!is_whole_allocators(symbol), "{symbol}");
        }
    }
}
