//! /proc/slabinfo (slabinfo(5)).

use crate::model::Sizes;

/// All caches in it.
pub fn parse(text: &str) -> Vec<Sizes> {
    text.lines().filter_map(line).collect()
}

/// `NAME ACTIVE OBJECTS SIZE OBJECTS_PER_SLAB PAGES_PER_SLAB : tunables … : slabdata ACTIVE SLABS …`;
/// names may have blanks in them.
fn line(line: &str) -> Option<Sizes> {
    if line.starts_with('#') || line.starts_with("slabinfo - ") {
        return None;
    }
    let (name, [active, objects, size, per_slab, pages]) = head(line.split(" : ").next()?)?;
    let slabs = line.rsplit(" : slabdata").next()?;
    let slabs = slabs.split_whitespace().nth(1)?;
    Some(Sizes {
        name: name.to_owned(),
        object_bytes: size.parse().ok()?,
        objects: objects.parse().ok()?,
        active: Some(active.parse().ok()?),
        slabs: slabs.parse().ok()?,
        objects_per_slab: per_slab.parse().ok()?,
        pages_per_slab: pages.parse().ok()?,
    })
}

/// The name, and the five numbers behind it.
fn head(text: &str) -> Option<(&str, [&str; 5])> {
    let mut rest = text.trim_end();
    let mut numbers = [""; 5];
    for number in numbers.iter_mut().rev() {
        let (before, last) = rest.rsplit_once(' ')?;
        *number = last;
        rest = before.trim_end();
    }
    Some((rest, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit>
filp                 1088   1120    256   16    1 : tunables    0    0    0 : slabdata     70     71      0
a name              12     12    320   12    1 : tunables    0    0    0 : slabdata      1      1      0
kmalloc-8k             4      4   8192    4    8 : tunables    0    0    0 : slabdata      1      1      0
";

    #[test]
    fn lines_are_caches() {
        let caches = parse(TEXT);
        assert_eq!(caches.len(), 3);
        let filp = &caches[0];
        assert_eq!((filp.active, filp.objects), (Some(1088), 1120));
        assert_eq!((filp.object_bytes, filp.slabs), (256, 71));
        assert_eq!(filp.objects_per_slab, 16);
        assert_eq!(caches[1].name, "a name");
        assert_eq!(caches[2].pages_per_slab, 8);
    }

    #[test]
    fn what_is_no_cache_is_left_out() {
        assert!(parse("x 1 2\n\nfilp a b c d e : t : slabdata 1 1 0\n").is_empty());
    }
}
