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
    let output = Output::new(cli.common.output);
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "greenroom", &mut std::io::stdout());
        return 0;
    }
    let outcome = match load(&flags(&cli.common), std::env::vars()) {
        Ok(loaded) => execute(loaded, cli.command, output).await,
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|cause| {
        output.print_error(&cause);
        cause.code.exit_code()
    })
}

fn flags(common: &GlobalArgs) -> Flags {
    Flags {
        config: common.config.clone(),
        data_dir: common.data_dir.clone(),
        definitions: common.definitions.clone(),
        policy: common.policy.clone(),
        user: common.user.clone(),
    }
}

async fn execute(loaded: LoadedConfig, command: Command, output: Output) -> Result<u8, Cause> {
    let config = loaded.config.clone();
    start_log(&loaded, matches!(command, Command::Up))?;
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
        | Command::Completions { .. } => Ok(0),
    }
}

fn start_log(loaded: &LoadedConfig, is_up: bool) -> Result<(), Cause> {
    let filter = match loaded.config.log_filter.as_str() {
        "" if is_up => UP_LOG,
        "" => COMMAND_LOG,
        filter => filter,
    };
    telemetry::start(filter, Arc::new(WallClock))
        .map_err(|message| Cause::new(greenroom_protocol::ErrorCode::InvalidConfiguration, message))?;
    if is_up {
        for warning in &loaded.warnings {
            print_note(&format!("warning: {warning}"));
        }
    }
    Ok(())
}
