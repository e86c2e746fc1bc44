//! What is compared: each way of tracing, attached to a running workload.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memtools::attach::Links;
use memtools_tests::{EmptyProbes, Funclatency, FunctionLatency};

use crate::empty;

/// bcc's, of Debian's package libbpf-tools. The other one of bcc, in Python, needs the headers of the
/// running kernel.
const BCC: &str = "/usr/sbin/funclatency";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    Untraced,
    Empty,
    Bcc,
    Own,
}

impl Tracer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Empty => "empty probes",
            Self::Bcc => "bcc's",
            Self::Own => "funclatency",
        }
    }

    /// What a call may take, so that slow ways get fewer of them.
    pub fn expected_call(self) -> Duration {
        Duration::from_nanos(match self {
            Self::Untraced => 5,
            Self::Empty | Self::Own => 2_000,
            Self::Bcc => 4_000,
        })
    }
}

/// The ways that this machine has.
pub struct Tracers<'a> {
    empty: EmptyProbes<'a>,
    has_bcc: bool,
}

impl<'a> Tracers<'a> {
    pub fn find(empty: EmptyProbes<'a>) -> Self {
        Self {
            empty,
            has_bcc: Path::new(BCC).exists(),
        }
    }

    pub fn describe(&self) {
        println!(
            "empty probes: entry and return, placed as funclatency's; {}",
            self.empty.way
        );
        if !self.has_bcc {
            println!("no {BCC} (Debian: libbpf-tools)");
        }
    }

    pub fn all(&self) -> Vec<Tracer> {
        let bcc = self.has_bcc.then_some(Tracer::Bcc);
        let all = [Some(Tracer::Untraced), Some(Tracer::Empty), bcc];
        all.into_iter().flatten().chain([Tracer::Own]).collect()
    }

    pub fn attach(&self, tracer: Tracer, pid: u32, function: &str) -> Result<Attached> {
        let of_program = format!(":{function}");
        Ok(match tracer {
            Tracer::Untraced => Attached::Nothing,
            Tracer::Empty => Attached::Empty(empty::attach(&self.empty, pid, function)?),
            Tracer::Bcc => Attached::Bcc(Bcc::start(pid, &of_program)?),
            Tracer::Own => {
                let pid = pid.to_string();
                Attached::Own(Funclatency::start(&["-p", &pid, &of_program]))
            }
        })
    }
}

/// A tracer at work.
pub enum Attached {
    Nothing,
    Empty(Links),
    Bcc(Bcc),
    Own(Funclatency),
}

impl Attached {
    /// How many calls it has timed, if it counts them.
    pub fn detach(self) -> Result<Option<u64>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Empty(links) => {
                drop(links);
                Ok(None)
            }
            Self::Bcc(tool) => Ok(Some(tool.finish()?)),
            Self::Own(tool) => {
                let latencies = tool.finish();
                latencies.assert_nothing_lost();
                let only = FunctionLatency(&latencies.record["functions"][0]);
                Ok(Some(only.get("count")))
            }
        }
    }
}

/// bcc's funclatency, attached.
pub struct Bcc {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Bcc {
    fn start(pid: u32, function: &str) -> Result<Self> {
        // Else it keeps what it says.
        let mut child = Command::new("stdbuf")
            .args(["-oL", BCC, "-p", &pid.to_string(), function])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {BCC}"))?;
        let output = child.stdout.take().context("it is piped")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line.starts_with("Tracing"), "{BCC} does not trace: {line}");
        Ok(Self { child, output })
    }

    /// How many calls it has timed.
    fn finish(mut self) -> Result<u64> {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait().context("waiting for bcc's funclatency")?;
        Ok(text.lines().filter_map(count_of_row).sum())
    }
}

/// `512 -> 1023 : 715145 |*****|`
fn count_of_row(line: &str) -> Option<u64> {
    let (range, rest) = line.split_once(" : ")?;
    range.split_once(" -> ")?;
    rest.split_whitespace().next()?.parse().ok()
}
