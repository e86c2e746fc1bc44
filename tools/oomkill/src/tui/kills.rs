//! The table of kills: which events, in which order, and what each column says.

use memtools::output::{human_bytes, short_duration, wall_clock};
use memtools::tui::filter::Filter;
use memtools::tui::table::{Cell, Column, Rows, Sort};
use memtools::tui::theme::{Glyphs, Tone};

use super::log::{Entry, EntryId, Log};
use crate::model::{Constraint, Fact};

const TIME: usize = 0;
const PID: usize = 1;
const VICTIM: usize = 2;
const RSS: usize = 3;
const ADJ: usize = 4;
const DOMAIN: usize = 5;
const LIMIT: usize = 6;
const TRIGGER: usize = 7;

/// What is shown of an event.
pub const COLUMNS: &[Column] = &[
    Column::number("TIME", 8),
    Column::number("PID", 7),
    Column::text("VICTIM", 16),
    Column::number("RSS", 10),
    Column::number("ADJ", 5).rank(3),
    Column::text("DOMAIN", 12).fill().cut_start(),
    Column::number("LIMIT", 10).rank(2),
    Column::text("TRIGGER", 15).rank(4),
    Column::number("BACK", 7).rank(1),
];

/// What comes first when the view opens: the newest.
pub const FIRST_SORT: Sort = Sort::descending(TIME);

/// Stands where the kernel did not say.
const UNKNOWN: &str = "?";

/// Which events are shown.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Matched against names, command lines and cgroups.
    pub filter: Filter,
    /// The first that has to wait: the view is paused.
    pub paused_at: Option<EntryId>,
}

impl Selection {
    fn has(&self, entry: &Entry) -> bool {
        self.paused_at.is_none_or(|first| entry.id < first) && is_match(entry, &self.filter)
    }
}

/// A container has its name or ID in its cgroup's path.
fn is_match(entry: &Entry, filter: &Filter) -> bool {
    if filter.is_empty() {
        return true;
    }
    let (victim, trigger) = (&entry.event.victim, &entry.event.trigger);
    let domain = entry.event.domain.as_ref();
    let paths = [
        victim.task.cgroup.as_str(),
        victim.task.unified_cgroup.as_str(),
        domain.map_or("", |domain| domain.cgroup.as_str()),
    ];
    let names = [victim.task.comm.bytes(), trigger.task.comm.bytes()];
    paths.into_iter().any(|path| filter.matches(path))
        || names.into_iter().any(|name| filter.matches(&text(name)))
        || filter.matches(&text(&victim.command_line).replace('\0', " "))
}

/// What the kernel calls a name is bytes.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What rows are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Number(i128),
    Text(&'a [u8]),
}

/// The events that are shown, in order.
#[derive(Debug, Default)]
pub struct Arrangement {
    order: Vec<EntryId>,
}

impl Arrangement {
    /// After an event, or with another selection or order.
    pub fn arrange(&mut self, log: &Log, selection: &Selection, sort: Sort) {
        let mut keyed: Vec<(Key<'_>, EntryId)> = log
            .newest_first()
            .filter(|entry| selection.has(entry))
            .map(|entry| (key(entry, sort.column), entry.id))
            .collect();
        sort.apply(&mut keyed, |(key, _)| *key);
        self.order.clear();
        self.order.extend(keyed.into_iter().map(|(_, id)| id));
    }

    /// The first first.
    pub fn order(&self) -> &[EntryId] {
        &self.order
    }
}

/// What is not known comes below all that is.
fn key(entry: &Entry, column: usize) -> Key<'_> {
    let event = &entry.event;
    let known = |fact, number: i128| if entry.knows(fact) { number } else { i128::MIN };
    match column {
        PID => Key::Number(event.victim.task.pid.into()),
        VICTIM => Key::Text(event.victim.task.comm.bytes()),
        RSS => Key::Number(known(Fact::Victim, event.victim.memory.resident().into())),
        ADJ => Key::Number(known(Fact::Victim, event.victim.oom_score_adj.into())),
        DOMAIN => Key::Text(domain(entry).as_bytes()),
        LIMIT => Key::Number(match limit(entry) {
            Limit::NotKnown => i128::MIN,
            Limit::Nowhere => -1,
            Limit::Bytes(bytes) => bytes.into(),
            Limit::Max => i128::MAX,
        }),
        TRIGGER => Key::Text(event.trigger.task.comm.bytes()),
        // The clock may be set while the view is open.
        TIME => Key::Number(entry.id.0.into()),
        _ => Key::Number(back_key(entry)),
    }
}

