//! Control groups: where their file systems are mounted, whose container one is.

mod names;

use std::fs;
use std::path::{Path, PathBuf};

pub use names::Names;

/// Where the hierarchies are mounted that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Version 2.
    pub unified: Option<Mount>,
    /// The memory controller's, if it is of version 1.
    pub memory: Option<Mount>,
}

/// A hierarchy's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// Which cgroup is there: `/`, or in a container its own.
    pub root: String,
}

impl Mounts {
    /// Those that this process sees.
    pub fn find() -> Self {
        fs::read_to_string("/proc/self/mountinfo").map_or_else(|_| Self::default(), |t| parse(&t))
    }

    /// The mount that shows memory cgroups.
    pub fn of_memory(&self) -> Option<&Mount> {
        self.memory.as_ref().or(self.unified.as_ref())
    }

    /// Whether a cgroup is there now.
    pub fn has(&self, cgroup: &str) -> bool {
        let mut path = String::new();
        let mounts = [self.memory.as_ref(), self.unified.as_ref()];
        let mut mounts = mounts.into_iter().flatten();
        mounts.any(|mount| mount.write_path(cgroup, "", &mut path) && Path::new(&path).exists())
    }

    /// The hierarchy that a path in a file system is in, if it is in one of these: whether it is the memory
    /// controller's of version 1.
    pub fn is_memory_v1(&self, path: &Path) -> Option<bool> {
        let is_in =
            |mount: &Option<Mount>| mount.as_ref().is_some_and(|m| path.starts_with(&m.point));
        if is_in(&self.memory) {
            return Some(true);
        }
        is_in(&self.unified).then_some(false)
    }

    /// A cgroup as a user names it, a path in a file system or in the hierarchy, as the kernel names
    /// it.
    pub fn cgroup_of(&self, path: &Path) -> String {
        let mounts = [self.memory.as_ref(), self.unified.as_ref()];
        let inside = mounts.into_iter().flatten().find_map(|mount| {
            let rest = path.strip_prefix(&mount.point).ok()?;
            Some(join(&mount.root, &rest.to_string_lossy()))
        });
        inside.unwrap_or_else(|| join("/", &path.to_string_lossy()))
    }
}

/// The cgroup of a process as the kernel names it: of version 2, or the memory controller's of
/// version 1.
pub fn of_process(pid: u32, is_memory_v1: bool) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    parse_own(&text, is_memory_v1).map(str::to_owned)
}

/// `ID:CONTROLLERS:PATH`, with 0 and no controllers for version 2.
fn parse_own(text: &str, is_memory_v1: bool) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = if is_memory_v1 {
            controllers.split(',').any(|name| name == "memory")
        } else {
            id == "0" && controllers.is_empty()
        };
        is_it.then_some(path)
    })
}

