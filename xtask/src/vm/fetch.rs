//! Kernels from Debian's archive, kept in the user's cache.
//!
//! apt does the work, with directories of its own, so that the machine's lists and packages stay
//! what they are. It checks every file against the archive's signature.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernels::Kernel;
use crate::process;
use crate::progress::say;

/// Where Debian keeps the keys of all its releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel in the cache.
pub struct Fetched {
    pub image: PathBuf,
    /// The package's version.
    pub version: String,
}

/// The kernel, from the cache or else from the archive.
pub fn fetch(kernel: &Kernel) -> Result<Fetched> {
    if let Some(fetched) = cached(kernel)? {
        return Ok(fetched);
    }
    download(kernel).with_context(|| format!("fetch kernel {}", kernel.name))?;
    cached(kernel)?.with_context(|| format!("kernel {} is not where it was put", kernel.name))
}

/// The kernel if it has been fetched before.
pub fn cached(kernel: &Kernel) -> Result<Option<Fetched>> {
    let place = place(kernel)?;
    let image = place.join("vmlinuz");
    if !image.is_file() {
        return Ok(None);
    }
    let version = std::fs::read_to_string(place.join("version"))
        .with_context(|| format!("read {}/version", place.display()))?;
    Ok(Some(Fetched {
        image,
        version: version.trim().to_owned(),
    }))
}

/// Kernels of one suite and number are one file, whatever their command lines say.
fn place(kernel: &Kernel) -> Result<PathBuf> {
    let name = format!("{}-{}", kernel.suite, kernel.number());
    Ok(cache_directory()?.join(name))
}

fn cache_directory() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match set("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(set("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("memtools/kernels"))
}

fn download(kernel: &Kernel) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if process::find(program).is_none() {
            bail!("there is no {program}: the kernels of virtual machines are Debian's packages");
        }
    }
    let mirror = mirror()?;
    let place = place(kernel)?;
    let work = place.with_extension("part");
    // What an attempt before this one has left.
    let _ = std::fs::remove_dir_all(&work);
    let apt = Apt::prepare(&work, &mirror, kernel.suite)?;
    say(format_args!(
        "      Fetching kernel {} from {} ({}), once",
        kernel.name, mirror, kernel.suite
    ));
    apt.update()?;
    let first = package_of(kernel.number(), &apt.kernels()?);
    let package = image_package(&first, |package| apt.dependencies(package))?;
    apt.download(&package)?;
    extract(&work, &package)?;
    // One step makes it whole: an attempt that was cut short is never taken for a kernel.
    let _ = std::fs::remove_dir_all(&place);
    std::fs::rename(work.join("kernel"), &place)
        .with_context(|| format!("move the kernel to {}", place.display()))?;
    // What is left are lists of packages that nobody reads again.
    let _ = std::fs::remove_dir_all(&work);
    Ok(())
}

