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
