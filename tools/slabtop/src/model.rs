//! What is known of each cache over time. Pure.

mod sort;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use memtools::score::{Amount, Evidence, Score, score};
use memtools::series::Series;

pub use sort::SortKey;

/// What a cache holds, as /proc/slabinfo has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The name under which it was made first.
    pub name: String,
    /// Bytes that an object takes.
    pub object_bytes: u64,
    /// Objects there is room for.
    pub objects: u64,
    /// Objects in use, those included that a CPU keeps ready; `None`: cannot be told.
    pub active: Option<u64>,
    /// Slabs.
    pub slabs: u64,
    /// Objects in a slab of the usual order.
    pub objects_per_slab: u64,
    /// Pages of such a slab.
    pub pages_per_slab: u64,
}

impl Sizes {
    /// Bytes of its slabs.
    pub fn bytes(&self) -> u64 {
        self.slabs * self.pages_per_slab * page_bytes()
    }

    /// Objects in use, as a share of those there is room for.
    pub fn use_percent(&self) -> Option<f64> {
        let active = self.active?;
        (self.objects > 0).then(|| 100.0 * active as f64 / self.objects as f64)
    }

    /// Two caches may have one name: they are one row.
    fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.slabs += other.slabs;
        self.active = self.active.zip(other.active).map(|(a, b)| a + b);
    }
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf only reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Objects that came and went since the attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Allocated.
    pub allocs: u64,
    /// Freed.
    pub frees: u64,
}

/// What makes figures wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Events that the kernel skipped, because a program ran already.
    pub missed: u64,
    /// Events of caches for which there was no room.
    pub caches: u64,
    /// Objects freed in bulks longer than can be looked at.
    pub bulk: u64,
    /// Objects that are not followed: no room.
    pub objects: u64,
    /// Events of followed caches whose stack was not kept.
    pub stacks: u64,
}

impl Loss {
    /// All of it.
    pub fn total(self) -> u64 {
        self.missed + self.caches + self.bulk + self.objects + self.stacks
    }

    /// Each by its name in reports, zeros too.
    pub fn named(self) -> [(&'static str, u64); 5] {
        [
            ("missed", self.missed),
            ("caches", self.caches),
            ("bulk", self.bulk),
            ("objects", self.objects),
            ("stacks", self.stacks),
        ]
    }
}

/// Where objects of a followed cache are made, or freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Tells it from all others.
    pub id: u64,
    /// The cache.
    pub cache: String,
    /// The name of the process; not yet cleaned.
    pub comm: String,
    /// The first one's PID, in the initial namespace.
    pub pid: u32,
    /// Others of this name were here as well.
    pub has_others: bool,
    /// Objects made here since it is followed.
    pub allocs: u64,
    /// Of those, freed by anybody.
    pub freed: u64,
    /// Of those, objects for which there was no room: nobody knows what became of them.
    pub not_followed: u64,
    /// Objects freed here, made by anybody.
    pub frees: u64,
    /// The kernel's functions, the innermost first.
    pub frames: Vec<String>,
}

impl Place {
    /// Objects made here that are still there, as far as they are followed.
    pub fn net(&self) -> u64 {
        self.allocs.saturating_sub(self.freed + self.not_followed)
    }
}

/// One moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When.
    pub time: Timestamp,
    /// Since the attach.
    pub elapsed: Duration,
    /// All caches.
    pub sizes: Vec<Sizes>,
    /// What moved, by the name of the cache.
    pub moved: HashMap<String, Moved>,
    /// Other names of caches, by the first one's.
    pub aliases: HashMap<String, Vec<String>>,
    /// Of the followed caches.
    pub places: Vec<Place>,
    /// Which are followed.
    pub followed: Vec<String>,
    /// The process whose events are counted has ended.
    pub has_ended: bool,
    /// What is missing by now.
    pub loss: Loss,
}

/// For so long small pictures of the past are kept,
const HISTORY: Duration = Duration::from_secs(60);
/// and so many figures at most.
const MOST_HISTORY: usize = 600;

/// A cache over time.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it holds now.
    pub sizes: Sizes,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Since the attach.
    pub moved: Moved,
    /// A second, over the last interval.
    pub allocs_per_s: f64,
    /// Likewise.
    pub frees_per_s: f64,
    /// Allocations that the events do not show: there are more than these.
    pub hides_allocs: bool,
    /// Frees that they do not show.
    pub hides_frees: bool,
    /// How much it looks like a leak.
    pub score: Score,
    /// Bytes of its slabs over the last minute, the oldest first, with the time since the attach.
    history: VecDeque<(Duration, u64)>,
    /// Objects in use when that was known last.
    held: Option<u64>,
    /// Likewise at the start.
    held_at_start: Option<u64>,
    series: Series,
}