/// Unpacks the one package and keeps the kernel of it.
fn extract(work: &Path, package: &str) -> Result<()> {
    let archive = file_in(work, &|name| {
        name.strip_prefix(package)
            .is_some_and(|rest| rest.starts_with('_') && rest.contains(".deb"))
    })
    .with_context(|| format!("apt-get has left no package {package}"))?;
    let tree = work.join("tree");
    process::capture(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
    // In /boot, or beside the modules.
    let image = file_in(&tree, &|name| name.starts_with("vmlinuz"))
        .with_context(|| format!("there is no kernel in {package}"))?;
    let field = ["-f", &archive.to_string_lossy(), "Version"].map(str::to_owned);
    let version = process::capture(Command::new("dpkg-deb").args(field))?;
    let kernel = work.join("kernel");
    std::fs::create_dir(&kernel).with_context(|| format!("create {}", kernel.display()))?;
    std::fs::write(kernel.join("version"), version).context("write the kernel's version")?;
    std::fs::copy(&image, kernel.join("vmlinuz")).context("copy the kernel")?;
    Ok(())
}

/// The first file in a directory, or under it, whose name is right.
fn file_in(directory: &Path, right: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && right(&entry.file_name().to_string_lossy()) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// The newest package of a kernel of these two numbers. A suite keeps older ones for a while; where it has
/// none any more, the package that is always the newest.
fn package_of(number: &str, packages: &[String]) -> String {
    let patch = |package: &str| -> Option<u32> {
        let rest = package.strip_prefix("linux-image-")?;
        let rest = rest.strip_prefix(number)?.strip_prefix('.')?;
        let rest = rest.strip_suffix("-cloud-amd64")?;
        // Older suites count their kernels in another way, and have one at a time.
        rest.split_once('+')?.0.parse().ok()
    };
    let found = packages
        .iter()
        .filter_map(|name| Some((patch(name)?, name)));
    found
        .max()
        .map_or(META_PACKAGE, |(_, name)| name.as_str())
        .to_owned()
}

/// Follows the dependencies from a package to the one with the kernel.
fn image_package(
    first: &str,
    dependencies: impl Fn(&str) -> Result<Vec<String>>,
) -> Result<String> {
    let mut package = first.to_owned();
    // meta package, linux-image-VERSION, and from 6.19 on linux-binary-VERSION
    for _ in 0..3 {
        let next = dependencies(&package)?.into_iter().find(|name| {
            let names_kernel =
                name.starts_with("linux-image-") || name.starts_with("linux-binary-");
            names_kernel && *name != package && *name != META_PACKAGE
        });
        match next {
            Some(next) => package = next,
            None => break,
        }
    }
    if package == META_PACKAGE {
        bail!("{META_PACKAGE} depends on no kernel");
    }
    Ok(package)
}

/// apt with directories of its own.
struct Apt {
    work: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn prepare(work: &Path, mirror: &str, suite: &str) -> Result<Self> {
        for directory in ["lists/partial", "cache/archives/partial", "none"] {
            let directory = work.join(directory);
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        let keyring = Path::new(KEYRING).is_file().then_some(KEYRING);
        let configuration = work.join("apt.conf");
        for (path, text) in [
            (&work.join("sources.list"), source(mirror, suite, keyring)),
            (&work.join("status"), String::new()),
            (&configuration, configuration_of(work)),
        ] {
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(Self {
            work: work.to_path_buf(),
            configuration,
        })
    }

    fn update(&self) -> Result<()> {
        process::run(self.command("apt-get").args(["-qq", "update"]))
    }

    fn download(&self, package: &str) -> Result<()> {
        let mut command = self.command("apt-get");
        process::run(command.args(["-qq", "download", package]))
    }

    /// All packages of kernels.
    fn kernels(&self) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache");
        let text = process::capture(command.args(["pkgnames", "linux-image-"]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache");
        let text = process::capture(command.args(["depends", package]))?;
        Ok(depends(&text).map(str::to_owned).collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.work)
            // What they print is read.
            .env("LC_ALL", "C")
            .env_remove("LANGUAGE")
            .arg("-c")
            .arg(&self.configuration);
        command
    }
}

fn source(mirror: &str, suite: &str, keyring: Option<&str>) -> String {
    let keyring = keyring.map_or_else(String::new, |path| format!(" signed-by={path}"));
    format!("deb [arch=amd64{keyring}] {mirror} {suite} main\n")
}

/// The machine's own configuration is read before it: proxies stay, hooks go.
fn configuration_of(work: &Path) -> String {
    let work = work.display();
    format!(
        "#clear APT::Update;\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         Dir::Etc::sourcelist \"{work}/sources.list\";\n\
         Dir::Etc::sourceparts \"{work}/none\";\n\
         Dir::Etc::preferences \"{work}/none/preferences\";\n\
         Dir::Etc::preferencesparts \"{work}/none\";\n\
         Dir::State::lists \"{work}/lists\";\n\
         Dir::State::status \"{work}/status\";\n\
         Dir::Cache \"{work}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Check-Valid-Until \"false\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Sandbox::User \"root\";\n"
    )
}

/// `  Depends: linux-image-6.1.0-1-cloud-amd64`, and alternatives behind a bar.
fn depends(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        line.trim_start_matches([' ', '|'])
            .strip_prefix("Depends: ")
    })
}

/// The address of Debian's archive, from the machine's own sources.
fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Identifier: Packages"]);
    let targets = process::capture(&mut command)?;
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    choose_mirror(&targets, &system)
        .context("apt's sources on this machine do not name Debian's archive")
}

/// The archive that says it is Debian's; before its lists are there, the one with the release that
/// this machine runs.
fn choose_mirror(targets: &str, system: &str) -> Option<String> {
    let value = |name: &str| {
        let line = system.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.strip_prefix('=')?.trim_matches('"'))
    };
    let release = value("VERSION_CODENAME").filter(|_| value("ID") == Some("debian"));
    let rows: Vec<Vec<&str>> = targets
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let find = |right: &dyn Fn(&str, &str) -> bool| {
        rows.iter().find_map(|row| match row[..] {
            // Updates for security are an archive of their own, with other suites.
            [address, suite, "main", origin] if !suite.contains('-') && right(suite, origin) => {
                Some(address.to_owned())
            }
            _ => None,
        })
    };
    find(&|_, origin| origin == "Debian").or_else(|| find(&|suite, _| Some(suite) == release))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";

    #[test]
    fn the_mirror_is_the_machines_own() {
        let targets = "http://x/security/ bookworm-security main Debian\n\
            http://y/docker/ bookworm stable Docker\n\
            http://y/tools/ bookworm main Tools\n\
            http://x/debian/ bookworm main Debian\n";
        let mirror = choose_mirror(targets, SYSTEM);
        assert_eq!(mirror.as_deref(), Some("http://x/debian/"));
    }

    #[test]
    fn without_lists_the_release_tells() {
        let targets = "http://x/debian/ bookworm-updates main $(ORIGIN)\n\
            http://x/debian/ bookworm main $(ORIGIN)\n";
        let mirror = choose_mirror(targets, SYSTEM);
        assert_eq!(mirror.as_deref(), Some("http://x/debian/"));
        let other = SYSTEM.replace("ID=debian", "ID=mint");
        assert_eq!(choose_mirror(targets, &other), None);
    }

    #[test]
    fn the_kernel_may_be_two_packages_away() {
        let chain = |package: &str| {
            Ok(match package {
                META_PACKAGE => vec!["linux-base".to_owned(), "linux-image-7".to_owned()],
                "linux-image-7" => vec!["dracut".to_owned(), "linux-binary-7".to_owned()],
                _ => vec![],
            })
        };
        let found = image_package(META_PACKAGE, chain);
        assert_eq!(found.unwrap(), "linux-binary-7");
        assert!(image_package(META_PACKAGE, |_| Ok(Vec::new())).is_err());
    }

    #[test]
    fn the_kernel_is_the_one_that_was_asked_for() {
        let packages = [
            "linux-image-7.2.9+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.13+deb13-amd64",
            "linux-image-7.20.1+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-image-7.2.14+deb13-cloud-amd64-dbg",
            "linux-image-5.10.0-32-cloud-amd64",
            "linux-image-5.10.0-9-cloud-amd64",
            META_PACKAGE,
        ]
        .map(str::to_owned);
        assert_eq!(package_of("7.2", &packages), packages[1]);
        assert_eq!(package_of("6.12", &packages), META_PACKAGE);
        // Here the number is of the interface, and the newest package is the one that counts.
        assert_eq!(package_of("5.10", &packages), META_PACKAGE);
    }

    #[test]
    fn dependencies_are_read() {
        let text =
            "linux-image-x\n  Depends: kmod\n |Depends: a\n  Depends: <b>\n    c\n  Breaks: d\n";
        assert_eq!(depends(text).collect::<Vec<_>>(), ["kmod", "a", "<b>"]);
    }
}
