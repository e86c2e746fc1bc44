//! memleak: which memory a running process allocated and did not free, by the stack that did.

mod cli;
mod collector;
mod diff;
mod explain;
mod exports;
#[cfg(test)]
mod fixture;
mod functions;
mod intervals;
mod live;
mod model;
mod namer;
mod plan;
mod printing;
mod recent;
mod recording;
mod replay;
mod report;
mod run;
mod signals;
mod snapshot;
mod source;
mod subject;
mod suppressions;
mod trace;
mod tree;
mod tui;
mod update;

use std::process::ExitCode;

use memtools::cli::{EXIT_FAILURE, EXIT_USAGE, UserError};
use memtools::target::TargetError;
use memtools::target::command::CommandError;

use crate::cli::{CommandLine, Invocation};
use crate::run::Purpose;

fn main() -> ExitCode {
    let invocation = match Invocation::read() {
        Ok(invocation) => invocation,
        Err(CommandLine::Page(page)) => {
            let _ = memtools::cli::print(&page);
            return ExitCode::SUCCESS;
        }
        Err(CommandLine::Bad(error)) => {
            return memtools::cli::report_error("memleak", &error.to_string(), error.code());
        }
    };
    let outcome = match &invocation {
        Invocation::Trace(cli) => run::run(cli, Purpose::Look),
        Invocation::Record(cli) => run::run(cli, Purpose::Record),
        Invocation::Show(cli) => replay::show(cli),
        Invocation::Diff(cli) => replay::compare(cli),
    };
    match outcome {
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
    if let Some(error) = error.downcast_ref::<CommandError>() {
        return error.exit_code();
    }
    match error.downcast_ref::<TargetError>() {
        Some(error) if error.is_bad_input() => EXIT_USAGE,
        _ => EXIT_FAILURE,
    }
}
