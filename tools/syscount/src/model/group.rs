//! Rows put together: by call, process, thread, cgroup or errno.

use std::collections::{BTreeMap, VecDeque};

use super::{By, ENDED, Figures, Ledger, Row};
use crate::calls::{Call, errno_name};

/// Rows that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Tells it from the others.
    pub id: GroupId,
    /// Its name: a call, a comm, a cgroup, an errno.
    pub name: String,
    /// Of the interval, or since the start.
    pub figures: Figures,
    /// Calls that go on.
    pub in_flight: u64,
    /// How long the longest of them has done so, in nanoseconds.
    pub longest_ns: u64,
    /// It has done so for longer.
    pub longest_at_least: bool,
    /// What makes the time of calls that returned that which was spent in the interval, in nanoseconds.
    pub inside_ns: i64,
    /// Calls a second, of the last intervals; the newest last.
    pub history: VecDeque<u64>,
}

/// What a group is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupId {
    /// A call.
    Call(Call),
    /// A PID, a TID, or a cgroup's id.
    Owner(u64),
    /// An errno.
    Errno(u16),
}

impl Group {
    fn new(id: GroupId) -> Self {
        Self {
            id,
            name: String::new(),
            figures: Figures::default(),
            in_flight: 0,
            longest_ns: 0,
            longest_at_least: false,
            inside_ns: 0,
            history: VecDeque::new(),
        }
    }

    /// The process, thread or cgroup that it is of.
    pub fn owner(&self) -> Option<u64> {
        match self.id {
            GroupId::Owner(owner) if owner != ENDED => Some(owner),
            _ => None,
        }
    }

    /// How much time was spent in its calls in the interval: those that ended, and those that go on.
    pub fn weight_ns(&self) -> u64 {
        self.figures.total_ns.saturating_add_signed(self.inside_ns)
    }

    fn add(&mut self, row: &Row, figures: &Figures) {
        self.figures.merge(figures);
        self.in_flight += row.in_flight;
        self.inside_ns += row.inside_ns;
        let longest = (row.longest_at_least, row.longest_ns);
        if longest > (self.longest_at_least, self.longest_ns) {
            self.longest_ns = row.longest_ns;
            self.longest_at_least = row.longest_at_least;
        }
        // Both end with the newest.
        while self.history.len() < row.history.len() {
            self.history.push_front(0);
        }
        let newest = self.history.iter_mut().rev();
        for (sum, rate) in newest.zip(row.history.iter().rev()) {
            *sum += rate;
        }
    }
}

/// What comes first. All but names: the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    Name,
    Owner,
    Count,
    Errors,
    /// The time of calls that ended, and of those that go on.
    Total,
    Average,
    P50,
    P99,
    Max,
    InFlight,
    Longest,
}

impl SortKey {
    /// What groups are put in order by.
    pub fn figure(self, group: &Group) -> u64 {
        let figures = &group.figures;
        match self {
            Self::Name => 0,
            Self::Owner => group.owner().unwrap_or(0),
            Self::Count => figures.count,
            Self::Errors => figures.errors,
            Self::Total => group.weight_ns(),
            Self::Average => figures.average_ns().unwrap_or(0),
            Self::P50 => figures.quantile_ns(0.5).unwrap_or(0),
            Self::P99 => figures.quantile_ns(0.99).unwrap_or(0),
            Self::Max => figures.max_ns,
            Self::InFlight => group.in_flight,
            // What nobody saw begin comes before all others.
            Self::Longest if group.longest_at_least => group.longest_ns | 1 << 63,
            Self::Longest => group.longest_ns,
        }
    }
}

/// Puts groups in order; those that are equal stand by their names.
pub fn sort(groups: &mut [Group], key: SortKey) {
    groups.sort_by(|a, b| {
        let figures = key.figure(b).cmp(&key.figure(a));
        figures
            .then_with(|| b.figures.count.cmp(&a.figures.count))
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| a.id.cmp(&b.id))
    });
}

impl Row {
    fn is_of(&self, group: GroupId) -> bool {
        match group {
            GroupId::Call(call) => self.key.call == call,
            GroupId::Owner(owner) => self.key.owner == owner,
            GroupId::Errno(errno) => self.all.errnos.contains_key(&errno),
        }
    }
}

impl Ledger {
    /// The interval's rows by what is asked for.
    pub fn groups(&self, by: By) -> Vec<Group> {
        let rows = self.active().map(|row| (row, &row.figures));
        grouped(rows, by)
    }

    /// The interval's calls of an owner.
    pub fn calls_of(&self, of: GroupId) -> Vec<Group> {
        let rows = self.active().filter(|row| row.is_of(of));
        grouped(rows.map(|row| (row, &row.figures)), By::Call)
    }

    /// What one group's parts have since the start: the owners of a call, the calls of an owner.
    pub fn parts(&self, of: GroupId, by: By) -> Vec<Group> {
        let rows = self.rows.values().filter(|row| row.is_of(of));
        grouped(rows.map(|row| (row, &row.all)), by)
    }
}

fn grouped<'a>(rows: impl Iterator<Item = (&'a Row, &'a Figures)>, by: By) -> Vec<Group> {
    let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
    for (row, figures) in rows {
        if by == By::Errno {
            for (errno, count) in &figures.errnos {
                let id = GroupId::Errno(*errno);
                let group = groups.entry(id).or_insert_with(|| Group::new(id));
                group.name = errno_name(*errno);
                group.figures.count += count;
                group.figures.errors += count;
            }
            continue;
        }
        let id = match by {
            By::Call | By::Errno => GroupId::Call(row.key.call),
            By::Process | By::Thread | By::Cgroup => GroupId::Owner(row.key.owner),
        };
        let group = groups.entry(id).or_insert_with(|| Group::new(id));
        group.add(row, figures);
        match (id, &row.name) {
            (GroupId::Call(call), _) => group.name = call.label(),
            (_, Some(name)) => group.name.clone_from(name),
            _ => {}
        }
    }
    groups.into_values().collect()
}
