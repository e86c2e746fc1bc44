//! The ring buffer: events from the kernel, in the order in which they were reserved.

use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, channel};

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use plain::Plain;

/// A reader of one ring buffer whose records are all of one plain type.
pub struct EventReader<T> {
    ring: RingBuffer<'static>,
    queue: Receiver<T>,
    /// As many records as the ring can hold at once.
    capacity: usize,
}

impl<T: Plain + Default + Send + 'static> EventReader<T> {
    /// Opens the ring buffer.
    pub fn new(map: &dyn MapCore) -> Result<Self, libbpf_rs::Error> {
        // libbpf hands records to a callback; a panic there would abort, so it only copies. The
        // queue is emptied by every `drain` and so never outgrows the ring itself.
        let (sender, queue) = channel();
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            let mut record = T::default();
            if record.copy_from_bytes(bytes).is_ok() {
                let _ = sender.send(record);
            }
            0
        })?;
        Ok(Self {
            ring: builder.build()?,
            queue,
            capacity: capacity(map.max_entries() as usize, size_of::<T>()),
        })
    }

    /// Readable when the kernel asked for attention; records may wait without that.
    pub fn fd(&self) -> RawFd {
        self.ring.epoll_fd()
    }

    /// All records that are there now; of those that come meanwhile no more than the ring holds,
    /// for a target can be faster than this reader.
    pub fn drain(&self) -> Vec<T> {
        // An error is an interruption by a signal: what was not read is read the next time.
        let _ = self.ring.consume_raw_n(self.capacity);
        self.queue.try_iter().collect()
    }
}

/// How many records of one size a ring holds: each has a header and is rounded up to 8 bytes
/// (BPF_RINGBUF_HDR_SZ in linux/bpf.h).
fn capacity(ring_bytes: usize, record_bytes: usize) -> usize {
    const HEADER: usize = 8;
    ring_bytes.div_ceil(HEADER + record_bytes.next_multiple_of(8))
}

/// The time that events carry: CLOCK_MONOTONIC, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes into our own variable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What [`wait_readable`] was woken by.
pub type Ready = Vec<bool>;

/// Waits until one of the descriptors is readable, or the time is over.
pub fn wait_readable(fds: &[RawFd], timeout_ms: i32) -> Ready {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: the array is ours and as long as we say.
    unsafe {
        libc::poll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            timeout_ms,
        )
    };
    polled.iter().map(|p| p.revents != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_holds_records_with_their_headers() {
        assert_eq!(capacity(4096, 8), 256);
        assert_eq!(capacity(4096, 1), 256);
        assert_eq!(capacity(4096, 64), 57);
    }
}
