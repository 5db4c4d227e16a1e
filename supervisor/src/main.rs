//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;
use greenroom_supervisor::cli::{self, args::Cli};
use greenroom_supervisor::lifecycle::run_command;

/// Thousands of small allocations a request, many of them freed on another thread than they were made
/// on: docs/adr/0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words = match Cli::try_parse() {
        Ok(words) => words,
        Err(error) => return ExitCode::from(cli::usage::report(&error, std::env::args_os().skip(1))),
    };
    let code = tokio::runtime::Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
        let code = runtime.block_on(run_command(&runtime, |signals| cli::main(words, signals)));
        // What is left on blocking threads has no bound of ours; the process does not wait for it.
        runtime.shutdown_background();
        code
    });
    code.map_or_else(
        |error| {
            cli::output::print_note(&format!("error: the process cannot be started: {error}"));
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}
