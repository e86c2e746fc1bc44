//! Package managers, and what each calls the things the chores need.

use std::path::Path;

use super::needs::Need;
use crate::process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Apt,
    Dnf,
    Yum,
    Zypper,
    Pacman,
    Apk,
}

/// The packages of one need: Debian's, Fedora's, openSUSE's, Arch's and Alpine's.
type Names = [&'static [&'static str]; 5];

impl Manager {
    pub const ALL: &'static [Self] = &[
        Self::Apt,
        Self::Dnf,
        Self::Yum,
        Self::Zypper,
        Self::Pacman,
        Self::Apk,
    ];

    /// The first one on the search path.
    pub fn find() -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|manager| process::find(manager.program()).is_some())
    }

    /// The packages that meet the needs, each once. A need that no package meets adds nothing.
    pub fn packages(self, needs: impl Iterator<Item = Need>) -> Vec<&'static str> {
        let mut packages = Vec::new();
        for &package in needs.flat_map(|need| names(need)[self.column()]) {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        packages
    }

    /// The arguments that install packages without a question.
    pub fn install(self) -> &'static [&'static str] {
        match self {
            // On a machine that has just booted, its own update may hold the lock for a while.
            Self::Apt => &[
                "apt-get",
                "install",
                "-y",
                "--no-install-recommends",
                "-oDPkg::Lock::Timeout=300",
            ],
            Self::Dnf => &["dnf", "install", "-y", "--setopt=install_weak_deps=False"],
            Self::Yum => &["yum", "install", "-y"],
            Self::Zypper => &["zypper", "--non-interactive", "install", "--no-recommends"],
            Self::Pacman => &["pacman", "-S", "--needed", "--noconfirm"],
            Self::Apk => &["apk", "add"],
        }
    }

    /// The arguments that fetch the lists of packages.
    pub fn refresh(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["apt-get", "update"],
            Self::Dnf => &["dnf", "makecache"],
            Self::Yum => &["yum", "makecache"],
            Self::Zypper => &["zypper", "--non-interactive", "refresh"],
            Self::Pacman => &["pacman", "-Sy"],
            Self::Apk => &["apk", "update"],
        }
    }

    /// Whether the lists of packages were never fetched, as in a fresh container.
    pub fn lists_missing(self) -> bool {
        match self {
            Self::Apt => !any_name_contains(Path::new("/var/lib/apt/lists"), "_Packages"),
            Self::Pacman => !any_name_contains(Path::new("/var/lib/pacman/sync"), ".db"),
            Self::Apk => !any_name_contains(Path::new("/var/cache/apk"), "APKINDEX"),
            // These fetch their lists when they need them.
            Self::Dnf | Self::Yum | Self::Zypper => false,
        }
    }

    /// The commands that a user would type as root to install the packages.
    pub fn command_line(self, packages: &[&str]) -> Vec<String> {
        let install = self.install();
        let options = install.iter().filter(|option| !option.starts_with("-o"));
        let words: Vec<_> = options.chain(packages).copied().collect();
        let mut commands = vec![words.join(" ")];
        if self.lists_missing() {
            commands.insert(0, self.refresh().join(" "));
        }
        commands
    }

    fn program(self) -> &'static str {
        self.install()[0]
    }

    fn column(self) -> usize {
        match self {
            Self::Apt => 0,
            Self::Dnf | Self::Yum => 1,
            Self::Zypper => 2,
            Self::Pacman => 3,
            Self::Apk => 4,
        }
    }
}

