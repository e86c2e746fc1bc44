//! Loaded programs that have served one process, made ready for the next.

use std::sync::atomic::Ordering;

use libbpf_rs::{MapCore, MapFlags};
use memtools::attach::Links;
use memtools::events::EventReader;
use memtools::maps::for_each_entry;

use super::Kernel;
use crate::collector::abi::{Block, BlockKey, COUNTERS, Event, Stack, StackTotals};

impl Kernel {
    /// Takes all probes out, and everything that is left of the process from the tables. None if it could not
    /// serve any process, or something stays: then it is of no use any more.
    pub fn recycled(mut self) -> Option<Self> {
        self.enable(false);
        // First what does not wait for the kernel: when the probes are out, nothing runs any more.
        self.life = Links::default();
        self.detach();
        (self.is_for_any && self.clear().is_some()).then_some(self)
    }

    fn clear(&mut self) -> Option<()> {
        self.clear_stacks()?;
        let maps = &self.skel.maps;
        let mut blocks = Vec::new();
        for_each_entry(&maps.blocks, |key: &BlockKey, _: &Block| blocks.push(*key)).ok()?;
        for key in &blocks {
            // SAFETY: BlockKey is plain: its bytes are all initialised.
            maps.blocks.delete(unsafe { plain::as_bytes(key) }).ok()?;
        }
        for set in self.sets.iter() {
            for word in set {
                word.store(0, Ordering::Relaxed);
            }
        }
        for map in [&maps.threads, &maps.probe_cookies] {
            let keys: Vec<Vec<u8>> = map.keys().collect();
            for key in keys {
                map.delete(&key).ok()?;
            }
        }
        let cpus = libbpf_rs::num_possible_cpus().ok()?;
        let zeros = vec![vec![0; size_of::<u64>()]; cpus];
        for counter in 0..COUNTERS {
            let key = counter.to_ne_bytes();
            maps.counters
                .update_percpu(&key, &zeros, MapFlags::ANY)
                .ok()?;
        }
        let events = EventReader::<Event>::new(&maps.events).ok()?;
        while !events.drain().is_empty() {}
        self.swept_image = 0;
        self.frees = 0;
        let bss = self.skel.maps.bss_data.as_deref_mut()?;
        bss.target_process = 0;
        bss.generation = 0;
        bss.epoch = 0;
        bss.trampoline = 0;
        bss.frees_nest = 0;
        bss.last_sampled_image = 0;
        bss.linker_text.start = 0;
        bss.linker_text.end = 0;
        self.allow_any_text();
        Some(())
    }

    /// The slots of stacks go back to the free ones.
    fn clear_stacks(&self) -> Option<()> {
        let maps = &self.skel.maps;
        let mut used = Vec::new();
        for_each_entry(&maps.stack_slots, |hash: &u64, slot: &u32| {
            used.push((*hash, *slot));
        })
        .ok()?;
        let (stack, totals) = (Stack::default(), StackTotals::default());
        // SAFETY: both are plain: their bytes are all initialised.
        let (stack, totals) = unsafe { (plain::as_bytes(&stack), plain::as_bytes(&totals)) };
        // What found no room.
        let key = 0_u32.to_ne_bytes();
        maps.totals.update(&key, totals, MapFlags::ANY).ok()?;
        for (hash, slot) in used {
            let slot = slot.to_ne_bytes();
            maps.stack_slots.delete(&hash.to_ne_bytes()).ok()?;
            // The cache of slots believes a stack only by its hash.
            maps.stacks.update(&slot, stack, MapFlags::ANY).ok()?;
            maps.totals.update(&slot, totals, MapFlags::ANY).ok()?;
            maps.free_slots.update(&[], &slot, MapFlags::ANY).ok()?;
        }
        Some(())
    }
}