/// What is not back yet takes longer than all that is.
fn back_key(entry: &Entry) -> i128 {
    match entry.reaped {
        _ if entry.event.is_exiting => -1,
        Some(reaped) => reaped.after.as_nanos() as i128,
        None => i128::MAX,
    }
}

/// Whose memory ran out.
fn domain(entry: &Entry) -> &str {
    let domain = entry.event.domain.as_ref();
    let Some(domain) = domain.filter(|_| entry.knows(Fact::Domain)) else {
        return UNKNOWN;
    };
    match domain.constraint {
        Constraint::None => "machine",
        Constraint::Cpuset => "cpuset",
        Constraint::MemoryPolicy => "policy",
        Constraint::Memcg if domain.cgroup.is_empty() => UNKNOWN,
        Constraint::Memcg => &domain.cgroup,
    }
}

/// A memory cgroup's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    NotKnown,
    /// It was no cgroup's memory that ran out.
    Nowhere,
    Bytes(u64),
    Max,
}

fn limit(entry: &Entry) -> Limit {
    let domain = entry.event.domain.as_ref();
    let Some(domain) = domain.filter(|_| entry.knows(Fact::Domain)) else {
        return Limit::NotKnown;
    };
    match domain.limits {
        _ if domain.constraint != Constraint::Memcg => Limit::Nowhere,
        Some(limits) => limits.limit.map_or(Limit::Max, Limit::Bytes),
        None => Limit::NotKnown,
    }
}

/// The events as the table draws them.
pub struct KillRows<'a> {
    pub log: &'a Log,
    pub arrangement: &'a Arrangement,
    pub glyphs: Glyphs,
}

impl Rows for KillRows<'_> {
    type Id = EntryId;

    fn len(&self) -> usize {
        self.arrangement.order.len()
    }

    fn id(&self, position: usize) -> EntryId {
        self.arrangement.order[position]
    }

    fn cell(&self, position: usize, column: usize) -> Cell<'_> {
        let Some(entry) = self.log.entry(self.id(position)) else {
            return Cell::text("");
        };
        let tone = match column {
            _ if entry.event.is_exiting => Tone::Dim,
            VICTIM => Tone::Strong,
            _ => Tone::Plain,
        };
        Cell::text(self.words(entry, column)).tone(tone)
    }
}

impl KillRows<'_> {
    fn words(&self, entry: &Entry, column: usize) -> String {
        let event = &entry.event;
        let known = |words: String| {
            if entry.knows(Fact::Victim) {
                words
            } else {
                UNKNOWN.to_owned()
            }
        };
        match column {
            TIME => wall_clock(event.time),
            PID => event.victim.task.pid.to_string(),
            VICTIM => victim(entry),
            RSS => known(human_bytes(event.victim.memory.resident())),
            ADJ => known(event.victim.oom_score_adj.to_string()),
            DOMAIN => domain(entry).to_owned(),
            LIMIT => match limit(entry) {
                Limit::NotKnown => UNKNOWN.to_owned(),
                Limit::Nowhere => String::new(),
                Limit::Bytes(bytes) => human_bytes(bytes),
                Limit::Max => "max".to_owned(),
            },
            TRIGGER => text(event.trigger.task.comm.bytes()),
            _ => self.back(entry),
        }
    }

    /// After how long the memory was back.
    fn back(&self, entry: &Entry) -> String {
        match entry.reaped {
            _ if entry.event.is_exiting => "exiting".to_owned(),
            Some(reaped) => short_duration(reaped.after),
            None => self.glyphs.ellipsis().to_owned(),
        }
    }
}

/// A sign stands before the names of those that were killed along with the one before.
fn victim(entry: &Entry) -> String {
    let name = if entry.knows(Fact::Victim) {
        text(entry.event.victim.task.comm.bytes())
    } else {
        UNKNOWN.to_owned()
    };
    if entry.is_follower {
        format!("+{name}")
    } else {
        name
    }
}
