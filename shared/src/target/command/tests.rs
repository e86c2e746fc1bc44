use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::listing::{is_of_root, listing_within, parse_listing, system_linker};
use super::*;

fn program(words: &[&str]) -> Result<Program, CommandError> {
    Program::find(&words.iter().map(OsString::from).collect::<Vec<_>>())
}

#[test]
fn commands_are_found_as_by_a_shell() {
    assert!(program(&["sh"]).unwrap().path.is_absolute());
    assert!(matches!(
        program(&["no-such-command-here"]),
        Err(CommandError::NotFound(_))
    ));
    assert!(matches!(
        program(&["/"]),
        Err(CommandError::NotExecutable(..))
    ));
    assert!(matches!(
        program(&["/etc/passwd"]),
        Err(CommandError::NotExecutable(..))
    ));
    assert!(matches!(program(&[""]), Err(CommandError::NotFound(_))));
}

#[test]
fn a_script_runs_its_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, "#!/usr/bin/env -S sh -e\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = program(&[path.to_str().unwrap()]).unwrap();
    assert_eq!(script.path, path);
    assert_eq!(script.image, program(&["sh"]).unwrap().image);
}

#[test]
fn the_listing_of_the_dynamic_linker_is_read() {
    let listing = b"\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/a b/libc.so.6 (0x7f00)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f01)\n\tlibx.so => not found\n";
    let expected: Vec<PathBuf> = vec![
        "/lib/a b/libc.so.6".into(),
        "/lib64/ld-linux-x86-64.so.2".into(),
    ];
    assert_eq!(parse_listing(listing), expected);
}

#[test]
fn a_child_waits_at_its_gate_and_passes_its_status_on() {
    let shell = program(&["sh", "-c", "exit 7"]).unwrap();
    let mut child = Child::prepare(&shell, None).unwrap();
    child.release().unwrap();
    assert_eq!(child.wait().unwrap(), Ending::Exited(7));
}

#[test]
fn a_child_whose_gate_closes_runs_nothing() {
    let shell = program(&["sh", "-c", "exit 7"]).unwrap();
    let mut child = Child::prepare(&shell, None).unwrap();
    child.close_gate();
    assert_eq!(child.wait().unwrap(), Ending::Exited(0));
}

#[test]
fn a_signal_is_an_exit_code_as_in_shells() {
    assert_eq!(Ending::Signalled(9).exit_code(), 137);
}

/// A file that only looks like a program.
fn executable(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_text_without_interpreter_is_no_program() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["echo hello\n", ""] {
        let path = executable(dir.path(), "text", text);
        let error = program(&[path.to_str().unwrap()]).unwrap_err();
        assert!(matches!(error, CommandError::NotExecutable(..)));
        assert!(error.to_string().contains("not a program"), "{error}");
    }
}

#[test]
fn what_cannot_be_executed_is_told_from_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = executable(dir.path(), "script", "#!/bin/sh\n");
    let script = program(&[path.to_str().unwrap()]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let start = || Child::prepare(&script, None).unwrap().release();
    assert!(matches!(start(), Err(CommandError::NotExecutable(..))));
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(start(), Err(CommandError::NotExecutable(..))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(start(), Err(CommandError::NotFound(..))));
}

#[test]
fn a_child_that_a_signal_ends_at_its_gate_is_no_failure() {
    let shell = program(&["sh", "-c", "exit 7"]).unwrap();
    let mut child = Child::prepare(&shell, None).unwrap();
    child.handle().signal(libc::SIGHUP);
    assert_eq!(child.wait().unwrap(), Ending::Signalled(libc::SIGHUP));
    child.release().unwrap();
    // Its PID may be another's by now.
    child.handle().signal(libc::SIGKILL);
}

#[test]
fn only_the_systems_own_linker_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = executable(dir.path(), "ld-linux-x86-64.so.2", "#!/bin/sh\n");
    assert_eq!(system_linker(&hostile), None);
    assert_eq!(system_linker(Path::new("/bin/sh")), None);
    assert_eq!(system_linker(Path::new("/lib64/../bin/sh")), None);
    let linker = Path::new("/lib64/ld-linux-x86-64.so.2");
    if linker.exists() {
        assert!(system_linker(linker).unwrap().is_absolute());
    }
}

#[test]
fn where_others_can_write_is_not_the_systems() {
    // Everybody can write to its parent.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    assert!(!is_of_root(dir.path()));
    assert!(is_of_root(Path::new("/")));
}

#[test]
fn a_listing_has_its_time() {
    let begun = Instant::now();
    let mut endless = Command::new("sh");
    endless.args(["-c", "echo /lib/x; exec sleep 100"]);
    assert_eq!(listing_within(endless, Duration::from_millis(50)), None);
    assert!(begun.elapsed() < Duration::from_secs(50));
    let mut short = Command::new("sh");
    short.args(["-c", "echo /lib/x; exec >&-; sleep 100"]);
    let listing = listing_within(short, Duration::from_secs(50)).unwrap();
    assert_eq!(listing, b"/lib/x\n");
    assert!(begun.elapsed() < Duration::from_secs(50));
}
