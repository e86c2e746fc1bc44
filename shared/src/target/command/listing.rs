//! The libraries that a program will map: the dynamic linker is asked, if it is the system's own.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::User;
use crate::events::wait_readable;

/// Where the ABIs of glibc and musl put the dynamic linker of a 64-bit program.
const SYSTEM_LINKERS: [&str; 8] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/usr/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/usr/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/usr/lib/ld-musl-aarch64.so.1",
];

/// How long a linker may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// No listing is longer, in bytes.
const LONGEST: usize = 1 << 20;

/// What `interpreter --list image` says, as the user that the command will run as. Nothing if the
/// interpreter, which the image itself chose, is not one of the system's linkers: it would run
/// with the rights of this tool.
pub(super) fn libraries_of(image: &Path, interpreter: &Path, user: Option<&User>) -> Vec<PathBuf> {
    let Some(linker) = system_linker(interpreter) else {
        return Vec::new();
    };
    let mut command = Command::new(linker);
    command.arg("--list").arg(image);
    if let Some(user) = user.cloned() {
        // SAFETY: `become_it` is async-signal-safe, and no error that it returns is allocated.
        unsafe { command.pre_exec(move || user.become_it()) };
    }
    listing_within(command, PATIENCE).map_or_else(Vec::new, |listing| parse_listing(&listing))
}

/// The real path of a linker that only root can have put there.
pub(super) fn system_linker(interpreter: &Path) -> Option<PathBuf> {
    if !SYSTEM_LINKERS.iter().any(|known| interpreter == *known) {
        return None;
    }
    let real = interpreter.canonicalize().ok()?;
    let is_file = real.metadata().is_ok_and(|metadata| metadata.is_file());
    (is_file && is_of_root(&real)).then_some(real)
}

/// Whether nobody but root can write a file or replace it.
pub(super) fn is_of_root(path: &Path) -> bool {
    path.ancestors().all(|part| {
        part.symlink_metadata()
            .is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
    })
}

/// The whole standard output of a command, unless it takes too long.
pub(super) fn listing_within(mut command: Command, patience: Duration) -> Option<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = child.stdout.take();
    let listing = output.and_then(|output| read_until(output, deadline));
    // It has said all, or has had its time.
    let _ = child.kill();
    let _ = child.wait();
    listing
}

fn read_until(mut output: ChildStdout, deadline: Instant) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || all.len() > LONGEST {
            return None;
        }
        // Rounded up, or the last millisecond would be spent turning.
        let timeout_ms = left.as_millis() as i32 + 1;
        if wait_readable(&[output.as_raw_fd()], timeout_ms) != [true] {
            continue;
        }
        match output.read(&mut part) {
            Ok(0) => return Some(all),
            Ok(length) => all.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or a path alone.
pub(super) fn parse_listing(listing: &[u8]) -> Vec<PathBuf> {
    let lines = listing.split(|&b| b == b'\n');
    lines
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let target = line.split_once("=>").map_or(&*line, |(_, target)| target);
            let path = target
                .rsplit_once(" (0x")
                .map_or(target, |(path, _)| path)
                .trim();
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}
