//! A running funclatency, and what it says at its end.

use serde_json::Value;

use crate::RunningTool;

/// `funclatency --json -v ARGS…`, attached.
pub struct Funclatency {
    tool: RunningTool,
    /// `2 functions by kprobe.session`
    way: String,
}

impl Funclatency {
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let args: Vec<&str> = ["--json", "-v"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let mut tool = RunningTool::spawn("funclatency", &args);
        let way = tool.wait_stderr(" by ");
        Self { tool, way }
    }

    pub fn pid(&self) -> u32 {
        self.tool.pid()
    }

    /// Ends it; returns its last record.
    #[track_caller]
    pub fn finish(self) -> Latencies {
        let (out, said, status) = self.tool.finish();
        assert!(status.success(), "{said:?}");
        let line = out.last().unwrap_or_else(|| panic!("no record: {said:?}"));
        let record: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"));
        assert_eq!(
            (&record["v"], &record["tool"]),
            (&1.into(), &"funclatency".into())
        );
        let way = self.way;
        Latencies { record, said, way }
    }
}

/// A record.
pub struct Latencies {
    pub record: Value,
    /// What was said on standard error after attaching.
    pub said: Vec<String>,
    way: String,
}

impl Latencies {
    /// A function's figures.
    #[track_caller]
    pub fn function(&self, name: &str) -> FunctionLatency<'_> {
        let functions = self.record["functions"].as_array().expect("a list");
        let found = functions
            .iter()
            .find(|function| function["function"] == name);
        FunctionLatency(found.unwrap_or_else(|| panic!("no {name} in {}", self.record)))
    }

    /// Whether the kernel holds the returns of single functions, and few of them.
    pub fn is_by_kretprobes(&self) -> bool {
        self.way.contains(" by kprobes")
    }

    /// Events that the kernel skipped, and that the tool tells of.
    pub fn events_lost(&self) -> u64 {
        self.record["loss"]["events"].as_u64().unwrap_or(0)
    }

    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        let loss = self.record["loss"].as_object().expect("a map");
        assert!(loss.is_empty(), "{loss:?}");
    }
}

/// What is said of one function.
#[derive(Clone, Copy)]
pub struct FunctionLatency<'a>(pub &'a Value);

impl FunctionLatency<'_> {
    #[track_caller]
    pub fn get(self, field: &str) -> u64 {
        self.0[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field} in {}", self.0))
    }

    /// Entered, timed, going on, left without a return, missed.
    #[track_caller]
    pub fn account(self) -> [u64; 5] {
        ["calls", "count", "inside", "unwound", "missed_returns"].map(|field| self.get(field))
    }

    /// A time is within so many percent of the truth, and so many nanoseconds.
    #[track_caller]
    pub fn assert_near(self, field: &str, truth: u64, percent: u64, ns: u64) {
        let found = self.get(field);
        let most = truth * percent / 100 + ns;
        assert!(
            found.abs_diff(truth) <= most,
            "{field} {found}, not {truth} of {}",
            self.0
        );
    }
}
