//! What /proc and the cgroup file systems say, read at once when an event comes. Texts and buffers are
//! used again: nothing is allocated while memory is short.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::str;
use std::time::SystemTime;

use memtools::cgroup::Mounts;
use memtools::target::PidNamespace;

use crate::model::{Event, Fact, Pressure, Stall, oom_score};

/// What a process's arguments, or a file of facts, may take.
const BUFFER: usize = 4096;

/// What is kept open, and read again and again.
pub struct Facts {
    loadavg: Option<File>,
    pressure: Option<File>,
    meminfo: Option<File>,
    mounts: Mounts,
    users: Users,
    /// /proc names processes as the kernel does.
    has_pids: bool,
    page_bytes: u64,
    path: String,
    buffer: Box<[u8; BUFFER]>,
}

impl Facts {
    /// Opens what there is.
    pub fn open() -> Self {
        let own = std::process::id();
        Self {
            loadavg: File::open("/proc/loadavg").ok(),
            pressure: File::open("/proc/pressure/memory").ok(),
            meminfo: File::open("/proc/meminfo").ok(),
            mounts: Mounts::find(),
            users: Users::default(),
            has_pids: matches!(PidNamespace::of(own, own), Ok(None)),
            page_bytes: page_bytes(),
            path: String::with_capacity(BUFFER),
            buffer: Box::new([0; BUFFER]),
        }
    }

    /// Whether /proc shows the processes that the kernel names.
    pub fn has_pids(&self) -> bool {
        self.has_pids
    }

    /// What is gone first: the victim's arguments.
    pub fn read_victim(&mut self, event: &mut Event) {
        let victim = &mut event.victim;
        victim.command_line_is_late = victim.command_line.is_empty();
        if victim.command_line.is_empty() && self.has_pids {
            self.path.clear();
            let _ = write!(self.path, "/proc/{}/cmdline", victim.task.pid);
            let read = File::open(&self.path).and_then(|mut file| file.read(&mut self.buffer[..]));
            if let Ok(bytes) = read {
                victim.command_line.extend_from_slice(&self.buffer[..bytes]);
            }
        }
        if victim.command_line.is_empty() {
            event.unknown.add(Fact::CommandLine);
        }
    }

    /// All the rest.
    pub fn read_rest(&mut self, event: &mut Event) {
        self.users.refresh();
        for task in [&mut event.victim.task, &mut event.trigger.task] {
            task.user.clear();
            task.user.push_str(self.users.name(task.uid));
        }
        self.read_loadavg(event);
        self.read_pressure(event);
        self.read_score(event);
    }

    fn read_loadavg(&mut self, event: &mut Event) {
        event.loadavg.clear();
        let text = self
            .loadavg
            .as_ref()
            .map(|file| read(file, &mut self.buffer));
        event.loadavg.push_str(text.unwrap_or("").trim_end());
        if event.loadavg.is_empty() {
            event.unknown.add(Fact::Loadavg);
        }
    }

    fn read_pressure(&mut self, event: &mut Event) {
        let system = self.pressure.as_ref();
        event.system_pressure =
            system.and_then(|file| parse_pressure(read(file, &mut self.buffer)));
        if event.system_pressure.is_none() {
            event.unknown.add(Fact::SystemPressure);
        }
        event.cgroup_pressure = None;
        let cgroup = pressed_cgroup(event, self.mounts.memory.is_some());
        let mount = self.mounts.unified.as_ref();
        if let (Some(cgroup), Some(mount)) = (cgroup, mount)
            && mount.write_path(cgroup, "memory.pressure", &mut self.path)
            && let Ok(file) = File::open(&self.path)
        {
            event.cgroup_pressure = parse_pressure(read(&file, &mut self.buffer));
        }
        if event.cgroup_pressure.is_none() {
            event.unknown.add(Fact::CgroupPressure);
        }
    }

    fn read_score(&mut self, event: &mut Event) {
        event.victim.oom_score = None;
        if event.unknown.has(Fact::Victim) {
            return;
        }
        let text = self
            .meminfo
            .as_ref()
            .map(|file| read(file, &mut self.buffer));
        let text = text.unwrap_or("");
        let kilobytes = |name: &str| parse_kilobytes(text, name);
        if let (Some(ram), Some(swap)) = (kilobytes("MemTotal:"), kilobytes("SwapTotal:")) {
            let memory = &event.victim.memory;
            let used = memory.resident() + memory.swap + memory.pgtables;
            let total = (ram + swap) * 1024 / self.page_bytes;
            let adj = event.victim.oom_score_adj;
            event.victim.oom_score = Some(oom_score(used / self.page_bytes, adj, total));
        }
    }
}

