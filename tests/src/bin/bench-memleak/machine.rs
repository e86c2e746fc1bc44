//! What the figures were taken on.

use std::fs;
use std::thread;

/// More work than this before the benchmark begins, and its figures say less.
const BUSY: f64 = 0.5;

pub fn describe() {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let clock = first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    println!("kernel {kernel}, {cores} cores, {}, clock {clock}", kind());
    println!("processor: {}", processor());
    let load = first_line("/proc/loadavg");
    let recent: f64 = load
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    if recent > BUSY {
        println!(
            "load average {recent}: other work is or was running here; trust the ratios and the \
             least times more than the rest"
        );
    }
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn cpu_info(field: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines
        .filter(|(name, _)| name.trim() == field)
        .map(|(_, value)| value);
    values.next().map(|value| value.trim().to_owned())
}

fn processor() -> String {
    cpu_info("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// An exception costs several times as much where a hypervisor stands under the kernel.
fn kind() -> &'static str {
    let flags = cpu_info("flags").unwrap_or_default();
    if flags.split(' ').any(|flag| flag == "hypervisor") {
        "virtual machine"
    } else {
        "bare metal, or a hypervisor that hides"
    }
}
