//! Files, processes and sockets that come and go.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

const FILES: usize = 200;
const THREADS: usize = 2;

/// Threads that work until they are stopped; then nothing of theirs is left.
pub struct Churn {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Churn {
    pub fn start(directory: &Path) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..THREADS {
            let own = directory.join(format!("churn{number}"));
            let is_over = is_over.clone();
            let work = move || {
                while !is_over.load(Ordering::Relaxed) {
                    // A disk that is full is nothing to wonder at: it is emptied, and filled again.
                    let _ = files(&own);
                    let _ = others();
                    let _ = fs::remove_dir_all(&own);
                }
            };
            let thread = std::thread::Builder::new().name("churn".to_owned());
            threads.push(thread.spawn(work).context("starting a thread")?);
        }
        Ok(Self { is_over, threads })
    }

    pub fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn files(own: &Path) -> std::io::Result<()> {
    let block = vec![7_u8; 128 << 10];
    for index in 0..FILES {
        let directory = own
            .join(format!("d{}", index % 17))
            .join(format!("e{}", index % 5));
        fs::create_dir_all(&directory)?;
        let path: PathBuf = directory.join(format!("file{index}"));
        File::create(&path)?.write_all(&block[..index * 613 % block.len()])?;
        let mut text = Vec::new();
        File::open(&path)?.read_to_end(&mut text)?;
        let renamed = path.with_extension("new");
        fs::rename(&path, &renamed)?;
        fs::hard_link(&renamed, path.with_extension("link"))?;
        let _ = fs::metadata(directory.join("absent"));
        File::options()
            .append(true)
            .open(&renamed)?
            .write_all(&block[..4096])?;
        if index % 3 == 0 {
            fs::remove_file(&renamed)?;
        }
    }
    Ok(())
}

fn others() -> std::io::Result<()> {
    for _ in 0..5 {
        let status = Command::new("true").stdin(Stdio::null()).status()?;
        debug_assert!(status.success());
    }
    for _ in 0..50 {
        let (mut one, mut other) = UnixStream::pair()?;
        one.write_all(b"word")?;
        other.read_exact(&mut [0; 4])?;
    }
    Ok(())
}
