//! In which ways this kernel tells of its memory, found by trying.

use libbpf_rs::Btf;
use libbpf_rs::btf::types::Func;
use memtools::attach::{
    Hook, KernelError, count_tracepoint_arguments, exact_tracepoint, has_safe_trampolines,
    returns_bool, takes_pointer_to,
};

/// What there is.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // what a kernel has is a set of switches
pub struct Ways {
    /// The tracepoints.
    pub hook: Hook,
    /// Functions by kprobe.
    pub has_kprobe: bool,
    /// Ends of functions by trampoline.
    pub has_trampoline: bool,
    pub alloc_has_cache: bool,
    pub free_has_cache: bool,
    pub bulk_is_bool: bool,
    pub percpu_has_call_site: bool,
    /// kmem_cache_alloc_bulk(), by its present name.
    pub bulk_alloc: Option<&'static str>,
    /// Where all of vmalloc's functions end up, likewise.
    pub vmalloc: Option<&'static str>,
    /// kfree_rcu() into lists of a CPU (6.18).
    pub has_rcu_sheaf: bool,
}

impl Ways {
    /// Finds them, in a tenth of a second.
    pub fn find() -> Result<Self, KernelError> {
        let types = Btf::from_vmlinux()
            .map_err(|source| KernelError::new("reading the kernel's types", source))?;
        let has = |name: &str| types.type_by_name::<Func<'_>>(name).is_some();
        let first = |names: [&'static str; 2]| names.into_iter().find(|name| has(name));
        let has_cache = |tracepoint| takes_pointer_to(&types, tracepoint, 2, "kmem_cache");
        // From 6.10 on, before.
        let bulk_alloc = first(["kmem_cache_alloc_bulk_noprof", "kmem_cache_alloc_bulk"]);
        Ok(Self {
            hook: exact_tracepoint(),
            has_kprobe: memtools::attach::has_kprobe(),
            has_trampoline: has_safe_trampolines(),
            alloc_has_cache: has_cache("kmem_cache_alloc"),
            free_has_cache: has_cache("kmem_cache_free"),
            bulk_is_bool: bulk_alloc.is_some_and(|name| returns_bool(&types, name)),
            percpu_has_call_site: count_tracepoint_arguments(&types, "percpu_alloc_percpu")
                .is_some_and(|count| count > 7),
            bulk_alloc,
            vmalloc: first(["__vmalloc_node_range_noprof", "__vmalloc_node_range"]),
            has_rcu_sheaf: has("__kfree_rcu_sheaf"),
        })
    }
}
