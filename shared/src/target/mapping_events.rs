//! New text mappings as they are made: MMAP2 and COMM records of a dummy perf event on every CPU,
//! so that no dlopen and no exec is missed between two looks at /proc.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::mappings::Record;
use super::object::FileId;
use crate::maps;

// From linux/perf_event.h.
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_DUMMY: u64 = 9;
const PERF_FLAG_FD_CLOEXEC: u64 = 1 << 3;
const PERF_RECORD_LOST: u32 = 2;
const PERF_RECORD_COMM: u32 = 3;
const PERF_RECORD_MMAP2: u32 = 10;
const PERF_RECORD_MISC_COMM_EXEC: u16 = 1 << 13;
const ATTR_MMAP: u64 = 1 << 8;
const ATTR_COMM: u64 = 1 << 9;
/// Wake by bytes, not by records.
const ATTR_WATERMARK: u64 = 1 << 14;
const ATTR_SAMPLE_ID_ALL: u64 = 1 << 18;
const ATTR_MMAP2: u64 = 1 << 23;
const ATTR_COMM_EXEC: u64 = 1 << 24;
const ATTR_USE_CLOCKID: u64 = 1 << 25;
const SAMPLE_TIME: u64 = 1 << 2;
/// perf_event_attr up to `clockid` and the fields beside it (PERF_ATTR_SIZE_VER5).
const ATTR_SIZE: usize = 112;
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// Pages of a CPU's buffer: 256 KiB, about 1,500 records.
const BUFFER_PAGES: usize = 64;

/// What happened to a process's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingEvent {
    /// A text mapping was made.
    Mapped(Record),
    /// The process began another image: nothing that was mapped before is there any more.
    Exec {
        /// The new name of its leader, not cleaned.
        comm: String,
    },
}

/// Everything that was read at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events of the target, by time (CLOCK_MONOTONIC, nanoseconds).
    pub events: Vec<(u64, MappingEvent)>,
    /// When records, of any process, were lost since: the time of the last one before the gap.
    pub lost_since: Option<u64>,
    /// When the buffers were read: nothing in them is missing that is older.
    pub read_ns: u64,
}

/// The events of all CPUs, of which those of one process are kept. The default has no CPUs.
#[derive(Debug, Default)]
pub struct MappingEvents {
    buffers: Vec<Buffer>,
    pid: u32,
    /// Younger than the last look at the buffers, by time.
    held_back: Vec<(u64, MappingEvent)>,
}

impl MappingEvents {
    /// Opens the events: for every process, because one that is limited to a process would see
    /// only the threads that already hold it.
    pub fn open(pid: u32) -> io::Result<Self> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(io::Error::other)?;
        let mut buffers = Vec::new();
        for cpu in 0..cpus {
            match Buffer::open(cpu as i32) {
                Ok(buffer) => buffers.push(buffer),
                // Possible, but not online.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            buffers,
            pid,
            held_back: Vec::new(),
        })
    }

    /// Readable when a buffer is half full; there may be records before that.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.buffers.iter().map(|buffer| buffer.fd.as_raw_fd())
    }

    /// What happened since the last call, up to the beginning of this one.
    ///
    /// The buffers are read one after the other. What happens meanwhile is held back for the next
    /// call, because something older may be in a buffer that was read before. All that anybody
    /// did in text that was mapped before the call is explained by what it returns.
    pub fn drain(&mut self) -> Batch {
        let mut batch = self.drain_all();
        let read_ns = batch.read_ns;
        let ready = batch.events.partition_point(|(time, _)| *time <= read_ns);
        self.held_back = batch.events.split_off(ready);
        batch
    }

    /// Everything that is known, in the order of time; but what comes with the next call may be
    /// older.
    pub fn drain_all(&mut self) -> Batch {
        let mut batch = Batch {
            events: std::mem::take(&mut self.held_back),
            lost_since: None,
            read_ns: crate::events::monotonic_ns(),
        };
        for buffer in &mut self.buffers {
            let mut last_ns = buffer.last_ns;
            buffer.drain(|kind, misc, body| {
                if kind == PERF_RECORD_LOST {
                    let since = batch.lost_since.unwrap_or(last_ns).min(last_ns);
                    batch.lost_since = Some(since);
                }
                last_ns = time_of(body).unwrap_or(last_ns);
                batch.events.extend(parse(kind, misc, body, self.pid));
            });
            buffer.last_ns = last_ns;
        }
        batch.events.sort_by_key(|(time, _)| *time);
        batch
    }
}

