//! Files that are written whole: exports and their like.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// Writes a file whole: a regular one has its old or its new contents, and nothing between.
///
/// A new file is its owner's alone (0600); one that was there keeps its owner and its mode. A link
/// keeps its place: what it names is written. A reader of a pipe that goes away is no error.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Where these lead to a regular file, the shell has it open: another in its place would be lost,
    // and the links themselves are everybody's.
    let written = match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => io::stderr().write_all(bytes),
        // A pipe or a device has no place beside it.
        _ if path.metadata().is_ok_and(|found| !found.is_file()) => std::fs::write(path, bytes),
        _ => replace_file(path, bytes),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// [`write_file`] for whoever has the terminal, and time for nothing else: refuses what may block or
/// what is a standard stream of this process.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] for what is there and is no regular file, and for the file that
/// standard output or standard error goes to, by whatever name.
pub fn write_regular_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Ok(found) = path.metadata() {
        refuse_special(&found)?;
    }
    replace_file(path, bytes)
}

fn refuse_special(found: &Metadata) -> io::Result<()> {
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if found.is_dir() {
        return refused("is a directory");
    }
    if !found.is_file() {
        return refused("not a regular file");
    }
    let (stdout, stderr) = (io::stdout(), io::stderr());
    if is_open_as(found, stdout.as_fd()) || is_open_as(found, stderr.as_fd()) {
        return refused("standard output or standard error goes there");
    }
    Ok(())
}

fn is_open_as(file: &Metadata, stream: BorrowedFd<'_>) -> bool {
    let stream = stream.try_clone_to_owned().map(File::from);
    stream
        .and_then(|stream| stream.metadata())
        .is_ok_and(|stream| (stream.dev(), stream.ino()) == (file.dev(), file.ino()))
}

fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, replaced) = match path.metadata() {
        Ok(replaced) => (path.canonicalize()?, Some(replaced)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        // A link that the kernel does not follow is not to be followed here: fs.protected_symlinks.
        Err(error) => return Err(error),
    };
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    // Mode 0600, and a name that nobody could have taken.
    let mut beside = tempfile::Builder::new()
        .prefix(".memtools-")
        .tempfile_in(directory)?;
    beside.write_all(bytes)?;
    if let Some(replaced) = replaced {
        take_access(beside.as_file(), &replaced);
    }
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Gives a file the owner and the mode of the one that it replaces. Where the owner cannot be given,
/// nobody gets access who had none.
fn take_access(file: &File, replaced: &Metadata) {
    let group = Some(replaced.gid());
    let has_group =
        fchown(file, Some(replaced.uid()), group).is_ok() || fchown(file, None, group).is_ok();
    let mode = kept_mode(replaced.mode(), has_group);
    // Some file systems have no modes.
    let _ = file.set_permissions(Permissions::from_mode(mode));
}

/// The permissions to keep. Another group gets no more than everybody has.
fn kept_mode(mode: u32, has_group: bool) -> u32 {
    let others_as_group = (mode & 0o007) << 3;
    let group = if has_group {
        mode & 0o070
    } else {
        mode & 0o070 & others_as_group
    };
    (mode & 0o707) | group
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn access(path: &Path) -> (u32, u32, u32) {
        let found = path.metadata().unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        write_file(&file, b"new").unwrap();
        assert_eq!(access(&file).0, 0o600);
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode_and_owner() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for mode in [0o600, 0o644, 0o660] {
            std::fs::write(&file, "old").unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            // Only root can; for others it stays their own.
            let _ = std::os::unix::fs::chown(&file, Some(1234), Some(2345));
            let before = access(&file);
            write_file(&file, b"new").unwrap();
            assert_eq!(access(&file), before);
            assert_eq!(std::fs::read(&file).unwrap(), b"new");
        }
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_may_block_is_refused_where_nobody_may_wait() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, socket] =
            ["file", "link", "socket"].map(|name| directory.path().join(name));
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = format!("/proc/self/fd/{}", writer.as_raw_fd());
        for special in [
            directory.path(),
            &link,
            &socket,
            Path::new("/dev/null"),
            Path::new(&pipe),
        ] {
            let error = write_regular_file(special, b"new").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{special:?}");
        }
        for text in [b"old", b"new"] {
            write_regular_file(&file, text).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), text);
        }
        assert!(link.is_symlink());
    }

    #[test]
    fn an_open_file_is_known_by_any_name() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other, link] = ["file", "other", "link"].map(|name| directory.path().join(name));
        let open = File::create(&file).unwrap();
        File::create(&other).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(is_open_as(&link.metadata().unwrap(), open.as_fd()));
        assert!(!is_open_as(&other.metadata().unwrap(), open.as_fd()));
    }

    #[test]
    fn another_group_gets_no_more_than_everybody() {
        assert_eq!(kept_mode(0o100_664, true), 0o664);
        assert_eq!(kept_mode(0o100_664, false), 0o644);
        assert_eq!(kept_mode(0o100_640, false), 0o600);
        assert_eq!(kept_mode(0o104_755, true), 0o755);
    }

    #[test]
    fn a_file_beside_that_is_no_ones_business_stays() {
        let directory = tempfile::tempdir().unwrap();
        let [file, precious] = ["file", "precious"].map(|name| directory.path().join(name));
        std::fs::write(&precious, "precious").unwrap();
        let guess = format!("file.{}.tmp", std::process::id());
        std::os::unix::fs::symlink(&precious, directory.path().join(guess)).unwrap();
        write_file(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        assert_eq!(directory.path().read_dir().unwrap().count(), 3);
    }

    #[test]
    fn a_link_keeps_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(directory.path().read_dir().unwrap().count(), 2);
    }
}
