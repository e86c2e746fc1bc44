//! Whether an exception can pass through a function: a return probe there would kill its program.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use memtools::target::elf::{ElfObject, Function};
use memtools::target::libraries::find_library;
use memtools::target::mappings::{Mappings, Record, read_text_mappings};
use memtools::target::object::{FileId, Object};

/// What throws.
const UNWINDER: &str = "_Unwind_RaiseException";
/// Libraries that hold it, or need the one that does, by the beginning of their names.
const UNWINDERS: &[&str] = &["libgcc_s.", "libstdc++.", "libc++", "libunwind."];
/// Libraries of C: nothing passes through their functions but where they call back.
const C_LIBRARIES: &[&str] = &[
    "libc.so",
    "libc-",
    "libc.musl",
    "ld-musl",
    "ld-linux",
    "libm.so",
    "libm-",
    "libpthread",
    "librt.",
    "libdl.",
];
/// Those of their functions that call others, and never what they are given, nor wait where a thread
/// can be cancelled: nothing unwinds through them.
const CALLING_NOBODY: &[&str] = &[
    "malloc",
    "free",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "strdup",
    "strndup",
    "pthread_mutex_lock",
    "pthread_mutex_trylock",
    "pthread_mutex_unlock",
    "pthread_rwlock_rdlock",
    "pthread_rwlock_wrlock",
    "pthread_rwlock_unlock",
    "pthread_cond_signal",
    "pthread_cond_broadcast",
];
/// Functions that look at where they return to, by name: with a return probe they would find the
/// kernel's trampoline there, keep it, or judge by it who called.
const LOOKING_AT_CALLERS: &[&str] = &[
    "_setjmp",
    "setjmp",
    "sigsetjmp",
    "__sigsetjmp",
    "getcontext",
    "swapcontext",
    "makecontext",
    "setcontext",
    "dlopen",
    "dlmopen",
    "dlsym",
    "dlvsym",
    "dlinfo",
    "dladdr",
    "__dlopen",
    "__dlsym",
    "_dl_sym",
    "_dl_vsym",
    "mcount",
    "_mcount",
    "__fentry__",
    "vfork",
    "__vfork",
];
/// Code that nobody calls: no return address is on top of the stack when it begins.
const NOT_CALLED: &[&str] = &["_start", "__restore_rt", "__start_context"];
const NOT_CALLED_PREFIXES: &[&str] = &["_dl_runtime_resolve", "_dl_runtime_profile"];
/// What programs ask for that have several stacks in one thread.
const SWITCHING_STACKS: &[&str] = &["makecontext", "swapcontext"];
/// Where a thread can be cancelled, which unwinds its stack.
const CANCELLED: &[&str] = &[
    "accept",
    "accept4",
    "aio_suspend",
    "clock_nanosleep",
    "close",
    "connect",
    "creat",
    "epoll_pwait",
    "epoll_wait",
    "fcntl",
    "fcntl64",
    "fdatasync",
    "fsync",
    "lockf",
    "mq_receive",
    "mq_send",
    "mq_timedreceive",
    "mq_timedsend",
    "msgrcv",
    "msgsnd",
    "msync",
    "nanosleep",
    "open",
    "open64",
    "openat",
    "openat64",
    "pause",
    "poll",
    "ppoll",
    "pread",
    "pread64",
    "preadv",
    "pselect",
    "pthread_cond_clockwait",
    "pthread_cond_timedwait",
    "pthread_cond_wait",
    "pthread_join",
    "pthread_testcancel",
    "pwrite",
    "pwrite64",
    "pwritev",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "select",
    "sem_clockwait",
    "sem_timedwait",
    "sem_wait",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "sigpause",
    "sigsuspend",
    "sigtimedwait",
    "sigwait",
    "sigwaitinfo",
    "sleep",
    "splice",
    "sync_file_range",
    "system",
    "tcdrain",
    "tee",
    "usleep",
    "vmsplice",
    "wait",
    "wait3",
    "wait4",
    "waitid",
    "waitpid",
    "write",
    "writev",
];

/// Why a function has no return probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// Its program might die. It is the user's to decide.
    Unwinding(String),
    /// It would go wrong.
    Certain(String),
}

/// What can happen where an object's functions run.
pub struct Throwers {
    object: String,
    throws: bool,
    switches_stacks: bool,
}

impl Throwers {
    /// For an object of a process, or, without one, of all that may load it.
    pub fn of(elf: &ElfObject, object: &Object, process: Option<Peculiar>) -> Self {
        let name = object.name();
        let own = Peculiar::of(elf, &name);
        let others = match process {
            Some(process) => process,
            // A library can be loaded by any program; a program is known with all that it needs.
            None if elf.interpreter().is_none() && elf.is_dynamic() => Peculiar {
                throws: true,
                switches_stacks: false,
            },
            None => in_needed(elf, &mut BTreeSet::new()),
        };
        Self {
            object: name,
            throws: own.throws || others.throws,
            switches_stacks: own.switches_stacks || others.switches_stacks,
        }
    }

    /// Why there may be no return probe, if there may be none. `makes_calls`: the function calls
    /// others.
    pub fn danger(
        &self,
        elf: &ElfObject,
        function: &Function,
        makes_calls: bool,
    ) -> Option<Danger> {
        let name = function.name.as_str();
        if LOOKING_AT_CALLERS.contains(&name) {
            return Some(Danger::Certain(
                "it looks at where it returns to".to_owned(),
            ));
        }
        self.unwinding(elf, function, makes_calls)
            .map(Danger::Unwinding)
    }

