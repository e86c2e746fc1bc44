//! Recordings: a run as a file, that can be read without the target and its binaries.
//!
//! A recording is a preamble and records. Each record is a header of 12 bytes and a protobuf message:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | preamble: [`format::MAGIC`] |
//! | 2 + 2 | preamble: major and minor version, little-endian |
//! | 4 | record: length of the message in bytes, little-endian |
//! | 4 | record: CRC-32 of the message |
//! | 4 | record: CRC-32 of the 8 bytes before |
//! | length | record: the message, a [`format::Record`] |
//!
//! The first record holds the header, each later one an update, the last one how the run ended. A record
//! goes to the kernel in one write(2), so whoever kills the writer loses what came after the last update and
//! nothing else. The header of a record has a checksum of its own: without it a damaged length in the
//! middle could not be told from a torn tail. docs/recording.md is for those who write a reader.

mod columns;
mod decode;
mod encode;
mod format;
mod reader;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

pub use reader::Reader;
pub use writer::{Destination, Writer};

/// What is known before the first update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the memleak that recorded.
    pub tool_version: String,
    /// Of the kernel that it ran on, as `uname -r` prints it.
    pub kernel_release: String,
    /// The processor, as `uname -m` prints it.
    pub architecture: String,
    /// One allocation in so many was tracked; figures in updates are scaled by it.
    pub sample_rate: u64,
    /// Younger blocks are young, to the millisecond (`-o`).
    pub min_age: Duration,
    /// Nobody counted ages and sizes (`-C`).
    pub is_combined: bool,
    /// The process.
    pub pid: u32,
    /// Its name when recording began, not yet cleaned.
    pub comm: String,
    /// When recording began.
    pub start: Timestamp,
}

/// Why a run ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process ended.
    TargetEnded,
    /// A signal, or a key of the live view.
    Interrupted,
    /// All that was asked for is there (COUNT, `--duration`).
    Completed,
    /// The probes took too much of the target's CPU time (`--max-overhead`).
    Detached,
    /// One that this version does not know.
    Other,
}

/// How a recording that was read to its end ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// In good order.
    Ended(Ending),
    /// The end record is missing: the recorder was killed, or could not write. All updates that
    /// came out before are intact.
    Truncated,
}

/// Why a recording cannot be read, or not to its end. Updates that came out before are intact.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The system failed.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no bytes.
    #[error("{0} is empty: recording ended before anything was seen")]
    Empty(PathBuf),
    /// It begins as nothing that memleak wrote.
    #[error("{0} is not a recording of memleak")]
    NotARecording(PathBuf),
    /// Its major version is above this memleak's.
    #[error(
        "{path} has format {major}; this memleak reads format {}",
        format::MAJOR
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its major version.
        major: u16,
    },
    /// It ends within its first record.
    #[error("{0} breaks off before its first update: there is nothing to read")]
    NoHeader(PathBuf),
    /// A byte is not what was written, or never came from a memleak.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins, in bytes from the beginning.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Its names and stacks would not fit.
    #[error(
        "{path} holds more names and stacks than memleak reads ({} GiB), at byte {offset}",
        format::MOST_MEMORY >> 30
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Where the record begins, in bytes from the beginning.
        offset: u64,
    },
}

#[cfg(test)]
mod tests;
