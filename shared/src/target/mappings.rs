//! What code a process mapped where, and when: addresses keep their meaning after dlclose, exec
//! and the end of the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::object::{FileId, Object};

/// So many ended mappings are remembered, the newest: addresses of a stack that was first seen in
/// an older one have no name.
const MOST_ENDED: usize = 4096;

/// A process can have so many mappings by default (vm.max_map_count): beyond them, some must have
/// gone without a record, as munmap leaves none.
const MOST_CURRENT: usize = 65_536;

/// What a mapping without a file is called.
const ANONYMOUS: &str = "//anon";

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
    file: FileId,
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
    /// By start; no two overlap.
    current: BTreeMap<u64, Mapping>,
    /// In the order in which they ended, at most [`MOST_ENDED`].
    ended: VecDeque<Mapping>,
    /// When the present image began.
    cleared_ns: u64,
    objects: HashMap<FileId, Option<Arc<Object>>>,
}

/// What a new mapping did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Not all of it was known.
    pub is_new: bool,
    /// It took addresses over from another file, or another part of the file: stacks from then on
    /// are others.
    pub reuses_addresses: bool,
}

impl Mappings {
    /// Enters a mapping that a thread of the process has had since `time_ns`.
    ///
    /// Only what is not mapped like this already is new: mprotect reports parts of mappings again,
    /// just-in-time compilers thousands of times a second. Nor does a record that comes late undo
    /// what is younger.
    pub fn insert(&mut self, tid: u32, record: &Record, time_ns: u64) -> Change {
        let known = self.objects.get(&record.file).cloned().flatten();
        if time_ns < self.cleared_ns || self.missing(record, known.as_ref(), time_ns).is_empty() {
            return Change::default();
        }
        let object = self.object(tid, record);
        let mut change = Change::default();
        for (start, end) in self.missing(record, object.as_ref(), time_ns) {
            change.is_new = true;
            change.reuses_addresses |= self.end_range(start, end, time_ns);
            let whole = Mapping {
                start: record.start,
                end: record.end,
                file_offset: record.file_offset,
                object: object.clone(),
                name: record.path.to_string_lossy().into(),
                file: record.file,
                from_ns: time_ns,
                until_ns: u64::MAX,
            };
            self.current.insert(start, whole.part(start, end));
        }
        self.forget_stale();
        change
    }

    /// The process runs another image since `time_ns`: all older mappings end.
    pub fn clear(&mut self, time_ns: u64) {
        self.cleared_ns = self.cleared_ns.max(time_ns);
        for (start, mapping) in std::mem::take(&mut self.current) {
            if mapping.from_ns > time_ns {
                self.current.insert(start, mapping);
            } else {
                self.end(mapping, time_ns);
            }
        }
    }

    /// The mapping that held an address at a time.
    pub fn find(&self, address: u64, time_ns: u64) -> Option<&Mapping> {
        let below = self.current.range(..=address).next_back();
        let current = below.map(|(_, mapping)| mapping);
        let mut candidates = current.into_iter().chain(self.ended.iter().rev());
        candidates.find(|mapping| {
            (mapping.start..mapping.end).contains(&address)
                && (mapping.from_ns..mapping.until_ns).contains(&time_ns)
        })
    }

    /// The mappings that are there now, by address.
    pub fn current(&self) -> impl Iterator<Item = &Mapping> {
        self.current.values()
    }

    /// The first file that is mapped now, by time.
    pub fn first_object(&self) -> Option<Arc<Object>> {
        let with_object = self.current().filter(|mapping| mapping.object.is_some());
        let first = with_object.min_by_key(|mapping| mapping.from_ns)?;
        first.object.clone()
    }

