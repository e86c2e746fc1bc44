//! Names of gfp flags, as the kernel's log has them.

use std::fmt;
use std::sync::OnceLock;

use libbpf_rs::Btf;
use libbpf_rs::btf::types::Enum;

/// The bits that have names, in the order of `enum ___GFP_*_BIT` (include/linux/gfp_types.h). The
/// numbers are those of 5.10 to 6.9, where no enum names them; from 6.10 on the kernel says its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits {
    dma: u32,
    highmem: u32,
    dma32: u32,
    movable: u32,
    reclaimable: u32,
    high: u32,
    io: u32,
    fs: u32,
    zero: u32,
    direct_reclaim: u32,
    kswapd_reclaim: u32,
    write: u32,
    nowarn: u32,
    retry_mayfail: u32,
    nofail: u32,
    noretry: u32,
    memalloc: u32,
    comp: u32,
    nomemalloc: u32,
    hardwall: u32,
    thisnode: u32,
    account: u32,
}

const UNNAMED: Bits = Bits {
    dma: 1 << 0,
    highmem: 1 << 1,
    dma32: 1 << 2,
    movable: 1 << 3,
    reclaimable: 1 << 4,
    high: 1 << 5,
    io: 1 << 6,
    fs: 1 << 7,
    zero: 1 << 8,
    direct_reclaim: 1 << 10,
    kswapd_reclaim: 1 << 11,
    write: 1 << 12,
    nowarn: 1 << 13,
    retry_mayfail: 1 << 14,
    nofail: 1 << 15,
    noretry: 1 << 16,
    memalloc: 1 << 17,
    comp: 1 << 18,
    nomemalloc: 1 << 19,
    hardwall: 1 << 20,
    thisnode: 1 << 21,
    account: 1 << 22,
};

impl Bits {
    /// Those of the running kernel.
    fn of_kernel() -> Self {
        let mut bits = UNNAMED;
        let Ok(btf) = Btf::from_vmlinux() else {
            return bits;
        };
        let enums = btf.type_by_kind::<Enum<'_>>();
        for kind in enums {
            let is_it = |name: Option<&std::ffi::OsStr>| name == Some("___GFP_DMA_BIT".as_ref());
            if kind.iter().any(|member| is_it(member.name)) {
                for member in kind.iter() {
                    let name = member.name.and_then(|name| name.to_str()).unwrap_or("");
                    bits.set(name, i128::from(member.value));
                }
                break;
            }
        }
        bits
    }

    fn set(&mut self, name: &str, bit: i128) {
        let Some(place) = self.place(name) else {
            return;
        };
        *place = u32::try_from(bit)
            .ok()
            .and_then(|bit| 1_u32.checked_shl(bit))
            .unwrap_or(0);
    }

    fn place(&mut self, name: &str) -> Option<&mut u32> {
        let name = name.strip_prefix("___GFP_")?.strip_suffix("_BIT")?;
        Some(match name {
            "DMA" => &mut self.dma,
            "HIGHMEM" => &mut self.highmem,
            "DMA32" => &mut self.dma32,
            "MOVABLE" => &mut self.movable,
            "RECLAIMABLE" => &mut self.reclaimable,
            "HIGH" => &mut self.high,
            "IO" => &mut self.io,
            "FS" => &mut self.fs,
            "ZERO" => &mut self.zero,
            "DIRECT_RECLAIM" => &mut self.direct_reclaim,
            "KSWAPD_RECLAIM" => &mut self.kswapd_reclaim,
            "WRITE" => &mut self.write,
            "NOWARN" => &mut self.nowarn,
            "RETRY_MAYFAIL" => &mut self.retry_mayfail,
            "NOFAIL" => &mut self.nofail,
            "NORETRY" => &mut self.noretry,
            "MEMALLOC" => &mut self.memalloc,
            "COMP" => &mut self.comp,
            "NOMEMALLOC" => &mut self.nomemalloc,
            "HARDWALL" => &mut self.hardwall,
            "THISNODE" => &mut self.thisnode,
            "ACCOUNT" => &mut self.account,
            _ => return None,
        })
    }

