//! Disks that are soon full.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tempfile::TempDir;

/// A file system in memory, which is gone with this.
pub struct SmallDisk {
    place: TempDir,
}

impl SmallDisk {
    /// One of so many bytes, in whole pages. The error is that of mount(2).
    pub fn new(bytes: u32) -> io::Result<Self> {
        let place = tempfile::tempdir()?;
        let path = CString::new(place.path().as_os_str().as_bytes()).expect("a path has no NUL");
        let size = CString::new(format!("size={bytes}")).expect("digits");
        // SAFETY: texts that end in NUL and outlive the call.
        let mounted = unsafe {
            libc::mount(
                c"none".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                size.as_ptr().cast(),
            )
        };
        if mounted == 0 {
            Ok(Self { place })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = CString::new(self.place.path().as_os_str().as_bytes()).expect("it was mounted");
        // SAFETY: a text that ends in NUL and outlives the call.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
