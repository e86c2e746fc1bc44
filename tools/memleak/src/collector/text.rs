//! The text of the process: what is mapped where, what came since the last look, and where frames
//! of a stack can lie at all.

use std::collections::HashSet;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memtools::target::mapping_events::{Batch, MappingEvent, MappingEvents};
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
    /// The process began another image.
    Image {
        /// So many execs there have been.
        images: u32,
        /// Its name now, not cleaned.
        comm: String,
        /// Since when (CLOCK_MONOTONIC, nanoseconds).
        since_ns: u64,
    },
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
    since_ns: u64,
    mappings: Mappings,
    program: Option<FileId>,
    images: u32,
    /// When the present image began; 0: before the first look.
    image_ns: u64,
    /// Files that were handed out as a change.
    announced: HashSet<FileId>,
    changed: Option<Instant>,
    /// What the kernel side was told; `None`: text can lie anywhere.
    told: Option<Ranges>,
    lost: u64,
    version: u64,
}

impl Text {
    /// Knows nothing yet. What happened before `since_ns` (CLOCK_MONOTONIC) is no change: it is read.
    pub fn new(events: MappingEvents, since_ns: u64) -> Self {
        Self {
            events,
            since_ns,
            mappings: Mappings::default(),
            program: None,
            images: 0,
            image_ns: 0,
            announced: HashSet::new(),
            changed: Some(Instant::now()),
            told: None,
            lost: 0,
            version: 0,
        }
    }

    /// Reads what is there now; changes come as events.
    pub fn read(&mut self, tid: u32) -> io::Result<()> {
        for record in &read_text_mappings(tid)? {
            self.mappings.insert(tid, record, 0);
        }
        self.program = program_of(tid);
        Ok(())
    }

    /// The files of code that are mapped now, and whether each is the program.
    pub fn objects(&self) -> Vec<(Arc<Object>, bool)> {
        let objects = self.mappings.current_objects().into_iter();
        objects
            .map(|object| (object.clone(), self.program == Some(object.id())))
            .collect()
    }

    /// What to wait for.
    pub fn fds(&self) -> Vec<RawFd> {
        self.events.fds()
    }

    /// All mappings there have been.
    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Changes with the mappings.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Mappings whose record found no room, found later or not at all.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes in what has happened up to now. Can be called at any time, and costs next to nothing
    /// when nothing has: what the kernel side has seen before the call is explained after it.
    pub fn take(&mut self, tid: u32) -> Vec<TextChange> {
        let batch = self.events.drain();
        self.take_batch(tid, batch)
    }

    fn take_batch(&mut self, tid: u32, batch: Batch) -> Vec<TextChange> {
        let mut changes = Vec::new();
        let since = self.since_ns;
        for (time, event) in batch.events.into_iter().filter(|(time, _)| *time >= since) {
            match event {
                MappingEvent::Exec { comm } => changes.push(self.begin_image(time, comm)),
                MappingEvent::Mapped(record) => {
                    self.map(tid, &record, time, &mut changes);
                }
            }
        }
        if let Some(since) = batch.lost_since {
            self.look_again(tid, since, batch.read_ns, &mut changes);
        }
        changes
    }

    fn begin_image(&mut self, time: u64, comm: String) -> TextChange {
        self.mappings.clear(time);
        self.version += 1;
        // What is left was mapped by the new image already.
        self.program = self.mappings.first_object().map(|object| object.id());
        self.told = None;
        self.changed = Some(Instant::now());
        self.images += 1;
        self.image_ns = time;
        let images = self.images;
        TextChange::Image {
            images,
            comm,
            since_ns: time,
        }
    }

    /// Records of some process were lost: only what is mapped now can tell whether of this one.
    fn look_again(&mut self, tid: u32, since: u64, now: u64, changes: &mut Vec<TextChange>) {
        let records = read_text_mappings(tid).unwrap_or_default();
        if records.is_empty() {
            // The process has ended, and nobody can tell any more.
            self.lost += 1;
            return;
        }
        self.program = program_of(tid).or(self.program);
        let since = since.max(self.image_ns);
        for record in &records {
            // Where nothing was, it may have been there since the gap; what is younger than the
            // gap it has followed.
            let filled = self.map(tid, record, since, changes);
            let followed = self.map(tid, record, now, changes);
            self.lost += u64::from(filled || followed);
        }
    }

