//! oomkill: whom the OOM killer kills, who asked for memory, and whose memory it was.

#[cfg(test)]
mod allocations;
mod cli;
mod collector;
mod command;
mod facts;
mod gfp;
mod live;
mod log;
mod model;
mod protect;
mod report;
mod run;
mod tui;

use std::process::ExitCode;

use memtools::cli::{EXIT_FAILURE, UserError, parse, report_error};
use memtools::tui::TuiError;

use crate::cli::Cli;

const NAME: &str = "oomkill";

fn main() -> ExitCode {
    let cli: Cli = match parse(NAME) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match run::run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => report_error(NAME, &format!("{error:#}"), exit_code(&error)),
    }
}

/// Who has to change something: the user, or the system.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<UserError>() {
        return error.code();
    }
    let view = error.downcast_ref::<TuiError>();
    view.map_or(EXIT_FAILURE, TuiError::exit_code)
}
