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

mod deadline;
mod independent;
mod lines;
mod memleak;
mod probes;
mod report;
mod session;
mod skip;
mod truth;
mod workload;

pub use deadline::{deadline, load, wait_until};
pub use independent::{LeakedBy, leak_sanitizer, valgrind};
pub use lines::Lines;
pub use memleak::{Memleak, Outcome, binary, tool};
pub use probes::{altered_code, assert_no_probe_left};
pub use report::{Class, Figures, Frame, Report, Stack};
pub use session::{Session, trace};
pub use skip::skip;
pub use truth::{FunctionTruth, Truth};
pub use workload::{Workload, path_of, workloads_dir};
