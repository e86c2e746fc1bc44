//! Records of what happens to processes, from dummy perf events on every CPU.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::maps;

// From linux/perf_event.h.
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_DUMMY: u64 = 9;
const PERF_FLAG_FD_CLOEXEC: u64 = 1 << 3;
pub(super) const PERF_RECORD_LOST: u32 = 2;
pub(super) const PERF_RECORD_COMM: u32 = 3;
pub(super) const PERF_RECORD_EXIT: u32 = 4;
pub(super) const PERF_RECORD_FORK: u32 = 7;
pub(super) const PERF_RECORD_MMAP2: u32 = 10;
pub(super) const PERF_RECORD_MISC_COMM_EXEC: u16 = 1 << 13;
pub(super) const ATTR_MMAP: u64 = 1 << 8;
pub(super) const ATTR_COMM: u64 = 1 << 9;
pub(super) const ATTR_TASK: u64 = 1 << 13;
/// Wake by bytes, not by records.
const ATTR_WATERMARK: u64 = 1 << 14;
const ATTR_SAMPLE_ID_ALL: u64 = 1 << 18;
pub(super) const ATTR_MMAP2: u64 = 1 << 23;
pub(super) const ATTR_COMM_EXEC: u64 = 1 << 24;
const ATTR_USE_CLOCKID: u64 = 1 << 25;
const SAMPLE_TIME: u64 = 1 << 2;
/// perf_event_attr up to `clockid` and the fields beside it (PERF_ATTR_SIZE_VER5).
const ATTR_SIZE: usize = 112;
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// What is asked of every CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Which records: ATTR_ bits.
    pub records: u64,
    /// Of a CPU's buffer, a power of two.
    pub pages: usize,
    /// Whether its reader is woken by each record, or when the buffer is half full.
    pub wakes_at_once: bool,
}

/// The rings of all CPUs. The default has none.
#[derive(Debug, Default)]
pub(super) struct Rings {
    rings: Vec<Ring>,
}

impl Rings {
    /// Opens them for every process, because an event that is limited to a process would see only
    /// the threads that already hold it.
    pub fn open(wanted: Wanted) -> io::Result<Self> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(io::Error::other)?;
        let mut rings = Vec::new();
        for cpu in 0..cpus {
            match Ring::open(cpu as i32, wanted) {
                Ok(ring) => rings.push(ring),
                // Possible, but not online.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { rings })
    }

    /// What to wait for.
    pub fn fds(&self) -> Vec<RawFd> {
        self.rings.iter().map(|ring| ring.fd.as_raw_fd()).collect()
    }

    /// Hands all records to `visit`, CPU by CPU: kind, `misc`, and body. Returns since when records are
    /// missing, if any are: the time of the last one before the gap.
    pub fn drain(&mut self, mut visit: impl FnMut(u32, u16, &[u8])) -> Option<u64> {
        let mut lost_since = None;
        for ring in &mut self.rings {
            let mut last_ns = ring.last_ns;
            ring.drain(|kind, misc, body| {
                if kind == PERF_RECORD_LOST {
                    lost_since = Some(lost_since.unwrap_or(last_ns).min(last_ns));
                }
                last_ns = time_of(body).unwrap_or(last_ns);
                visit(kind, misc, body);
            });
            ring.last_ns = last_ns;
        }
        lost_since
    }
}

pub(super) fn number(body: &[u8], at: usize) -> Option<u32> {
    let bytes = body.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

pub(super) fn wide(body: &[u8], at: usize) -> Option<u64> {
    let bytes = body.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

/// `sample_id` closes every record, and holds the time alone.
pub(super) fn time_of(body: &[u8]) -> Option<u64> {
    wide(body, body.len().checked_sub(8)?)
}

/// The text that ends at a NUL or before the time.
pub(super) fn text_at(body: &[u8], at: usize) -> Option<String> {
    let bytes = body.get(at..body.len().checked_sub(8)?)?;
    Some(maps::text(bytes))
}

/// The ring of one CPU.
#[derive(Debug)]
struct Ring {
    fd: OwnedFd,
    memory: NonNull<u8>,
    data_offset: usize,
    data_size: usize,
    /// The time of the last record that was read.
    last_ns: u64,
}

// SAFETY: the mapping belongs to the ring alone, and only `&mut self` reads it.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: i32, wanted: Wanted) -> io::Result<Self> {
        let attr = attributes(wanted);
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
        let bytes = page * (wanted.pages + 1);
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
            data_size: page * wanted.pages,
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

impl Drop for Ring {
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
fn attributes(wanted: Wanted) -> [u8; ATTR_SIZE] {
    let mut attr = [0; ATTR_SIZE];
    let mut put = |at: usize, bytes: &[u8]| attr[at..at + bytes.len()].copy_from_slice(bytes);
    let (wake_by, amount) = if wanted.wakes_at_once {
        (0, 1)
    } else {
        (ATTR_WATERMARK, (wanted.pages * 4096 / 2) as u32)
    };
    let flags = wanted.records | ATTR_SAMPLE_ID_ALL | ATTR_USE_CLOCKID | wake_by;
    put(0, &PERF_TYPE_SOFTWARE.to_ne_bytes());
    put(4, &(ATTR_SIZE as u32).to_ne_bytes());
    put(8, &PERF_COUNT_SW_DUMMY.to_ne_bytes());
    put(24, &SAMPLE_TIME.to_ne_bytes());
    put(40, &flags.to_ne_bytes());
    put(48, &amount.to_ne_bytes());
    put(92, &libc::CLOCK_MONOTONIC.to_ne_bytes());
    attr
}
