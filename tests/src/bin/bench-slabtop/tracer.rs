//! The tools that are compared.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use memtools_tests::tool;
use serde_json::Value;

/// A tool, ready to be started.
pub struct Tracer {
    pub name: &'static str,
    program: PathBuf,
    args: Vec<String>,
}

/// One that runs and has said something, so that its probes are in.
pub struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    first: String,
}

/// This suite's.
pub fn slabtop(args: &[&str]) -> Tracer {
    Tracer {
        name: "slabtop",
        program: tool("slabtop"),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    }
}

/// bcc's, of Debian's package libbpf-tools; it needs a kernel with kprobes, before 6.10.
pub fn slabratetop() -> Result<Tracer> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = home.into_iter().chain([PathBuf::from("/usr/sbin")]);
    let program = places
        .map(|place| place.join("slabratetop"))
        .find(|program| program.exists());
    let tracer = Tracer {
        name: "slabratetop",
        program: program.context("it is not installed (Debian: libbpf-tools)")?,
        args: ["-C", "1"].map(str::to_owned).into(),
    };
    tracer.start()?.stop()?;
    Ok(tracer)
}

impl Tracer {
    /// Starts it, and waits for its first line.
    pub fn start(&self) -> Result<Running> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let output = child.stdout.take().context("it is piped")?;
        let mut output = BufReader::new(output);
        let mut first = String::new();
        if output.read_line(&mut first)? == 0 {
            let said = child.wait_with_output()?.stderr;
            bail!(
                "{} ended: {}",
                self.name,
                String::from_utf8_lossy(&said).trim()
            );
        }
        Ok(Running {
            child,
            output,
            first,
        })
    }
}

impl Running {
    pub fn stop(mut self) -> Result<()> {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        drop(self.output);
        self.child.wait().context("waiting for its end")?;
        Ok(())
    }

    /// Allocations and frees since its first line (slabtop --json).
    pub fn counted(mut self) -> Result<(u64, u64)> {
        let first = totals(&self.first)?;
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        let mut last = first;
        for line in self.output.lines() {
            last = totals(&line?)?;
        }
        self.child.wait().context("waiting for its end")?;
        Ok((last.0 - first.0, last.1 - first.1))
    }
}

fn totals(line: &str) -> Result<(u64, u64)> {
    let record: Value = serde_json::from_str(line).context("reading slabtop's JSON")?;
    let caches = record["caches"].as_array().context("caches")?;
    let sum = |field: &str| {
        caches
            .iter()
            .filter_map(|cache| cache[field].as_u64())
            .sum()
    };
    Ok((sum("allocs"), sum("frees")))
}
