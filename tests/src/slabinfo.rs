//! What the kernel says of its slab caches, read by the test itself.

use std::collections::BTreeMap;
use std::fs;

/// A line of /proc/slabinfo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slab {
    pub active: u64,
    pub objects: u64,
    pub object_bytes: u64,
    pub objects_per_slab: u64,
    pub slabs: u64,
}

/// All caches by name; those of one name together.
#[track_caller]
pub fn slabinfo() -> BTreeMap<String, Slab> {
    let text = fs::read_to_string("/proc/slabinfo").expect("root can read /proc/slabinfo");
    let mut slabs: BTreeMap<String, Slab> = BTreeMap::new();
    for line in text.lines().skip(2) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields[at].parse::<u64>().expect("slabinfo has numbers");
        let slab = slabs.entry(fields[0].to_owned()).or_default();
        slab.active += number(1);
        slab.objects += number(2);
        slab.object_bytes = number(3);
        slab.objects_per_slab = number(4);
        slab.slabs += number(14);
    }
    slabs
}
