//! One workload under one tool, from the beginning to the end.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::{Memleak, Outcome, Report, Truth, Workload, assert_no_probe_left, workloads_dir};

/// The workload's word and the tool's.
pub struct Session {
    pub truth: Truth,
    pub outcome: Outcome,
    path: PathBuf,
}

// Each check is the last word of some tests.
#[allow(clippy::return_self_not_must_use)]
impl Session {
    /// Runs the program at `path` under `memleak -p PID FLAGS…`. Afterwards the program is unharmed
    /// and no probe is left in it.
    #[track_caller]
    pub fn at<A: AsRef<OsStr> + Debug>(path: &Path, args: &[A], flags: &[&str]) -> Self {
        let mut workload = Workload::start_at(path, args);
        let memleak = Memleak::attach(workload.pid(), flags);
        let truth = workload.run();
        let outcome = memleak.interrupt().expect_code(0);
        assert_eq!(outcome.times_tracing(), 1, "{:#?}", outcome.stderr);
        assert_no_probe_left(workload.pid());
        workload.quit();
        Self {
            truth,
            outcome,
            path: path.to_owned(),
        }
    }

    #[track_caller]
    pub fn report(&self) -> Report {
        self.outcome.report()
    }

    /// The report agrees with the workload about every function.
    #[track_caller]
    pub fn agrees(self) -> Self {
        self.report().agrees_with(&self.truth);
        self
    }

    /// The report agrees about every single allocation and free too.
    #[track_caller]
    pub fn agrees_in_events(self) -> Self {
        let report = self.report();
        let counted = (report.allocs(), report.frees());
        let said = (self.truth.fact("allocs"), self.truth.fact("frees"));
        assert_eq!(
            counted,
            said,
            "allocations and frees of {}",
            self.path.display()
        );
        self
    }

    #[track_caller]
    pub fn lost_nothing(self) -> Self {
        assert_eq!(self.report().loss(), serde_json::Map::new(), "loss");
        self
    }
}

/// A session of the workload `name` with exact JSON figures.
#[track_caller]
pub fn trace<A: AsRef<OsStr> + Debug>(name: &str, args: &[A], flags: &[&str]) -> Session {
    let flags = [&["-o", "0", "--json"], flags].concat();
    Session::at(&workloads_dir().join(name), args, &flags)
}
