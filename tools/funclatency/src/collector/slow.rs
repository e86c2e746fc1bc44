//! Single calls that took long, as the kernel tells of them: with names for their callers.

use std::collections::HashMap;
use std::os::fd::RawFd;

use memtools::attach::KernelError;
use memtools::events::EventReader;
use memtools::maps;
use memtools::stacks::frames_of;
use memtools::symbols::{Location, Symbolizer, kernel_symbols};
use memtools::target::mappings::{Mappings, read_text_mappings};

use super::abi;
use super::kernel::Loaded;
use super::wanted::Wanted;
use crate::model::outliers::SlowCall;

/// Reads them; belongs to one thread.
pub struct SlowCalls {
    reader: Reader,
    is_kernel: bool,
    symbolizer: Symbolizer,
    /// Of processes that made such calls, by PID as we see it.
    mappings: HashMap<u32, Mappings>,
}

enum Reader {
    Plain(EventReader<abi::SlowCall>),
    WithStacks(EventReader<abi::SlowCallWithStack>),
}

/// So many processes' mappings are remembered.
const MOST_PROCESSES: usize = 64;

impl SlowCalls {
    /// Opens the ring buffer.
    pub fn new(loaded: &Loaded, wanted: &Wanted) -> Result<Self, KernelError> {
        let failed = |source| KernelError::new("opening the ring buffer of slow calls", source);
        let events = &loaded.base.maps.events;
        let reader = if wanted.stack {
            Reader::WithStacks(EventReader::new(events).map_err(failed)?)
        } else {
            Reader::Plain(EventReader::new(events).map_err(failed)?)
        };
        Ok(Self {
            reader,
            is_kernel: loaded.is_kernel(),
            symbolizer: Symbolizer::default(),
            mappings: HashMap::new(),
        })
    }

    /// Readable when calls wait.
    pub fn fd(&self) -> RawFd {
        match &self.reader {
            Reader::Plain(reader) => reader.fd(),
            Reader::WithStacks(reader) => reader.fd(),
        }
    }

    /// All that are there.
    pub fn drain(&self) -> Vec<abi::SlowCallWithStack> {
        match &self.reader {
            Reader::Plain(reader) => reader
                .drain()
                .into_iter()
                .map(|call| abi::SlowCallWithStack {
                    call,
                    ..abi::SlowCallWithStack::default()
                })
                .collect(),
            Reader::WithStacks(reader) => reader.drain(),
        }
    }

    /// With the names of its thread and its callers.
    pub fn named(&mut self, raw: &abi::SlowCallWithStack) -> SlowCall {
        let call = &raw.call;
        let depth = (call.depth as usize).min(abi::MAX_FRAMES);
        let frames = &raw.frames[..depth];
        let stack = if self.is_kernel {
            named_kernel_frames(frames)
        } else {
            self.named_frames(call.process, call.time_ns, frames)
        };
        SlowCall {
            time_ns: call.time_ns,
            ns: call.ns,
            result: call.result,
            arguments: call.arguments,
            pid: call.process,
            tid: call.thread,
            function: call.function,
            cpu: call.cpu,
            comm: maps::text(&call.comm),
            stack,
        }
    }

    fn named_frames(&mut self, pid: u32, time_ns: u64, frames: &[u64]) -> Vec<String> {
        if frames.is_empty() {
            return Vec::new();
        }
        if self.mappings.len() >= MOST_PROCESSES {
            self.mappings.clear();
        }
        let known = self.mappings.entry(pid).or_default();
        let is_known = frames
            .iter()
            .all(|frame| known.find(frame.saturating_sub(1), time_ns).is_some());
        if !is_known && let Ok(records) = read_text_mappings(pid) {
            *known = Mappings::default();
            for record in &records {
                // As if they had always been there: the call came before this look.
                known.insert(pid, record, 0);
            }
        }
        let locations = frames.iter().map(|frame| {
            let location = Location::of_return_address(known, *frame, time_ns);
            location.ok_or(*frame)
        });
        let locations: Vec<_> = locations.collect();
        let mut names = Vec::new();
        for location in locations {
            match location {
                Ok(location) => {
                    let symbols = self.symbolizer.symbols(&location);
                    let frames = frames_of(&location, &symbols);
                    names.extend(frames.iter().map(|frame| frame.describe("[unknown]")));
                }
                Err(address) => names.push(format!("0x{address:x}")),
            }
        }
        names
    }
}

fn named_kernel_frames(frames: &[u64]) -> Vec<String> {
    let symbols = kernel_symbols(frames);
    let named = frames
        .iter()
        .zip(symbols)
        .map(|(address, symbol)| match symbol {
            Some(symbol) => format!("{}+0x{:x}", symbol.name, symbol.offset),
            None => format!("0x{address:x}"),
        });
    named.collect()
}
