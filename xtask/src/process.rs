//! Running other programs: shown as a user would type them, failing with one clear line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::say;

/// Runs a command with this terminal as its own and fails when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    say(format_args!("      $ {}", show(command)));
    let status = command.status().with_context(|| cannot_run(command))?;
    check(command, status)
}

/// Like [`run`], but returns what the command prints on standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_run(command))?;
    check(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the command succeeds when nobody listens; the error is its first line of complaint.
/// `input` becomes its standard input.
pub fn try_quietly(command: &mut Command, input: &str) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "not found".to_owned(),
            _ => error.to_string(),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading closes the pipe; its exit status says the rest.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(complaint
        .lines()
        .find(|line| !line.trim().is_empty())
        .map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
}

/// Hands over each line of a stream as it arrives, without its line end.
pub fn each_line(stream: impl Read, mut use_line: impl FnMut(&str)) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("read output")? > 0 {
        use_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    Ok(())
}

/// Puts lines together again that arrive in pieces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    torn: Vec<u8>,
}

impl Pieces {
    /// The lines that are whole now, without their ends.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.torn.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.torn.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.torn.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            lines.push(line.trim_end_matches(['\n', '\r']).to_owned());
        }
        lines
    }
}

/// Where `program` is on the search path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

/// The command line as one would type it in a shell.
pub fn show(command: &Command) -> String {
    let program = command.get_program();
    // Cargo is called by its full path, which tells a reader nothing.
    let shown = match Path::new(program).file_name() {
        Some(name) if name == "cargo" => name,
        _ => program,
    };
    std::iter::once(shown)
        .chain(command.get_args())
        .map(quote)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Turns an exit status into an error that names the command.
pub fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed ({status})", show(command));
    }
    Ok(())
}

/// The context of an error from starting a command.
pub fn cannot_run(command: &Command) -> String {
    format!("run `{}`", show(command))
}

/// A word as a shell reads it.
pub fn quote(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("cc");
        command.args(["-o", "a b", "it's", "", "-std=c++20"]);
        assert_eq!(show(&command), r"cc -o 'a b' 'it'\''s' '' -std=c++20");
        assert_eq!(show(Command::new("/x/bin/cargo").arg("fmt")), "cargo fmt");
    }

    #[test]
    fn a_quiet_failure_keeps_its_first_complaint() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat >/dev/null; echo >&2; echo broken >&2; exit 3"]);
        assert_eq!(try_quietly(&mut command, "x"), Err("broken".to_owned()));
        let mut missing = Command::new("no-such-program-anywhere");
        assert_eq!(try_quietly(&mut missing, ""), Err("not found".to_owned()));
    }

    #[test]
    fn pieces_become_lines() {
        let mut pieces = Pieces::default();
        assert!(pieces.take(b"on").is_empty());
        assert_eq!(pieces.take(b"e\r\ntwo\nthr"), ["one", "two"]);
        assert_eq!(pieces.take(b"ee\n"), ["three"]);
    }

    #[test]
    fn lines_arrive_whole() {
        let mut lines = Vec::new();
        each_line(&b"one\r\ntwo\n\nlast"[..], |line| {
            lines.push(line.to_owned());
        })
        .unwrap();
        assert_eq!(lines, ["one", "two", "", "last"]);
    }
}
