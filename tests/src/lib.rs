//! End-to-end tests of the suite: what starts the workloads and the tools, and reads what they say.
//!
//! A test starts a [`Workload`], a [`Memleak`] on it, lets the workload go, and compares the tool's
//! [`Report`] with the workload's own [`Truth`]. Every wait has a deadline. `MEMTOOLS_SLOW` makes
//! loads smaller and deadlines longer, for emulated processors.

// All of this is test code, where a failed expectation is a failed test.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used
)]

mod cgroup;
mod deadline;
mod disk;
mod empty_probes;
mod funclatency;
mod independent;
mod kernel_log;
mod lines;
mod memleak;
mod oomkill;
mod probes;
mod report;
mod running;
mod screen;
mod session;
mod skip;
mod slabinfo;
mod syscount;
mod truth;
mod turn;
mod workload;

pub use cgroup::MemoryCgroup;
pub use deadline::{deadline, load, wait_until};
pub use disk::SmallDisk;
pub use empty_probes::EmptyProbes;
pub use funclatency::{Funclatency, FunctionLatency, Latencies};
pub use independent::{
    LeakedBy, leak_sanitizer, memory_with_tables, suppressing_leak_sanitizer, valgrind,
};
pub use kernel_log::{KernelLog, OomReport};
pub use lines::Lines;
pub use memleak::{Memleak, Outcome, binary, tool};
pub use oomkill::Oomkill;
pub use probes::{altered_code, assert_no_probe_left};
pub use report::{Class, Figures, Frame, Report, Stack};
pub use running::RunningTool;
pub use screen::{Screen, TerminalState};
pub use session::{Session, trace};
pub use skip::{is_disposable, is_installed, skip};
pub use slabinfo::{Slab, slabinfo};
pub use syscount::{CallRow, Syscount};
pub use truth::{FunctionTruth, Truth};
pub use turn::one_at_a_time;
pub use workload::{Workload, path_of, workloads_dir};
