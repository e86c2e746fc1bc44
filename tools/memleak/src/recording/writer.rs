//! Writing a recording while a run goes on.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memtools::cli::UserError;
use prost::Message;

use super::encode::{self, Encoder};
use super::format::{self, Kind, Record};
use super::{Ending, Header};
use crate::update::Update;

/// A file that can be written, before there is anything to write. Nobody else records to it.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    file: File,
    /// It was not there before, and nothing was recorded yet.
    is_scrap: bool,
}

impl Destination {
    /// Opens the file, which is made (for its owner alone: it holds names of somebody's process) if it is
    /// not there. What is in it stays until a recording begins.
    pub fn open(path: &Path) -> Result<Self, UserError> {
        let refuse = |reason: &dyn std::fmt::Display| {
            UserError::usage(format!("cannot record to {}: {reason}", path.display()))
        };
        let (file, is_new) = open(path).map_err(|error| refuse(&error))?;
        let found = file.metadata().map_err(|error| refuse(&error))?;
        if !found.is_file() {
            return Err(refuse(&NOT_REGULAR));
        }
        if !is_new && is_alien(found.uid(), effective_user()) {
            return Err(refuse(&"it belongs to another user"));
        }
        if is_locked(&file) {
            return Err(refuse(&"another memleak records to it"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            is_scrap: is_new,
        })
    }

    /// Whether the name still stands for this file.
    fn is_in_place(&self) -> bool {
        let id = |file: Metadata| (file.dev(), file.ino());
        let named = self.path.symlink_metadata().map(id);
        named.is_ok_and(|named| self.file.metadata().map(id).is_ok_and(|own| own == named))
    }
}

impl Drop for Destination {
    /// Nobody wants a file with nothing in it.
    fn drop(&mut self) {
        if self.is_scrap && self.is_in_place() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

const NOT_REGULAR: &str = "not a regular file";

/// The file, and whether it was made for this. A link is followed to what is there, never to make a file.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    // To open a FIFO would wait for a reader.
    options
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK);
    match options.clone().create_new(true).open(path) {
        Ok(file) => return Ok((file, true)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::other("it is a link to nothing"),
        _ if path
            .metadata()
            .is_ok_and(|found| found.file_type().is_fifo()) =>
        {
            io::Error::other(NOT_REGULAR)
        }
        _ => error,
    })?;
    Ok((file, false))
}

/// The superuser does not write for somebody else, who could read it or put another file in its place.
pub(super) fn is_alien(owner: u32, user: u32) -> bool {
    user == 0 && owner != 0
}

fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether another process has it; where it has not, it is ours until the file is closed. A file system
/// without locks has it never.
fn is_locked(file: &File) -> bool {
    // SAFETY: a system call on a descriptor that is open.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    result != 0 && io::Error::last_os_error().kind() == ErrorKind::WouldBlock
}

/// A recording that grows.
///
/// After the first error it takes no more: an update that is missing would make those after it wrong.
#[derive(Debug)]
pub struct Writer {
    destination: Destination,
    encoder: Encoder,
    /// What goes to the kernel next.
    pending: Vec<u8>,
    /// What is in the file and whole, in bytes.
    written: u64,
    has_failed: bool,
}

impl Writer {
    /// A recording of a run that begins, in the place of what the file held: whoever finds it after a kill
    /// does not take an older one for it. The error names the file.
    pub fn begin(destination: Destination, header: &Header) -> io::Result<Self> {
        let mut pending = format::MAGIC.to_vec();
        pending.extend(format::MAJOR.to_le_bytes());
        pending.extend(format::MINOR.to_le_bytes());
        push_record(&mut pending, Kind::Header(encode::header(header)))?;
        let mut writer = Self {
            destination,
            encoder: Encoder::default(),
            pending,
            written: 0,
            has_failed: false,
        };
        let begun = writer.destination.file.set_len(0);
        let begun = begun.and_then(|()| writer.flush());
        match begun {
            Ok(()) => Ok(writer),
            Err(error) => {
                let path = writer.destination.path.display();
                let message = format!("cannot record to {path}: {error}");
                Err(io::Error::new(error.kind(), message))
            }
        }
    }

    #[cfg(test)]
    pub fn create(path: &Path, header: &Header) -> Result<Self, UserError> {
        Ok(Self::begin(Destination::open(path)?, header).unwrap())
    }

    /// Hands an update to the kernel, in one write(2). The error names the file.
    pub fn append(&mut self, update: &Update) -> io::Result<()> {
        let update = self.encoder.update(update);
        self.write(Kind::Update(Box::new(update)))
    }

    /// The run has ended in good order.
    pub fn end(mut self, ending: Ending) -> io::Result<()> {
        self.write(Kind::End(encode::end(ending)))
    }

    #[cfg(test)]
    pub fn replace_file(&mut self, file: File) {
        self.destination.file = file;
    }

    fn write(&mut self, kind: Kind) -> io::Result<()> {
        let result = self.try_write(kind);
        self.has_failed |= result.is_err();
        result.map_err(|error| {
            let path = self.destination.path.display();
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })
    }

    fn try_write(&mut self, kind: Kind) -> io::Result<()> {
        if self.has_failed {
            return Err(io::Error::other("recording has stopped"));
        }
        push_record(&mut self.pending, kind)?;
        self.flush()?;
        self.destination.is_scrap = false;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = self.destination.file.write_all(&self.pending) {
            // The disk is full: the reader is spared a torn record, and the disk its bytes.
            let _ = self.destination.file.set_len(self.written);
            return Err(error);
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        // The first update is far larger than those that follow.
        self.pending.shrink_to(1 << 20);
        Ok(())
    }
}

fn push_record(bytes: &mut Vec<u8>, kind: Kind) -> io::Result<()> {
    let record = Record { kind: Some(kind) };
    let length = record.encoded_len();
    if length > format::MOST_RECORD_BYTES {
        let most = format::MOST_RECORD_BYTES >> 20;
        let message = format!("an update takes more than {most} MiB");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let start = bytes.len();
    bytes.reserve(format::RECORD_HEADER_BYTES + length);
    bytes.extend([0; format::RECORD_HEADER_BYTES]);
    record.encode(bytes)?;
    let message = start + format::RECORD_HEADER_BYTES;
    let checksum = crc32fast::hash(&bytes[message..]);
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    let header_checksum = crc32fast::hash(&bytes[start..start + 8]);
    bytes[start + 8..message].copy_from_slice(&header_checksum.to_le_bytes());
    Ok(())
}
