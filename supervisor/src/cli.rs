//! The command line: arguments in, an exit code out. One file for each group of commands.

pub mod args;
pub mod artifacts;
pub mod audit;
pub mod catalogue;
pub mod config;
pub mod costs;
pub mod db;
pub mod definitions;
pub mod demo;
pub mod explain;
pub mod inputs;
pub mod memory;
pub mod output;
pub mod policy;
pub mod progress;
pub mod report;
pub mod run;
pub mod runs;
pub mod session;
pub mod up;

use std::sync::Arc;

use clap::CommandFactory;
use greenroom_protocol::Cause;

use self::args::{Cli, Command, ConfigCommand, GlobalArgs};
use self::output::{Output, print_note};
use self::session::Session;
use crate::clock::WallClock;
use crate::config::source::load;
use crate::config::{Flags, LoadedConfig};
use crate::lifecycle::Signals;
use crate::telemetry;

/// Default log filters: of a command, and of `up`.
const COMMAND_LOG: &str = "error";
const UP_LOG: &str = "info";
/// The exit code of a command that was interrupted.
const INTERRUPTED: u8 = 130;

/// Executes a command.
pub async fn main(cli: Cli) -> u8 {
    let output = Output::new(cli.common.output, cli.common.quiet);
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "greenroom", &mut script);
        output::print(&String::from_utf8_lossy(&script));
        return exit_code(0);
    }
    if let Command::Explain { code } = cli.command {
        return exit_code(explain::explain(code.as_deref(), output));
    }
    let outcome = match load(&flags(&cli.common), std::env::vars_os()) {
        Ok(loaded) => execute(loaded, cli.command, output).await,
        Err(error) => Err(error.into()),
    };
    exit_code(outcome.unwrap_or_else(|cause| {
        output.print_error(&cause);
        cause.code.exit_code()
    }))
}

/// The exit code of the process: a result that could not be written is a failure.
fn exit_code(code: u8) -> u8 {
    match output::write_error() {
        Some(error) => {
            print_note(&format!("error: standard output cannot be written: {error}"));
            code.max(1)
        }
        None => code,
    }
}

fn flags(common: &GlobalArgs) -> Flags {
    Flags {
        config: common.config.clone(),
        data_dir: common.data_dir.clone(),
        definitions: common.definitions.clone(),
        strict: common.strict,
        policy: common.policy.clone(),
        user: common.user.clone(),
    }
}

async fn execute(loaded: LoadedConfig, command: Command, output: Output) -> Result<u8, Cause> {
    let config = loaded.config.clone();
    start_log(&loaded, matches!(command, Command::Up), output)?;
    let mut signals = Signals::listen().map_err(|error| {
        Cause::new(greenroom_protocol::ErrorCode::Internal, format!("cannot listen for signals: {error}"))
    })?;
    match command {
        Command::Config(ConfigCommand::Check) => Ok(config::check(&loaded, output)),
        Command::Definitions(command) => definitions::definitions(&config, command, output),
        Command::Policy(command) => policy::policy(&config, command, output).await,
        Command::Up => up::up(config, &mut signals).await,
        other => {
            let session = match Session::open(config.clone()).await {
                Ok(session) => session,
                Err(cause) => return db::examine(&config, &other, output, cause).await,
            };
            warn_of_overridden_flags(&session, &loaded, output);
            let outcome = tokio::select! {
                outcome = Box::pin(execute_in(&session, other, output)) => outcome,
                () = signals.next() => Ok(INTERRUPTED),
            };
            tokio::select! {
                () = session.close() => {}
                () = signals.next() => {}
            }
            outcome
        }
    }
}

/// Executes a command that needs a pod.
async fn execute_in(session: &Session, command: Command, output: Output) -> Result<u8, Cause> {
    match command {
        Command::Demo(arguments) => demo::demo(session, arguments, output).await,
        Command::Run(command) => run::run(session, command, output).await,
        Command::Agents(command) => catalogue::agents(session, command, output).await,
        Command::Workflows(command) => catalogue::workflows(session, command, output).await,
        Command::Teams(command) => catalogue::teams(session, command, output).await,
        Command::Runs(command) => runs::runs(session, command, output).await,
        Command::Artifacts(command) => artifacts::artifacts(session, command, output).await,
        Command::Audit(command) => audit::audit(session, command, output).await,
        Command::Memory(command) => memory::memory(session, command, output).await,
        Command::Costs { since } => costs::costs(session, since, output).await,
        Command::Db(command) => db::db(session, command, output).await,
        // These need no pod and are executed by the caller.
        Command::Config(_)
        | Command::Definitions(_)
        | Command::Policy(_)
        | Command::Up
        | Command::Explain { .. }
        | Command::Completions { .. } => Ok(0),
    }
}

/// Warns of each flag that has no effect because the owner of the data directory executes the command with its
/// own configuration.
fn warn_of_overridden_flags(session: &Session, loaded: &LoadedConfig, output: Output) {
    if session.is_in_process() {
        return;
    }
    for flag in loaded.flags_of_the_pod() {
        output.note(&format!(
            "warning: {flag} has no effect: the pod that owns {} executes the command with its own configuration",
            loaded.config.data_dir.display()
        ));
    }
}

fn start_log(loaded: &LoadedConfig, is_up: bool, output: Output) -> Result<(), Cause> {
    let filter = match loaded.config.log_filter.as_str() {
        "" if is_up => UP_LOG,
        "" => COMMAND_LOG,
        filter => filter,
    };
    telemetry::start(filter, Arc::new(WallClock))
        .map_err(|message| Cause::new(greenroom_protocol::ErrorCode::InvalidConfiguration, message))?;
    for warning in &loaded.warnings {
        output.note(&format!("warning: {warning}"));
    }
    Ok(())
}
