//! What is inside a guest: the suite, where this machine has it, and a small system around it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tree::Tree;
use crate::process;
use crate::test::binaries::Built;
use crate::workspace::Workspace;

const INIT: &str = include_str!("init.sh");

/// Where commands start, and where files are brought to.
pub const HOME: &str = "/root";

/// Programs that tests trace: what memleak looks for in them is not to be found in busybox's.
const TRACED: &[&str] = &["sh", "id", "true"];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// The suite in a small system.
pub fn tree(workspace: &Workspace, built: &Built) -> Result<Tree> {
    let mut tree = Tree::default();
    system(&mut tree)?;
    tree.directory(&workspace.root);
    for program in programs_in(&workspace.release_dir())? {
        tree.host(&program)?;
    }
    for binary in built.binaries.iter().filter(|binary| binary.needs_root) {
        tree.host(&binary.program)?;
        // With the sources of the workloads, which some tests read.
        tree.host(&binary.directory)?;
        let (_, name) = binary.name.rsplit_once(' ').unwrap_or(("", &binary.name));
        tree.link(Path::new("/tests").join(name), &binary.program);
    }
    for directory in &built.workloads {
        tree.host(directory)?;
    }
    tree.libraries()?;
    Ok(tree)
}

/// A file of the user's, in the directory where commands start.
pub fn add(tree: &mut Tree, file: &Path) -> Result<()> {
    let file = file
        .canonicalize()
        .with_context(|| format!("find {}", file.display()))?;
    let name = file
        .file_name()
        .with_context(|| format!("{} is no file", file.display()))?;
    tree.copy(&file, &Path::new(HOME).join(name));
    tree.libraries()
}

/// The script that the guest's init runs: the environment of the suite, then `script`.
pub fn set_command(tree: &mut Tree, workspace: &Workspace, built: &Built, script: &str) {
    let release = workspace.release_dir();
    let mut path = vec![release.clone()];
    path.extend(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from));
    path.extend(built.workloads.iter().cloned());
    let path: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let environment = [
        ("PATH", path.join(":")),
        ("HOME", HOME.to_owned()),
        ("TERM", std::env::var("TERM").unwrap_or("linux".to_owned())),
        ("MEMTOOLS_BIN_DIR", release.to_string_lossy().into_owned()),
        // Everything takes 20 to 50 times as long as on a processor.
        ("MEMTOOLS_SLOW", "1".to_owned()),
        // Whatever happens to this machine, there will be another one.
        ("MEMTOOLS_DISPOSABLE", "1".to_owned()),
    ];
    let mut text = String::new();
    for (name, value) in environment {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "export {name}={}", process::quote(value.as_ref()));
    }
    let _ = write!(text, "cd {HOME}\n{script}\n");
    tree.text("/xtask/command", 0o755, text);
}

fn system(tree: &mut Tree) -> Result<()> {
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/run", HOME] {
        tree.directory(Path::new(directory));
    }
    for place in ["/bin", "/sbin", "/lib", "/lib64"].map(Path::new) {
        // What is a link here is one there, so that every path means the same.
        if place.is_symlink() {
            tree.link_of_host(place)?;
        }
    }
    tree.text("/init", 0o755, INIT);
    tree.text("/etc/passwd", 0o644, PASSWD);
    tree.text("/etc/group", 0o644, GROUP);
    tree.text("/etc/hosts", 0o644, "127.0.0.1 localhost\n");
    // For the first moments, until the kernel's own are there.
    tree.device("/dev/console", 5, 1);
    tree.device("/dev/null", 1, 3);
    for program in TRACED {
        tree.host(&found(program)?)?;
    }
    busybox(tree)
}

/// Busybox, and its commands where this machine's own are not in the guest.
fn busybox(tree: &mut Tree) -> Result<()> {
    let program = found("busybox")?;
    tree.host(&program)?;
    let bin = Path::new("/bin")
        .canonicalize()
        .context("find out where /bin is")?;
    tree.link(bin.join("busybox"), &program);
    let list = process::capture(Command::new(&program).arg("--list"))?;
    for applet in list.lines() {
        tree.link(bin.join(applet), "busybox");
    }
    Ok(())
}

fn found(program: &str) -> Result<PathBuf> {
    process::find(program).with_context(|| format!("there is no {program} on this machine"))
}

/// The suite's programs; this one is of no use in a guest.
fn programs_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("list {}", directory.display()))?
        .flatten();
    Ok(entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none() && !path.ends_with("xtask"))
        .filter(|path| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
        .collect())
}

/// The words as a shell reads them.
pub fn shell_words(words: &[String]) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| process::quote(word.as_ref()))
        .collect();
    words.join(" ")
}