#[rustfmt::skip] // A table is read by columns.
fn names(need: Need) -> Names {
    const NONE: Names = [&[]; 5];
    match need {
        Need::C => [
            &["gcc", "libc6-dev"], &["gcc", "glibc-devel"], &["gcc", "glibc-devel"],
            &["gcc"], &["gcc", "musl-dev", "linux-headers"],
        ],
        Need::Cxx => [&["g++"], &["gcc-c++"], &["gcc-c++"], &["gcc"], &["g++"]],
        Need::Make => [&["make"]; 5],
        Need::PkgConfig => [
            &["pkg-config"], &["pkgconf-pkg-config"], &["pkg-config"], &["pkgconf"], &["pkgconf"],
        ],
        Need::Libelf => [
            &["libelf-dev"], &["elfutils-libelf-devel"], &["libelf-devel"],
            &["libelf"], &["elfutils-dev"],
        ],
        Need::Zlib => [&["zlib1g-dev"], &["zlib-devel"], &["zlib-devel"], &["zlib"], &["zlib-dev"]],
        Need::Clang => [&["clang"]; 5],
        Need::ClangFormat => [
            &["clang-format"], &["clang-tools-extra"], &["clang", "clang-tools"],
            &["clang"], &["clang-extra-tools"],
        ],
        // On Alpine every compiler is one for musl, and none is called musl-gcc.
        Need::MuslC => [&["musl-tools"], &["musl-gcc"], &[], &["musl"], &[]],
        Need::Allocators => [
            &["libjemalloc2", "libtcmalloc-minimal4", "libmimalloc2.0"],
            &["jemalloc", "gperftools-libs", "mimalloc"], &["libjemalloc2", "libtcmalloc4"],
            &["jemalloc", "gperftools", "mimalloc"], &["jemalloc", "gperftools", "mimalloc2"],
        ],
        Need::Valgrind => [&["valgrind"]; 5],
        Need::Strace => [&["strace"]; 5],
        Need::Tmux => [&["tmux"]; 5],
        Need::Go => [&["golang-go"], &["golang"], &["go"], &["go"], &["go"]],
        Need::Bpftrace => [&["bpftrace"]; 5],
        Need::LibbpfTools => [&["libbpf-tools"]; 5],
        Need::Qemu => [
            &["qemu-system-x86"], &["qemu-system-x86-core"], &["qemu-x86"],
            &["qemu-system-x86"], &["qemu-system-x86_64"],
        ],
        Need::Busybox => [
            &["busybox-static"], &["busybox"], &["busybox-static"], &["busybox"], &["busybox-static"],
        ],
        Need::Rustfmt | Need::Clippy | Need::KernelTypes | Need::LoadBpf => NONE,
    }
}

fn any_name_contains(directory: &Path, part: &str) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains(part))
    })
}

#[cfg(test)]
mod tests {
    use super::super::needs::Remedy;
    use super::*;

    const PACKAGED: &[Need] = &[
        Need::C,
        Need::Cxx,
        Need::Make,
        Need::PkgConfig,
        Need::Libelf,
        Need::Zlib,
        Need::Clang,
        Need::ClangFormat,
        Need::Valgrind,
        Need::Strace,
        Need::Tmux,
        Need::Go,
        Need::Bpftrace,
        Need::LibbpfTools,
        Need::Qemu,
        Need::Busybox,
    ];

    #[test]
    fn every_manager_has_a_package_for_every_packaged_need() {
        for &need in PACKAGED {
            assert_eq!(need.remedy(), Remedy::Package);
            for &manager in Manager::ALL {
                let packages = manager.packages(std::iter::once(need));
                assert!(!packages.is_empty(), "{manager:?} has nothing for {need:?}");
            }
        }
    }

    #[test]
    fn what_some_managers_lack_is_optional() {
        assert!(Need::MuslC.is_optional());
        let packages = Manager::Apk.packages(std::iter::once(Need::MuslC));
        assert!(packages.is_empty());
    }

    #[test]
    fn a_package_is_named_once() {
        let needs = [Need::Clang, Need::ClangFormat, Need::Rustfmt];
        assert_eq!(Manager::Pacman.packages(needs.into_iter()), ["clang"]);
        assert_eq!(
            Manager::Apt.packages(needs.into_iter()),
            ["clang", "clang-format"]
        );
    }

    #[test]
    fn the_printed_command_is_short() {
        assert_eq!(
            Manager::Zypper.command_line(&["make", "clang"]),
            ["zypper --non-interactive install --no-recommends make clang"]
        );
        let apt = Manager::Apt.command_line(&["make"]);
        let install = apt.last().unwrap();
        assert_eq!(install, "apt-get install -y --no-install-recommends make");
    }
}