/// Whose pressure matters: the cgroup that reached its limit, else the victim's own. Only version 2
/// has such a file.
fn pressed_cgroup(event: &Event, has_v1: bool) -> Option<&str> {
    let of_domain = event.domain.as_ref().map(|domain| domain.cgroup.as_str());
    let task = &event.victim.task;
    let path = if has_v1 {
        task.unified_cgroup.as_str()
    } else {
        of_domain
            .filter(|path| !path.is_empty())
            .unwrap_or(&task.cgroup)
    };
    // The root has none: its pressure is the machine's.
    (path.len() > 1).then_some(path)
}

/// The size of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf only reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64
}

/// The file from its start, as far as there is room.
fn read<'b>(file: &File, buffer: &'b mut [u8; BUFFER]) -> &'b str {
    let bytes = file.read_at(&mut buffer[..], 0).unwrap_or(0);
    str::from_utf8(&buffer[..bytes]).unwrap_or("")
}

/// `NAME: 123 kB`, as in /proc/meminfo.
fn parse_kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn parse_pressure(text: &str) -> Option<Pressure> {
    let kind = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        Some(Stall {
            avg10: field("avg10=")?.parse().ok()?,
            avg60: field("avg60=")?.parse().ok()?,
            avg300: field("avg300=")?.parse().ok()?,
            total_us: field("total=")?.parse().ok()?,
        })
    };
    Some(Pressure {
        some: kind("some ")?,
        full: kind("full ")?,
    })
}

/// The users of this machine: /etc/passwd, read again when it has changed. The name service switch
/// could ask the network, which is no good in a shortage.
#[derive(Default)]
struct Users {
    changed: Option<SystemTime>,
    names: Vec<(u32, String)>,
}

impl Users {
    fn refresh(&mut self) {
        const PASSWD: &str = "/etc/passwd";
        let changed = fs::metadata(PASSWD).and_then(|metadata| metadata.modified());
        let changed = changed.ok();
        if changed == self.changed {
            return;
        }
        if let Ok(text) = fs::read(PASSWD) {
            self.names = parse_users(&String::from_utf8_lossy(&text));
            self.changed = changed;
        }
    }

    fn name(&self, uid: u32) -> &str {
        let found = self.names.iter().find(|(id, _)| *id == uid);
        found.map_or("", |(_, name)| name.as_str())
    }
}

fn parse_users(text: &str) -> Vec<(u32, String)> {
    let users = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, name.to_owned()))
    });
    users.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.03 total=123\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=45\n";
        let pressure = parse_pressure(text).unwrap();
        assert_eq!((pressure.some.avg10, pressure.some.total_us), (1.5, 123));
        assert_eq!((pressure.full.avg10, pressure.full.total_us), (0.5, 45));
        assert_eq!(parse_pressure(""), None);
    }

    #[test]
    fn users_have_names() {
        let users = Users {
            changed: None,
            names: parse_users(
                "root:x:0:0:root:/root:/bin/sh\nbad\nalice:x:1000:1000::/:/bin/sh\n",
            ),
        };
        assert_eq!(users.name(1000), "alice");
        assert_eq!(users.name(7), "");
    }

    #[test]
    fn nothing_is_allocated_on_the_way() {
        let mut facts = Facts::open();
        let mut event = Event::with_room();
        event.victim.task.pid = std::process::id();
        let mut read = || {
            event.victim.command_line.clear();
            facts.read_victim(&mut event);
            facts.read_rest(&mut event);
        };
        // The users are read once.
        read();
        assert_eq!(crate::allocations::allocations(read), 0);
        assert!(!event.victim.command_line.is_empty() && !event.loadavg.is_empty());
        assert_eq!(event.victim.task.user, "root");
    }

    #[test]
    fn the_pressed_cgroup_is_the_domain() {
        let mut event = Event::with_room();
        event.victim.task.cgroup = "/a/b".to_owned();
        assert_eq!(pressed_cgroup(&event, false), Some("/a/b"));
        if let Some(domain) = &mut event.domain {
            domain.cgroup = "/a".to_owned();
        }
        assert_eq!(pressed_cgroup(&event, false), Some("/a"));
        assert_eq!(pressed_cgroup(&event, true), None);
    }
}
