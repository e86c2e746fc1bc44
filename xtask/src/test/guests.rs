//! Running the end-to-end tests inside virtual machines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::binaries::{Built, TestBinary};
use super::framed::{Frames, Ran};
use super::places;
use super::summary::{Row, Skip, Summary};
use crate::process::Pieces;
use crate::progress::{complain, say, seconds};
use crate::vm::guest::{End, Guest, Outcome, Stream};
use crate::vm::kernels::Kernel;
use crate::vm::tree::Tree;
use crate::vm::{self, Fetched, Machine, console, image};
use crate::workspace::Workspace;

/// For one test program. The slowest needs a fraction of it.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// When the machine has not even ended the test program, it hangs itself.
const SILENCE: Duration = Duration::from_secs(12 * 60);

/// For all of them, with a machine that is as slow as it may be.
const GUEST_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Runs one program after the other and frames what each says.
const SCRIPT: &str = include_str!("guest.sh");

pub struct Guests<'a> {
    workspace: &'a Workspace,
    built: &'a Built,
    arguments: Vec<&'a str>,
    /// All end-to-end tests, and not only those to which the kernel can make a difference.
    everything: bool,
    machine: Machine,
    tree: Tree,
}

impl<'a> Guests<'a> {
    pub fn new(
        workspace: &'a Workspace,
        built: &'a Built,
        arguments: Vec<&'a str>,
        everything: bool,
    ) -> Result<Self> {
        Ok(Self {
            workspace,
            built,
            arguments,
            everything,
            machine: Machine::default(),
            tree: image::tree(workspace, built)?,
        })
    }

    /// Runs the end-to-end tests on this kernel. Where that cannot be had, all are skipped.
    pub fn run(
        &mut self,
        kernel: &Kernel,
        fetched: Result<Fetched>,
        summary: &mut Summary,
    ) -> Result<()> {
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                skip_all(self.built, kernel, &format!("{error:#}"), summary);
                return Ok(());
            }
        };
        let built = self.built;
        let mut left: Vec<&TestBinary> = end_to_end(built)
            .filter(|program| self.everything || places::runs_in(program, kernel))
            .collect();
        self.machine.turns = false;
        let mut attempt = 0;
        while !left.is_empty() {
            attempt += 1;
            let name = match attempt {
                1 => format!("test-{}", kernel.name),
                _ => format!("test-{}-{attempt}", kernel.name),
            };
            say(format_args!(
                "\n=== {} (Linux {})",
                kernel.name, fetched.version
            ));
            let (frames, outcome) = self.boot(kernel, &fetched.image, &name, &left)?;
            let (mut rows, mut begun) = rows(kernel, &left, frames, &outcome);
            if !self.machine.turns && is_emulators_fault(&outcome) {
                // It cannot happen again where one processor runs at a time.
                self.machine.turns = true;
                begun -= 1;
                rows.truncate(begun);
                summary.note(format!(
                    "{}: {} and what follows run again, one processor at a time: the emulator executed code that was no longer there, or fell silent without a word",
                    kernel.name, left[begun].name
                ));
            } else {
                self.account(kernel, &name, &outcome, summary)?;
            }
            for row in rows {
                summary.add(row);
            }
            // What comes after a program that took the machine down gets a machine of its own.
            left.drain(..begun);
        }
        Ok(())
    }

    fn boot(
        &mut self,
        kernel: &Kernel,
        image: &Path,
        name: &str,
        programs: &[&TestBinary],
    ) -> Result<(Frames, Outcome)> {
        let script = self.script(kernel, programs);
        image::set_command(&mut self.tree, self.workspace, self.built, &script);
        let initramfs = vm::directory(self.workspace)?.join(format!("{name}.cpio"));
        self.tree.write(&initramfs)?;
        let guest = Guest {
            kernel,
            image,
            initramfs: &initramfs,
            machine: &self.machine,
            deadline: Some(GUEST_DEADLINE),
            silence: Some(SILENCE),
            log: vm::log(self.workspace, name)?,
            terminal: false,
        };
        let mut frames = Frames::new(programs.iter().map(|program| program.name.as_str()));
        let mut errors = Pieces::default();
        let outcome = guest.run(|stream, bytes| match stream {
            Stream::Output => frames.take(bytes, Instant::now(), |line| {
                say(format_args!("{:>9} | {line}", kernel.name));
            }),
            Stream::Errors => errors.take(bytes).iter().for_each(|line| {
                complain(&format!("{:>9} | {line}", kernel.name));
            }),
        })?;
        // Everything is read by now, and nobody will ask for it again.
        let _ = std::fs::remove_file(&initramfs);
        Ok((frames, outcome))
    }

    fn script(&self, kernel: &Kernel, programs: &[&TestBinary]) -> String {
        let mut script = format!(
            "export MEMTOOLS_KERNEL={}\nDEADLINE={}\n{SCRIPT}",
            kernel.name,
            PROGRAM_DEADLINE.as_secs()
        );
        for (index, program) in programs.iter().enumerate() {
            let words = [
                index.to_string(),
                program.directory.to_string_lossy().into_owned(),
                program.program.to_string_lossy().into_owned(),
            ];
            let mut words = words.to_vec();
            words.extend(self.arguments.iter().map(|&word| word.to_owned()));
            if !self
                .arguments
                .iter()
                .any(|word| word.contains("--test-threads"))
            {
                words.push(format!("--test-threads={}", threads(kernel, &self.machine)));
            }
            // Writing to a String cannot fail.
            let _ = writeln!(script, "program {}", image::shell_words(&words));
        }
        script
    }

    /// What the machine itself has to say for itself.
    fn account(
        &self,
        kernel: &Kernel,
        name: &str,
        outcome: &Outcome,
        summary: &mut Summary,
    ) -> Result<()> {
        if let Some(ready) = outcome.ready_after {
            let ready = seconds(ready);
            say(format_args!("{:>9} | init came up in {ready}", kernel.name));
        }
        if outcome.boots > 1 {
            summary.note(format!("{}: booted {} times", kernel.name, outcome.boots));
        }
        if let Some(trouble) = &outcome.trouble {
            say(trouble);
            let log = vm::log(self.workspace, name)?;
            let log: PathBuf = self.workspace.relative(&log).to_path_buf();
            let first = trouble.lines().take(2).collect::<Vec<_>>().join(" ");
            summary.add(Row::broken(
                kernel.name,
                "kernel log",
                format!("{first}: see {}", log.display()),
            ));
        }
        Ok(())
    }
}

