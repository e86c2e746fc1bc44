//! The ring buffer: events from the kernel, in the order in which they were reserved.

use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, channel};

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use plain::Plain;

/// A reader of one ring buffer whose records are all of one plain type.
pub struct EventReader<T> {
    ring: RingBuffer<'static>,
    queue: Receiver<T>,
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
        })
    }

    /// Readable when the kernel asked for attention; records may wait without that.
    pub fn fd(&self) -> RawFd {
        self.ring.epoll_fd()
    }

    /// All records that are there now.
    pub fn drain(&self) -> Vec<T> {
        // An error is an interruption by a signal: what was not read is read the next time.
        let _ = self.ring.consume_raw();
        self.queue.try_iter().collect()
    }
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
