//! Memory cgroups with a limit, in whichever version of the hierarchy this machine has them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use memtools::cgroup::Mounts;

use crate::wait_until;

/// A memory cgroup of a test's own. Dropping it kills what is in it.
pub struct MemoryCgroup {
    directory: PathBuf,
    path: String,
    is_v1: bool,
}

impl MemoryCgroup {
    /// One that may hold so many bytes, and swaps nothing.
    #[track_caller]
    pub fn new(limit: u64) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = Mounts::find();
        let is_v1 = mounts.memory.is_some();
        let mount = mounts.of_memory().expect("there is a memory controller");
        if !is_v1 {
            let control = mount.point.join("cgroup.subtree_control");
            fs::write(&control, "+memory").expect("the root hands the controller on");
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("memtools-{}-{number}", std::process::id());
        let path = format!("{}/{name}", mount.root.trim_end_matches('/'));
        let cgroup = Self {
            directory: mount.point.join(name),
            path,
            is_v1,
        };
        fs::create_dir(&cgroup.directory).expect("a cgroup can be made");
        cgroup.limit(limit);
        cgroup
    }

    fn limit(&self, bytes: u64) {
        let bytes = bytes.to_string();
        if self.is_v1 {
            self.write("memory.limit_in_bytes", &bytes);
            self.write("memory.swappiness", "0");
        } else {
            self.write("memory.max", &bytes);
            let _ = fs::write(self.directory.join("memory.swap.max"), "0");
        }
    }

    /// Makes a cgroup inside it.
    pub fn make_child(&self, name: &str) -> std::io::Result<()> {
        fs::create_dir(self.directory.join(name))
    }

    /// Puts a process into that one.
    #[track_caller]
    pub fn add_to_child(&self, name: &str, pid: u32) {
        let path = self.directory.join(name).join("cgroup.procs");
        fs::write(path, pid.to_string()).expect("a process can be moved");
    }

    /// As the kernel names it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is of version 1.
    pub fn is_v1(&self) -> bool {
        self.is_v1
    }

    /// What one of its files says.
    #[track_caller]
    pub fn read(&self, file: &str) -> String {
        let text = fs::read_to_string(self.directory.join(file));
        text.expect("it has such a file").trim_end().to_owned()
    }

    #[track_caller]
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.directory.join(file), text)
            .unwrap_or_else(|error| panic!("writing {text:?} to {file}: {error}"));
    }

    /// Puts a process into it.
    #[track_caller]
    pub fn add(&self, pid: u32) {
        self.write("cgroup.procs", &pid.to_string());
    }

    fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for directory in self.children().into_iter().chain([self.directory.clone()]) {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        pids
    }

    fn children(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        for pid in self.pids() {
            // SAFETY: a signal to a process of the test's.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if !std::thread::panicking() {
            wait_until("a cgroup is left", || {
                for child in self.children() {
                    let _ = fs::remove_dir(child);
                }
                fs::remove_dir(&self.directory).is_ok()
            });
        }
    }
}
