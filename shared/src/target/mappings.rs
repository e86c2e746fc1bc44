//! What code a process mapped where, and when: addresses keep their meaning after dlclose, exec
//! and the end of the process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::object::{FileId, Object};

/// A range of text, and the time in which it was there.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// Where `start` lies in the file, in bytes.
    pub file_offset: u64,
    /// The file; `None` for code without one (vDSO, just-in-time compiled) or one that could not
    /// be opened any more.
    pub object: Option<Arc<Object>>,
    /// Its name where there is no object: `[vdso]`, `//anon`, a path.
    pub name: Arc<str>,
    from_ns: u64,
    until_ns: u64,
}

/// A mapping as /proc or a perf event reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// Where `start` lies in the file, in bytes.
    pub file_offset: u64,
    /// The file's device (major, minor) and inode; inode 0: no file.
    pub file: FileId,
    /// The file's path or the mapping's name.
    pub path: PathBuf,
}

/// The text mappings of one process over time. Times are CLOCK_MONOTONIC, in nanoseconds.
#[derive(Debug, Default)]
pub struct Mappings {
    history: Vec<Mapping>,
    objects: HashMap<FileId, Option<Arc<Object>>>,
}

/// What a new mapping did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// It covers addresses that another file had before: stacks from then on are others.
    pub reuses_addresses: bool,
    /// It brought a file that was not mapped before.
    pub is_new_object: bool,
}

impl Mappings {
    /// Enters a mapping that a thread of the process has had since `time_ns`.
    pub fn insert(&mut self, tid: u32, record: &Record, time_ns: u64) -> Change {
        let known = self.objects.contains_key(&record.file);
        let object = self.object(tid, record);
        let mut change = Change {
            reuses_addresses: false,
            is_new_object: !known && object.is_some(),
        };
        for old in &mut self.history {
            if old.start < record.end && record.start < old.end {
                if old.until_ns > time_ns {
                    old.until_ns = time_ns;
                }
                change.reuses_addresses |= !old.is_same_file(record, object.as_ref());
            }
        }
        self.history.push(Mapping {
            start: record.start,
            end: record.end,
            file_offset: record.file_offset,
            object,
            name: record.path.to_string_lossy().into(),
            from_ns: time_ns,
            until_ns: u64::MAX,
        });
        change
    }

    /// The process runs another image since `time_ns`: all mappings end.
    pub fn clear(&mut self, time_ns: u64) {
        for mapping in &mut self.history {
            mapping.until_ns = mapping.until_ns.min(time_ns);
        }
    }

    /// The mapping that held an address at a time.
    pub fn find(&self, address: u64, time_ns: u64) -> Option<&Mapping> {
        self.history.iter().rev().find(|mapping| {
            (mapping.start..mapping.end).contains(&address)
                && (mapping.from_ns..mapping.until_ns).contains(&time_ns)
        })
    }

    /// The mappings that are there now.
    pub fn current(&self) -> impl Iterator<Item = &Mapping> {
        self.history
            .iter()
            .filter(|mapping| mapping.until_ns == u64::MAX)
    }

    /// The objects that are mapped now, in the order in which they came.
    pub fn current_objects(&self) -> Vec<Arc<Object>> {
        let mut objects: Vec<Arc<Object>> = Vec::new();
        for object in self.current().filter_map(|mapping| mapping.object.as_ref()) {
            if !objects.iter().any(|known| known.id() == object.id()) {
                objects.push(object.clone());
            }
        }
        objects
    }

    fn object(&mut self, tid: u32, record: &Record) -> Option<Arc<Object>> {
        if record.file.inode == 0 {
            return None;
        }
        let known = self.objects.entry(record.file).or_default();
        if known.is_none() {
            *known = open(tid, record);
        }
        known.clone()
    }
}

impl Mapping {
    /// Where an address lies in the file, in bytes.
    pub fn offset_of(&self, address: u64) -> u64 {
        address - self.start + self.file_offset
    }

