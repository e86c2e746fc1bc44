//! System calls and errors by name, from tables of our own: no program is asked.

use syscalls::Errno;

/// By which table a call's number is read (enum call_abi).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abi {
    /// The machine's own.
    Native,
    /// That of 32-bit programs: i386, arm.
    Compat,
    /// x32: 32-bit pointers on x86-64.
    X32,
}

/// Calls with a number below have a place of their own in the kernel side's arrays.
pub const CALLS_PER_ABI: u32 = 512;

impl Abi {
    /// All of this machine.
    pub const ALL: [Self; 3] = [Self::Native, Self::Compat, Self::X32];

    /// From the kernel side's number.
    pub fn of(number: u32) -> Self {
        match number {
            1 => Self::Compat,
            2 => Self::X32,
            _ => Self::Native,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match (self, cfg!(target_arch = "aarch64")) {
            (Self::Native, true) => "aarch64",
            (Self::Native, false) => "x86_64",
            (Self::Compat, true) => "arm",
            (Self::Compat, false) => "i386",
            (Self::X32, _) => "x32",
        }
    }
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// Whose table its number is of.
    pub abi: Abi,
    /// Its number.
    pub number: u32,
}

#[cfg(target_arch = "aarch64")]
use syscalls::{aarch64 as native, arm as compat};
#[cfg(target_arch = "x86_64")]
use syscalls::{x86 as compat, x86_64 as native};

/// From here on x32 has calls of its own (arch/x86/entry/syscalls/syscall_64.tbl).
const X32_FIRST: u32 = 512;

#[rustfmt::skip] // A table.
const X32_CALLS: [&str; 36] = [
    "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg",
    "execve", "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack",
    "timer_create", "mq_notify", "kexec_load", "waitid", "set_robust_list", "get_robust_list",
    "vmsplice", "move_pages", "preadv", "pwritev", "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg",
    "process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt", "io_setup", "io_submit",
    "execveat", "preadv2", "pwritev2",
];

impl Call {
    /// A number of 32 bits stands for itself, also if it is negative.
    pub fn new(abi: Abi, number: u32) -> Self {
        Self { abi, number }
    }

    fn known_name(self) -> Option<&'static str> {
        let number = self.number as usize;
        match self.abi {
            Abi::Native => native::Sysno::new(number).map(|call| call.name()),
            Abi::Compat => compat::Sysno::new(number).map(|call| call.name()),
            Abi::X32 => match self.number.checked_sub(X32_FIRST) {
                Some(own) => X32_CALLS.get(own as usize).copied(),
                None => native::Sysno::new(number).map(|call| call.name()),
            },
        }
    }

    /// Its name in its own table; `#NNN` if that does not have it.
    pub fn name(self) -> String {
        self.known_name()
            .map_or_else(|| format!("#{}", self.number as i32), str::to_owned)
    }

    /// The same with its table before it, where that is not the machine's own.
    pub fn label(self) -> String {
        match self.abi {
            Abi::Native => self.name(),
            abi => format!("{}:{}", abi.name(), self.name()),
        }
    }

    /// Where the kernel side keeps it, if it has a place of its own.
    pub fn slot(self) -> Option<u32> {
        let at = Abi::ALL.iter().position(|abi| *abi == self.abi)? as u32;
        (self.number < CALLS_PER_ABI).then_some(at * CALLS_PER_ABI + self.number)
    }

    /// The call of a slot.
    pub fn of_slot(slot: u32) -> Self {
        Self::new(Abi::of(slot / CALLS_PER_ABI), slot % CALLS_PER_ABI)
    }
}

/// So many calls without a place of their own can be asked for.
pub const MAX_ODD_CALLS: usize = 32;