    fn unwinding(&self, elf: &ElfObject, function: &Function, makes_calls: bool) -> Option<String> {
        let name = function.name.as_str();
        if is_mangled(name) {
            return Some("a C++ or Rust function, which an exception can leave".to_owned());
        }
        if self.switches_stacks {
            return Some("such programs switch stacks, and the kernel forgets returns".to_owned());
        }
        if is_c_library(&self.object) && self.throws && CANCELLED.contains(&name) {
            return Some("a thread that is cancelled there unwinds its stack".to_owned());
        }
        if !makes_calls {
            return None;
        }
        // A table that does not parse says nothing.
        if elf.has_exception_table(function.address).unwrap_or(true) {
            return Some("it has an exception table".to_owned());
        }
        if is_c_library(&self.object) && CALLING_NOBODY.contains(&name) {
            return None;
        }
        let text = "exceptions are thrown in such programs, and one can pass";
        self.throws.then(|| text.to_owned())
    }
}

/// Looks whether a process becomes one in which anything throws: what is known of it was found at the
/// start.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    known: HashSet<FileId>,
}

impl Watch {
    /// What it has mapped by now is known.
    pub fn new(pid: u32) -> Self {
        let known = files(pid).map(|record| record.file).collect();
        Self { pid, known }
    }

    /// The name of a library that throws and was not there before.
    pub fn thrower(&mut self) -> Option<String> {
        let new: Vec<Record> = files(self.pid)
            .filter(|record| self.known.insert(record.file))
            .collect();
        new.iter().find_map(|record| {
            let range = (record.start, record.end);
            let inode = record.file.inode;
            let object = Object::open_mapped(self.pid, range, &record.path, inode).ok()?;
            let name = object.name();
            let throws = match ElfObject::open(&object.open_path()) {
                Ok(elf) => Peculiar::of(&elf, &name).throws,
                Err(_) => is_unwinder(&name),
            };
            throws.then_some(name)
        })
    }
}

fn files(pid: u32) -> impl Iterator<Item = Record> {
    let records = read_text_mappings(pid).unwrap_or_default();
    records.into_iter().filter(|record| record.file.inode != 0)
}

/// Whether there is no call of it to be measured: it begins in another way.
pub fn is_never_called(name: &str) -> bool {
    NOT_CALLED.contains(&name)
        || NOT_CALLED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// What is to be known of objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peculiar {
    throws: bool,
    switches_stacks: bool,
}

impl Peculiar {
    /// What cannot be read may be anything.
    const ANYTHING: Self = Self {
        throws: true,
        switches_stacks: false,
    };

    fn of(elf: &ElfObject, name: &str) -> Self {
        if is_c_library(name) {
            // It is ready to be unwound, and does not throw.
            return Self::default();
        }
        let throws =
            is_unwinder(name) || elf.defines(UNWINDER) || elf.has_personalities().unwrap_or(true);
        Self {
            throws,
            switches_stacks: elf.imports_any(SWITCHING_STACKS),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            throws: self.throws || other.throws,
            switches_stacks: self.switches_stacks || other.switches_stacks,
        }
    }
}

fn is_c_library(name: &str) -> bool {
    C_LIBRARIES.iter().any(|library| name.starts_with(library))
}

fn is_unwinder(name: &str) -> bool {
    UNWINDERS.iter().any(|unwinder| name.starts_with(unwinder))
}

/// What all objects are that a process has mapped.
pub fn in_process(tid: u32) -> Peculiar {
    let Ok(records) = read_text_mappings(tid) else {
        return Peculiar::ANYTHING;
    };
    let mut mappings = Mappings::default();
    for record in &records {
        mappings.insert(tid, record, 0);
    }
    let objects = mappings.current_objects();
    let all = objects.iter().map(|object| {
        ElfObject::open(&object.open_path())
            .map_or(Peculiar::ANYTHING, |elf| Peculiar::of(&elf, &object.name()))
    });
    all.fold(Peculiar::default(), Peculiar::and)
}

/// What the libraries are that a program needs.
fn in_needed(elf: &ElfObject, seen: &mut BTreeSet<String>) -> Peculiar {
    let mut all = Peculiar::default();
    for name in elf.needed() {
        if is_c_library(&name) || !seen.insert(name.clone()) {
            continue;
        }
        let library = find_library(&name, Path::new("/"));
        let library = library.and_then(|path| ElfObject::open(&path).ok());
        all = all.and(match library {
            // One that a program has beside itself.
            None => Peculiar::ANYTHING,
            Some(library) => Peculiar::of(&library, &name).and(in_needed(&library, seen)),
        });
    }
    all
}

/// Of C++ or of Rust.
fn is_mangled(name: &str) -> bool {
    let cpp = name.strip_prefix("_Z");
    let rust = name.strip_prefix("_R");
    cpp.is_some_and(|rest| !rest.is_empty())
        || rust.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_calls_is_known() {
        assert!(is_never_called("_start") && is_never_called("_dl_runtime_resolve_xsavec"));
        assert!(!is_never_called("main"));
    }

    #[test]
    fn c_libraries_do_not_throw() {
        let libc = find_library("c", Path::new("/")).unwrap();
        let elf = ElfObject::open(&libc).unwrap();
        assert!(!Peculiar::of(&elf, "libc.so.6").throws);
        // This program is one of Rust.
        let own = ElfObject::open(Path::new("/proc/self/exe")).unwrap();
        assert!(Peculiar::of(&own, "tests").throws);
    }

    #[test]
    fn mangled_names_are_told_from_others() {
        for name in ["_Znwm", "_ZN3fooC1Ev", "_RNvCs_4main"] {
            assert!(is_mangled(name), "{name}");
        }
        for name in ["malloc", "Zebra", "_start", "_run", "RNG", "_Z", "_R_"] {
            assert!(!is_mangled(name), "{name}");
        }
    }
}
