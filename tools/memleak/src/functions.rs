//! The functions that memleak knows: which allocate, which free, and which do so for a caller.

use memtools::target::placement::Needs;

/// What a function does, and so which programs it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `f(bytes)` returns the block: malloc, valloc, pvalloc.
    Malloc,
    /// `f(n, size)` returns the block.
    Calloc,
    /// `f(alignment, bytes)` returns the block: memalign, aligned_alloc.
    Memalign,
    /// `f(out, alignment, bytes)` returns 0.
    PosixMemalign,
    /// `f(old, bytes)` returns the block.
    Realloc,
    /// `f(old, n, size)` returns the block.
    Reallocarray,
    /// `f(old, old_bytes, alignment, bytes)` returns the block: Rust's.
    RustRealloc,
    /// `f(block)`.
    Free,
    /// mmap(2).
    Mmap,
    /// `f(old, bytes, …)` returns what bytes there are, in the same place: jemalloc's xallocx.
    Xallocx,
    /// `f(bytes)` returns the block, or is left by an exception: operator new of an allocator.
    New,
    /// An instruction by which one of those returns.
    End,
    /// mremap(2).
    Mremap,
    /// munmap(2).
    Munmap,
    /// dlclose: what text addresses mean may change.
    Unload,
    /// The process's own sampler has taken an allocation: `alloc(block, bytes, weight)`, a USDT probe.
    Sample,
    /// One that it had taken is freed: `free(block)`.
    SampleFree,
    /// Allocates for its caller, and keeps no frame pointer: only its entry is looked at.
    Anchor,
}

impl Role {
    /// The roles whose return is looked at too.
    pub const PAIRED: [Self; 10] = [
        Self::Xallocx,
        Self::RustRealloc,
        Self::Mmap,
        Self::Mremap,
        Self::Realloc,
        Self::Reallocarray,
        Self::PosixMemalign,
        Self::Memalign,
        Self::Calloc,
        Self::Malloc,
    ];

    /// What the kernel side calls it (enum role in memleak.h); `None` where a role is a program.
    pub fn session_cookie(self) -> Option<u64> {
        match self {
            Self::Malloc => Some(1),
            Self::Calloc => Some(2),
            Self::Memalign => Some(3),
            Self::PosixMemalign => Some(4),
            Self::Realloc => Some(5),
            Self::Reallocarray => Some(6),
            Self::Mmap => Some(7),
            Self::Mremap => Some(8),
            Self::Xallocx => Some(9),
            Self::End => Some(10),
            Self::RustRealloc => Some(11),
            Self::New
            | Self::Free
            | Self::Munmap
            | Self::Unload
            | Self::Sample
            | Self::SampleFree
            | Self::Anchor => None,
        }
    }

    /// Whether the process's own sampler tells of it.
    pub fn is_sampler(self) -> bool {
        matches!(self, Self::Sample | Self::SampleFree)
    }

    /// Whether it is a function of an allocator, or its end.
    pub fn is_allocators(self) -> bool {
        match self {
            Self::Malloc
            | Self::Calloc
            | Self::Memalign
            | Self::PosixMemalign
            | Self::Realloc
            | Self::Reallocarray
            | Self::RustRealloc
            | Self::Free
            | Self::Xallocx
            | Self::New
            | Self::End => true,
            Self::Mmap
            | Self::Mremap
            | Self::Munmap
            | Self::Unload
            | Self::Sample
            | Self::SampleFree
            | Self::Anchor => false,
        }
    }

    /// Whether its return is looked at too.
    pub fn has_return(self) -> bool {
        Self::PAIRED.contains(&self)
    }

    /// What its programs have to find unharmed.
    pub fn needs(self) -> Needs {
        let arguments = match self {
            Self::Unload | Self::Anchor | Self::End | Self::Sample | Self::SampleFree => 0,
            Self::Malloc | Self::Free | Self::New => 1,
            Self::Calloc | Self::Memalign | Self::Realloc | Self::Xallocx | Self::Munmap => 2,
            Self::PosixMemalign | Self::Reallocarray | Self::Mremap => 3,
            Self::Mmap | Self::RustRealloc => 4,
        };
        Needs {
            arguments,
            return_address: self.has_return() || matches!(self, Self::Anchor | Self::New),
            may_miss_null: self == Self::Free,
            frame_pointer: self == Self::Anchor,
        }
    }
}

/// The allocator's own functions, to which `-S` may put a prefix.
pub const ALLOCATOR: &[(&str, Role)] = &[
    ("malloc", Role::Malloc),
    ("valloc", Role::Malloc),
    ("pvalloc", Role::Malloc),
    ("calloc", Role::Calloc),
    ("memalign", Role::Memalign),
    ("aligned_alloc", Role::Memalign),
    ("posix_memalign", Role::PosixMemalign),
    ("realloc", Role::Realloc),
    ("reallocarray", Role::Reallocarray),
    ("free", Role::Free),
    // C23.
    ("free_sized", Role::Free),
    ("free_aligned_sized", Role::Free),
    ("cfree", Role::Free),
];

/// Prefixes under which allocators are built into programs: jemalloc's own, Rust's crate for it, that of
/// mimalloc, and that of gperftools' tcmalloc.
pub const PREFIXES: &[&str] = &["je_", "_rjem_", "mi_", "tc_"];