/// Whether a cgroup is another one, or lies inside it.
pub fn is_within(cgroup: &str, other: &str) -> bool {
    let rest = cgroup.strip_prefix(other.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn join(root: &str, rest: &str) -> String {
    let path = format!("{}/{}", root.trim_end_matches('/'), rest.trim_matches('/'));
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

impl Mount {
    /// Writes the path of a cgroup's file; false: this mount does not show that cgroup.
    pub fn write_path(&self, cgroup: &str, file: &str, to: &mut String) -> bool {
        let Some(rest) = cgroup.strip_prefix(self.root.trim_end_matches('/')) else {
            return false;
        };
        if !rest.is_empty() && !rest.starts_with('/') {
            return false;
        }
        to.clear();
        let Some(point) = self.point.to_str() else {
            return false;
        };
        for part in [point, rest.trim_end_matches('/'), "/", file] {
            to.push_str(part);
        }
        true
    }
}

/// `36 35 98:0 ROOT POINT OPTIONS… - TYPE SOURCE OPTIONS` (proc(5)).
fn parse(mountinfo: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        let Some((mount, rest)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = || {
            Some(Mount {
                point: PathBuf::from(unescape(point)),
                root: unescape(root),
            })
        };
        let mut fields = rest.split(' ');
        let (kind, options) = (fields.next().unwrap_or(""), fields.nth(1).unwrap_or(""));
        let has_memory = options.split(',').any(|option| option == "memory");
        match kind {
            "cgroup2" if mounts.unified.is_none() => mounts.unified = mount(),
            "cgroup" if has_memory && mounts.memory.is_none() => mounts.memory = mount(),
            _ => {}
        }
    }
    mounts
}

/// Blanks, tabs, newlines and backslashes are octal.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 4);
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(char::from(byte));
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// The container that a cgroup belongs to, by the names that Docker, containerd, CRI-O, Podman, LXC
/// and systemd-nspawn give: an ID of 64 hexadecimal digits, or a name.
pub fn container(cgroup: &str) -> Option<&str> {
    let mut innermost = cgroup.rsplit('/');
    let id = innermost.find_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let id = name.rsplit(['-', ':']).next().unwrap_or(name);
        let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then_some(id)
    });
    id.or_else(|| named_container(cgroup))
}

fn named_container(cgroup: &str) -> Option<&str> {
    let mut names = cgroup.split('/').filter(|name| !name.is_empty());
    while let Some(name) = names.next() {
        if name == "lxc" {
            return names.next();
        }
        if let Some(payload) = name.strip_prefix("lxc.payload.") {
            return Some(payload);
        }
        if name == "machine.slice" {
            let unit = names.next()?;
            let machine = unit.strip_prefix("systemd-nspawn@")?;
            return machine.strip_suffix(".service");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_a_cgroup_of_each_hierarchy() {
        let text = "12:cpu,memory:/a:b\n1:name=systemd:/x\n0::/unified\n";
        assert_eq!(parse_own(text, true), Some("/a:b"));
        assert_eq!(parse_own(text, false), Some("/unified"));
        assert!(is_within("/a/b", "/a") && is_within("/a", "/") && is_within("/a", "/a"));
        assert!(!is_within("/ab", "/a"));
    }

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 24 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
32 24 0:28 /a\\040b /mnt/c\\134d rw - cgroup2 none rw
";

    #[test]
    fn mounts_are_found() {
        let mounts = parse(HYBRID);
        let unified = mounts.unified.as_ref().unwrap();
        assert_eq!(unified.point, Path::new("/sys/fs/cgroup/unified"));
        let memory = mounts.of_memory().unwrap();
        assert_eq!(memory.point, Path::new("/sys/fs/cgroup/memory"));
        let last = parse(HYBRID.lines().next_back().unwrap());
        let last = last.of_memory().unwrap();
        assert_eq!(last.root, "/a b");
        assert_eq!(last.point, Path::new("/mnt/c\\d"));
    }

    #[test]
    fn cgroups_are_named_in_either_way() {
        let mounts = parse(HYBRID);
        let of = |path: &str| mounts.cgroup_of(Path::new(path));
        assert_eq!(of("/sys/fs/cgroup/memory/a/b/"), "/a/b");
        assert_eq!(of("/sys/fs/cgroup/unified"), "/");
        assert_eq!(of("/a/b"), "/a/b");
        assert_eq!(of("a"), "/a");
        let container = Mounts {
            unified: Some(Mount {
                point: PathBuf::from("/sys/fs/cgroup"),
                root: "/docker/x".to_owned(),
            }),
            memory: None,
        };
        let of = |path: &str| container.cgroup_of(Path::new(path));
        assert_eq!(of("/sys/fs/cgroup/y"), "/docker/x/y");
        let mut path = String::new();
        let mount = container.of_memory().unwrap();
        assert!(mount.write_path("/docker/x/y", "memory.pressure", &mut path));
        assert_eq!(path, "/sys/fs/cgroup/y/memory.pressure");
        assert!(mount.write_path("/docker/x", "memory.max", &mut path));
        assert_eq!(path, "/sys/fs/cgroup/memory.max");
        assert!(!mount.write_path("/docker/xy", "memory.max", &mut path));
    }

    #[test]
    fn containers_are_found() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod1/{id}"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(container(&path), Some(id), "{path}");
        }
        assert_eq!(container("/lxc/web/system.slice"), Some("web"));
        assert_eq!(container("/lxc.payload.web/init.scope"), Some("web"));
        let machine = "/machine.slice/systemd-nspawn@deb.service/payload";
        assert_eq!(container(machine), Some("deb"));
        assert_eq!(container("/user.slice/user-1000.slice"), None);
        assert_eq!(container("/"), None);
    }
}
