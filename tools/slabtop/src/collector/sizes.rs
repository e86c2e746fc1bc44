//! What caches hold: from the kernel's iterator, or from /proc/slabinfo.

use std::fs::{self, File};
use std::io::{Read, Seek};

use anyhow::{Context, Result, anyhow};
use libbpf_rs::{Iter, Link};
use memtools::attach::{has_type, missing_permission};
use memtools::maps;
use plain::Plain;

use super::kernel::Loaded;
use super::{Addresses, abi, slabinfo};
use crate::model::Sizes;

/// Where sizes come from.
pub enum SizeSource {
    /// `iter/kmem_cache` (6.13): no file that only root may read.
    Iterator {
        link: Link,
        #[allow(dead_code)] // dropping it unloads the program
        loaded: Box<Loaded>,
    },
    /// /proc/slabinfo.
    Slabinfo(File),
}

const SLABINFO: &str = "/proc/slabinfo";

impl SizeSource {
    /// The best that works.
    pub fn open() -> Result<Self> {
        let why_not = match iterator() {
            Ok(source) => return Ok(source),
            Err(why) => why,
        };
        let file = File::open(SLABINFO).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow!(
                "this kernel does not tell what its slab caches hold: no {SLABINFO} \
                 (CONFIG_SLUB_DEBUG), and no iterator over them: {why_not:#}"
            ),
            _ => anyhow!("cannot read {SLABINFO}: {error} ({})", missing_permission()),
        })?;
        Ok(Self::Slabinfo(file))
    }

    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Iterator { .. } => "iter/kmem_cache",
            Self::Slabinfo(_) => SLABINFO,
        }
    }

    /// All caches, and where they are, as far as that is known here.
    pub fn read(&mut self) -> Result<(Vec<Sizes>, Addresses)> {
        match self {
            Self::Iterator { link, .. } => read_settled(link).context("reading the slab caches"),
            Self::Slabinfo(file) => {
                let mut text = String::new();
                file.rewind()
                    .and_then(|()| file.read_to_string(&mut text))
                    .context("reading /proc/slabinfo")?;
                Ok((slabinfo::parse(&text), Addresses::new()))
            }
        }
    }
}

fn iterator() -> Result<SizeSource> {
    if !has_type("bpf_iter__kmem_cache") {
        return Err(anyhow!("the kernel has none (6.13)"));
    }
    let (loaded, link) = Loaded::sizes(numa_nodes())?;
    Ok(SizeSource::Iterator {
        link,
        loaded: Box::new(loaded),
    })
}

/// How many nodes the kernel keeps places for: nr_node_ids.
fn numa_nodes() -> u32 {
    let possible = fs::read_to_string("/sys/devices/system/node/possible").unwrap_or_default();
    last_of(&possible).map_or(1, |last| last + 1)
}

/// The last number of a list like `0-3,8`.
fn last_of(list: &str) -> Option<u32> {
    list.trim_end().rsplit([',', '-']).next()?.parse().ok()
}

/// Reads again while lists of slabs changed under the reader, a few times.
fn read_settled(link: &Link) -> Result<(Vec<Sizes>, Addresses)> {
    const TRIES: usize = 4;
    let (mut sizes, mut addresses) = read_iterator(link)?;
    for _ in 1..TRIES {
        if sizes.iter().all(|cache| cache.active.is_some()) {
            break;
        }
        let (again, others) = read_iterator(link)?;
        if again.len() == sizes.len() {
            for (cache, newer) in sizes.iter_mut().zip(again) {
                if cache.active.is_none() && cache.name == newer.name {
                    *cache = newer;
                }
            }
        } else {
            (sizes, addresses) = (again, others);
        }
    }
    Ok((sizes, addresses))
}

fn read_iterator(link: &Link) -> Result<(Vec<Sizes>, Addresses)> {
    let mut bytes = Vec::new();
    Iter::new(link)?.read_to_end(&mut bytes)?;
    let mut addresses = Addresses::new();
    let records = bytes.chunks_exact(size_of::<abi::Sizes>());
    let sizes = records
        .filter_map(|record| {
            let mut sizes = zeroed();
            sizes.copy_from_bytes(record).ok()?;
            let cache = sizes_of(&sizes);
            addresses
                .entry(cache.name.clone())
                .or_default()
                .insert(sizes.cache);
            Some(cache)
        })
        .collect();
    Ok((sizes, addresses))
}

fn zeroed() -> abi::Sizes {
    abi::Sizes {
        cache: 0,
        objects: 0,
        free: 0,
        slabs: 0,
        size: 0,
        order_objects: 0,
        flags: 0,
        reserved: 0,
        name: [0; abi::NAME_BYTES],
    }
}

fn sizes_of(sizes: &abi::Sizes) -> Sizes {
    /// OO_SHIFT in mm/slub.c.
    const ORDER_SHIFT: u32 = 16;
    let is_known = sizes.flags & abi::SLAB_FREE_IS_KNOWN != 0;
    Sizes {
        name: maps::text(&sizes.name),
        object_bytes: sizes.size.into(),
        objects: sizes.objects,
        // They come and go while they are counted.
        active: is_known.then(|| sizes.objects.saturating_sub(sizes.free)),
        slabs: sizes.slabs,
        objects_per_slab: (sizes.order_objects & ((1 << ORDER_SHIFT) - 1)).into(),
        pages_per_slab: 1 << (sizes.order_objects >> ORDER_SHIFT).min(31),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_from_the_last_one() {
        assert_eq!(last_of("0\n"), Some(0));
        assert_eq!(last_of("0-3\n"), Some(3));
        assert_eq!(last_of("0-1,7"), Some(7));
        assert_eq!(last_of(""), None);
    }

    #[test]
    fn a_record_is_read_as_slub_has_it() {
        let mut record = zeroed();
        record.objects = 96;
        record.free = 6;
        record.size = 256;
        record.order_objects = 1 << 16 | 32;
        record.name[..4].copy_from_slice(b"filp");
        assert_eq!(sizes_of(&record).active, None);
        record.flags = abi::SLAB_FREE_IS_KNOWN;
        let sizes = sizes_of(&record);
        assert_eq!((sizes.name.as_str(), sizes.active), ("filp", Some(90)));
        assert_eq!((sizes.objects_per_slab, sizes.pages_per_slab), (32, 2));
    }
}
