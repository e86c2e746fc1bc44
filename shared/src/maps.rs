//! Reading BPF maps: in batches, summed over CPUs, or in place.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use libbpf_rs::{MapCore, MapFlags};
use plain::Plain;

/// What went wrong with a map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The system call failed.
    #[error("reading the BPF map {map}")]
    Read {
        /// The map's name.
        map: String,
        /// Why.
        source: io::Error,
    },
}

/// Whether the kernel writes as many bytes for a key and a value as these types have.
fn is_size_of<K, V>(key_size: u32, value_size: u32) -> bool {
    (key_size as usize, value_size as usize) == (size_of::<K>(), size_of::<V>())
}

fn failed(map: &dyn MapCore, source: io::Error) -> MapError {
    MapError::Read {
        map: map.name().to_string_lossy().into_owned(),
        source,
    }
}

/// Entries asked for at once; a bucket never holds nearly as many.
const BATCH: usize = 4096;

/// Calls `visit` for every entry of a hash map, in batches.
///
/// libbpf-rs takes a short batch for the last one and so loses entries; here only `ENOENT` ends
/// the walk. Entries that come or go meanwhile may or may not be seen; no other is missed.
/// EINVAL when keys or values have another size than `K` or `V`.
pub fn for_each_entry<K, V>(
    map: &impl MapCore,
    mut visit: impl FnMut(&K, &V),
) -> Result<(), MapError>
where
    K: Plain + Copy + Default,
    V: Plain + Copy + Default,
{
    if !is_size_of::<K, V>(map.key_size(), map.value_size()) {
        return Err(failed(map, io::Error::from_raw_os_error(libc::EINVAL)));
    }
    for_each_batch(map, 1, |key, values: &[V]| {
        visit(key, &values[0]);
    })
}

/// The same for a hash map per CPU whose values are `WORDS` counters: each is summed over all CPUs.
pub fn for_each_sum<K, const WORDS: usize>(
    map: &impl MapCore,
    mut visit: impl FnMut(&K, &[u64; WORDS]),
) -> Result<(), MapError>
where
    K: Plain + Copy + Default,
{
    let cpus =
        libbpf_rs::num_possible_cpus().map_err(|error| failed(map, io::Error::other(error)))?;
    if !is_size_of::<K, [u64; WORDS]>(map.key_size(), map.value_size()) {
        return Err(failed(map, io::Error::from_raw_os_error(libc::EINVAL)));
    }
    for_each_batch(map, cpus * WORDS, |key, words: &[u64]| {
        let mut sums = [0_u64; WORDS];
        for (index, word) in words.iter().enumerate() {
            sums[index % WORDS] = sums[index % WORDS].wrapping_add(*word);
        }
        visit(key, &sums);
    })
}

/// Calls `visit` for every entry of a hash map per CPU, with the value of each CPU.
pub fn for_each_per_cpu<K, V>(
    map: &impl MapCore,
    mut visit: impl FnMut(&K, &[V]),
) -> Result<(), MapError>
where
    K: Plain + Copy + Default,
    V: Plain + Copy + Default,
{
    let cpus =
        libbpf_rs::num_possible_cpus().map_err(|error| failed(map, io::Error::other(error)))?;
    // The kernel rounds each CPU's value up to words.
    if !is_size_of::<K, V>(map.key_size(), map.value_size()) || !size_of::<V>().is_multiple_of(8) {
        return Err(failed(map, io::Error::from_raw_os_error(libc::EINVAL)));
    }
    for_each_batch(map, cpus, |key, values: &[V]| visit(key, values))
}

/// Batches of keys, each with so many `V` that are its value. The caller has checked the sizes.
fn for_each_batch<K, V>(
    map: &impl MapCore,
    values_per_key: usize,
    mut visit: impl FnMut(&K, &[V]),
) -> Result<(), MapError>
where
    K: Plain + Copy + Default,
    V: Plain + Copy + Default,
{
    let mut size = BATCH;
    let mut keys = vec![K::default(); size];
    let mut values = vec![V::default(); size * values_per_key];
    // The kernel keeps its place in a token of four bytes (a bucket number) or a key.
    let mut token = vec![0_u8; size_of::<K>().max(8)];
    let mut next = token.clone();
    let mut first = true;
    loop {
        let mut count = size as u32;
        let start = if first {
            std::ptr::null_mut()
        } else {
            token.as_mut_ptr().cast()
        };
        // SAFETY: keys and values hold `count` entries of the map's own sizes (checked by the
        // caller), and the tokens are as long as the kernel writes.
        let status = unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                map.as_fd().as_raw_fd(),
                start,
                next.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                std::ptr::null(),
            )
        };
        let error = (status != 0).then(|| io::Error::from_raw_os_error(-status));
        match error.as_ref().and_then(io::Error::raw_os_error) {
            // A bucket did not fit: nothing of it was handed out.
            Some(libc::ENOSPC) if count == 0 => {
                size *= 2;
                keys.resize(size, K::default());
                values.resize(size * values_per_key, V::default());
                continue;
            }
            None | Some(libc::ENOENT | libc::ENOSPC) => {}
            Some(_) => return Err(failed(map, error.unwrap_or_else(io::Error::last_os_error))),
        }
        let entries = keys.iter().zip(values.chunks_exact(values_per_key));
        for (key, value) in entries.take(count as usize) {
            visit(key, value);
        }
        if error.is_some_and(|e| e.raw_os_error() == Some(libc::ENOENT)) {
            return Ok(());
        }
        std::mem::swap(&mut token, &mut next);
        first = false;
    }
}