    /// The objects that are mapped now, in the order in which they came.
    pub fn current_objects(&self) -> Vec<Arc<Object>> {
        let mut by_time: Vec<&Mapping> = self.current().collect();
        by_time.sort_by_key(|mapping| mapping.from_ns);
        let mut objects: Vec<Arc<Object>> = Vec::new();
        for object in by_time.into_iter().filter_map(|m| m.object.as_ref()) {
            if !objects.iter().any(|known| known.id() == object.id()) {
                objects.push(object.clone());
            }
        }
        objects
    }

    /// The parts of a record that are not mapped like this, nor by something younger.
    fn missing(
        &self,
        record: &Record,
        object: Option<&Arc<Object>>,
        time_ns: u64,
    ) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut from = record.start;
        for known in self.overlapping(record.start, record.end) {
            if known.from_ns > time_ns || known.is_same(record, object) {
                if from < known.start {
                    missing.push((from, known.start));
                }
                from = known.end;
            }
        }
        if from < record.end {
            missing.push((from, record.end));
        }
        missing
    }

    fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Mapping> {
        let below = self.current.range(..start).next_back();
        let reaching_in = below.filter(|(_, mapping)| mapping.end > start);
        let inside = self.current.range(start..end.max(start));
        reaching_in
            .into_iter()
            .chain(inside)
            .map(|(_, mapping)| mapping)
    }

    /// Ends what is mapped in a range, and that only; returns whether there was anything.
    fn end_range(&mut self, start: u64, end: u64, time_ns: u64) -> bool {
        let starts: Vec<u64> = self.overlapping(start, end).map(|m| m.start).collect();
        for old in starts
            .iter()
            .filter_map(|key| self.current.remove(key))
            .collect::<Vec<_>>()
        {
            if old.start < start {
                self.current.insert(old.start, old.part(old.start, start));
            }
            if end < old.end {
                self.current.insert(end, old.part(end, old.end));
            }
            self.end(old.part(old.start.max(start), old.end.min(end)), time_ns);
        }
        !starts.is_empty()
    }

    fn end(&mut self, mapping: Mapping, time_ns: u64) {
        if mapping.from_ns < time_ns {
            self.ended.push_back(Mapping {
                until_ns: time_ns,
                ..mapping
            });
        }
        if self.ended.len() > MOST_ENDED {
            self.ended.pop_front();
        }
    }

    /// Code without a file that came at ever new addresses would pile up: of it, the older half
    /// goes when there is more than can be.
    fn forget_stale(&mut self) {
        if self.current.len() <= MOST_CURRENT {
            return;
        }
        let without_file = self.current().filter(|mapping| mapping.object.is_none());
        let mut times: Vec<u64> = without_file.map(|mapping| mapping.from_ns).collect();
        if times.is_empty() {
            return;
        }
        let middle = times.len() / 2;
        let (_, limit, _) = times.select_nth_unstable(middle);
        self.current
            .retain(|_, mapping| mapping.object.is_some() || mapping.from_ns > *limit);
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

    fn part(&self, start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            file_offset: self.offset_of(start),
            ..self.clone()
        }
    }

    /// Whether a record says what this mapping says, as far as both reach.
    fn is_same(&self, record: &Record, object: Option<&Arc<Object>>) -> bool {
        if self.file.inode == 0 && record.file.inode == 0 {
            // Their offset means nothing: an address in a record, 0 in /proc.
            let name = record.path.to_string_lossy();
            return identity(&self.name) == identity(&name);
        }
        // Of a file on a file system of several layers, /proc and a record may say different
        // things; but it opens as the same.
        let is_same_object = match (&self.object, object) {
            (Some(a), Some(b)) => a.id() == b.id(),
            _ => false,
        };
        (self.file == record.file || is_same_object)
            && record.start.wrapping_sub(record.file_offset)
                == self.start.wrapping_sub(self.file_offset)
    }
}

/// /proc knows names for anonymous mappings (5.17) that records do not.
fn identity(name: &str) -> &str {
    if name.is_empty() || name.starts_with("[anon:") {
        ANONYMOUS
    } else {
        name
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
mod tests;
