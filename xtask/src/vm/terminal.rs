//! The user's terminal while a guest has it.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process;

/// Hands every key to the guest. Dropping it makes the terminal what it was.
pub struct Raw {
    before: String,
}

impl Raw {
    pub fn enter() -> Result<Self> {
        let before = stty(&["-g"])?;
        stty(&["raw", "-echo"])?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = stty(&[&self.before]);
    }
}

/// Whether a person sits at both ends.
pub fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// What makes the guest's terminal as large as this one.
pub fn size() -> Result<String> {
    let size = stty(&["size"])?;
    let (rows, columns) = size
        .split_once(' ')
        .with_context(|| format!("stty gives `{size}` for the terminal's size"))?;
    Ok(format!("rows {rows} cols {columns}"))
}

fn stty(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("stty");
    command.args(arguments).stdin(Stdio::inherit());
    Ok(process::capture(&mut command)?.trim().to_owned())
}
