//! Snapshots of all caches: what they hold, what moved, and the objects of those that are followed.

mod abi;
mod aliases;
mod follow;
mod kernel;
mod motion;
mod sizes;
mod slabinfo;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;
use memtools::attach::Hook;

use memtools::selection::Selection;

use crate::model::Snapshot;
use aliases::Aliases;
use follow::Followed;
use kernel::Ways;
use motion::Motion;
use sizes::SizeSource;

/// Everything that is attached.
pub struct Collector {
    selection: Selection,
    ways: Ways,
    sizes: SizeSource,
    motion: Motion,
    aliases: Aliases,
    wanted: BTreeSet<String>,
    followed: Option<Followed>,
    max_objects: u32,
    started: Instant,
}

impl Collector {
    /// Loads and attaches.
    pub fn start(selection: Selection, max_objects: u32) -> Result<Self> {
        let sizes = SizeSource::open()?;
        let mut ways = Ways::find()?;
        let motion = Motion::start(&mut ways, &selection)?;
        Ok(Self {
            selection,
            ways,
            sizes,
            motion,
            aliases: Aliases::default(),
            wanted: BTreeSet::new(),
            followed: None,
            max_objects,
            started: Instant::now(),
        })
    }

    /// For people: where figures come from.
    pub fn explain(&self) -> String {
        let functions = match self.ways.functions() {
            none if none.is_empty() => {
                "no functions: bulk allocations and frees are not seen".to_owned()
            }
            functions => functions.join(", "),
        };
        format!(
            "sizes by {}, events by {}, {functions}",
            self.sizes.name(),
            self.ways.hook
        )
    }

    /// What a user should know before the first table.
    pub fn note(&self) -> Option<&'static str> {
        (!self.ways.knows_objects).then_some(
            "this kernel does not tell of which cache an object of kmalloc is: kmalloc and kfree are \
             not counted",
        )
    }

    /// Which caches' objects are followed from now on. What is known of others is let go.
    pub fn follow(&mut self, caches: BTreeSet<String>) -> Result<()> {
        if caches.is_empty() {
            self.followed = None;
        } else if self.followed.is_none() {
            let followed = Followed::start(&mut self.ways, &self.selection, self.max_objects)
                .context("following objects")?;
            self.followed = Some(followed);
        }
        self.wanted = caches;
        Ok(())
    }

    /// Which caches' objects are followed.
    pub fn wanted(&self) -> &BTreeSet<String> {
        &self.wanted
    }

    /// What there is now.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        // Where others would be missed that run here in the middle of a read.
        let _undisturbed =
            (self.ways.hook == Hook::Tracepoint).then(memtools::process::Undisturbed::begin);
        let (sizes, mut addresses) = self.sizes.read()?;
        let names: BTreeSet<&str> = sizes.iter().map(|cache| cache.name.as_str()).collect();
        let counted = self.motion.read(&addresses, &names)?;
        let aliases = self.aliases.of(&names);
        for (name, more) in counted.addresses {
            addresses.entry(name).or_default().extend(more);
        }
        let mut snapshot = Snapshot {
            time: Timestamp::now(),
            elapsed: self.started.elapsed(),
            moved: counted.moved,
            loss: counted.loss,
            aliases,
            followed: self.wanted.iter().cloned().collect(),
            has_ended: self
                .selection
                .process
                .is_some_and(|process| process.has_ended()),
            ..Snapshot::default()
        };
        if let Some(followed) = &mut self.followed {
            followed.set_caches(&self.wanted, &addresses)?;
            followed.read(&mut snapshot)?;
        }
        snapshot.sizes = sizes;
        Ok(snapshot)
    }
}

/// The addresses of caches, by their names.
pub type Addresses = HashMap<String, BTreeSet<u64>>;
