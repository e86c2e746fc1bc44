//! The output of several test programs in one stream, as guest.sh frames it.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::output::Output;
use super::summary::{Row, skips};
use crate::process::Pieces;

/// ASCII's record separator, in front of what is not the programs' own.
const MARK: char = '\x1e';

/// 128 and SIGKILL.
const KILLED: i32 = 137;

/// Reads the stream as it arrives.
pub struct Frames {
    names: Vec<String>,
    pieces: Pieces,
    programs: Vec<Ran>,
}

/// One test program that was begun.
pub struct Ran {
    name: String,
    output: Output,
    skip_log: String,
    begin: Instant,
    elapsed: Duration,
    /// As a shell gives it. Nothing if the program's end was not seen.
    status: Option<i32>,
}

impl Frames {
    /// The programs' names, by their numbers.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self {
            names: names.map(str::to_owned).collect(),
            pieces: Pieces::default(),
            programs: Vec::new(),
        }
    }

    /// Hands over each line that is not a frame's.
    pub fn take(&mut self, bytes: &[u8], now: Instant, mut show: impl FnMut(&str)) {
        for line in self.pieces.take(bytes) {
            self.line(&line, now, &mut show);
        }
    }

    /// All programs that were begun.
    pub fn finish(mut self, now: Instant) -> Vec<Ran> {
        if let Some(last) = self.programs.last_mut()
            && last.status.is_none()
        {
            last.elapsed = now.duration_since(last.begin);
        }
        self.programs
    }

    fn line(&mut self, line: &str, now: Instant, show: &mut impl FnMut(&str)) {
        // A program need not end its last line.
        let (own, frame) = match line.split_once(MARK) {
            Some((own, frame)) => (own, Some(frame)),
            None => (line, None),
        };
        if frame.is_none() || !own.is_empty() {
            show(own);
            if let Some(program) = self.programs.last_mut() {
                program.output.read_line(own);
            }
        }
        if let Some(frame) = frame {
            self.frame(frame, now, show);
        }
    }

    fn frame(&mut self, frame: &str, now: Instant, show: &mut impl FnMut(&str)) {
        let (what, rest) = frame.split_once(' ').unwrap_or((frame, ""));
        if what == "program" {
            let number: Option<usize> = rest.parse().ok();
            let name = number.and_then(|number| self.names.get(number));
            let name = name.map_or(rest, String::as_str).to_owned();
            show(&format!("\n--- {name}"));
            self.programs.push(Ran::begin(name, now));
        } else if let Some(program) = self.programs.last_mut() {
            match what {
                "skip" => {
                    program.skip_log.push_str(rest);
                    program.skip_log.push('\n');
                }
                "end" => {
                    program.status = rest.parse().ok();
                    program.elapsed = now.duration_since(program.begin);
                }
                _ => {}
            }
        }
    }
}

impl Ran {
    fn begin(name: String, now: Instant) -> Self {
        Self {
            name,
            output: Output::default(),
            skip_log: String::new(),
            begin: now,
            elapsed: Duration::ZERO,
            status: None,
        }
    }

    /// What came of it. `without_end` says why its end may not have been seen.
    pub fn row(&self, place: &str, deadline: Duration, without_end: &str) -> Row {
        let mut row = Row::new(
            place,
            &self.name,
            &self.output,
            skips(&self.skip_log),
            self.elapsed,
        );
        match self.status {
            None => row.add_failure(format!("the test program was cut off: {without_end}")),
            Some(KILLED) if self.elapsed >= deadline => row.add_failure(format!(
                "it did not end in {} minutes: ended",
                deadline.as_secs() / 60
            )),
            Some(status) if self.output.totals().is_none() || row.hides_failure(status == 0) => {
                row.add_failure(format!("the test program ended early ({})", shown(status)));
            }
            Some(_) => {}
        }
        row
    }
}

/// A shell's exit status as the standard library shows it.
fn shown(status: i32) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    if status > 128 {
        ExitStatus::from_raw(status - 128)
    } else {
        ExitStatus::from_raw(status << 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";

    fn read(stream: &str) -> (Vec<Ran>, Vec<String>) {
        let now = Instant::now();
        let mut frames = Frames::new(["tests: a", "tests: b"].into_iter());
        let mut shown = Vec::new();
        // In pieces, as a serial port gives it.
        for piece in stream.as_bytes().chunks(7) {
            frames.take(piece, now, |line| shown.push(line.to_owned()));
        }
        (frames.finish(now), shown)
    }

    #[test]
    fn each_program_has_its_own_output() {
        let (ran, shown) = read(&format!(
            "\x1eprogram 0\ntest x ... ok\n{RESULT}\n\x1eskip x: no y\n\x1eend 0\n\
             \x1eprogram 1\ntest z ... ok\n{RESULT}\x1eend 0\n"
        ));
        let rows: Vec<_> = ran
            .iter()
            .map(|ran| ran.row("5.10", DEADLINE, ""))
            .collect();
        assert_eq!((rows[0].passed, rows[0].failed), (0, 0));
        assert_eq!((rows[1].passed, rows[1].failed), (1, 0));
        assert!(shown.contains(&"\n--- tests: b".to_owned()), "{shown:?}");
        assert!(!shown.iter().any(|line| line.contains(MARK)), "{shown:?}");
    }

    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_without_an_end_has_failed() {
        let (ran, _) = read("\x1eprogram 1\ntest x ... ok\n");
        let row = ran[0].row("5.10", DEADLINE, "the machine died");
        assert_eq!((row.passed, row.failed), (1, 1));
        assert!(row.failures[0].contains("the machine died"));
    }

    #[test]
    fn a_program_that_dies_has_failed() {
        let (ran, _) = read("\x1eprogram 0\n\x1eend 139\n");
        let row = ran[0].row("5.10", DEADLINE, "");
        assert!(row.failures[0].contains("signal: 11"), "{:?}", row.failures);
    }
}
