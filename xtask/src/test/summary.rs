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

/// What came of one test program in one place.
#[derive(Clone, Debug)]
pub struct Row {
    /// The kernel's name, or [`HOST`].
    place: String,
    name: String,
    pub passed: usize,
    pub failed: usize,
    pub failures: Vec<String>,
    skips: Vec<Skip>,
    elapsed: Duration,
}

/// This machine's own kernel.
pub const HOST: &str = "host";

#[derive(Clone, Debug, Default)]
pub struct Summary {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Row {
    pub fn new(
        place: &str,
        name: &str,
        output: &Output,
        mut skips: Vec<Skip>,
        elapsed: Duration,
    ) -> Self {
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
            place: place.to_owned(),
            name: name.to_owned(),
            passed,
            failed,
            failures,
            skips,
            elapsed,
        }
    }

    /// A test program that did not come to run.
    pub fn skipped(place: &str, name: &str, skip: Skip) -> Self {
        let nothing = Output::default();
        Self::new(place, name, &nothing, vec![skip], Duration::ZERO)
    }

    /// Something that failed outside of every test.
    pub fn broken(place: &str, name: &str, what: String) -> Self {
        let mut row = Self::new(place, name, &Output::default(), Vec::new(), Duration::ZERO);
        row.add_failure(what);
        row
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

    fn skip_lines(&self) -> Vec<String> {
        let line = |skip: &Skip| format!("{}: {}: {}", self.name, skip.test, skip.reason);
        self.skips.iter().map(line).collect()
    }

    fn failure_lines(&self) -> Vec<String> {
        let line = |failure: &String| format!("{}: {failure}", self.name);
        self.failures.iter().map(line).collect()
    }
}

impl Summary {
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds another one's rows and notes.
    pub fn absorb(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
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

    /// Something to know about the run that is no test's result.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Each test program with its counts in each place, then each test that did not pass.
    pub fn table(&self) -> String {
        let mut table = String::from("\npassed/failed/skipped and time\n");
        let mut lines = Grid::default();
        lines.row("test", self.places().into_iter().map(str::to_owned));
        for name in self.names() {
            let cells = self
                .places()
                .into_iter()
                .map(|place| self.cell(name, place));
            lines.row(name, cells);
        }
        lines.row(
            "time",
            self.places().into_iter().map(|place| self.time(place)),
        );
        table.push_str(&lines.shown());
        // Writing to a String cannot fail.
        for note in &self.notes {
            let _ = writeln!(table, "note: {note}");
        }
        for (what, places) in self.merged(Row::skip_lines) {
            let _ = writeln!(table, "skipped: {what} ({places})");
        }
        for (what, places) in self.merged(Row::failure_lines) {
            let _ = writeln!(table, "FAILED: {what} ({places})");
        }
        table
    }

    /// The lines of all rows, each once with the places that have it.
    fn merged(&self, lines: impl Fn(&Row) -> Vec<String>) -> Vec<(String, String)> {
        let mut merged: Vec<(String, String)> = Vec::new();
        for row in &self.rows {
            for line in lines(row) {
                match merged.iter_mut().find(|(known, _)| *known == line) {
                    Some((_, places)) => {
                        places.push_str(", ");
                        places.push_str(&row.place);
                    }
                    None => merged.push((line, row.place.clone())),
                }
            }
        }
        merged
    }

    fn places(&self) -> Vec<&str> {
        once_each(self.rows.iter().map(|row| row.place.as_str()))
    }

    fn names(&self) -> Vec<&str> {
        let rows = self.rows.iter().filter(|row| !row.is_empty());
        once_each(rows.map(|row| row.name.as_str()))
    }

    fn cell(&self, name: &str, place: &str) -> String {
        let here = |row: &&Row| row.name == name && row.place == place;
        let mut rows = self.rows.iter().filter(here).peekable();
        if rows.peek().is_none() {
            return "-".to_owned();
        }
        let (mut counts, mut elapsed) = ([0; 3], Duration::ZERO);
        for row in rows {
            counts[0] += row.passed;
            counts[1] += row.failed;
            counts[2] += row.skips.len();
            elapsed += row.elapsed;
        }
        let [passed, failed, skipped] = counts;
        format!("{passed}/{failed}/{skipped} {:>4}s", elapsed.as_secs())
    }

    fn time(&self, place: &str) -> String {
        let rows = self.rows.iter().filter(|row| row.place == place);
        seconds(rows.map(|row| row.elapsed).sum())
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

/// Lines of cells, in columns.
#[derive(Default)]
struct Grid {
    lines: Vec<Vec<String>>,
}

impl Grid {
    fn row(&mut self, head: &str, cells: impl Iterator<Item = String>) {
        self.lines
            .push(std::iter::once(head.to_owned()).chain(cells).collect());
    }

    fn shown(&self) -> String {
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(String::len).max().unwrap_or(0)
        };
        let mut shown = String::new();
        for line in &self.lines {
            for (column, cell) in line.iter().enumerate() {
                let width = width(column);
                // Writing to a String cannot fail.
                let _ = match column {
                    0 => write!(shown, "{cell:width$}"),
                    _ => write!(shown, "  {cell:>width$}"),
                };
            }
            shown.push('\n');
        }
        shown
    }
}

fn once_each<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut once = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
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
        row_in(HOST, output, log)
    }

    fn row_in(place: &str, output: &str, log: &str) -> Row {
        let mut read = Output::default();
        output.lines().for_each(|line| read.read_line(line));
        let elapsed = Duration::from_secs(2);
        Row::new(place, "tests: leaks", &read, skips(log), elapsed)
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
        assert!(table.contains("skipped: tests: leaks: m::b: no musl-gcc (host)\n"));
        assert!(table.contains("skipped: tests: leaks: d: ignored in the source (host)\n"));
        assert!(table.contains("FAILED: tests: leaks: c (host)\n"));
    }

    #[test]
    fn places_stand_side_by_side() {
        let mut summary = Summary::default();
        for place in [HOST, "5.10"] {
            summary.add(row_in(place, OUTPUT, "a: no b\n"));
        }
        let why = "no network".to_owned();
        let test = "all its tests".to_owned();
        let skip = Skip { test, reason: why };
        summary.add(Row::skipped("6.1", "tests: leaks", skip));
        summary.note("5.10: booted 2 times".to_owned());
        assert_eq!(
            summary.table(),
            "\npassed/failed/skipped and time\n\
             test                 host         5.10          6.1\n\
             tests: leaks  1/1/2    2s  1/1/2    2s  0/0/1    0s\n\
             time                2.0 s        2.0 s        0.0 s\n\
             note: 5.10: booted 2 times\n\
             skipped: tests: leaks: a: no b (host, 5.10)\n\
             skipped: tests: leaks: d: ignored in the source (host, 5.10)\n\
             skipped: tests: leaks: all its tests: no network (6.1)\n\
             FAILED: tests: leaks: c (host, 5.10)\n"
        );
        assert_eq!(summary.line(), "2 passed, 2 failed, 5 skipped");
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
        assert_eq!(summary.table().lines().count(), 4);
        summary.add(row("test a ... ok", ""));
        assert!(summary.is_good());
        assert_eq!(summary.line(), "1 passed, 0 failed, 0 skipped");
    }
}
