//! The text of the process: what is mapped where, what came since the last look, and where frames
//! of a stack can lie at all.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memtools::target::mapping_events::{MappingEvent, MappingEvents};
use memtools::target::mappings::{Mapping, Mappings, Record, read_text_mappings};
use memtools::target::object::{FileId, Object};

/// So long after the last new mapping, where text lies is settled.
const SETTLED: Duration = Duration::from_secs(1);

/// Libraries are loaded below those that are there, at about this distance at most.
const LIBRARY_MARGIN: u64 = 64 << 20;

/// Two ranges of addresses: the program's, and everybody else's.
pub type Ranges = [(u64, u64); 2];

/// What the kernel side has to know, or to be attached to.
#[derive(Debug)]
pub enum TextChange {
    /// So many execs there have been.
    Image(u32),
    /// Addresses mean something else from now on.
    Reuse,
    /// Text where none was: from now on it may lie anywhere.
    Elsewhere,
    /// A file of code.
    Object {
        object: Arc<Object>,
        is_program: bool,
    },
}

/// The text of one process.
#[derive(Debug)]
pub struct Text {
    events: MappingEvents,
    mappings: Mappings,
    program: Option<FileId>,
    images: u32,
    changed: Option<Instant>,
    /// What the kernel side was told; `None`: text can lie anywhere.
    told: Option<Ranges>,
    lost: u64,
}

impl Text {
    /// Knows nothing yet.
    pub fn new(events: MappingEvents) -> Self {
        Self {
            events,
            mappings: Mappings::default(),
            program: None,
            images: 0,
            changed: Some(Instant::now()),
            told: None,
            lost: 0,
        }
    }

    /// Reads what is there now; changes come as events.
    pub fn read(&mut self, tid: u32) -> io::Result<()> {
        for record in &read_text_mappings(tid)? {
            self.mappings.insert(tid, record, 0);
        }
        self.program = Object::open(format!("/proc/{tid}/exe").as_ref())
            .ok()
            .map(|o| o.id());
        Ok(())
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.events.fds()
    }

    /// All mappings there have been.
    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Records that found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes in what has happened.
    pub fn take(&mut self, tid: u32) -> Vec<TextChange> {
        let batch = self.events.drain();
        self.lost += batch.lost;
        let mut changes = Vec::new();
        for (time, event) in batch.events {
            self.changed = Some(Instant::now());
            match event {
                MappingEvent::Exec => {
                    self.mappings.clear(time);
                    self.program = None;
                    self.told = None;
                    self.images += 1;
                    changes.push(TextChange::Image(self.images));
                }
                MappingEvent::Mapped(record) => self.map(tid, &record, time, &mut changes),
            }
        }
        changes
    }

    fn map(&mut self, tid: u32, record: &Record, time: u64, changes: &mut Vec<TextChange>) {
        if self.mappings.insert(tid, record, time).reuses_addresses {
            changes.push(TextChange::Reuse);
        }
        let is_outside = |ranges: &Ranges| {
            !ranges
                .iter()
                .any(|(low, high)| *low <= record.start && record.end <= *high)
        };
        if self.told.as_ref().is_some_and(is_outside) {
            self.told = None;
            changes.push(TextChange::Elsewhere);
        }
        let mapping = self.mappings.find(record.start, time);
        if let Some(object) = mapping.and_then(|mapping| mapping.object.clone()) {
            // The first file that an image maps is the program.
            let program = *self.program.get_or_insert(object.id());
            let is_program = program == object.id();
            changes.push(TextChange::Object { object, is_program });
        }
    }

    /// Where text lies, once after it has come to rest.
    pub fn settled(&mut self) -> Option<Ranges> {
        if self
            .changed
            .is_none_or(|changed| changed.elapsed() < SETTLED)
        {
            return None;
        }
        self.changed = None;
        let ranges = self.ranges();
        self.told = (ranges[0].1 > 0).then_some(ranges);
        self.told
    }

    /// The addresses at which a byte of a file is mapped now.
    pub fn addresses_of(&self, file: FileId, offset: u64) -> impl Iterator<Item = u64> {
        self.mappings.current().filter_map(move |mapping| {
            let is_same = mapping
                .object
                .as_ref()
                .is_some_and(|object| object.id() == file);
            let end = mapping.file_offset + (mapping.end - mapping.start);
            (is_same && (mapping.file_offset..end).contains(&offset))
                .then(|| mapping.start + (offset - mapping.file_offset))
        })
    }

    fn ranges(&self) -> Ranges {
        let mut program = (u64::MAX, 0);
        let mut libraries = (u64::MAX, 0);
        // The vDSO lies far up, behind the stack; nothing in it calls back.
        for mapping in self
            .mappings
            .current()
            .filter(|mapping| !mapping.name.starts_with("[v"))
        {
            let range = if self.is_of_program(mapping) {
                &mut program
            } else {
                &mut libraries
            };
            *range = (range.0.min(mapping.start), range.1.max(mapping.end));
        }
        if libraries.1 > 0 {
            libraries.0 = libraries.0.saturating_sub(LIBRARY_MARGIN);
        }
        [program, libraries]
    }

    fn is_of_program(&self, mapping: &Mapping) -> bool {
        mapping
            .object
            .as_ref()
            .is_some_and(|object| Some(object.id()) == self.program)
    }
}
