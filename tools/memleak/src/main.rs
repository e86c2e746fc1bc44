//! memleak: which memory a running process allocated and did not free, by the stack that did.

mod cli;
mod collector;
mod explain;
#[cfg(test)]
mod fixture;
mod functions;
mod intervals;
mod model;
mod plan;
mod report;
mod run;
mod signals;
mod snapshot;
mod subject;
mod trace;

use std::process::ExitCode;

use memtools::cli::{EXIT_FAILURE, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_USAGE, UserError};
use memtools::target::TargetError;
use memtools::target::command::CommandError;

use crate::cli::{Cli, CommandLine};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(CommandLine::Page(page)) => {
            let _ = memtools::cli::print(&page);
            return ExitCode::SUCCESS;
        }
        Err(CommandLine::Bad(error)) => {
            return memtools::cli::report_error("memleak", &error.to_string(), error.code());
        }
    };
    match run::run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            memtools::cli::report_error("memleak", &format!("{error:#}"), exit_code(&error))
        }
    }
}

/// Who has to change something: the user, or the system.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<UserError>() {
        return error.code();
    }
    match error.downcast_ref::<CommandError>() {
        Some(CommandError::NotFound(_)) => return EXIT_NOT_FOUND,
        Some(CommandError::NotExecutable(..)) => return EXIT_NOT_EXECUTABLE,
        Some(CommandError::ThirtyTwoBit(_) | CommandError::NoSuchUser(_)) => return EXIT_USAGE,
        Some(CommandError::System { .. }) | None => {}
    }
    match error.downcast_ref::<TargetError>() {
        Some(error) if error.is_bad_input() => EXIT_USAGE,
        _ => EXIT_FAILURE,
    }
}
