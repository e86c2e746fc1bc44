//! What all command lines share: exit codes, signals, and a standard output that may close.

pub mod values;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;
use signal_hook::low_level::siginfo::Cause;

/// A failure of the system: one line says the cause and the remedy.
pub const EXIT_FAILURE: u8 = 1;
/// Bad input: arguments that do not fit, or a target that cannot be one.
pub const EXIT_USAGE: u8 = 2;
/// More was leaked than `--fail-above` allows: LeakSanitizer's default exit code.
pub const EXIT_LEAK: u8 = 23;
/// The command cannot be executed, as shells and env(1) have it.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The command was not found, likewise.
pub const EXIT_NOT_FOUND: u8 = 127;

/// An error that knows its exit code, because it is the user's input that has to change.
#[derive(Debug)]
pub struct UserError {
    message: String,
    code: u8,
}

impl UserError {
    /// Bad input: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::with_code(message, EXIT_USAGE)
    }

    /// An error with an exit code of its own.
    pub fn with_code(message: impl Into<String>, code: u8) -> Self {
        Self {
            message: message.into(),
            code,
        }
    }

    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UserError {}

/// Prints `TOOL: error: …` on one line of standard error and returns the code to exit with.
pub fn report_error(tool: &str, message: &str, code: u8) -> ExitCode {
    note(&format!("{tool}: error: {}", one_line(message)));
    ExitCode::from(code)
}

/// Prints a line on standard error; one that is closed is no reason to fail.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{}", crate::output::clean(line));
}

/// Reads the command line of a tool; the error is what to exit with, after a page that was asked for or
/// a line that says what is wrong.
pub fn parse<C: clap::Parser>(tool: &str) -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        if error.use_stderr() {
            return report_error(tool, &usage_line(tool, &error), EXIT_USAGE);
        }
        let _ = print(&error.render().to_string());
        ExitCode::SUCCESS
    })
}

/// What is wrong with a command line, on one line.
pub fn usage_line(tool: &str, error: &clap::Error) -> String {
    let text = error.render().to_string();
    // clap's first paragraph says what is wrong, its second is a hint.
    let line = one_line(text.split("\n\n").next().unwrap_or(&text));
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line} (see {tool} --help)")
}

fn one_line(message: &str) -> String {
    let parts: Vec<_> = message.lines().map(str::trim).collect();
    parts.join(" ").trim_end().to_owned()
}

/// When the next report is due after the one of `due`. After a pause, as when the tool was stopped,
/// that is a whole step from now: a report of a few milliseconds says nothing.
pub fn next_report(due: Instant, step: Duration) -> Instant {
    let now = Instant::now();
    let next = due + step;
    if next > now { next } else { now + step }
}

/// Whether the reader of standard output is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reader {
    /// It read on.
    There,
    /// It closed the pipe: end quietly, there is nobody to tell.
    Gone,
}

/// Whether a person sits at both ends: standard input and output are terminals.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Writes a whole report to standard output at once.
pub fn print(text: &str) -> io::Result<Reader> {
    write_at_once(&mut io::stdout().lock(), text)
}

fn write_at_once(out: &mut impl Write, text: &str) -> io::Result<Reader> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Where reports go.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, and its name; it is emptied by the first report.
    File {
        /// Open for writing.
        file: File,
        /// As it was given.
        path: PathBuf,
        /// Whether what was in it before is gone.
        is_ours: bool,
    },
}

impl Output {
    /// Standard output, or a file that is made if it is not there.
    pub fn open(path: Option<&Path>) -> Result<Self, UserError> {
        let Some(path) = path else {
            return Ok(Self::Stdout);
        };
        // What is in it stays until there is something to put in its place.
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let file = options.open(path).map_err(|error| {
            UserError::usage(format!("cannot write to {}: {error}", path.display()))
        })?;
        Ok(Self::File {
            file,
            path: path.to_owned(),
            is_ours: false,
        })
    }

    /// Writes a whole report at once.
    pub fn print(&mut self, text: &str) -> io::Result<Reader> {
        match self {
            Self::Stdout => print(text),
            Self::File {
                file,
                path,
                is_ours,
            } => {
                if !std::mem::replace(is_ours, true) && file.metadata().is_ok_and(|m| m.is_file()) {
                    file.set_len(0)?;
                }
                write_at_once(file, text).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })
            }
        }
    }
}

/// A signal that asks this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndSignal {
    /// SIGINT, SIGTERM or SIGHUP.
    pub number: i32,
    /// The kernel sent it, for a terminal (Ctrl-C), and not another process with kill(2): the
    /// whole foreground group has got it.
    pub is_from_terminal: bool,
}

impl EndSignal {
    pub(crate) fn of(origin: &Origin) -> Self {
        Self {
            number: origin.signal,
            is_from_terminal: matches!(origin.cause, Cause::Kernel),
        }
    }
}

/// Calls `on_signal` from a thread of its own for each SIGINT, SIGTERM and SIGHUP from now on.
/// SIGHUP stays ignored where it is (nohup).
pub fn watch_signals(mut on_signal: impl FnMut(EndSignal) + Send + 'static) -> io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM])?;
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for origin in signals.forever() {
                on_signal(EndSignal::of(&origin));
            }
        })?;
    Ok(())
}

/// Whether nothing comes of a signal.
pub(crate) fn is_ignored(signal: i32) -> bool {
    present_action(signal) == Some(libc::SIG_IGN)
}

/// Whether nobody has asked for a signal.
pub(crate) fn is_default(signal: i32) -> bool {
    present_action(signal) == Some(libc::SIG_DFL)
}

fn present_action(signal: i32) -> Option<libc::sighandler_t> {
    // SAFETY: only asks for the present action, into our own variable.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let outcome = libc::sigaction(signal, std::ptr::null(), &raw mut action);
        (outcome == 0).then_some(action.sa_sigaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_there_is_a_whole_step() {
        let step = Duration::from_secs(100);
        let now = Instant::now();
        assert_eq!(next_report(now, step), now + step);
        let late = now.checked_sub(Duration::from_secs(500)).unwrap();
        let next = next_report(late, step);
        assert!(next >= now + step);
    }

    #[test]
    fn errors_take_one_line() {
        assert_eq!(one_line("a\n  b\n"), "a b");
    }
}
