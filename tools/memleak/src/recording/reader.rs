//! Reading a recording, update by update.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use prost::Message;

use super::decode::{self, Decoder, Fault};
use super::format::{self, Kind, Record};
use super::{Conclusion, Header, RecordingError};
use crate::update::Update;

/// A recording that is read from its beginning to its end, as its updates are taken from it.
///
/// It takes memory in proportion to the file, and for names and stacks [`format::MOST_MEMORY`] at the most.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    /// Where the record that was read last begins, and the next one, in bytes.
    record: u64,
    offset: u64,
    header: Header,
    decoder: Decoder,
    last: Option<(Timestamp, Duration)>,
    conclusion: Option<Conclusion>,
    has_failed: bool,
}

impl Reader {
    /// Opens a recording and reads its header.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let failed = |source| io_error(path, source);
        let mut input = BufReader::new(File::open(path).map_err(failed)?);
        check_preamble(path, &mut input)?;
        let offset = format::PREAMBLE_BYTES as u64;
        let damaged = |fault| fault_error(path, offset, fault);
        let (bytes, message) = match read_record(&mut input).map_err(failed)? {
            Next::Record { bytes, message } => (bytes, message),
            Next::Torn => return Err(RecordingError::NoHeader(path.to_owned())),
            Next::Damaged(what) => return Err(damaged(Fault::Damaged(what))),
        };
        let Some(Kind::Header(header)) = parse(&message).map_err(damaged)? else {
            return Err(damaged(Fault::Damaged("the header is missing")));
        };
        let header = decode::header(header).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            input,
            record: offset,
            offset: offset + bytes,
            decoder: Decoder::new(&header),
            header,
            last: None,
            conclusion: None,
            has_failed: false,
        })
    }

    /// What is known before the first update.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the recording ends; `None` while there is more to read, and after an error.
    pub fn conclusion(&self) -> Option<Conclusion> {
        self.conclusion
    }

    /// The moment of the last update that was read: when, and since recording began.
    pub fn last_moment(&self) -> Option<(Timestamp, Duration)> {
        self.last
    }

    fn read(&mut self) -> Result<Option<Update>, RecordingError> {
        loop {
            self.record = self.offset;
            let next = read_record(&mut self.input).map_err(|error| io_error(&self.path, error))?;
            let (bytes, message) = match next {
                Next::Record { bytes, message } => (bytes, message),
                Next::Torn => {
                    self.conclusion = Some(Conclusion::Truncated);
                    return Ok(None);
                }
                Next::Damaged(what) => return Err(self.error(Fault::Damaged(what))),
            };
            self.offset += bytes;
            match parse(&message).map_err(|fault| self.error(fault))? {
                Some(Kind::Update(update)) => return self.take(*update).map(Some),
                Some(Kind::End(end)) => {
                    self.check_end()?;
                    self.conclusion = Some(Conclusion::Ended(decode::ending(end)));
                    return Ok(None);
                }
                Some(Kind::Header(_)) => {
                    return Err(self.error(Fault::Damaged("there is a second header")));
                }
                // A newer memleak knows what it is.
                None => {}
            }
        }
    }

    fn take(&mut self, update: format::Update) -> Result<Update, RecordingError> {
        let update = self.decoder.update(update);
        let update = update.map_err(|fault| self.error(fault))?;
        self.last = Some((update.moment.time, update.moment.elapsed));
        Ok(update)
    }

    fn check_end(&mut self) -> Result<(), RecordingError> {
        match self.input.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(self.error(Fault::Damaged("it goes on behind its end"))),
            Err(error) => Err(io_error(&self.path, error)),
        }
    }

    fn error(&self, fault: Fault) -> RecordingError {
        fault_error(&self.path, self.record, fault)
    }
}

impl Iterator for Reader {
    type Item = Result<Update, RecordingError>;

    /// The next update. After an error, and at the end, there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed || self.conclusion.is_some() {
            return None;
        }
        let update = self.read();
        self.has_failed = update.is_err();
        update.transpose()
    }
}

/// What comes next in a file.
enum Next {
    /// A record with this message, of so many bytes in all.
    Record { bytes: u64, message: Vec<u8> },
    /// Nothing, or a part of a record and no other behind it.
    Torn,
    /// What nobody wrote.
    Damaged(&'static str),
}

fn read_record(input: &mut impl BufRead) -> io::Result<Next> {
    let header = read_up_to(input, format::RECORD_HEADER_BYTES)?;
    let Some((length, checksum)) = parse_record_header(&header) else {
        let is_torn = header.len() < format::RECORD_HEADER_BYTES
            || header.iter().all(|byte| *byte == 0) && only_zeros_follow(input)?;
        return Ok(if is_torn {
            Next::Torn
        } else {
            Next::Damaged("the header of a record is not as it was written")
        });
    };
    if length > format::MOST_RECORD_BYTES {
        return Ok(Next::Damaged("a record is too long"));
    }
    let message = read_up_to(input, length)?;
    if message.len() < length {
        return Ok(Next::Torn);
    }
    if crc32fast::hash(&message) == checksum {
        let bytes = (format::RECORD_HEADER_BYTES + length) as u64;
        return Ok(Next::Record { bytes, message });
    }
    Ok(if only_zeros_follow(input)? {
        Next::Torn
    } else {
        Next::Damaged("a record is not as it was written")
    })
}

/// The length and the checksum of the message.
fn parse_record_header(header: &[u8]) -> Option<(usize, u32)> {
    let word = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let (length, checksum, own) = (word(0)?, word(4)?, word(8)?);
    (crc32fast::hash(&header[..8]) == own).then_some((length as usize, checksum))
}

/// As many bytes as asked for, or all that are left. Memory is taken as they come.
fn read_up_to(input: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Some file systems know how long a file is before they have its last bytes: when the power fails, zeros
/// are left in their place.
fn only_zeros_follow(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let length = bytes.len();
        input.consume(length);
    }
}

fn parse(message: &[u8]) -> Result<Option<Kind>, Fault> {
    let record = Record::decode(message);
    let record = record.map_err(|_| Fault::Damaged("a record is no message of memleak"))?;
    Ok(record.kind)
}

fn check_preamble(path: &Path, input: &mut impl BufRead) -> Result<(), RecordingError> {
    let preamble = read_up_to(input, format::PREAMBLE_BYTES);
    let preamble = preamble.map_err(|error| io_error(path, error))?;
    if preamble.is_empty() {
        return Err(RecordingError::Empty(path.to_owned()));
    }
    let magic = &preamble[..preamble.len().min(format::MAGIC.len())];
    if !format::MAGIC.starts_with(magic) {
        return Err(RecordingError::NotARecording(path.to_owned()));
    }
    let Some(&[low, high]) = preamble.get(8..10) else {
        return Err(RecordingError::NoHeader(path.to_owned()));
    };
    match u16::from_le_bytes([low, high]) {
        format::MAJOR => Ok(()),
        major if major > format::MAJOR => Err(RecordingError::NewerFormat {
            path: path.to_owned(),
            major,
        }),
        _ => Err(RecordingError::NotARecording(path.to_owned())),
    }
}

fn io_error(path: &Path, source: io::Error) -> RecordingError {
    RecordingError::Io {
        path: path.to_owned(),
        source,
    }
}

fn fault_error(path: &Path, offset: u64, fault: Fault) -> RecordingError {
    let path = path.to_owned();
    match fault {
        Fault::Damaged(what) => RecordingError::Damaged { path, offset, what },
        Fault::TooLarge => RecordingError::TooLarge { path, offset },
    }
}
