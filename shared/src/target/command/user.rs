//! Whom a command runs as.

use std::ffi::CString;

use super::CommandError;

/// Whom a command runs as.
#[derive(Clone, Debug)]
pub struct User {
    name: CString,
    home: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// Looks a user up by name.
    pub fn named(name: &str) -> Result<Self, CommandError> {
        let unknown = || CommandError::NoSuchUser(name.to_owned());
        let c_name = CString::new(name).map_err(|_| unknown())?;
        // SAFETY: all zeroes is a valid passwd for getpwnam_r to fill in.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut strings = vec![0; 16 << 10];
        let mut found = std::ptr::null_mut();
        // SAFETY: the buffers are ours and as long as we say; `entry` points into `strings`.
        unsafe {
            libc::getpwnam_r(
                c_name.as_ptr(),
                &raw mut entry,
                strings.as_mut_ptr(),
                strings.len(),
                &raw mut found,
            );
        }
        if found.is_null() {
            return Err(unknown());
        }
        // SAFETY: getpwnam_r found the user, so pw_dir is a string inside `strings`.
        let home = unsafe { std::ffi::CStr::from_ptr(entry.pw_dir) }.to_owned();
        Ok(Self {
            name: c_name,
            home,
            uid: entry.pw_uid,
            gid: entry.pw_gid,
        })
    }

    /// In the child: groups first, for afterwards it may not any more.
    pub(super) fn become_it(&self) -> bool {
        // SAFETY: plain system calls with prepared arguments.
        unsafe {
            libc::initgroups(self.name.as_ptr(), self.gid) == 0
                && libc::setgid(self.gid) == 0
                && libc::setuid(self.uid) == 0
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
