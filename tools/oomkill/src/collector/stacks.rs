//! Names for the trigger's stacks (`--stack`). This takes time and memory, which is given back.

use memtools::events::monotonic_ns;
use memtools::process::trim_heap;
use memtools::stacks::frames_of;
use memtools::symbols::{Location, Symbolizer, kernel_symbols};
use memtools::target::mappings::{Mappings, read_text_mappings};

use super::abi;
use crate::model::Stacks;

/// Both stacks, from the innermost frame outward.
pub fn name(stacks: &abi::Stacks, mappings: &Mappings) -> Stacks {
    let depth = |depth: u32| (depth as usize).min(abi::MAX_FRAMES);
    let kernel = &stacks.kernel[..depth(stacks.kernel_depth)];
    let user = &stacks.user[..depth(stacks.user_depth)];
    let named = Stacks {
        kernel: name_kernel(kernel),
        user: name_user(user, mappings),
    };
    trim_heap();
    named
}

/// What a thread's process maps. Its leader may have exited: that shows nothing.
pub fn mappings(thread: u32) -> Mappings {
    let mut mappings = Mappings::default();
    for record in read_text_mappings(thread).unwrap_or_default() {
        mappings.insert(thread, &record, 0);
    }
    mappings
}

fn name_kernel(addresses: &[u64]) -> Vec<String> {
    let names = kernel_symbols(addresses);
    let frames = addresses
        .iter()
        .zip(names)
        .map(|(address, symbol)| match symbol {
            Some(symbol) => format!("{}+{:#x}", symbol.name, symbol.offset),
            None => format!("{address:#018x}"),
        });
    frames.collect()
}

fn name_user(addresses: &[u64], mappings: &Mappings) -> Vec<String> {
    let mut symbolizer = Symbolizer::default();
    let now = monotonic_ns();
    let mut frames = Vec::new();
    for (at, &address) in addresses.iter().enumerate() {
        // The first one is where the thread stands; the others are return addresses.
        let looked_up = if at == 0 { address + 1 } else { address };
        let Some(location) = Location::of_return_address(mappings, looked_up, now) else {
            frames.push(format!("{address:#018x}"));
            continue;
        };
        let symbols = symbolizer.symbols(&location);
        let unnamed = format!("{address:#018x}");
        let named = frames_of(&location, &symbols);
        frames.extend(named.iter().map(|frame| frame.describe(&unnamed)));
    }
    frames
}
