//! Caches of one kind are one: the other names, from /sys/kernel/slab.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

const DIRECTORY: &str = "/sys/kernel/slab";

/// The other names of caches, read again when caches come or go.
#[derive(Debug, Default)]
pub struct Aliases {
    names: BTreeSet<String>,
    /// Entries of the directory: one that is merged changes no cache's name.
    entries: usize,
    known: HashMap<String, Vec<String>>,
}

impl Aliases {
    /// The other names of these caches.
    pub fn of(&mut self, names: &BTreeSet<&str>) -> HashMap<String, Vec<String>> {
        let entries = fs::read_dir(DIRECTORY).map_or(0, Iterator::count);
        let known = self.names.iter().map(String::as_str);
        if entries != self.entries || !names.iter().copied().eq(known) {
            self.entries = entries;
            self.names = names.iter().map(|&name| name.to_owned()).collect();
            self.known = group(&links(Path::new(DIRECTORY)), names);
        }
        self.known.clone()
    }
}

/// Names, and what they lead to: all names of a cache lead to one directory.
fn links(directory: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let links = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        Some((name, target.to_str()?.to_owned()))
    });
    links.collect()
}

fn group(links: &[(String, String)], caches: &BTreeSet<&str>) -> HashMap<String, Vec<String>> {
    let mut by_target: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, target) in links {
        by_target.entry(target).or_default().push(name);
    }
    let mut aliases = HashMap::new();
    for mut names in by_target.into_values() {
        names.sort_unstable();
        // The one that the kernel calls it by.
        let Some(own) = names.iter().copied().find(|name| caches.contains(name)) else {
            continue;
        };
        let others: Vec<String> = names
            .into_iter()
            .filter(|name| *name != own)
            .map(str::to_owned)
            .collect();
        if !others.is_empty() {
            aliases.insert(own.to_owned(), others);
        }
    }
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_to_one_place_are_aliases() {
        let link = |name: &str, target: &str| (name.to_owned(), target.to_owned());
        let links = [
            link("pid", ":A-0000192"),
            link("cred", ":A-0000192"),
            link("filp_like", ":0000256"),
            link("x", ":0000064"),
        ];
        let aliases = group(&links, &BTreeSet::from(["cred", "filp_like"]));
        assert_eq!(aliases.len(), 1);
        assert_eq!(aliases["cred"], ["pid"]);
    }
}
