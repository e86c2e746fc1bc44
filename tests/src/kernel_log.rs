//! What the kernel's own log says of OOM kills.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use crate::wait_until;

/// The log from now on.
pub struct KernelLog {
    file: File,
    lines: Vec<String>,
}

/// What it says of one victim. Names are the log's own.
#[derive(Clone, Debug, Default)]
pub struct OomReport {
    /// `constraint`, `oom_memcg`, `task_memcg`, `uid` and so on of the line `oom-kill:…`; empty: the
    /// kernel limits how often it writes that.
    pub summary: BTreeMap<String, String>,
    /// `total-vm`, `anon-rss`, `UID`, `oom_score_adj` and so on of the line `Killed process`, sizes in kB.
    pub killed: BTreeMap<String, u64>,
    /// `gfp_mask=…(NAMES), order=…` of the line `… invoked oom-killer`.
    pub request: String,
}

impl KernelLog {
    #[track_caller]
    pub fn follow() -> Self {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = options.open("/dev/kmsg").expect("the log can be read");
        file.seek(SeekFrom::End(0)).expect("it has an end");
        Self {
            file,
            lines: Vec::new(),
        }
    }

    fn read(&mut self) {
        let mut record = [0; 8192];
        // One record at a time; EPIPE: some were overwritten, the next read goes on.
        loop {
            match self.file.read(&mut record) {
                Ok(bytes @ 1..) => {
                    let text = String::from_utf8_lossy(&record[..bytes]);
                    let message = text.split_once(';').map_or("", |(_, message)| message);
                    let line = message.lines().next().unwrap_or("");
                    self.lines.push(line.to_owned());
                }
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                _ => return,
            }
        }
    }

    /// Waits until a process has been killed.
    #[track_caller]
    pub fn oom_report(&mut self, pid: u32) -> OomReport {
        let killed = format!("Killed process {pid} (");
        wait_until("the kernel logs the kill", || {
            self.read();
            self.lines.iter().any(|line| line.contains(&killed))
        });
        let mut report = OomReport::default();
        let at = self.lines.iter().position(|line| line.contains(&killed));
        let before = &self.lines[..=at.expect("it is there")];
        let earlier = before[..before.len() - 1]
            .iter()
            .rposition(|line| line.contains("Killed process "));
        let before = &before[earlier.map_or(0, |at| at + 1)..];
        report.killed = numbers(before.last().expect("it has a line"));
        let its_own = format!(",pid={pid},");
        let summary = before
            .iter()
            .rfind(|line| line.starts_with("oom-kill:") && format!("{line},").contains(&its_own));
        if let Some(line) = summary {
            let fields = line.trim_start_matches("oom-kill:").split(',');
            let pairs = fields.filter_map(|field| field.split_once('='));
            report.summary = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        }
        let invoked = before
            .iter()
            .rfind(|line| line.contains(" invoked oom-killer: "));
        let request = invoked.and_then(|line| line.split_once(" invoked oom-killer: "));
        report.request = request.map_or(String::new(), |(_, request)| request.to_owned());
        report
    }

    /// Who was killed until now.
    pub fn killed(&mut self) -> Vec<u32> {
        self.read();
        let pids = self.lines.iter().filter_map(|line| {
            let (_, rest) = line.split_once("Killed process ")?;
            rest.split(' ').next()?.parse().ok()
        });
        pids.collect()
    }
}

/// `NAME:123kB, NAME:0kB, UID:0 pgtables:4kB oom_score_adj:0` behind the name in parentheses.
fn numbers(line: &str) -> BTreeMap<String, u64> {
    let rest = line.rsplit_once(") ").map_or(line, |(_, rest)| rest);
    let fields = rest.split([' ', ',']).filter_map(|field| {
        let (name, number) = field.split_once(':')?;
        let number = number.trim_end_matches("kB").parse::<i64>().ok()?;
        Some((name.to_owned(), number as u64))
    });
    fields.collect()
}
