//! memtools-check: what this kernel can do for each tool of the suite.

mod report;
mod survey;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use memtools::cli::{EXIT_FAILURE, parse, print, report_error};

use crate::survey::Survey;

const NAME: &str = "memtools-check";

/// Says what this kernel can do for each tool of the suite, and why not, found by trying.
///
/// Probes and traces nothing but itself, for about half a second. The exit code is 1 when a tool
/// cannot work here.
#[derive(Parser, Debug)]
#[command(name = NAME, version, max_term_width = 110)]
struct Cli {
    /// Print one JSON object (docs/json.md)
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli: Cli = match parse(NAME) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => report_error(NAME, &format!("{error:#}"), EXIT_FAILURE),
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    memtools::attach::silence_libbpf();
    let survey = Survey::take();
    let text = if cli.json {
        report::json(&survey).context("writing JSON")?
    } else {
        report::text(&survey)
    };
    let _ = print(&text).context("writing to standard output")?;
    Ok(if survey.tools.iter().all(|tool| tool.by.is_ok()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILURE)
    })
}
