//! What is compared: each way of tracing, attached to a running workload.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use memtools::attach::Links;
use memtools_tests::{EmptyProbes, Memleak, altered_code, wait_until};

use crate::allocator::Allocator;
use crate::empty;

/// Where distributions put heaptrack's library.
const HEAPTRACK: &[&str] = &[
    "/usr/lib/heaptrack/libheaptrack_preload.so",
    "/usr/lib64/heaptrack/libheaptrack_preload.so",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    Untraced,
    Empty,
    Memleak,
    Bpftrace,
    Heaptrack,
}

impl Tracer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Empty => "empty probes",
            Self::Memleak => "memleak",
            Self::Bpftrace => "bpftrace",
            Self::Heaptrack => "heaptrack",
        }
    }

    /// What a pair may take, so that slow ways get fewer of them.
    pub fn expected_pair(self) -> Duration {
        Duration::from_nanos(match self {
            Self::Untraced => 15,
            Self::Heaptrack => 500,
            Self::Empty => 1_500,
            Self::Memleak => 2_200,
            Self::Bpftrace => 20_000,
        })
    }
}

/// The ways that this machine has.
pub struct Tracers<'a> {
    empty: EmptyProbes<'a>,
    bpftrace: Option<String>,
    heaptrack: Option<PathBuf>,
}

impl<'a> Tracers<'a> {
    pub fn find(empty: EmptyProbes<'a>) -> Self {
        let installed = HEAPTRACK
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists());
        Self {
            empty,
            bpftrace: version_of("bpftrace"),
            heaptrack: installed,
        }
    }

    pub fn describe(&self) {
        println!(
            "empty probes: malloc's entry and return, free's cheap place; {}",
            self.empty.way
        );
        let bpftrace = self
            .bpftrace
            .as_deref()
            .unwrap_or("not installed, left out");
        println!("bpftrace: {bpftrace}; uprobe:malloc {{}} uretprobe:malloc {{}} uprobe:free {{}}");
        let heaptrack = match self.heaptrack {
            Some(_) => "its library inside the program, writing to /dev/null",
            None => "not installed, left out",
        };
        println!("heaptrack: {heaptrack}");
    }

    pub fn all(&self) -> Vec<Tracer> {
        let mut all = vec![Tracer::Untraced, Tracer::Empty, Tracer::Memleak];
        all.extend(self.bpftrace.as_ref().map(|_| Tracer::Bpftrace));
        all.extend(self.heaptrack.as_ref().map(|_| Tracer::Heaptrack));
        all
    }

    /// What has to stand before the workload's own command line.
    pub fn environment(&self, tracer: Tracer) -> Vec<String> {
        match &self.heaptrack {
            Some(library) if tracer == Tracer::Heaptrack => vec![
                format!("LD_PRELOAD={}", library.display()),
                "DUMP_HEAPTRACK_OUTPUT=/dev/null".to_owned(),
            ],
            _ => Vec::new(),
        }
    }

    pub fn attach(&self, tracer: Tracer, pid: u32) -> Result<Attached> {
        Ok(match tracer {
            Tracer::Untraced | Tracer::Heaptrack => Attached::Nothing,
            Tracer::Empty => Attached::Empty(empty::attach(&self.empty, pid)?),
            Tracer::Memleak => Attached::Memleak(Memleak::attach(pid, &["--duration", "3600"])),
            Tracer::Bpftrace => Attached::Bpftrace(attach_bpftrace(pid)?),
        })
    }
}

/// A tracer at work.
pub enum Attached {
    Nothing,
    Empty(Links),
    Memleak(Memleak),
    Bpftrace(Child),
}

impl Attached {
    pub fn detach(self) -> Result<()> {
        match self {
            Self::Nothing => {}
            Self::Empty(links) => drop(links),
            Self::Memleak(memleak) => {
                memleak.interrupt().expect_code(0);
            }
            Self::Bpftrace(mut child) => {
                interrupt(&child);
                child.wait().context("waiting for bpftrace")?;
            }
        }
        Ok(())
    }
}

fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned())
}

/// Empty bodies: what bpftrace's own probes cost, and nothing else.
fn attach_bpftrace(pid: u32) -> Result<Child> {
    let allocator = Allocator::of(pid)?;
    let mut child = Command::new("bpftrace")
        .args([
            "-p",
            &pid.to_string(),
            "-e",
            &script(allocator.object.path()),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting bpftrace")?;
    // It announces its probes before it attaches them. The entry and the return share a breakpoint.
    wait_until(
        "bpftrace's two breakpoints are there, or it has ended",
        || altered_code(pid).len() == 2 || child.try_wait().is_ok_and(|status| status.is_some()),
    );
    match child.try_wait().context("waiting for bpftrace")? {
        Some(status) => anyhow::bail!("bpftrace ended before it traced: {status}"),
        None => Ok(child),
    }
}

fn script(library: &Path) -> String {
    let library = library.display();
    format!(
        "uprobe:{library}:malloc {{}} uretprobe:{library}:malloc {{}} uprobe:{library}:free {{}}"
    )
}

fn interrupt(child: &Child) {
    // SAFETY: kill takes numbers, and the child has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
}