    fn is_same_file(&self, record: &Record, object: Option<&Arc<Object>>) -> bool {
        let same_object = match (&self.object, object) {
            (Some(a), Some(b)) => a.id() == b.id(),
            (None, None) => self.name.as_ref() == record.path.to_string_lossy(),
            _ => false,
        };
        same_object
            && record.start.wrapping_sub(record.file_offset)
                == self.start.wrapping_sub(self.file_offset)
    }
}

fn open(tid: u32, record: &Record) -> Option<Arc<Object>> {
    let range = (record.start, record.end);
    Object::open_mapped(tid, range, &record.path, record.file.inode)
        .ok()
        .map(Arc::new)
}

/// The text mappings that a thread's process has now, from /proc.
pub fn read_text_mappings(tid: u32) -> std::io::Result<Vec<Record>> {
    // Bytes, not text: a path may be anything.
    let maps = std::fs::read(format!("/proc/{tid}/maps"))?;
    Ok(String::from_utf8_lossy(&maps)
        .lines()
        .filter_map(parse_maps_line)
        .collect())
}

fn parse_maps_line(line: &str) -> Option<Record> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?;
    let path = fields.next().unwrap_or("").trim_start();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(Record {
        start: hex(start)?,
        end: hex(end)?,
        file_offset: hex(offset)?,
        file: FileId::new(hex(major)? as u32, hex(minor)? as u32, inode.parse().ok()?),
        path: Path::new(path).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(start: u64, end: u64, name: &str) -> Record {
        Record {
            start,
            end,
            file_offset: 0,
            file: FileId::new(0, 0, 0),
            path: name.into(),
        }
    }

    #[test]
    fn only_text_is_read() {
        let line = "7f00-7f10 r-xp 00002000 fd:01 42   /lib/a b.so";
        let parsed = parse_maps_line(line).unwrap();
        assert_eq!(
            (parsed.start, parsed.end, parsed.file_offset),
            (0x7f00, 0x7f10, 0x2000)
        );
        assert_eq!(parsed.file, FileId::new(0xfd, 1, 42));
        assert_eq!(parsed.path, Path::new("/lib/a b.so"));
        assert_eq!(parse_maps_line("7f00-7f10 rw-p 0 00:00 0"), None);
        assert_eq!(parse_maps_line("nonsense"), None);
    }

    #[test]
    fn addresses_mean_what_they_meant_then() {
        let mut mappings = Mappings::default();
        assert!(
            !mappings
                .insert(0, &record(100, 200, "a"), 10)
                .reuses_addresses
        );
        assert!(
            mappings
                .insert(0, &record(150, 250, "b"), 20)
                .reuses_addresses
        );
        assert_eq!(mappings.find(160, 15).unwrap().name.as_ref(), "a");
        assert_eq!(mappings.find(160, 25).unwrap().name.as_ref(), "b");
        assert!(mappings.find(160, 5).is_none());
        assert!(mappings.find(300, 25).is_none());
        mappings.clear(30);
        assert!(mappings.find(160, 35).is_none());
        assert_eq!(mappings.current().count(), 0);
        assert_eq!(mappings.find(160, 25).unwrap().name.as_ref(), "b");
    }

    #[test]
    fn the_same_file_at_the_same_place_is_no_reuse() {
        let mut mappings = Mappings::default();
        mappings.insert(0, &record(100, 200, "a"), 10);
        assert!(
            !mappings
                .insert(0, &record(100, 200, "a"), 20)
                .reuses_addresses
        );
    }

    #[test]
    fn own_mappings_hold_this_function() {
        let records = read_text_mappings(std::process::id()).unwrap();
        let mut mappings = Mappings::default();
        for record in &records {
            mappings.insert(std::process::id(), record, 0);
        }
        let here = own_mappings_hold_this_function as *const () as u64;
        let mapping = mappings.find(here, 1).unwrap();
        assert!(mapping.object.is_some());
        assert!(!mappings.current_objects().is_empty());
    }
}
