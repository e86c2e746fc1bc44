//! The process that is looked at: whether it can be a target, what it maps, where probes go.

pub mod command;
pub mod elf;
pub mod exits;
mod instruction;
pub mod libraries;
pub mod mapping_events;
pub mod mappings;
pub mod object;
mod perf_records;
pub mod placement;
mod process;
pub mod process_events;
pub mod reach;
pub mod returns;
mod rooted;

pub(crate) use process::live_thread;
pub use process::{PidNamespace, Target, TargetError, namespace_to_select};
