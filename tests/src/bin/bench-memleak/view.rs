//! The live view with as much in it as it is made for: how soon it answers keys, what a refresh costs,
//! and what memory it takes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memtools_tests::{Memleak, Workload};

use crate::terminal::Terminal;

const STACKS: u32 = 50_000;
const BLOCKS: u64 = 1_000_000;
const PER_SECOND: u32 = 1000;
const COLUMNS: u16 = 160;
const ROWS: u16 = 45;

const ANSWER_LIMIT: f64 = 100.0;
const CPU_LIMIT: f64 = 25.0;
const MEMORY_LIMIT: f64 = 400.0;

/// One after the other, so that each finds the view as the one before has left it.
const KEYS: &[(&str, &str)] = &[
    ("Down", "\x1b[B"),
    ("PageDown", "\x1b[6~"),
    ("> sorts", ">"),
    ("/ filter", "/"),
    ("a character of it", "l"),
    ("a character of it", "e"),
    ("a character of it", "a"),
    ("Esc clears it", "\x1b"),
    ("Enter details", "\r"),
    ("Enter details", "\r"),
    ("3 tree", "3"),
    ("2 tree", "2"),
    ("1 stacks", "1"),
];

/// Of the time between two refreshes; keys are pressed in it.
const BETWEEN: Duration = Duration::from_millis(600);

/// How much is measured.
pub struct Effort {
    /// How often each key is pressed.
    pub presses: usize,
    /// How long the view is left to itself.
    pub idle: Duration,
}

pub const THOROUGH: Effort = Effort {
    presses: 20,
    idle: Duration::from_secs(15),
};
pub const QUICK: Effort = Effort {
    presses: 5,
    idle: Duration::from_secs(6),
};

pub fn measure(effort: &Effort) -> Result<()> {
    let args = [STACKS, (BLOCKS / u64::from(STACKS)) as u32, PER_SECOND].map(|n| n.to_string());
    let mut workload = Workload::start("manystacks", &args);
    let pid = workload.pid().to_string();
    let command = Memleak::command(&[
        "-p",
        &pid,
        "--stack-storage-size",
        "65536",
        "--max-allocs",
        "1200000",
    ]);
    let mut view = Terminal::start(command, COLUMNS, ROWS)?;
    wait_until_shown(&mut view, 0)?;
    workload.run();
    wait_until_shown(&mut view, BLOCKS)?;

    println!(
        "\nmemleak's view, {STACKS} stacks, {BLOCKS} live blocks, {PER_SECOND} more a second, \
         {COLUMNS}x{ROWS}:"
    );
    let idle = Idle::watch(&mut view, effort.idle)?;
    let answers = press_keys(&mut view, effort.presses)?;
    let memory = Memory::of(view.pid())?;
    print_answers(&answers, idle.drawing_ms, &echo(effort.presses)?);
    idle.print();
    memory.print();

    view.press("q")?;
    view.wait()?;
    workload.quit();
    Ok(())
}

fn verdict(is_within: bool) -> &'static str {
    if is_within { "within" } else { "ABOVE" }
}

/// A terminal of another size has everything drawn.
fn wait_until_shown(view: &mut Terminal, blocks: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut rows = ROWS;
    while shown_blocks(&view.picture()?.bytes).is_none_or(|shown| shown < blocks) || rows != ROWS {
        ensure!(
            Instant::now() < end,
            "the view does not show {blocks} blocks"
        );
        rows = if rows == ROWS { ROWS + 1 } else { ROWS };
        view.resize(COLUMNS, rows)?;
    }
    Ok(())
}

/// From "64.0 MB in 1,000,000 blocks live".
fn shown_blocks(picture: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(picture);
    let (before, _) = text.split_once("block")?;
    let cut = |c: char| !c.is_ascii_digit() && c != ',';
    // The cursor is moved over blanks: the last word may be a part of that.
    let words = before
        .split('\x1b')
        .map(|part| part.trim_end().rsplit(cut).next());
    let number = words.flatten().rfind(|word| !word.is_empty())?;
    number.replace(',', "").parse().ok()
}

/// Key by key, how long each press took.
type Answers = Vec<(&'static str, Vec<f64>)>;

/// Between refreshes, so that each picture is the answer to a key.
fn press_keys(view: &mut Terminal, presses: usize) -> Result<Answers> {
    let mut answers: Answers = Vec::new();
    view.picture()?;
    let mut refreshed = Instant::now();
    for (name, key) in KEYS.iter().cycle().take(KEYS.len() * presses) {
        if refreshed.elapsed() > BETWEEN {
            refreshed = view.picture()?.end;
        }
        let took = view.time(key).with_context(|| format!("pressing {name}"))?;
        let took = took.as_secs_f64() * 1e3;
        match answers.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => times.push(took),
            None => answers.push((name, vec![took])),
        }
    }
    Ok(answers)
}

