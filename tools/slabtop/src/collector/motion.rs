//! How many objects of each cache came and went.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use libbpf_rs::MapCore;
use memtools::maps::{self, SharedWords, for_each_entry, summed_counters};
use memtools::selection::Selection;

use super::kernel::{Group, Loaded, Ways};
use super::{Addresses, abi};
use crate::model::{Loss, Moved};

/// The counters.
pub struct Motion {
    counts: SharedWords<{ abi::SLOTS_WORDS }>,
    loaded: Loaded,
    /// What caches were called when their first events came.
    found: HashMap<u64, String>,
    /// Caches that had events, and that were not among those there are at the last read.
    unknown: HashSet<u64>,
}

/// What was read.
pub struct Counted {
    pub moved: HashMap<String, Moved>,
    pub addresses: Addresses,
    pub loss: Loss,
}

impl Motion {
    /// Loads and attaches them.
    pub fn start(ways: &mut Ways, selection: &Selection) -> Result<Self> {
        let loaded = Loaded::events(Group::Motion, ways, selection)?;
        Ok(Self {
            counts: SharedWords::new(&loaded.skel.maps.counts)?,
            loaded,
            found: HashMap::new(),
            unknown: HashSet::new(),
        })
    }

    /// What moved in each cache, by its address.
    fn counts(&self) -> HashMap<u64, Moved> {
        let mut counts: HashMap<u64, Moved> = HashMap::new();
        for slot in self.slots() {
            let cache = slot[0].load(Ordering::Relaxed);
            let motions = slot[1..=abi::MOTIONS].iter();
            let motions: Vec<u64> = motions.map(|word| word.load(Ordering::Relaxed)).collect();
            if cache != 0 && motions.iter().any(|objects| *objects > 0) {
                let (came, went) = motions.split_at(abi::FIRST_FREE);
                let sum = counts.entry(cache).or_default();
                sum.allocs += came.iter().sum::<u64>();
                sum.frees += went.iter().sum::<u64>();
            }
        }
        counts
    }

    fn slots(&self) -> impl Iterator<Item = &[AtomicU64]> {
        let cpus = self.counts.iter();
        cpus.flat_map(|words| words.chunks_exact(abi::SLOT_WORDS))
    }

    /// Their next events begin anew.
    fn forget(&self, caches: &HashSet<u64>) {
        for slot in self.slots() {
            if caches.contains(&slot[0].load(Ordering::Relaxed)) {
                for word in slot.iter().rev() {
                    word.store(0, Ordering::Release);
                }
            }
        }
    }

    /// Sums since the attach. `addresses`: where caches are, if that is known otherwise; `names`: the
    /// caches there are.
    pub fn read(&mut self, addresses: &Addresses, names: &BTreeSet<&str>) -> Result<Counted> {
        let counts = self.counts();
        let maps = &self.loaded.skel.maps;
        // After the counts: each cache that has some has its name by now. A map is read only when there
        // is something new in it.
        if counts.keys().any(|cache| !self.found.contains_key(cache)) {
            let found = &mut self.found;
            for_each_entry(&maps.names, |cache: &u64, name: &abi::Name| {
                found.insert(*cache, maps::text(&name.text));
            })?;
        }
        let found = &self.found;
        let real: HashMap<u64, &str> = addresses
            .iter()
            .flat_map(|(name, places)| places.iter().map(move |place| (*place, name.as_str())))
            .collect();
        let mut moved: HashMap<String, Moved> = HashMap::new();
        let mut known = Addresses::new();
        let mut gone = HashSet::new();
        let mut unknown = HashSet::new();
        for (cache, more) in counts {
            let now = real.get(&cache).copied();
            let then = found.get(&cache).map(String::as_str);
            let name = then.or(now).unwrap_or("");
            // Another cache can have come to where one was.
            let is_another = then.zip(now).is_some_and(|(then, now)| then != now);
            let is_unknown = !names.contains(name);
            // One that was made after the caches were listed is among them the next time.
            if is_another || is_unknown && self.unknown.contains(&cache) {
                gone.insert(cache);
                continue;
            }
            if is_unknown {
                unknown.insert(cache);
                continue;
            }
            let sum = moved.entry(name.to_owned()).or_default();
            sum.allocs += more.allocs;
            sum.frees += more.frees;
            known.entry(name.to_owned()).or_default().insert(cache);
        }
        for cache in &gone {
            self.found.remove(cache);
            let _ = maps.names.delete(&cache.to_ne_bytes());
        }
        self.forget(&gone);
        self.unknown = unknown;
        let counters =
            summed_counters(&maps.counters, abi::COUNTERS).context("reading counters")?;
        let loss = Loss {
            missed: self.loaded.missed(),
            caches: counters[abi::LOST_CACHES],
            bulk: counters[abi::LOST_BULK],
            ..Loss::default()
        };
        Ok(Counted {
            moved,
            addresses: known,
            loss,
        })
    }
}
