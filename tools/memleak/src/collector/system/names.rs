//! What the kernel's addresses mean, and what kind of memory a stack asks for.

use std::collections::HashMap;
use std::sync::Arc;

use memtools::symbols::{KernelModules, Location, Symbol, is_tracing, kernel_symbols};

use super::abi;
use crate::cli::Allocators;
use crate::snapshot::{Class, Stack};

/// Names that were asked for.
pub struct Names {
    /// What is traced.
    traced: Allocators,
    /// How many frames of a stack are kept.
    max_depth: u32,
    known: HashMap<u64, Arc<Location>>,
    owners: HashMap<(&'static str, String), Arc<Location>>,
}

impl Names {
    /// None yet.
    pub fn new(traced: Allocators, max_depth: u32) -> Self {
        Self {
            traced,
            max_depth,
            known: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// Looks up all that is not known yet: the kernel's table of symbols is read for it.
    pub fn look_up(&mut self, stacks: &[&abi::Stack]) {
        let addresses = stacks.iter().flat_map(|stack| frames_of(stack));
        let mut unknown: Vec<u64> = addresses
            .copied()
            .filter(|address| !self.known.contains_key(address))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return;
        }
        let modules = KernelModules::read();
        for (address, symbol) in unknown.iter().zip(kernel_symbols(&unknown)) {
            let module = modules.find(*address).unwrap_or("kernel");
            let location = Location {
                address: *address,
                object: None,
                mapping: module.into(),
                file_offset: 0,
                symbol: symbol.map(Arc::new),
            };
            self.known.insert(*address, Arc::new(location));
        }
    }

    /// A stack whose frames have been looked up, and its class. Its owner stands at its outer end.
    pub fn stack(
        &mut self,
        stack: &abi::Stack,
        owner: Option<(&'static str, String)>,
    ) -> (Arc<Stack>, Class) {
        let frames = frames_of(stack).iter();
        let mut locations: Vec<Arc<Location>> = frames
            .filter_map(|address| self.known.get(address).cloned())
            .collect();
        let first = locations
            .iter()
            .position(|location| symbol_of(location).is_some_and(|symbol| !is_tracing(symbol)));
        locations.drain(..first.unwrap_or(0));
        let has = |wanted: &dyn Fn(&str) -> bool| {
            let mut symbols = locations.iter().filter_map(|location| symbol_of(location));
            symbols.any(wanted)
        };
        let class = match u64::from(stack.allocator) {
            abi::SLAB => Class::Slab,
            abi::PERCPU => Class::Percpu,
            abi::VMALLOC => Class::Vmalloc,
            _ if has(&|symbol| is_of_allocator(symbol, self.traced)) => Class::Backing,
            _ => Class::Pages,
        };
        if let Some((kind, name)) = owner {
            let owner = if has(&is_interrupt) {
                ("interrupt", "(interrupt)".to_owned())
            } else {
                (kind, name)
            };
            locations.push(self.owner(owner));
        }
        let stack = Stack {
            locations,
            is_truncated: stack.depth >= self.max_depth,
            is_cut: false,
        };
        (Arc::new(stack), class)
    }

    fn owner(&mut self, owner: (&'static str, String)) -> Arc<Location> {
        let number = self.owners.len() as u64 + 1;
        let known = self.owners.entry(owner).or_insert_with_key(|(kind, name)| {
            Arc::new(Location {
                address: 0,
                object: None,
                mapping: (*kind).into(),
                file_offset: number,
                symbol: Some(Arc::new(Symbol {
                    name: name.clone(),
                    offset: 0,
                    file: None,
                    line: None,
                    inlined: false,
                })),
            })
        });
        known.clone()
    }
}

fn frames_of(stack: &abi::Stack) -> &[u64] {
    &stack.frames[..(stack.depth as usize).min(abi::FRAMES)]
}

fn symbol_of(location: &Location) -> Option<&str> {
    location.symbol.as_ref().map(|symbol| symbol.name.as_str())
}

/// Whether pages that a function asks for are those of another allocator, which is traced itself.
fn is_of_allocator(function: &str, traced: Allocators) -> bool {
    const SLAB: [&str; 8] = [
        "allocate_slab",
        "new_slab",
        "___slab_alloc",
        "alloc_slab_page",
        "kmalloc_order",
        "kmalloc_large",
        "__kmalloc_large_node",
        "___kmalloc_large_node",
    ];
    let is_any = |names: &[&str]| names.iter().any(|name| function.starts_with(name));
    traced.slab && is_any(&SLAB)
        || traced.vmalloc && is_any(&["__vmalloc_node_range", "__vmalloc_area_node"])
        || traced.percpu
            && is_any(&[
                "pcpu_alloc",
                "pcpu_populate",
                "pcpu_create_chunk",
                "pcpu_balance",
            ])
}

/// Whether what follows is not the running process's doing.
fn is_interrupt(function: &str) -> bool {
    const ENTRIES: [&str; 9] = [
        "__do_softirq",
        "handle_softirqs",
        "asm_sysvec_",
        "asm_common_interrupt",
        "asm_exc_nmi",
        "common_interrupt",
        "do_IRQ",
        "el1_interrupt",
        "irq_exit",
    ];
    ENTRIES.iter().any(|entry| function.starts_with(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Allocators = Allocators {
        slab: true,
        pages: true,
        percpu: true,
        vmalloc: true,
    };

    fn names(functions: &[&str], traced: Allocators) -> (Names, abi::Stack) {
        let mut names = Names::new(traced, 4);
        let mut stack = abi::Stack {
            allocator: abi::PAGES as u32,
            depth: functions.len() as u32,
            ..abi::Stack::default()
        };
        for (index, function) in functions.iter().enumerate() {
            let address = index as u64 + 0x1000;
            stack.frames[index] = address;
            let symbol = Symbol {
                name: (*function).to_owned(),
                offset: 1,
                file: None,
                line: None,
                inlined: false,
            };
            let location = Location {
                address,
                object: None,
                mapping: "kernel".into(),
                file_offset: 0,
                symbol: Some(Arc::new(symbol)),
            };
            names.known.insert(address, Arc::new(location));
        }
        (names, stack)
    }

    fn shown(stack: &Stack) -> Vec<&str> {
        let symbols = stack.locations.iter();
        symbols.filter_map(|location| symbol_of(location)).collect()
    }

    #[test]
    fn pages_of_other_allocators_are_no_class_of_their_own() {
        let of_slab = ["__alloc_pages", "allocate_slab", "kmalloc", "f"];
        let (mut known, stack) = names(&of_slab, ALL);
        let (named, class) = known.stack(&stack, None);
        assert_eq!(class, Class::Backing);
        assert!(named.is_truncated);
        let only_pages = Allocators { slab: false, ..ALL };
        let (mut known, stack) = names(&of_slab, only_pages);
        assert_eq!(known.stack(&stack, None).1, Class::Pages);
        let (mut known, stack) = names(&["__alloc_pages", "f"], ALL);
        let (named, class) = known.stack(&stack, None);
        assert_eq!(class, Class::Pages);
        assert!(!named.is_truncated);
    }

    #[test]
    fn a_stack_begins_where_memory_is_asked_for_and_ends_with_its_owner() {
        let (mut known, stack) = names(&["bpf_prog_1_x", "bpf_trace_run5", "kmalloc", "f"], ALL);
        let owner = || Some(("process", "nginx".to_owned()));
        let (named, _) = known.stack(&stack, owner());
        assert_eq!(shown(&named), ["kmalloc", "f", "nginx"]);
        let (again, _) = known.stack(&stack, owner());
        assert!(Arc::ptr_eq(&named.locations[2], &again.locations[2]));
    }

    #[test]
    fn nobody_is_charged_for_an_interrupt() {
        let (mut known, stack) = names(&["kmalloc", "f", "__do_softirq", "g"], ALL);
        let (named, _) = known.stack(&stack, Some(("process", "nginx".to_owned())));
        assert_eq!(shown(&named).last(), Some(&"(interrupt)"));
    }
}
