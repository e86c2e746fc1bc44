use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::program::parse_listing;
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
