//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;
use greenroom_supervisor::cli::{self, args::Cli};

/// Thousands of small allocations a request, many of them freed on another thread than they were made
/// on: docs/adr/0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::output::print_note(&format!("error: the runtime cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli::main(words));
    // What is left on blocking threads has no bound of ours; the process does not wait for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}
