//! Where updates come from while a process is traced: snapshots, named, and kept in a recording if one is
//! asked for.

use std::io;

use std::time::{Duration, Instant};

use anyhow::Result;
use memtools::cli::note;
use memtools::process;
use memtools::symbols::Symbolizer;

use crate::collector::Collector;
use crate::namer::Namer;
use crate::recording::{Ending, Writer};
use crate::update::Update;

/// What a source is made of; it can go to another thread, which a source cannot.
pub struct Supply {
    pub collector: Collector,
    /// The sample rate, which figures are multiplied by.
    pub scale: u64,
    pub recording: Option<Writer>,
    /// `--max-memory`, in bytes.
    pub max_memory: Option<u64>,
}

/// Updates of a process, until its collector has finished.
pub struct Source {
    collector: Option<Collector>,
    namer: Namer<Symbolizer>,
    recording: Option<Writer>,
    has_lost_recording: bool,
    max_memory: Option<u64>,
    /// When memory was last given back.
    saved: Option<Instant>,
}

impl Source {
    /// A source, in the thread that will use it.
    pub fn new(supply: Supply) -> Self {
        Self {
            collector: Some(supply.collector),
            namer: Namer::new(Symbolizer::default(), supply.scale),
            recording: supply.recording,
            has_lost_recording: false,
            max_memory: supply.max_memory,
            saved: None,
        }
    }

    /// Whether there is more to come.
    pub fn is_open(&self) -> bool {
        self.collector.is_some()
    }

    /// Whether a recording was asked for, and could not be written to its end.
    pub fn has_lost_recording(&self) -> bool {
        self.has_lost_recording
    }

    /// What changed since the last update; `None` once it is closed.
    pub fn next(&mut self) -> Result<Option<Update>> {
        let snapshot = self.collector.as_ref().map(Collector::snapshot);
        let Some(snapshot) = snapshot.transpose()? else {
            return Ok(None);
        };
        let update = self.namer.update(snapshot);
        self.save_memory();
        self.record(&update);
        Ok(Some(update))
    }

    /// What symbols are looked up in can be large; it is kept for the next time only if there is room.
    fn save_memory(&mut self) {
        /// The part of the limit that is this process's own.
        const SHARE: u64 = 3;
        /// Reading them again has its price, too.
        const PAUSE: Duration = Duration::from_secs(30);
        let Some(limit) = self.max_memory else {
            return;
        };
        if self.saved.is_some_and(|saved| saved.elapsed() < PAUSE) {
            return;
        }
        let resident = process::resident(std::process::id());
        if resident.is_some_and(|resident| resident.anonymous > limit / SHARE) {
            self.saved = Some(Instant::now());
            self.namer.save_memory();
            process::trim_heap();
        }
    }

    /// Ends recording, takes the probes out, and returns what changed up to then.
    pub fn close(&mut self, ending: Ending) -> Result<Option<Update>> {
        let snapshot = self.collector.take().map(Collector::finish);
        let Some(snapshot) = snapshot.transpose()? else {
            return Ok(None);
        };
        let update = self.namer.update(snapshot);
        self.record(&update);
        if let Some(Err(error)) = self.recording.take().map(|recording| recording.end(ending)) {
            self.lose_recording(&error);
        }
        Ok(Some(update))
    }

    /// Blocks made from now on are fresh; or, with `false`, all are.
    pub fn set_base_line(&self, is_set: bool) {
        if let Some(collector) = &self.collector {
            collector.set_base_line(is_set);
        }
    }

    /// One that cannot go on ends.
    fn record(&mut self, update: &Update) {
        if let Some(recording) = &mut self.recording
            && let Err(error) = recording.append(update)
        {
            self.recording = None;
            self.lose_recording(&error);
        }
    }

    fn lose_recording(&mut self, error: &io::Error) {
        self.has_lost_recording = true;
        note(&format!(
            "memleak: recording has ended, what was recorded is kept: {error}"
        ));
    }
}
