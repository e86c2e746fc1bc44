//! Becoming root: loading BPF programs and installing packages need it.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// How this process can run something as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    Root,
    /// `sudo` works without a password.
    Sudo,
    /// `sudo` is there, and somebody sits at the terminal to answer it.
    SudoAsking,
    None,
}

impl Privilege {
    /// Finds out by trying.
    pub fn find() -> Self {
        if is_root() {
            Self::Root
        } else if process::try_quietly(Command::new("sudo").args(["-n", "true"]), "").is_ok() {
            Self::Sudo
        } else if process::find("sudo").is_some() && std::io::stdin().is_terminal() {
            Self::SudoAsking
        } else {
            Self::None
        }
    }

    /// A command that runs `program` as root.
    pub fn command(self, program: impl AsRef<OsStr>) -> Result<Command> {
        let sudo: &[&str] = match self {
            Self::Root => return Ok(Command::new(program)),
            Self::Sudo => &["-n"],
            Self::SudoAsking => &[],
            Self::None => bail!(NO_WAY_TO_ROOT),
        };
        let mut command = Command::new("sudo");
        command.args(sudo).arg(program);
        Ok(command)
    }

    /// The same with variables in the environment, which `sudo` would drop.
    pub fn command_with_env(
        self,
        program: impl AsRef<OsStr>,
        variables: &[(&str, &OsStr)],
    ) -> Result<Command> {
        if self == Self::Root {
            let mut command = Command::new(program);
            command.envs(variables.iter().copied());
            return Ok(command);
        }
        let mut command = self.command("env")?;
        for (name, value) in variables {
            let mut setting = std::ffi::OsString::from(name);
            setting.push("=");
            setting.push(value);
            command.arg(setting);
        }
        command.arg(program);
        Ok(command)
    }
}

const NO_WAY_TO_ROOT: &str =
    "not root, and `sudo -n true` fails: run this as root, or where sudo asks for no password";

/// Whether BPF programs can be loaded; the error says what is in the way.
pub fn may_load_bpf() -> Result<(), String> {
    match Privilege::find() {
        Privilege::Root => {
            let status = own_status();
            let capabilities = status.as_deref().and_then(effective_capabilities);
            match capabilities {
                Some(set) if !can_load_bpf(set) => Err(
                    "root without CAP_BPF and CAP_PERFMON: allow them in the container's settings"
                        .to_owned(),
                ),
                _ => Ok(()),
            }
        }
        Privilege::Sudo | Privilege::SudoAsking => Ok(()),
        Privilege::None => Err(NO_WAY_TO_ROOT.to_owned()),
    }
}

fn is_root() -> bool {
    own_status().as_deref().and_then(effective_uid) == Some(0)
}

fn own_status() -> Option<String> {
    std::fs::read_to_string("/proc/self/status").ok()
}

fn effective_uid(status: &str) -> Option<u32> {
    field(status, "Uid:")?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn effective_capabilities(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "CapEff:")?, 16).ok()
}

/// The numbers are the kernel's (linux/capability.h). Since 5.8 CAP_SYS_ADMIN includes the others.
fn can_load_bpf(effective: u64) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    const PERFMON: u64 = 1 << 38;
    const BPF: u64 = 1 << 39;
    effective & SYS_ADMIN != 0 || effective & (BPF | PERFMON) == BPF | PERFMON
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t1000\t0\t1000\t1000\nCapEff:\t000000c000000000\n";

    #[test]
    fn the_effective_user_counts() {
        assert_eq!(effective_uid(STATUS), Some(0));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn both_capabilities_or_the_old_one() {
        assert!(can_load_bpf(effective_capabilities(STATUS).unwrap()));
        assert!(can_load_bpf(1 << 21));
        assert!(!can_load_bpf(1 << 39));
        assert!(!can_load_bpf(0x0000_0000_a804_25fb));
    }

    #[test]
    fn sudo_gets_its_variables_through_env() {
        let variables = [("A", OsStr::new("1 2"))];
        let command = Privilege::Sudo
            .command_with_env("prog", &variables)
            .unwrap();
        assert_eq!(process::show(&command), "sudo -n env 'A=1 2' prog");
        assert!(Privilege::None.command("prog").is_err());
    }
}
