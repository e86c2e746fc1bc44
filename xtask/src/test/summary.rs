//! What happened, for people: a table, then one line.

use std::fmt::Write as _;
use std::time::Duration;

use super::output::{Output, Verdict};
use crate::progress::seconds;

/// A test that said why it could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    pub test: String,
    pub reason: String,
}

/// What came of one test program.
#[derive(Debug)]
pub struct Row {
    name: String,
    pub passed: usize,
    pub failed: usize,
    pub failures: Vec<String>,
    skips: Vec<Skip>,
    elapsed: Duration,
}

#[derive(Debug, Default)]
pub struct Summary {
    rows: Vec<Row>,
}

impl Row {
    pub fn new(name: &str, output: &Output, mut skips: Vec<Skip>, elapsed: Duration) -> Self {
        let failures: Vec<_> = output.names(Verdict::Failed).map(str::to_owned).collect();
        // To the harness a test that skips has passed; one that then fails has failed.
        skips.retain(|skip| !failures.contains(&skip.test));
        let (passed, failed) = match output.totals() {
            Some(totals) => (totals.passed, totals.failed),
            None => (output.names(Verdict::Passed).count(), failures.len()),
        };
        let passed = passed.saturating_sub(skips.len());
        skips.extend(output.names(Verdict::Ignored).map(|test| Skip {
            test: test.to_owned(),
            reason: "ignored in the source".to_owned(),
        }));
        Self {
            name: name.to_owned(),
            passed,
            failed,
            failures,
            skips,
            elapsed,
        }
    }

    pub fn add_failure(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Whether the program says that it failed and no test says so.
    pub fn hides_failure(&self, success: bool) -> bool {
        !success && self.failed == 0
    }

    fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skips.len() == 0
    }
}

impl Summary {
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether not one test ran to a verdict of its own.
    pub fn is_empty(&self) -> bool {
        self.passed() + self.failed() == 0
    }

    pub fn is_good(&self) -> bool {
        !self.is_empty() && self.failed() == 0
    }

    /// The last line of a run.
    pub fn line(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed(),
            self.failed(),
            self.skipped()
        )
    }

    /// Each test program with its counts, then each test that did not pass.
    pub fn table(&self) -> String {
        let rows = || self.rows.iter().filter(|row| !row.is_empty());
        let width = rows().map(|row| row.name.len()).max().unwrap_or(0).max(4);
        let mut table = format!(
            "\n{:width$}  {:>6}  {:>6}  {:>7}  {:>10}\n",
            "test", "passed", "failed", "skipped", "time"
        );
        // Writing to a String cannot fail.
        for row in rows() {
            let _ = writeln!(
                table,
                "{:width$}  {:>6}  {:>6}  {:>7}  {:>10}",
                row.name,
                row.passed,
                row.failed,
                row.skips.len(),
                seconds(row.elapsed)
            );
        }
        for row in rows() {
            for Skip { test, reason } in &row.skips {
                let _ = writeln!(table, "skipped: {}: {test}: {reason}", row.name);
            }
        }
        for row in rows() {
            for failure in &row.failures {
                let _ = writeln!(table, "FAILED: {}: {failure}", row.name);
            }
        }
        table
    }

    fn passed(&self) -> usize {
        self.rows.iter().map(|row| row.passed).sum()
    }

    fn failed(&self) -> usize {
        self.rows.iter().map(|row| row.failed).sum()
    }

    fn skipped(&self) -> usize {
        self.rows.iter().map(|row| row.skips.len()).sum()
    }
}

/// Reads a skip log: a line `name: reason` for each test that skipped. A test that gives several
/// reasons skipped once, for the first.
pub fn skips(log: &str) -> Vec<Skip> {
    let mut skips: Vec<Skip> = Vec::new();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        let (test, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
        if !skips.iter().any(|skip| skip.test == test) {
            skips.push(Skip {
                test: test.to_owned(),
                reason: reason.trim().to_owned(),
            });
        }
    }
    skips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(output: &str, log: &str) -> Row {
        let mut read = Output::default();
        output.lines().for_each(|line| read.read_line(line));
        Row::new("tests: leaks", &read, skips(log), Duration::from_secs(2))
    }

    const OUTPUT: &str = "test a ... ok\ntest m::b ... ok\ntest c ... FAILED\ntest d ... ignored\n\
        test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1s\n";

    #[test]
    fn a_skip_log_gives_each_test_once() {
        let log = "m::b: no musl-gcc\n\nm::b: and no network\nc\n";
        let expected = [("m::b", "no musl-gcc"), ("c", "no reason given")];
        let expected = expected.map(|(test, reason)| Skip {
            test: test.to_owned(),
            reason: reason.to_owned(),
        });
        assert_eq!(skips(log), expected);
    }

    #[test]
    fn a_skipped_test_has_not_passed() {
        let mut summary = Summary::default();
        summary.add(row(OUTPUT, "m::b: no musl-gcc\nc: too late to skip\n"));
        assert_eq!(summary.line(), "1 passed, 1 failed, 2 skipped");
        assert!(!summary.is_good());
        let table = summary.table();
        assert!(table.contains("skipped: tests: leaks: m::b: no musl-gcc\n"));
        assert!(table.contains("skipped: tests: leaks: d: ignored in the source\n"));
        assert!(table.contains("FAILED: tests: leaks: c\n"));
    }

    #[test]
    fn nothing_run_is_not_good() {
        let mut summary = Summary::default();
        assert!(!summary.is_good());
        summary.add(row(
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured",
            "",
        ));
        assert!(!summary.is_good());
        assert_eq!(summary.table().lines().count(), 2);
        summary.add(row("test a ... ok", ""));
        assert!(summary.is_good());
        assert_eq!(summary.line(), "1 passed, 0 failed, 0 skipped");
    }
}
