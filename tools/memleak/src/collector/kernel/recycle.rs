//! Loaded programs that have served one process, made ready for the next.

use libbpf_rs::{MapCore, MapFlags};
use memtools::attach::Links;
use memtools::events::EventReader;
use memtools::maps::for_each_entry;

use super::Kernel;
use crate::collector::abi::{
    Block, BlockKey, COUNTERS, Event, STACK_CACHE_SLOTS, Stack, StackTotals,
};

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
        /// To take more of them out takes longer than to load programs anew.
        const MOST_BLOCKS: usize = 20_000;
        // The table in front would be there from then on, page by page.
        if self.set_count > 0 {
            return None;
        }
        let mut blocks = Vec::new();
        let mut count = 0;
        for_each_entry(&self.skel.maps.blocks, |key: &BlockKey, _: &Block| {
            count += 1;
            if count <= MOST_BLOCKS {
                blocks.push(*key);
            }
        })
        .ok()?;
        if count > MOST_BLOCKS {
            return None;
        }
        self.clear_stacks()?;
        let maps = &self.skel.maps;
        for key in &blocks {
            // SAFETY: BlockKey is plain: its bytes are all initialised.
            maps.blocks.delete(unsafe { plain::as_bytes(key) }).ok()?;
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
        let nothing = 0_u32.to_ne_bytes();
        for (hash, slot) in used {
            let slot = slot.to_ne_bytes();
            maps.stack_slots.delete(&hash.to_ne_bytes()).ok()?;
            maps.stacks.update(&slot, stack, MapFlags::ANY).ok()?;
            maps.free_slots.update(&[], &slot, MapFlags::ANY).ok()?;
            // The cache holds no slot that is free.
            let cached = (hash as u32 & (STACK_CACHE_SLOTS - 1)).to_ne_bytes();
            maps.stack_cache
                .update(&cached, &nothing, MapFlags::ANY)
                .ok()?;
        }
        // Also of what found no room.
        let is_used = |own: &StackTotals| own.allocs > 0 || own.frees > 0;
        for (slot, _) in self.totals().filter(|(_, own)| is_used(own)) {
            let slot = slot.to_ne_bytes();
            maps.totals.update(&slot, totals, MapFlags::ANY).ok()?;
        }
        Some(())
    }
}