impl Row {
    /// `held_at_start`: objects it had when slabtop began, if that is settled.
    fn new(sizes: Sizes, held_at_start: Option<u64>) -> Self {
        let series = Series::default();
        Self {
            score: score(&evidence(
                &sizes,
                0,
                &series,
                Moved::default(),
                Duration::ZERO,
            )),
            sizes,
            aliases: Vec::new(),
            moved: Moved::default(),
            allocs_per_s: 0.0,
            frees_per_s: 0.0,
            hides_allocs: false,
            hides_frees: false,
            history: VecDeque::new(),
            held: None,
            held_at_start,
            series,
        }
    }

    /// By how many objects it grew since the attach; `None`: not known so far.
    pub fn net_objects(&self) -> Option<i64> {
        Some(self.held? as i64 - self.held_at_start? as i64)
    }

    /// The same in bytes.
    pub fn net_bytes(&self) -> Option<i64> {
        Some(self.net_objects()? * self.sizes.object_bytes as i64)
    }

    /// Bytes of its slabs over the last minute in so many figures.
    pub fn last_minute(&self, figures: u32) -> Vec<u64> {
        let Some((now, _)) = self.history.back() else {
            return Vec::new();
        };
        let start = now.saturating_sub(HISTORY);
        let cells = (1..=figures).map(|cell| {
            let end = start + HISTORY.min(*now) * cell / figures;
            let known = self.history.partition_point(|(time, _)| *time <= end);
            self.history
                .get(known.saturating_sub(1))
                .map_or(0, |(_, bytes)| *bytes)
        });
        cells.collect()
    }

    /// Whether people should be told of its growth.
    pub fn is_growing(&self) -> bool {
        const GROWS: f64 = 0.35;
        self.score.growth >= GROWS && self.net_bytes() > Some(0)
    }

    /// Bytes allocated a second.
    pub fn alloc_bytes_per_s(&self) -> f64 {
        self.allocs_per_s * self.sizes.object_bytes as f64
    }

    /// What leaks are ranked by: bytes gained, as far as they were gained steadily.
    pub fn steady_growth(&self) -> f64 {
        self.score.growth * self.net_bytes().unwrap_or(0).max(0) as f64
    }

    fn update(&mut self, sizes: Sizes, moved: Moved, elapsed: Duration, step: Duration) {
        let rate = |now: u64, before: u64| {
            let seconds = step.as_secs_f64();
            if seconds > 0.0 {
                now.saturating_sub(before) as f64 / seconds
            } else {
                0.0
            }
        };
        self.allocs_per_s = rate(moved.allocs, self.moved.allocs);
        self.frees_per_s = rate(moved.frees, self.moved.frees);
        self.moved = moved;
        self.sizes = sizes;
        // Where it cannot be told for a moment, what was known last stands.
        self.held = self.sizes.active.or(self.held);
        self.held_at_start = self.held_at_start.or(self.held);
        let held = self.held.unwrap_or(0);
        self.series.push(elapsed, held * self.sizes.object_bytes);
        self.score = score(&evidence(&self.sizes, held, &self.series, moved, elapsed));
        self.remember(elapsed);
    }

    fn remember(&mut self, now: Duration) {
        self.history.push_back((now, self.sizes.bytes()));
        // One from before the minute says what it began with.
        while self.history.len() > MOST_HISTORY
            || self
                .history
                .get(1)
                .is_some_and(|(time, _)| now.saturating_sub(*time) > HISTORY)
        {
            self.history.pop_front();
        }
    }

    /// Compares events with what the cache says of itself.
    fn judge_events(&mut self, cpus: u64) {
        /// Slabs that a CPU may keep (cpu_partial_slabs of small objects, and sheaves).
        const SLABS_PER_CPU: u64 = 16;
        let Some(net) = self.net_objects() else {
            return;
        };
        let Moved { allocs, frees } = self.moved;
        let difference = allocs as i64 - frees as i64 - net;
        // What CPUs keep for themselves counts as in use, but is no more than there is.
        let slack = cpus * SLABS_PER_CPU * self.sizes.objects_per_slab.max(8);
        let slack = slack.min(self.sizes.objects.max(64));
        let allowed = (allocs.max(frees) / 100).max(slack) as i64;
        self.hides_frees = difference > allowed;
        self.hides_allocs = difference < -allowed;
    }
}

