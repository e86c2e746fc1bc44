//! Whom a command runs as.

use std::ffi::{CStr, CString};
use std::io;

use super::CommandError;

/// Whom a command runs as.
#[derive(Clone, Debug)]
pub struct User {
    name: CString,
    home: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
    /// All groups, the first one among them.
    groups: Vec<libc::gid_t>,
}

/// No user's entry and no list of groups is longer: what says so is broken.
const LONGEST: usize = 16 << 20;

impl User {
    /// Looks a user up by name, and its groups.
    pub fn named(name: &str) -> Result<Self, CommandError> {
        let unknown = || CommandError::NoSuchUser(name.to_owned());
        let failed = |source| CommandError::System {
            doing: format!("looking up the user {name}"),
            source,
        };
        let c_name = CString::new(name).map_err(|_| unknown())?;
        let (uid, gid, home) = entry_of(&c_name).map_err(failed)?.ok_or_else(unknown)?;
        Ok(Self {
            groups: groups_of(&c_name, gid).map_err(failed)?,
            name: c_name,
            home,
            uid,
            gid,
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// In a forked child: groups first, for afterwards it may not any more. Async-signal-safe:
    /// only system calls, for glibc's functions of these names lock, and tell other threads.
    pub(super) fn become_it(&self) -> io::Result<()> {
        // SAFETY: plain system calls; the array of groups is as long as we say.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setgid, self.gid) == 0
                && libc::syscall(libc::SYS_setuid, self.uid) == 0
        };
        if done {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The environment that it expects, over the present one.
    pub(super) fn variables(&self) -> [(&'static str, &CString); 3] {
        [
            ("HOME", &self.home),
            ("USER", &self.name),
            ("LOGNAME", &self.name),
        ]
    }
}

/// User, first group and home.
type Entry = (libc::uid_t, libc::gid_t, CString);

fn entry_of(name: &CStr) -> io::Result<Option<Entry>> {
    let mut strings = vec![0; 16 << 10];
    loop {
        // SAFETY: all zeroes is a valid passwd for getpwnam_r to fill in.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: the buffers are ours and as long as we say; `entry` points into `strings`.
        let error = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &raw mut entry,
                strings.as_mut_ptr(),
                strings.len(),
                &raw mut found,
            )
        };
        match error {
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: getpwnam_r found the user, so pw_dir is a string inside `strings`.
                let home = unsafe { CStr::from_ptr(entry.pw_dir) }.to_owned();
                return Ok(Some((entry.pw_uid, entry.pw_gid, home)));
            }
            libc::EINTR => {}
            libc::ERANGE if strings.len() < LONGEST => strings.resize(strings.len() * 4, 0),
            // Where there is no such file, there is no such user (getpwnam_r(3)).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn groups_of(name: &CStr, first: libc::gid_t) -> io::Result<Vec<libc::gid_t>> {
    let mut groups = vec![0; 64];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: the array is ours and as long as we say.
        let found = unsafe {
            libc::getgrouplist(name.as_ptr(), first, groups.as_mut_ptr(), &raw mut count)
        };
        if found >= 0 {
            groups.truncate(count.max(0) as usize);
            return Ok(groups);
        }
        if groups.len() * size_of::<libc::gid_t>() >= LONGEST {
            return Err(io::Error::from_raw_os_error(libc::ERANGE));
        }
        groups.resize(groups.len() * 4, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_with_their_groups() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert!(matches!(
            User::named("no-such-user-here"),
            Err(CommandError::NoSuchUser(_))
        ));
        assert!(matches!(
            User::named("a\0b"),
            Err(CommandError::NoSuchUser(_))
        ));
    }
}
