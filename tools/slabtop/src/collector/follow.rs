//! The objects of a few caches: where they are made, and which stay.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};
use memtools::attach::KernelError;
use memtools::maps::{self, for_each_entry, summed_counters};
use memtools::selection::Selection;
use memtools::symbols::{is_tracing, kernel_symbols};

use super::kernel::{Group, Loaded, Ways};
use super::{Addresses, abi};
use crate::model::{Place, Snapshot};

/// The programs that follow objects.
pub struct Followed {
    loaded: Loaded,
    /// The caches they have been told.
    caches: HashMap<u64, String>,
    frames: HashMap<u64, String>,
}

impl Followed {
    /// Loads and attaches them; no cache is followed yet.
    pub fn start(ways: &mut Ways, selection: &Selection, max: u32) -> Result<Self, KernelError> {
        Ok(Self {
            loaded: Loaded::events(Group::Objects { max }, ways, selection)?,
            caches: HashMap::new(),
            frames: HashMap::new(),
        })
    }

    /// Follows these caches, as far as it is known where they are. Others are let go.
    pub fn set_caches(&mut self, wanted: &BTreeSet<String>, addresses: &Addresses) -> Result<()> {
        let caches = self.caches.iter();
        let unwanted = caches.filter(|(_, name)| !wanted.contains(*name));
        let unwanted: HashSet<u64> = unwanted.map(|(address, _)| *address).collect();
        if !unwanted.is_empty() {
            self.forget(&unwanted)?;
        }
        let map = &self.loaded.skel.maps.followed;
        for name in wanted {
            for &address in addresses.get(name).into_iter().flatten() {
                if let Entry::Vacant(place) = self.caches.entry(address) {
                    map.update(&address.to_ne_bytes(), &1_u32.to_ne_bytes(), MapFlags::ANY)
                        .with_context(|| format!("following {name}"))?;
                    place.insert(name.clone());
                }
            }
        }
        Ok(())
    }

    /// Lets go of all that is known of these caches: frees of their objects are no longer seen.
    fn forget(&mut self, caches: &HashSet<u64>) -> Result<()> {
        let maps = &self.loaded.skel.maps;
        for cache in caches {
            let _ = maps.followed.delete(&cache.to_ne_bytes());
            self.caches.remove(cache);
        }
        let mut stacks: HashSet<u64> = HashSet::new();
        for_each_entry(&maps.stacks, |hash: &u64, stack: &abi::Stack| {
            if caches.contains(&stack.cache) {
                stacks.insert(*hash);
            }
        })?;
        let mut objects: Vec<u64> = Vec::new();
        for_each_entry(&maps.objects, |object: &u64, made_by: &u64| {
            if stacks.contains(made_by) {
                objects.push(*object);
            }
        })?;
        for object in objects {
            let _ = maps.objects.delete(&object.to_ne_bytes());
        }
        for stack in stacks {
            let _ = maps.stacks.delete(&stack.to_ne_bytes());
        }
        Ok(())
    }

    /// Adds what is known by now.
    pub fn read(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        let maps = &self.loaded.skel.maps;
        let mut stacks: Vec<(u64, abi::Stack)> = Vec::new();
        for_each_entry(&maps.stacks, |hash: &u64, stack: &abi::Stack| {
            stacks.push((*hash, *stack));
        })?;
        let has_moved = |stack: &abi::Stack| stack.allocs > 0 || stack.frees > 0;
        stacks.retain(|(_, stack)| self.caches.contains_key(&stack.cache) && has_moved(stack));
        let counters = summed_counters(&maps.counters, abi::COUNTERS)?;
        self.name_frames(&stacks);
        snapshot.places = stacks
            .iter()
            .map(|(hash, stack)| self.place(*hash, stack))
            .collect();
        snapshot.loss.objects += counters[abi::LOST_OBJECTS];
        snapshot.loss.stacks += counters[abi::LOST_STACKS];
        snapshot.loss.bulk += counters[abi::LOST_BULK];
        snapshot.loss.missed += self.loaded.missed();
        Ok(())
    }

    fn name_frames(&mut self, stacks: &[(u64, abi::Stack)]) {
        let addresses = stacks.iter().flat_map(|(_, stack)| frames_of(stack));
        let mut unknown: Vec<u64> = addresses
            .copied()
            .filter(|address| !self.frames.contains_key(address))
            .collect();
        if unknown.is_empty() {
            return;
        }
        unknown.sort_unstable();
        unknown.dedup();
        let symbols = kernel_symbols(&unknown);
        for (address, symbol) in unknown.into_iter().zip(symbols) {
            let name = symbol.map_or_else(
                || format!("{address:#018x}"),
                |symbol| format!("{}+{:#x}", symbol.name, symbol.offset),
            );
            self.frames.insert(address, name);
        }
    }

    fn place(&self, id: u64, stack: &abi::Stack) -> Place {
        let names = frames_of(stack).iter();
        let names: Vec<&str> = names
            .map(|address| self.frames.get(address).map_or("", String::as_str))
            .collect();
        let mut frames: Vec<String> = without_tracing(&names)
            .iter()
            .map(|&name| name.to_owned())
            .collect();
        if stack.depth as usize >= abi::STACK_DEPTH {
            frames.push("(outer frames are not kept)".to_owned());
        }
        Place {
            id,
            cache: self.caches.get(&stack.cache).cloned().unwrap_or_default(),
            comm: maps::text(&stack.comm),
            allocs: stack.allocs,
            freed: stack.freed,
            not_followed: stack.not_followed,
            pid: stack.process,
            has_others: stack.has_others != 0,
            frees: stack.frees,
            frames,
        }
    }
}

fn frames_of(stack: &abi::Stack) -> &[u64] {
    &stack.frames[..(stack.depth as usize).min(abi::STACK_DEPTH)]
}

/// A stack begins with what brought the event to the program: that is no part of the story.
fn without_tracing<'a, 'b>(names: &'a [&'b str]) -> &'a [&'b str] {
    // Programs have no names where the kernel keeps them to itself.
    let is_tracing = |name: &str| name.starts_with("0x") || is_tracing(name);
    let first = names.iter().position(|name| !is_tracing(name));
    first.map_or(names, |first| &names[first..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brought_the_event_is_left_out() {
        let names = [
            "bpf_prog_1_x+0x1",
            "bpf_trace_run5+0x2",
            "kmem_cache_alloc+0x3",
            "f+0x4",
        ];
        assert_eq!(without_tracing(&names), ["kmem_cache_alloc+0x3", "f+0x4"]);
        assert_eq!(without_tracing(&names[2..]), &names[2..]);
        assert!(without_tracing(&[]).is_empty());
        // Somebody else's, further out, is a part of it.
        let names = ["bpf_prog_1_x+0x1", "f+0x4", "bpf_trampoline_7+0x1", "g+0x4"];
        assert_eq!(without_tracing(&names), &names[1..]);
    }
}