fn evidence<'a>(
    sizes: &Sizes,
    held: u64,
    series: &'a Series,
    moved: Moved,
    elapsed: Duration,
) -> Evidence<'a> {
    Evidence {
        series,
        live: Amount {
            bytes: held * sizes.object_bytes,
            count: held,
        },
        allocs: moved.allocs,
        frees: moved.frees,
        births: None,
        elapsed,
    }
}

/// All caches.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rows: Vec<Row>,
    by_name: HashMap<String, usize>,
    /// The last snapshot's.
    pub time: Timestamp,
    /// Likewise.
    pub elapsed: Duration,
    /// From the last snapshot but one to the last.
    pub step: Duration,
    /// Of the followed caches, those that keep most first.
    pub places: Vec<Place>,
    /// Which caches are followed.
    pub followed: Vec<String>,
    /// The process whose events are counted has ended.
    pub has_ended: bool,
    /// What is missing.
    pub loss: Loss,
    /// How many snapshots came.
    snapshots: u64,
    /// Only events of some processes are counted.
    is_selective: bool,
    cpus: u64,
}

impl Ledger {
    /// Empty; the first snapshot is what later ones are compared with.
    pub fn new(cpus: u64, is_selective: bool) -> Self {
        Self {
            is_selective,
            cpus,
            ..Self::default()
        }
    }

    /// Takes the next snapshot.
    pub fn update(&mut self, snapshot: Snapshot) {
        let is_first = self.snapshots == 0;
        self.snapshots += 1;
        self.step = snapshot.elapsed.saturating_sub(self.elapsed);
        self.elapsed = snapshot.elapsed;
        self.time = snapshot.time;
        self.loss = snapshot.loss;
        self.followed = snapshot.followed;
        self.has_ended = snapshot.has_ended;
        self.places = snapshot.places;
        self.places.sort_by_key(|place| {
            let busy = place.allocs.max(place.frees);
            (std::cmp::Reverse((place.net(), busy)), place.id)
        });
        let mut before = std::mem::take(&mut self.rows);
        let mut by_name = std::mem::take(&mut self.by_name);
        for sizes in merged(snapshot.sizes) {
            let name = sizes.name.clone();
            let moved = snapshot.moved.get(&name).copied().unwrap_or_default();
            let known = by_name.remove(&name).map(|at| {
                let none = Row::new(Sizes::default(), None);
                std::mem::replace(&mut before[at], none)
            });
            // A cache that was made meanwhile had nothing.
            let at_start = (!is_first).then_some(0);
            let mut row = known.unwrap_or_else(|| Row::new(sizes.clone(), at_start));
            row.update(sizes, moved, self.elapsed, self.step);
            if !self.is_selective {
                row.judge_events(self.cpus);
            }
            row.aliases = snapshot.aliases.get(&name).cloned().unwrap_or_default();
            self.by_name.insert(name, self.rows.len());
            self.rows.push(row);
        }
    }

    /// All caches, in no order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A cache by its name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.get(*self.by_name.get(name)?)
    }

    /// Whether there is an interval to speak of.
    pub fn has_motion(&self) -> bool {
        self.snapshots > 1
    }

    /// All caches, in order.
    pub fn sorted(&self, key: SortKey) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| key.compare(a, b));
        rows
    }

    /// The caches that grow steadily, those that grow most first.
    pub fn growing(&self) -> Vec<&Row> {
        let mut rows = self.sorted(SortKey::Growth);
        rows.retain(|row| row.is_growing());
        rows
    }

    /// Whether a cache's objects are followed.
    pub fn is_followed(&self, cache: &str) -> bool {
        self.followed.iter().any(|name| name == cache)
    }

    /// Where objects of a cache are made and freed.
    pub fn places_of<'a>(&'a self, cache: &'a str) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| place.cache == cache)
    }
}

/// Caches of one name as one, in the order in which they came.
fn merged(sizes: Vec<Sizes>) -> Vec<Sizes> {
    let mut out: Vec<Sizes> = Vec::with_capacity(sizes.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(sizes.len());
    for cache in sizes {
        if let Some(&at) = places.get(&cache.name) {
            out[at].add(&cache);
        } else {
            places.insert(cache.name.clone(), out.len());
            out.push(cache);
        }
    }
    out
}

#[cfg(test)]
pub mod tests;
