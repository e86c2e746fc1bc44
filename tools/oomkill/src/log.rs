//! Where events go: standard output, or a file that is appended to. One write(2) an event.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use memtools::cli::{Reader, UserError};
use memtools::output::Date;

use crate::collector::News;
use crate::report;

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// bcc's line and what belongs to it.
    Text,
    /// bcc's line.
    Brief,
    /// An object.
    Json,
}

/// The log.
pub struct Log {
    format: Format,
    destination: Destination,
    /// What is about to be written. It has room for an event of any size.
    buffer: Buffer,
}

enum Destination {
    Stdout,
    File { file: File, path: PathBuf },
}

/// Bytes that text can be written to.
struct Buffer(Vec<u8>);

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Log {
    /// Opens the file, if there is to be one.
    pub fn open(format: Format, path: Option<PathBuf>) -> Result<Self, UserError> {
        const ROOM: usize = 64 << 10;
        let destination = match path {
            None => Destination::Stdout,
            Some(path) => {
                let file = append_to(&path).map_err(|error| {
                    UserError::usage(format!("cannot write to {}: {error}", path.display()))
                })?;
                Destination::File { file, path }
            }
        };
        Ok(Self {
            format,
            destination,
            buffer: Buffer(Vec::with_capacity(ROOM)),
        })
    }

    /// Whether there is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.destination, Destination::File { .. })
    }

    /// Opens the file anew, after it was moved away. On an error the old one goes on.
    pub fn open_again(&mut self) -> io::Result<()> {
        if let Destination::File { file, path } = &mut self.destination {
            *file = append_to(path).map_err(|error| {
                let text = format!(
                    "cannot open {} anew, the old file goes on: {error}",
                    path.display()
                );
                io::Error::new(error.kind(), text)
            })?;
        }
        Ok(())
    }

    /// Writes what happened.
    pub fn write(&mut self, news: &News<'_>) -> io::Result<Reader> {
        self.buffer.0.clear();
        self.format(news);
        match &mut self.destination {
            Destination::Stdout => write_stdout(&self.buffer.0),
            Destination::File { file, path } => {
                let before = file.metadata().map(|file| file.len());
                if let Err(error) = file.write_all(&self.buffer.0) {
                    // Half an event would spoil the next one, too.
                    let _ = before.and_then(|bytes| file.set_len(bytes));
                    return Err(named(&error, path));
                }
                Ok(Reader::There)
            }
        }
    }

    /// Formats what is not written.
    pub fn rehearse(&mut self, news: &News<'_>) {
        self.buffer.0.clear();
        self.format(news);
    }

    /// Into the buffer, where nothing can fail.
    fn format(&mut self, news: &News<'_>) {
        let out = &mut self.buffer;
        if self.format != Format::Json && matches!(self.destination, Destination::File { .. }) {
            // It is read weeks later.
            let _ = match news {
                News::Event(event) => write!(out, "{} ", Date(event.time)),
                News::Reaped(_) if self.format == Format::Brief => Ok(()),
                News::Reaped(reaped) => write!(out, "{} ", Date(reaped.time)),
            };
        }
        let _ = match (self.format, news) {
            (Format::Json, News::Event(event)) => {
                report::write_json(&mut out.0, event).map_err(|_| fmt::Error)
            }
            (Format::Json, News::Reaped(reaped)) => {
                report::write_json_reaped(&mut out.0, reaped).map_err(|_| fmt::Error)
            }
            (Format::Brief, News::Reaped(_)) => Ok(()),
            (Format::Text, News::Reaped(reaped)) => report::write_reaped(out, reaped),
            (format, News::Event(event)) => {
                report::write_event(out, event, format == Format::Brief)
            }
        };
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    // Command lines may hold what is not for everybody.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

fn named(error: &io::Error, path: &std::path::Path) -> io::Error {
    io::Error::new(error.kind(), format!("writing {}: {error}", path.display()))
}

fn write_stdout(bytes: &[u8]) -> io::Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}