/// Attaching and detaching is mostly waiting, on 6.1 three quarters of the time. Where preemption is
/// the matter, still more threads compete for the processors.
fn threads(kernel: &Kernel, machine: &Machine) -> u32 {
    machine.cpus * if kernel.append.is_empty() { 2 } else { 3 }
}

pub fn end_to_end(built: &Built) -> impl Iterator<Item = &TestBinary> {
    built.binaries.iter().filter(|binary| binary.needs_root)
}

/// A row for each program whose tests cannot run on this kernel.
pub fn skip_all(built: &Built, kernel: &Kernel, reason: &str, summary: &mut Summary) {
    say(format_args!("\n=== {}: skipped: {reason}", kernel.name));
    for program in end_to_end(built) {
        let skip = Skip {
            test: "all its tests".to_owned(),
            reason: reason.to_owned(),
        };
        summary.add(Row::skipped(kernel.name, &program.name, skip));
    }
}

/// The rows of the programs that have run, and how many programs those are.
fn rows(
    kernel: &Kernel,
    programs: &[&TestBinary],
    frames: Frames,
    outcome: &Outcome,
) -> (Vec<Row>, usize) {
    let ran: Vec<Ran> = frames.finish(Instant::now());
    let begun = match outcome.end {
        // The script has had its way to the end, or nothing will ever run.
        End::Exited(_) | End::NeverReady => programs.len(),
        End::Late | End::Died => ran.len().max(1),
    };
    let mut rows: Vec<Row> = ran
        .iter()
        .map(|ran| ran.row(kernel.name, PROGRAM_DEADLINE, how(outcome.end)))
        .collect();
    for program in programs.iter().take(begun).skip(rows.len()) {
        let what = format!("it did not run: {}", how(outcome.end));
        rows.push(Row::broken(kernel.name, &program.name, what));
    }
    (rows, begun)
}

/// Whether the machine died of something that no processor does. Where that comes over it in the timer's
/// interrupt, which is probed too, no watchdog is left to say so: it falls silent.
fn is_emulators_fault(outcome: &Outcome) -> bool {
    match (outcome.end, outcome.trouble.as_deref()) {
        (End::Died | End::Late, Some(trouble)) => console::is_stale_code(trouble),
        (End::Late, None) => true,
        _ => false,
    }
}

fn how(end: End) -> &'static str {
    match end {
        End::Exited(_) => "the machine went on without it",
        End::Late => "the machine did not end in time",
        End::Died => "the machine died",
        End::NeverReady => "the machine never came to its init",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::kernels::KERNELS;

    fn binary(name: &str) -> TestBinary {
        TestBinary {
            name: name.to_owned(),
            program: PathBuf::from("/p"),
            directory: PathBuf::from("/d"),
            needs_root: true,
        }
    }

    fn rows_of(stream: &str, end: End) -> (Vec<usize>, usize) {
        let programs = [binary("a"), binary("b"), binary("c")];
        let programs: Vec<&TestBinary> = programs.iter().collect();
        let mut frames = Frames::new(programs.iter().map(|program| program.name.as_str()));
        frames.take(stream.as_bytes(), Instant::now(), |_| {});
        let outcome = Outcome {
            end,
            boots: 1,
            ready_after: None,
            trouble: None,
        };
        let (rows, begun) = rows(&KERNELS[0], &programs, frames, &outcome);
        (rows.iter().map(|row| row.failed).collect(), begun)
    }

    const GOOD: &str = "test x ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";

    #[test]
    fn what_comes_after_a_death_is_left() {
        let stream = format!("\x1eprogram 0\n{GOOD}\x1eend 0\n\x1eprogram 1\n");
        assert_eq!(rows_of(&stream, End::Died), (vec![0, 1], 2));
        assert_eq!(rows_of("", End::Died), (vec![1], 1));
        assert_eq!(rows_of(&stream, End::Late), (vec![0, 1], 2));
    }

    #[test]
    fn no_program_is_forgotten() {
        assert_eq!(rows_of("", End::NeverReady), (vec![1, 1, 1], 3));
        let stream = format!("\x1eprogram 0\n{GOOD}\x1eend 0\n");
        assert_eq!(rows_of(&stream, End::Exited(0)), (vec![0, 1, 1], 3));
    }
}
