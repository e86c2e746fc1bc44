//! What memleak shows and what the kernel says when everything has been let go.

use std::collections::HashMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use memtools_tests::{Class, Report, Stack};

use crate::MIB;

/// What one look finds, in bytes; nothing of this process itself.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub slab: i64,
    pub pages: i64,
    pub others: i64,
    /// By the kernel: Slab in /proc/meminfo.
    pub kernel_slab: i64,
    /// By the kernel: all that is neither free nor slab. Whoever runs has some of it.
    pub kernel_pages: i64,
    pub events: u64,
    pub missed_frees: u64,
    pub lost: u64,
    by_stack: HashMap<String, i64>,
}

impl Look {
    /// Lets go of all that can be let go, and looks. `report`: the first one of what is after that.
    pub fn take(report: impl FnOnce() -> Result<Report>) -> Result<Self> {
        drop_caches()?;
        let kernel_slab = meminfo("Slab:")?;
        let kernel_pages = meminfo("MemTotal:")? - meminfo("MemFree:")? - kernel_slab;
        let report = report()?;
        let own = fs::read_to_string("/proc/self/comm").context("/proc/self/comm")?;
        let own = own.trim_end();
        let mut look = Self {
            kernel_slab,
            kernel_pages,
            events: report.allocs() + report.frees(),
            ..Self::default()
        };
        for stack in report.stacks() {
            // What it has read.
            if stack.frames.last().is_some_and(|frame| frame.symbol == own) {
                continue;
            }
            let bytes = stack.figures.bytes as i64;
            match stack.class {
                Class::Slab => look.slab += bytes,
                Class::Pages => look.pages += bytes,
                Class::Percpu | Class::Vmalloc => look.others += bytes,
                _ => {}
            }
            *look.by_stack.entry(in_one_line(&stack)).or_default() += bytes;
        }
        for (name, count) in report.loss() {
            let count = count.as_u64().unwrap_or(0);
            match name.as_str() {
                "missed_frees" => look.missed_frees = count,
                "alloc_bytes" | "truncated_stacks" => {}
                _ => look.lost += count,
            }
        }
        Ok(look)
    }

    /// The stacks that have grown most since another look, in a line each.
    pub fn grown_most(&self, since: &Self) -> Vec<String> {
        const MOST: usize = 8;
        let mut grown: Vec<(i64, &str)> = self
            .by_stack
            .iter()
            .map(|(stack, bytes)| {
                let before = since.by_stack.get(stack).copied().unwrap_or(0);
                (bytes - before, stack.as_str())
            })
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        grown.sort_unstable_by(|one, other| other.cmp(one));
        let lines = grown.into_iter().take(MOST);
        lines
            .map(|(bytes, stack)| format!("{:+.2} MiB  {stack}", bytes as f64 / MIB))
            .collect()
    }
}

fn in_one_line(stack: &Stack) -> String {
    let frames = stack.frames.iter().map(|frame| frame.symbol.as_str());
    let frames: Vec<&str> = frames.collect();
    format!("{:?}: {}", stack.class, frames.join(" < "))
}

/// A figure of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> Result<i64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<i64>().ok());
    Ok(kilobytes.with_context(|| format!("{name} in /proc/meminfo"))? << 10)
}

/// Lets go of everything that the kernel keeps only because there is room.
fn drop_caches() -> Result<()> {
    for _ in 0..3 {
        // SAFETY: it takes nothing and cannot fail.
        unsafe { libc::sync() };
        fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches needs root")?;
        // Grace periods of RCU, and its lists.
        sleep(Duration::from_secs(2));
    }
    Ok(())
}