/// What jemalloc has beside, to be found under the same prefix as its malloc.
pub const JEMALLOC: &[(&str, Role)] = &[
    ("mallocx", Role::Malloc),
    ("rallocx", Role::Realloc),
    ("xallocx", Role::Xallocx),
    ("dallocx", Role::Free),
    ("sdallocx", Role::Free),
];

/// What mimalloc has beside, under its own prefix. Its heaps are left out: one that is destroyed takes its
/// blocks with it.
pub const MIMALLOC: &[(&str, Role)] = &[
    ("mi_malloc_small", Role::Malloc),
    ("mi_zalloc", Role::Malloc),
    ("mi_zalloc_small", Role::Malloc),
    ("mi_malloc_aligned", Role::Malloc),
    ("mi_zalloc_aligned", Role::Malloc),
    ("mi_mallocn", Role::Calloc),
    ("mi_calloc_aligned", Role::Calloc),
    ("mi_reallocf", Role::Realloc),
    ("mi_rezalloc", Role::Realloc),
    ("mi_realloc_aligned", Role::Realloc),
    ("mi_rezalloc_aligned", Role::Realloc),
    ("mi_realloc_aligned_at", Role::Realloc),
    ("mi_reallocn", Role::Reallocarray),
    ("mi_recalloc", Role::Reallocarray),
    ("mi_free_size", Role::Free),
    ("mi_free_aligned", Role::Free),
    ("mi_free_size_aligned", Role::Free),
];

/// What Rust code calls for memory, whatever its global allocator is. No panic leaves them.
pub const RUST: &[(&str, Role)] = &[
    ("__rust_alloc", Role::Malloc),
    ("__rust_alloc_zeroed", Role::Malloc),
    ("__rust_realloc", Role::RustRealloc),
    ("__rust_dealloc", Role::Free),
];

/// The plain name of one of the functions that the compiler makes for a Rust object's allocator: their symbols
/// are mangled since 1.89, with nothing in them but a hash.
pub fn rust_name(symbol: &str) -> &str {
    let path = symbol.strip_prefix("_RNvC").and_then(|rest| {
        let (_, own) = rest.split_once("7___rustc")?;
        own.trim_start_matches(|digit: char| digit.is_ascii_digit())
            .strip_prefix('_')
    });
    path.unwrap_or(symbol)
}

/// mimalloc's functions for heaps: a program that calls one of them has blocks that are not seen.
pub const MIMALLOC_HEAPS: &[&str] = &[
    "mi_heap_malloc",
    "mi_heap_zalloc",
    "mi_heap_calloc",
    "mi_heap_mallocn",
    "mi_heap_malloc_small",
    "mi_heap_malloc_aligned",
    "mi_heap_zalloc_aligned",
    "mi_heap_realloc",
    "mi_heap_new",
];

/// C++'s operator delete in all forms.
pub const OPERATOR_DELETE: &[&str] = &[
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
];

/// Memory straight from the kernel; and dlclose, after which its text may be another's.
pub const MAPPING: &[(&str, Role)] = &[
    ("mmap", Role::Mmap),
    ("mmap64", Role::Mmap),
    ("mremap", Role::Mremap),
    ("munmap", Role::Munmap),
    ("dlclose", Role::Unload),
];

/// C++'s operator new in all forms. malloc is called by the function itself.
pub const OPERATOR_NEW: &[&str] = &[
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
];

/// The C library's functions that hand out memory, or keep some. Most allocate in a function
/// further in, so that an allocation from anywhere in the library belongs to them while they run.
pub const LIBRARY_WRAPPERS: &[&str] = &[
    "strdup",
    "__strdup",
    "strndup",
    "__strndup",
    "wcsdup",
    "asprintf",
    "__asprintf",
    "__asprintf_chk",
    "vasprintf",
    "__vasprintf_chk",
    "getline",
    "getdelim",
    "__getdelim",
    "fopen",
    "fopen64",
    "fdopen",
    "freopen",
    "freopen64",
    "fmemopen",
    "fopencookie",
    "open_memstream",
    "open_wmemstream",
    "popen",
    "tmpfile",
    "tmpfile64",
    "tempnam",
    "realpath",
    "__realpath_chk",
    "canonicalize_file_name",
    "getcwd",
    "__getcwd_chk",
    "get_current_dir_name",
    "scandir",
    "scandir64",
    "scandirat",
    "scandirat64",
    "opendir",
    "fdopendir",
    "glob",
    "glob64",
    "wordexp",
    "fts_open",
    "fts64_open",
    "ftw",
    "ftw64",
    "nftw",
    "nftw64",
    "regcomp",
    "getaddrinfo",
    "getifaddrs",
    "if_nameindex",
    "gethostbyname",
    "getpwnam",
    "getpwuid",
    "getgrnam",
    "getgrgid",
    "getgrouplist",
    "setenv",
    "putenv",
    "setlocale",
    "newlocale",
    "duplocale",
    "tsearch",
    "argz_create",
    "argz_append",
    "argz_add",
    "envz_add",
    "backtrace_symbols",
    "getmntent",
    "setmntent",
    "dlopen",
    "dlmopen",
    "pthread_create",
    "pthread_getattr_np",
    "timer_create",
    "posix_spawn_file_actions_addopen",
    "posix_spawn_file_actions_addclose",
    "posix_spawn_file_actions_adddup2",
];