/// What a program that does nothing but echo takes on such a terminal, in milliseconds.
fn echo(presses: usize) -> Result<Vec<f64>> {
    let mut command = Command::new("sh");
    command.args(["-c", "stty raw -echo; echo ready; exec cat"]);
    let mut terminal = Terminal::start(command, COLUMNS, ROWS)?;
    terminal.picture()?;
    let mut times = Vec::new();
    for _ in 0..presses {
        times.push(terminal.time("x")?.as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn print_answers(answers: &Answers, drawing_ms: f64, echo: &[f64]) {
    let row = |name: &str, times: &[f64]| {
        let worst = times.iter().copied().fold(0.0, f64::max);
        let middle = crate::rounds::median(times.iter().copied());
        print!("  {name:<24}{middle:>10.1}{worst:>10.1}");
        worst
    };
    println!(
        "  {:<24}{:>10}{:>10}   ms",
        "from a key to its picture", "median", "worst"
    );
    row("cat, which only echoes", echo);
    println!();
    for (name, times) in answers {
        let worst = row(name, times);
        let verdict = verdict(worst + drawing_ms < ANSWER_LIMIT);
        println!("   {verdict} {ANSWER_LIMIT:.0} with a refresh before it");
    }
}

/// The view while nobody presses a key.
struct Idle {
    /// Of one core.
    cpu_percent: f64,
    /// What the thread that draws takes for a refresh: a key may have to wait for it.
    drawing_ms: f64,
    refreshes: usize,
}

impl Idle {
    fn watch(view: &mut Terminal, time: Duration) -> Result<Self> {
        let pid = view.pid();
        let threads = || -> Result<(f64, f64)> {
            Ok((
                cpu_ms(&format!("/proc/{pid}/stat"))?,
                cpu_ms(&format!("/proc/{pid}/task/{pid}/stat"))?,
            ))
        };
        view.picture()?;
        let (before, begin) = (threads()?, Instant::now());
        let mut refreshes = 0;
        while begin.elapsed() < time {
            view.picture()?;
            refreshes += 1;
        }
        let (after, elapsed) = (threads()?, begin.elapsed());
        Ok(Self {
            cpu_percent: (after.0 - before.0) / elapsed.as_secs_f64() / 10.0,
            drawing_ms: (after.1 - before.1) / refreshes as f64,
            refreshes,
        })
    }

    fn print(&self) {
        let verdict = verdict(self.cpu_percent < CPU_LIMIT);
        println!(
            "  {} refreshes: {:.1} % of one core, {verdict} {CPU_LIMIT:.0}; {:.0} ms of a refresh in \
             the thread that draws",
            self.refreshes, self.cpu_percent, self.drawing_ms
        );
    }
}

/// CPU time by a stat file of /proc, in milliseconds: proc(5), fields 14 and 15.
fn cpu_ms(path: &str) -> Result<f64> {
    let stat = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    // The name is in parentheses and may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // SAFETY: sysconf takes a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks as f64 * 1e3 / per_second as f64)
}

/// In bytes.
#[derive(Default)]
struct Memory {
    resident: u64,
    /// Of `resident`: BPF maps in the address space.
    mapped: u64,
    /// All BPF maps, as the kernel counts them.
    maps: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("reading smaps")?;
        let mut memory = Self::default();
        let mut is_map = false;
        for line in smaps.lines() {
            if let Some(kilobytes) = line.strip_prefix("Rss:") {
                let bytes = 1024 * first_number(kilobytes);
                memory.resident += bytes;
                memory.mapped += if is_map { bytes } else { 0 };
            } else if !line
                .split(' ')
                .next()
                .is_some_and(|word| word.ends_with(':'))
            {
                is_map = line.contains("bpf-map");
            }
        }
        memory.maps = map_memory(pid)?;
        Ok(memory)
    }

    fn print(&self) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (plain, once) = (
            mib(self.resident + self.maps),
            mib(self.resident - self.mapped + self.maps),
        );
        println!(
            "  resident {:.0} MB, of it mapped BPF maps {:.0}; all BPF maps {:.0}\n  together {plain:.0} \
             MB, {} {MEMORY_LIMIT:.0}; what is both counted once {once:.0} MB, {} {MEMORY_LIMIT:.0}",
            mib(self.resident),
            mib(self.mapped),
            mib(self.maps),
            verdict(plain < MEMORY_LIMIT),
            verdict(once < MEMORY_LIMIT),
        );
    }
}

fn first_number(text: &str) -> u64 {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or(0)
}

/// Each map once, whatever the number of its descriptors.
fn map_memory(pid: u32) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("reading fdinfo")? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(first_number(id), first_number(bytes));
        }
    }
    Ok(maps.values().sum())
}
