//! The machine that QEMU emulates.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::kernels::Kernel;
use crate::process;

pub const QEMU: &str = "qemu-system-x86_64";

/// What users can choose of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Machine {
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    /// Memory, like 2G or 512M
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = size)]
    pub memory: u64,
    /// NUMA nodes that share processors and memory
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub numa: Option<u32>,
    /// Swap, like 256M
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub swap: Option<u64>,
    /// Let the processors take turns: slower, but free of the emulator's races
    #[arg(long)]
    pub turns: bool,
    /// More for the kernel's command line
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub append: String,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: 2 << 30,
            numa: None,
            swap: None,
            turns: false,
            append: String::new(),
        }
    }
}

/// The files that a machine is started with.
pub struct Files<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    pub swap: &'a Path,
    /// A socket for each serial port.
    pub ports: &'a [&'a Path],
}

/// Messages from "warning" up: nothing but those and the reports that end a run. Under emulation a
/// processor that gets no time is no reason for one. Tests write into the code of processes, as a
/// debugger does, which newer kernels (6.12) may refuse.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nopti \
    watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 proc_mem.force_override=always";

impl Machine {
    pub fn command(&self, kernel: &Kernel, files: &Files) -> Result<Command> {
        let mut command = ending_with_us(QEMU);
        let threads = if self.turns { "single" } else { "multi" };
        command
            .args(["-accel", &format!("tcg,thread={threads}")])
            .args(["-cpu", kernel.cpu])
            .args(["-m", &format!("{}M", self.memory >> 20)])
            .args(["-smp", &self.cpus.to_string()])
            .args(["-nodefaults", "-nic", "none", "-display", "none"])
            .arg("-no-reboot")
            .arg("-kernel")
            .arg(files.kernel)
            .arg("-initrd")
            .arg(files.initramfs)
            .args(["-append", &self.command_line(kernel)]);
        command.args(self.numa_arguments()?);
        for (index, socket) in files.ports.iter().enumerate() {
            let id = format!("port{index}");
            let socket = escaped(socket);
            command.args(["-chardev", &format!("socket,id={id},path={socket}")]);
            command.args(["-serial", &format!("chardev:{id}")]);
        }
        if self.swap.is_some() {
            let drive = format!("if=none,id=swap,format=raw,file={}", escaped(files.swap));
            // The one kind of disk that is built into all of these kernels.
            command.args(["-drive", &drive, "-device", "nvme,drive=swap,serial=swap"]);
        }
        Ok(command)
    }

    fn command_line(&self, kernel: &Kernel) -> String {
        [COMMAND_LINE, kernel.append, &self.append]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn numa_arguments(&self) -> Result<Vec<String>> {
        let Some(nodes) = self.numa else {
            return Ok(Vec::new());
        };
        if nodes > self.cpus {
            bail!("--numa {nodes} needs --cpus {nodes} or more");
        }
        // QEMU wants whole megabytes, and all of the memory.
        let (each, rest) = ((self.memory >> 20) / u64::from(nodes), self.memory >> 20);
        let mut arguments = Vec::new();
        for node in 0..nodes {
            let last = node + 1 == nodes;
            let size = if last {
                rest - each * u64::from(node)
            } else {
                each
            };
            let first = self.cpus * node / nodes;
            let end = self.cpus * (node + 1) / nodes - 1;
            arguments.push("-object".to_owned());
            arguments.push(format!("memory-backend-ram,id=memory{node},size={size}M"));
            arguments.push("-numa".to_owned());
            arguments.push(format!(
                "node,nodeid={node},cpus={first}-{end},memdev=memory{node}"
            ));
        }
        Ok(arguments)
    }
}

/// A command that does not outlive this process, however that ends, where the system has the tool
/// for it.
fn ending_with_us(program: &str) -> Command {
    if process::find("setpriv").is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// In QEMU's options a comma ends a value, and two are one.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// `512M` in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((end, 'K' | 'k')) => (&text[..end], 10),
        Some((end, 'M' | 'm')) => (&text[..end], 20),
        Some((end, 'G' | 'g')) => (&text[..end], 30),
        _ => return Err("a size ends in K, M or G".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{number}` is no number"))?;
    number
        .checked_mul(1 << unit)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "it is no size that a machine can have".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::kernels;
    use super::*;

    fn shown(machine: &Machine, kernel: &str) -> String {
        let files = Files {
            kernel: Path::new("k"),
            initramfs: Path::new("i"),
            swap: Path::new("s,s"),
            ports: &[Path::new("p")],
        };
        let kernel = kernels::parse(kernel).unwrap();
        process::show(&machine.command(kernel, &files).unwrap())
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        assert!(size("2").is_err() && size("G").is_err() && size("0M").is_err());
        assert!(size("99999999999G").is_err());
    }

    #[test]
    fn a_kernel_brings_its_own_arguments() {
        let machine = Machine {
            append: "quiet".to_owned(),
            ..Machine::default()
        };
        let line = shown(&machine, "6.12-full");
        assert!(line.contains("-cpu Haswell-noTSX,-cx16 "), "{line}");
        assert!(line.contains(" preempt=full quiet'"), "{line}");
        assert!(line.contains("path=p -serial chardev:port0"), "{line}");
        assert!(!line.contains("nvme"), "{line}");
    }

    #[test]
    fn nodes_share_what_there_is() {
        let machine = Machine {
            cpus: 3,
            memory: 1 << 30,
            numa: Some(2),
            swap: Some(1 << 20),
            ..Machine::default()
        };
        let line = shown(&machine, "7.2");
        assert!(
            line.contains("node,nodeid=0,cpus=0-0,memdev=memory0"),
            "{line}"
        );
        assert!(
            line.contains("node,nodeid=1,cpus=1-2,memdev=memory1"),
            "{line}"
        );
        assert!(line.contains("size=512M"), "{line}");
        assert!(line.contains("file=s,,s"), "{line}");
        let small = Machine { cpus: 1, ..machine };
        assert!(small.numa_arguments().is_err());
    }
}