    /// Returns whether it was new.
    fn map(&mut self, tid: u32, record: &Record, time: u64, changes: &mut Vec<TextChange>) -> bool {
        let change = self.mappings.insert(tid, record, time);
        self.version += u64::from(change.is_new || change.reuses_addresses);
        if change.reuses_addresses {
            changes.push(TextChange::Reuse);
        }
        if change.is_new {
            self.changed = Some(Instant::now());
            self.check_told(record, changes);
        }
        let mapping = self.mappings.find(record.start, time.max(self.image_ns));
        if let Some(object) = mapping.and_then(|mapping| mapping.object.clone()) {
            // The first file that an image maps is the program.
            let program = *self.program.get_or_insert(object.id());
            let is_program = program == object.id();
            // It may have come between the look that made the plan and the first one here.
            let is_unheard_of = self.announced.insert(object.id());
            if change.is_new || is_unheard_of {
                changes.push(TextChange::Object { object, is_program });
            }
        }
        change.is_new
    }

    fn check_told(&mut self, record: &Record, changes: &mut Vec<TextChange>) {
        let is_outside = |ranges: &Ranges| {
            !ranges
                .iter()
                .any(|(low, high)| *low <= record.start && record.end <= *high)
        };
        if self.told.as_ref().is_some_and(is_outside) {
            self.told = None;
            changes.push(TextChange::Elsewhere);
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

fn program_of(tid: u32) -> Option<FileId> {
    let program = Object::open(format!("/proc/{tid}/exe").as_ref());
    program.ok().map(|object| object.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Text {
        Text::new(MappingEvents::default(), 5)
    }

    fn exec(time: u64) -> (u64, MappingEvent) {
        let comm = "new".to_owned();
        (time, MappingEvent::Exec { comm })
    }

    fn batch(events: Vec<(u64, MappingEvent)>) -> Batch {
        Batch {
            events,
            ..Batch::default()
        }
    }

    /// Our own text, as records.
    fn own_records() -> Vec<Record> {
        read_text_mappings(std::process::id()).unwrap()
    }

    fn own_program() -> Record {
        let id = program_of(std::process::id()).unwrap();
        let mut records = own_records().into_iter();
        records.find(|r| r.file.inode == id.inode).unwrap()
    }

    #[test]
    fn the_first_file_of_an_image_is_its_program_even_if_its_exec_comes_late() {
        let (tid, record) = (std::process::id(), own_program());
        for late in [false, true] {
            let mut text = text();
            text.program = Some(FileId::new(1, 2, 3));
            let mapped = (20, MappingEvent::Mapped(record.clone()));
            let mut events = vec![exec(10), mapped];
            if late {
                events.reverse();
            }
            let changes = text.take_batch(tid, batch(events));
            assert_eq!(changes.len(), 2);
            let image = changes
                .iter()
                .any(|c| matches!(c, TextChange::Image { images: 1, comm, .. } if comm == "new"));
            assert!(image, "{changes:?}");
            assert_eq!(text.program, program_of(tid));
            assert_eq!(text.mappings.current().count(), 1);
        }
    }

    /// The kernel side has not seen it either.
    #[test]
    fn an_exec_before_the_attach_is_none() {
        let mut text = text();
        let changes = text.take_batch(std::process::id(), batch(vec![exec(4), exec(6)]));
        assert!(matches!(changes[..], [TextChange::Image { images: 1, .. }]));
    }

    #[test]
    fn what_is_mapped_already_is_no_change() {
        let (tid, record) = (std::process::id(), own_program());
        let mut text = text();
        text.read(tid).unwrap();
        text.changed = None;
        let again = |time| batch(vec![(time, MappingEvent::Mapped(record.clone()))]);
        // Once, because the plan may have been made before it came.
        let changes = text.take_batch(tid, again(10));
        assert!(matches!(
            changes[..],
            [TextChange::Object {
                is_program: true,
                ..
            }]
        ));
        assert!(text.take_batch(tid, again(20)).is_empty());
        assert!(text.changed.is_none());
    }

    #[test]
    fn lost_is_only_what_was_not_known() {
        let tid = std::process::id();
        let gap = || Batch {
            lost_since: Some(5),
            read_ns: 50,
            ..Batch::default()
        };
        let mut text = text();
        text.read(tid).unwrap();
        assert!(
            text.take_batch(tid, gap())
                .iter()
                .all(|c| matches!(c, TextChange::Object { .. }))
        );
        assert_eq!(text.lost(), 0);

        let mut record = own_program();
        record.path = "another".into();
        record.file = FileId::new(0, 0, 0);
        text.mappings.insert(tid, &record, 20);
        let changes = text.take_batch(tid, gap());
        assert!(matches!(
            changes[..],
            [TextChange::Reuse, TextChange::Object { .. }]
        ));
        assert_eq!(text.lost(), 1);
        let found = |time| {
            text.mappings
                .find(record.start, time)
                .unwrap()
                .object
                .is_some()
        };
        assert_eq!([found(10), found(30), found(50)], [true, false, true]);

        text.take_batch(u32::MAX, gap());
        assert_eq!(text.lost(), 2);
    }
}
