//! Tests that cannot run here.

use std::fs::OpenOptions;
use std::io::Write;

/// Says why the test `name` cannot run on this machine, and to the file `MEMTOOLS_SKIP_LOG`, which
/// `cargo xtask test` counts. The test has to return after it.
pub fn skip(name: &str, reason: &str) {
    println!("{name}: skipped: {reason}");
    let Some(path) = std::env::var_os("MEMTOOLS_SKIP_LOG") else {
        return;
    };
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .expect("the file named by MEMTOOLS_SKIP_LOG can be written");
    // One write, for tests of several processes write here at once.
    log.write_all(format!("{name}: {reason}\n").as_bytes())
        .expect("the file named by MEMTOOLS_SKIP_LOG can be written");
}

/// Whether this machine may be brought to its knees: `cargo xtask test` says so of its guests.
pub fn is_disposable() -> bool {
    std::env::var_os("MEMTOOLS_DISPOSABLE").is_some()
}

/// Whether there is a program of this name.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
