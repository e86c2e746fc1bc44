//! Breakpoints that a tool has left behind.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::wait_until;

struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    path: PathBuf,
}

/// Places where the code of process `pid` differs from the files that it was mapped from. Code is
/// not relocated, so that each such place is a breakpoint.
pub fn altered_code(pid: u32) -> Vec<String> {
    let Some(task) = living_task(pid) else {
        return Vec::new();
    };
    let memory = File::open(task.join("mem")).expect("the memory of a process can be opened");
    let mut altered = Vec::new();
    for mapping in code_of(&task) {
        let Ok(file) = File::open(&mapping.path) else {
            continue;
        };
        let length = (mapping.end - mapping.start) as usize;
        let mut in_memory = vec![0; length];
        let mut in_file = vec![0; length];
        if memory.read_exact_at(&mut in_memory, mapping.start).is_err() {
            // The process has ended, and its breakpoints with it.
            return Vec::new();
        }
        let known = read_up_to(&file, &mut in_file, mapping.offset);
        let places = in_memory[..known].iter().zip(&in_file).enumerate();
        altered.extend(
            places
                .filter(|(_, (now, was))| now != was)
                .map(|(place, (now, was))| {
                    let offset = mapping.offset + place as u64;
                    format!(
                        "{}+{offset:#x}: {now:02x}, not {was:02x}",
                        mapping.path.display()
                    )
                }),
        );
    }
    altered
}

/// Panics unless the code of `pid` becomes what its files say. The kernel may take the probes of
/// a killed tool out a moment after the tool has gone.
#[track_caller]
pub fn assert_no_probe_left(pid: u32) {
    let what = format!("no breakpoint is left in {pid}: {:?}", altered_code(pid));
    wait_until(&what, || altered_code(pid).is_empty());
}

/// A thread that has memory: the leader may have exited.
fn living_task(pid: u32) -> Option<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| fs::read(task.join("maps")).is_ok_and(|maps| !maps.is_empty()))
}

fn code_of(task: &Path) -> Vec<Mapping> {
    let maps = fs::read(task.join("maps")).unwrap_or_default();
    maps.split(|byte| *byte == b'\n')
        .filter_map(|line| parse(task, line))
        .collect()
}

/// `start-end r-xp offset device inode      path`, where the path may hold anything.
fn parse(task: &Path, line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = || fields.next().map(String::from_utf8_lossy);
    let range = next()?.into_owned();
    let (start, end) = range.split_once('-')?;
    if !next()?.contains('x') {
        return None;
    }
    let offset = next()?.into_owned();
    let path = fields.nth(2)?.trim_ascii_start();
    if !path.starts_with(b"/") {
        return None;
    }
    // The kernel writes a newline in a name as an octal escape, and nothing else so.
    let path = String::from_utf8_lossy(path).replace("\\012", "\n");
    let relative = OsString::from_vec(path.trim_start_matches('/').into());
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(&offset, 16).ok()?,
        path: task.join("root").join(relative),
    })
}

/// The last page of a mapping goes beyond the file.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut known = 0;
    while known < buffer.len() {
        match file.read_at(&mut buffer[known..], offset + known as u64) {
            Ok(0) | Err(_) => break,
            Ok(length) => known += length,
        }
    }
    known
}
