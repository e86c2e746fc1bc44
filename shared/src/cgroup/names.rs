//! Names for cgroups' ids.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Mount, Mounts, of_process};

/// Cgroups of one hierarchy, by their ids.
#[derive(Debug)]
pub struct Names {
    mount: Option<Mount>,
    is_memory_v1: bool,
    known: HashMap<u64, String>,
}

impl Names {
    /// Of the memory controller's hierarchy of version 1, or of version 2.
    pub fn new(is_memory_v1: bool) -> Self {
        let mounts = Mounts::find();
        let mount = if is_memory_v1 {
            mounts.memory
        } else {
            mounts.unified
        };
        Self {
            mount,
            is_memory_v1,
            known: HashMap::new(),
        }
    }

    /// The id of a process's cgroup.
    pub fn cgroup_of(&self, process: u32) -> Option<u64> {
        let name = of_process(process, self.is_memory_v1)?;
        let mut path = String::new();
        let is_shown = self.mount.as_ref()?.write_path(&name, "", &mut path);
        fs::metadata(is_shown.then_some(path)?)
            .ok()
            .map(|metadata| metadata.ino())
    }

    /// Names all of these that can be named: what is gone when it is first asked for cannot.
    pub fn name(&mut self, ids: impl Iterator<Item = u64>) -> HashMap<u64, String> {
        let ids: Vec<u64> = ids.collect();
        if ids.iter().any(|id| !self.known.contains_key(id))
            && let Some(mount) = self.mount.clone()
        {
            let root = mount.root.trim_end_matches('/').to_owned();
            self.look(&mount.point, &root);
        }
        let known = |id: u64| Some((id, self.known.get(&id)?.clone()));
        ids.iter().filter_map(|id| known(*id)).collect()
    }

    fn look(&mut self, directory: &Path, name: &str) {
        if let Ok(metadata) = directory.metadata() {
            let shown = if name.is_empty() { "/" } else { name };
            self.known.insert(metadata.ino(), shown.to_owned());
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let own = entry.file_name();
                self.look(&entry.path(), &format!("{name}/{}", own.to_string_lossy()));
            }
        }
    }
}
