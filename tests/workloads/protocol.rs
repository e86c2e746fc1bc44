// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//! What protocol.h is for C: see there. Nothing here allocates.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

/// A standard stream without the buffer that `std::io` would allocate for it.
fn stream(fd: i32) -> ManuallyDrop<File> {
    // SAFETY: standard streams are open, and ManuallyDrop does not close them.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

pub fn say(line: std::fmt::Arguments) {
    let mut buffer = Cursor::new([0_u8; 512]);
    writeln!(buffer, "{line}").expect("a line fits");
    let length = buffer.position() as usize;
    stream(1)
        .write_all(&buffer.get_ref()[..length])
        .expect("standard output is open");
}

/// Waits for one of `words` and says which it is. Nothing at the end of the input.
fn wait_for(words: &[&[u8]]) -> Option<usize> {
    loop {
        let mut line = [0_u8; 32];
        let mut length = 0;
        loop {
            let mut byte = [0];
            if stream(0).read(&mut byte).unwrap_or(0) == 0 {
                return None;
            }
            if byte[0] == b'\n' {
                break;
            }
            line[length.min(31)] = byte[0];
            length += 1;
        }
        let line = &line[..length.min(32)];
        if let Some(which) = words.iter().position(|word| *word == line) {
            return Some(which);
        }
    }
}

fn be_alive() {
    for power in 0..20 {
        drop(std::hint::black_box(vec![1_u8; 1 << power]));
    }
    say(format_args!("alive"));
}

pub fn ready() {
    say(format_args!("ready {}", std::process::id()));
    match wait_for(&[b"go", b"quit"]) {
        Some(0) => return,
        Some(_) => be_alive(),
        None => {}
    }
    std::process::exit(0);
}

pub fn truth(function: &str, bytes: usize, count: usize) {
    say(format_args!(
        "{{\"function\":\"{function}\",\"bytes\":{bytes},\"count\":{count}}}"
    ));
}

pub fn finish() {
    say(format_args!("done"));
    wait_for(&[b"quit"]);
    be_alive();
}