/// All calls that a name, or `#NNN`, stands for: one of each table that has it.
pub fn calls_named(name: &str) -> Vec<Call> {
    let number = name.strip_prefix('#').and_then(|text| text.parse().ok());
    if let Some(number) = number {
        return Abi::ALL.map(|abi| Call::new(abi, number)).into();
    }
    let slots = 0..Abi::ALL.len() as u32 * CALLS_PER_ABI;
    let own = (X32_FIRST..).take(X32_CALLS.len());
    let all = slots
        .map(Call::of_slot)
        .chain(own.map(|number| Call::new(Abi::X32, number)));
    all.filter(|call| call.name() == name || call.label() == name)
        .collect()
}

/// The names of the machine's own calls, with their numbers.
pub fn list() -> Vec<(u32, &'static str)> {
    let calls = (0..CALLS_PER_ABI).map(|number| Call::new(Abi::Native, number));
    calls
        .filter_map(|call| Some((call.number, call.known_name()?)))
        .collect()
}

/// An error's name; its number if it has none.
pub fn errno_name(errno: u16) -> String {
    let name = Errno::new(errno.into()).name();
    name.map_or_else(|| errno.to_string(), str::to_owned)
}

/// An error by its name or its number.
pub fn parse_errno(text: &str) -> Result<u16, String> {
    const LARGEST: u16 = 4095;
    if let Ok(number) = text.parse::<u16>()
        && (1..=LARGEST).contains(&number)
    {
        return Ok(number);
    }
    let wanted = text.to_ascii_uppercase();
    let alias = match wanted.as_str() {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        other => other,
    };
    (1..=LARGEST)
        .find(|errno| Errno::new((*errno).into()).name() == Some(alias))
        .ok_or_else(|| "an errno by its name, such as ENOENT, or its number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn each_table_has_its_own_names() {
        assert_eq!(Call::new(Abi::Native, 1).label(), "write");
        assert_eq!(Call::new(Abi::Compat, 1).label(), "i386:exit");
        assert_eq!(Call::new(Abi::X32, 1).label(), "x32:write");
        assert_eq!(Call::new(Abi::X32, 520).label(), "x32:execve");
        assert_eq!(Call::new(Abi::X32, 548).name(), "#548");
        assert_eq!(Call::new(Abi::Native, 511).name(), "#511");
        assert_eq!(Call::new(Abi::Native, u32::MAX).name(), "#-1");
    }

    /// The C library's headers know the machine's numbers as well.
    #[test]
    fn numbers_are_those_of_the_system() {
        for (number, name) in [
            (libc::SYS_read, "read"),
            (libc::SYS_exit_group, "exit_group"),
            (libc::SYS_getrandom, "getrandom"),
            (libc::SYS_clone3, "clone3"),
            (libc::SYS_futex_waitv, "futex_waitv"),
        ] {
            assert_eq!(Call::new(Abi::Native, number as u32).name(), name);
        }
    }

    #[test]
    fn slots_and_calls_are_pairs() {
        for abi in Abi::ALL {
            let call = Call::new(abi, 77);
            assert_eq!(Call::of_slot(call.slot().unwrap()), call);
        }
        assert_eq!(Call::new(Abi::Native, CALLS_PER_ABI).slot(), None);
    }

    #[test]
    fn a_name_stands_for_the_call_of_every_table() {
        let calls = calls_named("read");
        assert!(calls.contains(&Call::new(Abi::Native, libc::SYS_read as u32)));
        assert!(calls.iter().any(|call| call.abi == Abi::Compat));
        assert!(calls_named("no_such_call").is_empty() && calls_named("#-1").is_empty());
        assert!(calls_named("#99999").contains(&Call::new(Abi::Native, 99999)));
        assert_eq!(calls_named("ioctl").len(), 4);
    }

    #[test]
    fn errors_go_by_name_or_number() {
        assert_eq!(errno_name(2), "ENOENT");
        assert_eq!(errno_name(512), "ERESTARTSYS");
        assert_eq!(parse_errno("enoent"), Ok(2));
        assert_eq!(parse_errno("EWOULDBLOCK"), parse_errno("11"));
        assert!(parse_errno("0").is_err() && parse_errno("EBOGUS").is_err());
    }
}