/// The counters of a per-CPU array of `u64`, each summed over all CPUs.
pub fn summed_counters(map: &impl MapCore, count: u32) -> Result<Vec<u64>, MapError> {
    (0..count)
        .map(|index| {
            let values = map
                .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| failed(map, io::Error::other(error)))?
                .unwrap_or_default();
            Ok(values
                .iter()
                .map(|bytes| word(bytes))
                .fold(0, u64::wrapping_add))
        })
        .collect()
}

/// A text in a field of fixed size, as the kernel writes it: up to its NUL.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}

/// A `BPF_F_MMAPABLE` array in our address space.
#[derive(Debug)]
struct Mapping {
    memory: NonNull<libc::c_void>,
    bytes: usize,
    stride: usize,
    elements: usize,
}

// SAFETY: the mapping stays where it is until drop, and belongs to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(map: &impl MapCore, protection: i32) -> Result<Self, MapError> {
        let stride = (map.value_size() as usize).next_multiple_of(8);
        let elements = map.max_entries() as usize;
        let bytes = stride * elements;
        // SAFETY: a new mapping of a descriptor that we hold; nothing else is touched.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(failed(map, io::Error::last_os_error()));
        }
        let memory = NonNull::new(memory)
            .ok_or_else(|| failed(map, io::Error::from_raw_os_error(libc::EFAULT)))?;
        Ok(Self {
            memory,
            bytes,
            stride,
            elements,
        })
    }

    fn element(&self, index: usize) -> Option<*mut u8> {
        if index >= self.elements {
            return None;
        }
        // SAFETY: inside the mapping by the check above.
        Some(unsafe { self.memory.as_ptr().cast::<u8>().add(index * self.stride) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping; references into it live as long as it at most.
        unsafe { libc::munmap(self.memory.as_ptr(), self.bytes) };
    }
}

/// A `BPF_F_MMAPABLE` array, read in place without a system call.
#[derive(Debug)]
pub struct MappedArray<T> {
    mapping: Mapping,
    element: PhantomData<T>,
}

impl<T: Plain + Copy> MappedArray<T> {
    /// Maps an array whose elements are `T`; EINVAL when they have another size.
    pub fn new(map: &impl MapCore) -> Result<Self, MapError> {
        if map.value_size() as usize != size_of::<T>() {
            return Err(failed(map, io::Error::from_raw_os_error(libc::EINVAL)));
        }
        Ok(Self {
            mapping: Mapping::new(map, libc::PROT_READ)?,
            element: PhantomData,
        })
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.mapping.elements
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mapping.elements == 0
    }

    /// A copy of one element; the kernel may be writing to it.
    pub fn get(&self, index: usize) -> Option<T> {
        let element = self.mapping.element(index)?;
        // SAFETY: T is Plain and as large as an element, so any bytes there are a value.
        Some(unsafe { element.cast::<T>().read_volatile() })
    }
}

/// A `BPF_F_MMAPABLE` array of words that both sides write.
#[derive(Debug)]
pub struct SharedWords<const WORDS: usize>(Mapping);

impl<const WORDS: usize> SharedWords<WORDS> {
    /// Maps an array whose elements have so many words; EINVAL when they have another size.
    pub fn new(map: &impl MapCore) -> Result<Self, MapError> {
        if map.value_size() as usize != WORDS * 8 {
            return Err(failed(map, io::Error::from_raw_os_error(libc::EINVAL)));
        }
        Mapping::new(map, libc::PROT_READ | libc::PROT_WRITE).map(Self)
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = &[AtomicU64; WORDS]> {
        (0..self.0.elements).filter_map(|index| self.get(index))
    }

    /// One element.
    pub fn get(&self, index: usize) -> Option<&[AtomicU64; WORDS]> {
        let element = self.0.element(index)?.cast::<[AtomicU64; WORDS]>();
        // SAFETY: so many aligned words that live as long as the mapping, and are only ever read
        // and written atomically here.
        Some(unsafe { &*element })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sizes_are_refused() {
        assert!(is_size_of::<u32, [u64; 3]>(4, 24));
        assert!(!is_size_of::<u32, [u64; 3]>(8, 24));
        assert!(!is_size_of::<u32, [u64; 3]>(4, 32));
    }
}
