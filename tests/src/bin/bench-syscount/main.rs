//! What syscount costs a system call, beside bcc's syscount (libbpf-tools), in one run: threads of its
//! own call getppid, under neither, under each, in turn. Times are reported and judged; a wrong count
//! makes the run fail.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use memtools_tests::tool;

#[derive(Parser)]
#[command(
    name = "bench-syscount",
    about = "What syscount costs a system call, beside bcc's syscount"
)]
struct Args {
    /// Rounds; of each tracer the fastest counts
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// How long a round takes, in milliseconds
    #[arg(long, default_value_t = 300)]
    round_ms: u64,
}

/// bcc's, of Debian's package libbpf-tools.
const PEER: &str = "/usr/sbin/syscount";

/// A tracer, and how it is started.
struct Tracer {
    name: &'static str,
    command: Vec<String>,
    /// Ours.
    is_own: bool,
}

impl Tracer {
    fn new(name: &'static str, program: &str, args: &[&str]) -> Self {
        let pid = std::process::id().to_string();
        let words = [program, "-p", &pid]
            .into_iter()
            .chain(args.iter().copied());
        Self {
            name,
            command: words.map(str::to_owned).collect(),
            is_own: program != PEER,
        }
    }

    /// Attached; waits for its first line.
    fn start(&self) -> Result<Running> {
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let output = child.stdout.take().context("it is piped")?;
        let mut output = BufReader::new(output);
        if self.is_own {
            let mut line = String::new();
            ensure!(output.read_line(&mut line)? > 0, "{} ended", self.name);
        } else {
            // It says so before it has attached, and keeps what it says.
            wait_for_calls_to_cost()?;
        }
        Ok(Running { child, output })
    }
}

/// Until the peer's programs are there: those of ours were taken out before.
fn wait_for_calls_to_cost() -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        let listed = Command::new("bpftool").args(["prog", "list"]).output();
        let Ok(listed) = listed else {
            std::thread::sleep(Duration::from_millis(900));
            return Ok(());
        };
        if String::from_utf8_lossy(&listed.stdout).contains("sys_enter") {
            return Ok(());
        }
    }
    bail!("{PEER} does not attach (it needs debugfs: mount -t debugfs debugfs /sys/kernel/debug)")
}

struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// What it has written.
    fn stop(mut self) -> Result<String> {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait().context("waiting for its end")?;
        Ok(text)
    }
}

/// Calls getppid for so long; how often, and the nanoseconds of each.
fn call(duration: Duration) -> (u64, f64) {
    const AT_ONCE: u64 = 1000;
    let began = Instant::now();
    let mut calls = 0;
    while began.elapsed() < duration {
        for _ in 0..AT_ONCE {
            // SAFETY: asks for a number.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        calls += AT_ONCE;
    }
    (calls, began.elapsed().as_nanos() as f64 / calls as f64)
}

/// The count of getppid in a table.
fn counted(table: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.starts_with("getppid "))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn run(args: &Args) -> Result<()> {
    let own = tool("syscount").display().to_string();
    let mut tracers = vec![
        Tracer::new("counting", &own, &[]),
        Tracer::new("with -L", &own, &["-L"]),
        Tracer::new("with -L -P", &own, &["-L", "-P"]),
    ];
    let has_peer = Path::new(PEER).exists();
    if has_peer {
        tracers.push(Tracer::new("bcc's, counting", PEER, &[]));
        tracers.push(Tracer::new("bcc's with -L", PEER, &["-L"]));
    } else {
        println!("no {PEER} (Debian: libbpf-tools)");
    }
    let round = Duration::from_millis(args.round_ms);
    let mut untraced = f64::INFINITY;
    let mut times = vec![f64::INFINITY; tracers.len()];
    for _ in 0..args.rounds {
        untraced = untraced.min(call(round).1);
        for (tracer, time) in tracers.iter().zip(&mut times) {
            let running = tracer.start()?;
            let (calls, ns) = call(round);
            let table = running.stop()?;
            *time = time.min(ns);
            let counted = counted(&table).unwrap_or(0);
            ensure!(
                !tracer.is_own || tracer.name.contains("-P") || counted == calls,
                "{}: {counted} of {calls} calls were counted",
                tracer.name
            );
        }
    }
    println!("{:<18}{:>10}{:>10}", "", "ns a call", "added");
    println!("{:<18}{untraced:>10.0}", "untraced");
    for (tracer, time) in tracers.iter().zip(&times) {
        println!("{:<18}{time:>10.0}{:>10.0}", tracer.name, time - untraced);
    }
    if has_peer {
        for (ours, peer, limit) in [(0, 3, 0.65), (1, 4, 0.8)] {
            let ratio = (times[ours] - untraced) / (times[peer] - untraced);
            let verdict = if ratio <= limit {
                "within"
            } else {
                "NOT within"
            };
            println!(
                "{}: {ratio:.2} of what bcc's adds: {verdict} {limit}",
                tracers[ours].name
            );
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-syscount: {error:#}");
            ExitCode::FAILURE
        }
    }
}