    /// The kernel's table (include/trace/events/mmflags.h): sets of flags first, then the rest. The
    /// sets are those of include/linux/gfp_types.h.
    fn names(&self) -> [(u32, &'static str); NAMES] {
        let b = self;
        let reclaim = b.direct_reclaim | b.kswapd_reclaim;
        let kernel = reclaim | b.io | b.fs;
        let user = kernel | b.hardwall;
        let highuser_movable = user | b.highmem | b.movable;
        let light = (highuser_movable | b.comp | b.nomemalloc | b.nowarn) & !reclaim;
        [
            (light | b.direct_reclaim, "GFP_TRANSHUGE"),
            (light, "GFP_TRANSHUGE_LIGHT"),
            (highuser_movable, "GFP_HIGHUSER_MOVABLE"),
            (user | b.highmem, "GFP_HIGHUSER"),
            (user, "GFP_USER"),
            (kernel | b.account, "GFP_KERNEL_ACCOUNT"),
            (kernel, "GFP_KERNEL"),
            (reclaim | b.io, "GFP_NOFS"),
            (b.high | b.kswapd_reclaim, "GFP_ATOMIC"),
            (reclaim, "GFP_NOIO"),
            (b.kswapd_reclaim, "GFP_NOWAIT"),
            (b.dma, "GFP_DMA"),
            (b.highmem, "__GFP_HIGHMEM"),
            (b.dma32, "GFP_DMA32"),
            (b.high, "__GFP_HIGH"),
            (b.io, "__GFP_IO"),
            (b.fs, "__GFP_FS"),
            (b.nowarn, "__GFP_NOWARN"),
            (b.retry_mayfail, "__GFP_RETRY_MAYFAIL"),
            (b.nofail, "__GFP_NOFAIL"),
            (b.noretry, "__GFP_NORETRY"),
            (b.comp, "__GFP_COMP"),
            (b.zero, "__GFP_ZERO"),
            (b.nomemalloc, "__GFP_NOMEMALLOC"),
            (b.memalloc, "__GFP_MEMALLOC"),
            (b.hardwall, "__GFP_HARDWALL"),
            (b.thisnode, "__GFP_THISNODE"),
            (b.reclaimable, "__GFP_RECLAIMABLE"),
            (b.movable, "__GFP_MOVABLE"),
            (b.account, "__GFP_ACCOUNT"),
            (b.write, "__GFP_WRITE"),
            (b.direct_reclaim, "__GFP_DIRECT_RECLAIM"),
            (b.kswapd_reclaim, "__GFP_KSWAPD_RECLAIM"),
        ]
    }
}

const NAMES: usize = 33;

/// Flags, shown as `GFP_KERNEL|__GFP_ZERO`; what has no name as a number. Allocates nothing once it
/// has been used.
#[derive(Clone, Copy, Debug)]
pub struct Gfp(pub u32);

impl fmt::Display for Gfp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static TABLE: OnceLock<[(u32, &str); NAMES]> = OnceLock::new();
        show(self.0, TABLE.get_or_init(|| Bits::of_kernel().names()), f)
    }
}

/// As `__print_flags` does it.
fn show(flags: u32, names: &[(u32, &str)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut left = flags;
    let mut separator = "";
    for (mask, name) in names {
        if *mask != 0 && left & mask == *mask {
            write!(f, "{separator}{name}")?;
            separator = "|";
            left &= !mask;
        }
    }
    if left != 0 || flags == 0 {
        write!(f, "{separator}{left:#x}")?;
    }
    Ok(())
}

impl serde::Serialize for Gfp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Old(u32);

    impl fmt::Display for Old {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            show(self.0, &UNNAMED.names(), f)
        }
    }

    #[test]
    fn flags_are_named_as_in_the_log() {
        // Lines of kernel logs.
        for (flags, names) in [
            (0xcc0, "GFP_KERNEL"),
            (0x10_0cca, "GFP_HIGHUSER_MOVABLE"),
            (0x40_0cc0, "GFP_KERNEL_ACCOUNT"),
            (0xdc0, "GFP_KERNEL|__GFP_ZERO"),
            (0x40_dc0, "GFP_KERNEL|__GFP_COMP|__GFP_ZERO"),
            (
                0x15_2cca & !0x2000,
                "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_NORETRY",
            ),
            (
                0xd_0cc0,
                "GFP_KERNEL|__GFP_NORETRY|__GFP_COMP|__GFP_NOMEMALLOC",
            ),
            (0x0, "0x0"),
        ] {
            let shown = Old(flags).to_string();
            let mut parts: Vec<_> = shown.split('|').collect();
            let mut wanted: Vec<_> = names.split('|').collect();
            parts.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(parts, wanted, "{flags:#x}");
        }
        assert_eq!(Old(1 << 30 | 0xcc0).to_string(), "GFP_KERNEL|0x40000000");
    }

    #[test]
    fn the_kernel_says_its_own_numbers() {
        let mut bits = UNNAMED;
        bits.set("___GFP_ZERO_BIT", 12);
        bits.set("___GFP_LAST_BIT", 29);
        assert_eq!(bits.zero, 1 << 12);
        assert_eq!(
            Bits {
                zero: 1 << 8,
                ..bits
            },
            UNNAMED
        );
    }
}