fn number(body: &[u8], at: usize) -> Option<u32> {
    let bytes = body.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn wide(body: &[u8], at: usize) -> Option<u64> {
    let bytes = body.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

/// `sample_id` closes every record, and holds the time alone.
fn time_of(body: &[u8]) -> Option<u64> {
    wide(body, body.len().checked_sub(8)?)
}

/// The text that ends at a NUL or before the time.
fn text_at(body: &[u8], at: usize) -> Option<String> {
    let bytes = body.get(at..body.len().checked_sub(8)?)?;
    Some(maps::text(bytes))
}

fn parse(kind: u32, misc: u16, body: &[u8], pid: u32) -> Option<(u64, MappingEvent)> {
    if number(body, 0)? != pid {
        return None;
    }
    let event = match kind {
        PERF_RECORD_COMM if misc & PERF_RECORD_MISC_COMM_EXEC != 0 => MappingEvent::Exec {
            comm: text_at(body, 8)?,
        },
        PERF_RECORD_MMAP2 => MappingEvent::Mapped(Record {
            start: wide(body, 8)?,
            end: wide(body, 8)?.checked_add(wide(body, 16)?)?,
            file_offset: wide(body, 24)?,
            file: FileId::new(number(body, 32)?, number(body, 36)?, wide(body, 40)?),
            path: PathBuf::from(text_at(body, 64)?),
        }),
        _ => return None,
    };
    Some((time_of(body)?, event))
}

/// The ring of one CPU.
#[derive(Debug)]
struct Buffer {
    fd: OwnedFd,
    memory: NonNull<u8>,
    data_offset: usize,
    data_size: usize,
    /// The time of the last record that was read.
    last_ns: u64,
}

// SAFETY: the mapping belongs to the buffer alone, and only `&mut self` reads it.
unsafe impl Send for Buffer {}

impl Buffer {
    fn open(cpu: i32) -> io::Result<Self> {
        let attr = attributes();
        // SAFETY: the attributes are as long as their size field says.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                attr.as_ptr(),
                -1,
                cpu,
                -1,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // SAFETY: sysconf only reads a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as usize;
        let bytes = page * (BUFFER_PAGES + 1);
        // SAFETY: a new mapping of our descriptor; the kernel writes to it, we only to its tail.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        let memory = NonNull::new(memory.cast::<u8>())
            .filter(|memory| memory.as_ptr().cast() != libc::MAP_FAILED)
            .ok_or_else(io::Error::last_os_error)?;
        Ok(Self {
            fd,
            memory,
            data_offset: page,
            data_size: page * BUFFER_PAGES,
            last_ns: 0,
        })
    }

    #[allow(clippy::cast_ptr_alignment)] // a page is aligned, and both offsets are
    fn control(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the first page of the mapping, aligned, and shared with the kernel, which
        // is why it is an atomic.
        unsafe { &*self.memory.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    fn drain(&mut self, mut visit: impl FnMut(u32, u16, &[u8])) {
        let head = self.control(DATA_HEAD).load(Ordering::Acquire);
        let mut tail = self.control(DATA_TAIL).load(Ordering::Relaxed);
        if tail == head {
            return;
        }
        let mut body = Vec::new();
        while tail < head {
            let mut header = [0; 8];
            self.copy(tail, &mut header);
            let [k0, k1, k2, k3, m0, m1, s0, s1] = header;
            let size = u16::from_ne_bytes([s0, s1]) as usize;
            if size < header.len() {
                tail = head;
                break;
            }
            body.resize(size - header.len(), 0);
            self.copy(tail + header.len() as u64, &mut body);
            visit(
                u32::from_ne_bytes([k0, k1, k2, k3]),
                u16::from_ne_bytes([m0, m1]),
                &body,
            );
            tail += size as u64;
        }
        fence(Ordering::SeqCst);
        self.control(DATA_TAIL).store(tail, Ordering::Release);
    }

    /// Copies out of the ring, round its end.
    fn copy(&self, from: u64, into: &mut [u8]) {
        let start = (from % self.data_size as u64) as usize;
        let first = into.len().min(self.data_size - start);
        // SAFETY: both parts lie inside the data pages, which the kernel does not write to between
        // tail and head.
        unsafe {
            let data = self.memory.as_ptr().add(self.data_offset);
            data.add(start)
                .copy_to_nonoverlapping(into.as_mut_ptr(), first);
            data.copy_to_nonoverlapping(into.as_mut_ptr().add(first), into.len() - first);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody holds a reference into.
        unsafe {
            libc::munmap(
                self.memory.as_ptr().cast(),
                self.data_offset + self.data_size,
            )
        };
    }
}

/// perf_event_attr by hand: of its 100 fields we need eight.
fn attributes() -> [u8; ATTR_SIZE] {
    let mut attr = [0; ATTR_SIZE];
    let mut put = |at: usize, bytes: &[u8]| attr[at..at + bytes.len()].copy_from_slice(bytes);
    let flags = ATTR_MMAP
        | ATTR_MMAP2
        | ATTR_COMM
        | ATTR_COMM_EXEC
        | ATTR_SAMPLE_ID_ALL
        | ATTR_USE_CLOCKID
        | ATTR_WATERMARK;
    put(0, &PERF_TYPE_SOFTWARE.to_ne_bytes());
    put(4, &(ATTR_SIZE as u32).to_ne_bytes());
    put(8, &PERF_COUNT_SW_DUMMY.to_ne_bytes());
    put(24, &SAMPLE_TIME.to_ne_bytes());
    put(40, &flags.to_ne_bytes());
    put(48, &((BUFFER_PAGES * 4096 / 2) as u32).to_ne_bytes());
    put(92, &libc::CLOCK_MONOTONIC.to_ne_bytes());
    attr
}

#[cfg(test)]
mod tests;
