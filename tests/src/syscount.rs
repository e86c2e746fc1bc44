//! A running syscount, and the sum of what its intervals say.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::{RunningTool, deadline, tool};

/// A row over all intervals so far.
#[derive(Clone, Debug, Default)]
pub struct CallRow {
    pub count: u64,
    pub errors: u64,
    pub errnos: BTreeMap<String, u64>,
    /// Durations in the histogram.
    pub timed: u64,
    pub total_ns: u64,
}

/// `syscount --json -i 0.2 ARGS…`, attached.
pub struct Syscount {
    tool: RunningTool,
    rows: BTreeMap<String, CallRow>,
    last: Value,
}

impl Syscount {
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let args: Vec<&str> = ["--json", "-i", "0.2"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let mut started = Self {
            tool: RunningTool::spawn("syscount", &args),
            rows: BTreeMap::new(),
            last: Value::Null,
        };
        assert!(started.next(), "syscount ended at once");
        started
    }

    /// Takes the next interval in; `false`: there is none.
    #[track_caller]
    fn next(&mut self) -> bool {
        let Some(record) = self.tool.next_record() else {
            return false;
        };
        for row in record["rows"].as_array().expect("a list") {
            let text = |field: &str| row[field].as_str().unwrap_or("").to_owned();
            let number = |field: &str| row[field].as_u64().expect("a number");
            let name = match text("abi").as_str() {
                "x86_64" | "aarch64" => text("syscall"),
                abi => format!("{abi}:{}", text("syscall")),
            };
            let sum = self.rows.entry(name).or_default();
            sum.count += number("count");
            sum.errors += number("errors");
            sum.total_ns += number("total_ns");
            for (errno, count) in row["errnos"].as_object().expect("a map") {
                *sum.errnos.entry(errno.clone()).or_default() += count.as_u64().expect("a number");
            }
            let hist = row["hist"].as_array().expect("a list").iter();
            sum.timed += hist
                .filter_map(|bucket| bucket["count"].as_u64())
                .sum::<u64>();
        }
        self.last = record;
        true
    }

    /// The sums of a call, under its name, or `ABI:NAME`.
    pub fn row(&self, name: &str) -> CallRow {
        self.rows.get(name).cloned().unwrap_or_default()
    }

    /// The last interval.
    pub fn last(&self) -> &Value {
        &self.last
    }

    /// Goes on until it is true.
    #[track_caller]
    pub fn until(&mut self, is_it: impl Fn(&Self) -> bool) {
        let end = Instant::now() + deadline();
        while !is_it(self) {
            assert!(Instant::now() < end, "still not so: {:#?}", self.rows);
            assert!(self.next(), "syscount ended: {:#?}", self.rows);
        }
    }

    /// Events that the kernel did not show, and that syscount tells of.
    pub fn missed(&self) -> u64 {
        self.last["loss"]["missed"].as_u64().unwrap_or(0)
    }

    /// Goes on until a call was counted so often, but for what was missed.
    #[track_caller]
    pub fn until_count(&mut self, name: &str, count: u64) {
        self.until(|syscount| syscount.row(name).count + syscount.missed() >= count);
    }

    /// It is as often as that, but for what was missed; and nothing is missed unless classic
    /// tracepoints are used (7.2).
    #[track_caller]
    pub fn assert_is(&self, what: &str, figure: u64, truth: u64) {
        let missed = self.missed();
        assert!(
            figure <= truth && figure + missed >= truth,
            "{what}: {figure} for {truth}, {missed} missed"
        );
        if missed > 0 {
            println!("{what}: {figure} for {truth}, {missed} missed");
        }
    }

    /// For one interval more.
    #[track_caller]
    pub fn go_on(&mut self) {
        assert!(self.next(), "syscount ended");
    }

    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        let mut loss = self.last["loss"].as_object().expect("a map").clone();
        if may_miss() {
            loss.remove("missed");
        }
        assert!(loss.is_empty(), "{loss:?}");
    }
}

/// Whether this kernel loses events of raw tracepoints, so that classic ones are used, which it does
/// not show while a map is read on their processor.
fn may_miss() -> bool {
    let output = Command::new(tool("syscount"))
        .args(["-v", "-d", "0.01"])
        .output()
        .expect("syscount runs");
    String::from_utf8_lossy(&output.stderr).contains("by classic tracepoint")
}
