//! By what caches are put in order.

use std::cmp::Ordering;

use super::Row;

/// A key; all but names begin with the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// The alphabet.
    Name,
    /// Objects there is room for.
    Objects,
    /// Objects in use.
    Active,
    /// Their share.
    Use,
    /// Bytes of an object.
    ObjectBytes,
    /// Objects in a slab.
    ObjectsPerSlab,
    /// Pages of a slab.
    PagesPerSlab,
    /// Slabs.
    Slabs,
    /// Bytes of all slabs.
    Bytes,
    /// Allocations a second.
    Allocs,
    /// Frees a second.
    Frees,
    /// Bytes allocated a second.
    AllocBytes,
    /// Objects gained since the start.
    Net,
    /// Bytes gained steadily.
    Growth,
}

/// Letters as in procps' slabtop, words as in bcc's slabratetop and over the columns.
const NAMES: &[(&str, SortKey)] = &[
    ("a", SortKey::Active),
    ("b", SortKey::ObjectsPerSlab),
    ("c", SortKey::Bytes),
    ("l", SortKey::Slabs),
    ("v", SortKey::Slabs),
    ("n", SortKey::Name),
    ("o", SortKey::Objects),
    ("p", SortKey::PagesPerSlab),
    ("s", SortKey::ObjectBytes),
    ("u", SortKey::Use),
    ("name", SortKey::Name),
    ("count", SortKey::Allocs),
    ("size", SortKey::AllocBytes),
    ("allocs", SortKey::Allocs),
    ("frees", SortKey::Frees),
    ("objects", SortKey::Objects),
    ("active", SortKey::Active),
    ("use", SortKey::Use),
    ("objsize", SortKey::ObjectBytes),
    ("slabs", SortKey::Slabs),
    ("bytes", SortKey::Bytes),
    ("net", SortKey::Net),
    ("cache", SortKey::Name),
    ("objs", SortKey::Objects),
    ("use%", SortKey::Use),
    ("alloc/s", SortKey::Allocs),
    ("free/s", SortKey::Frees),
    ("bytes/s", SortKey::AllocBytes),
    ("growth", SortKey::Growth),
];

impl SortKey {
    /// By its letter or its word.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, key)| *key).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }

    /// Which of two rows comes first. Equal ones go by their names, so that they stay where they are.
    pub fn compare(self, a: &Row, b: &Row) -> Ordering {
        let by_name = a.sizes.name.cmp(&b.sizes.name);
        if self == Self::Name {
            return by_name;
        }
        let order = self.figure(b).total_cmp(&self.figure(a));
        order.then(by_name)
    }

    /// What it goes by, for all but names.
    pub fn figure(self, row: &Row) -> f64 {
        let sizes = &row.sizes;
        match self {
            Self::Name => 0.0,
            Self::Objects => sizes.objects as f64,
            Self::Active => sizes.active.map_or(-1.0, |active| active as f64),
            Self::Use => sizes.use_percent().unwrap_or(-1.0),
            Self::ObjectBytes => sizes.object_bytes as f64,
            Self::ObjectsPerSlab => sizes.objects_per_slab as f64,
            Self::PagesPerSlab => sizes.pages_per_slab as f64,
            Self::Slabs => sizes.slabs as f64,
            Self::Bytes => sizes.bytes() as f64,
            Self::Allocs => row.allocs_per_s,
            Self::Frees => row.frees_per_s,
            Self::AllocBytes => row.alloc_bytes_per_s(),
            Self::Net => row.net_objects().unwrap_or(0) as f64,
            Self::Growth => row.steady_growth(),
        }
    }
}
