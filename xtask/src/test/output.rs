//! Reading what a test program prints.

/// What the test harness says of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Ignored,
}

/// Everything read from one test program, or from several in a row.
#[derive(Debug, Default)]
pub struct Output {
    tests: Vec<(String, Verdict)>,
    totals: Totals,
    finished: bool,
}

/// The harness's own count, which is right also where a test's output has torn its line apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
}

impl Output {
    pub fn read_line(&mut self, line: &str) {
        if let Some((test, verdict)) = test_line(line) {
            self.tests.push((test.to_owned(), verdict));
        } else if let Some(totals) = result_line(line) {
            self.totals.passed += totals.passed;
            self.totals.failed += totals.failed;
            self.totals.ignored += totals.ignored;
            self.finished = true;
        }
    }

    /// The totals, if the program lived to print them.
    pub fn totals(&self) -> Option<Totals> {
        self.finished.then_some(self.totals)
    }

    /// The names of the tests with this verdict, as far as their lines could be read.
    pub fn names(&self, verdict: Verdict) -> impl Iterator<Item = &str> {
        self.tests
            .iter()
            .filter(move |(_, own)| *own == verdict)
            .map(|(name, _)| name.as_str())
    }
}

/// `test NAME ... ok`, also with a note after the name or the verdict.
fn test_line(line: &str) -> Option<(&str, Verdict)> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let verdict = match verdict.split([' ', ',']).next()? {
        "ok" => Verdict::Passed,
        "FAILED" => Verdict::Failed,
        "ignored" => Verdict::Ignored,
        _ => return None,
    };
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some((name, verdict))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; …`
fn result_line(line: &str) -> Option<Totals> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split("; ").find_map(|part| {
            let (number, label) = part.split_once(' ')?;
            (label == what).then(|| number.parse().ok())?
        })
    };
    Some(Totals {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 6 tests
test model::sorts ... ok
test attach::finds ... FAILED
test slow ... ignored
test later ... ignored, needs a printer
test strict - should panic ... ok
test torn ... hello from a child process
ok

failures:

---- attach::finds stdout ----
test of something ... else

test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.00s
";

    fn read(text: &str) -> Output {
        let mut output = Output::default();
        text.lines().for_each(|line| output.read_line(line));
        output
    }

    #[test]
    fn verdicts_are_read_by_name() {
        let output = read(OUTPUT);
        let names = |verdict| output.names(verdict).collect::<Vec<_>>();
        assert_eq!(names(Verdict::Passed), ["model::sorts", "strict"]);
        assert_eq!(names(Verdict::Failed), ["attach::finds"]);
        assert_eq!(names(Verdict::Ignored), ["slow", "later"]);
    }

    #[test]
    fn the_harness_counts_what_was_torn() {
        let totals = Totals {
            passed: 3,
            failed: 1,
            ignored: 2,
        };
        assert_eq!(read(OUTPUT).totals(), Some(totals));
        let twice = read(&OUTPUT.repeat(2)).totals().unwrap();
        assert_eq!(twice.passed, 6);
    }

    #[test]
    fn a_program_that_died_has_no_totals() {
        assert_eq!(read("running 2 tests\ntest a ... ok\n").totals(), None);
    }

    #[test]
    fn doc_tests_have_lines_of_their_own() {
        let line = "test shared/src/maps.rs - maps::read (line 3) - compile ... ok";
        assert_eq!(
            test_line(line),
            Some((
                "shared/src/maps.rs - maps::read (line 3) - compile",
                Verdict::Passed
            ))
        );
    }
}
