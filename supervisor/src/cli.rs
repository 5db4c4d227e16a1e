//! The command line: arguments in, an exit code out. One file for each group of commands.

pub mod args;
pub mod artifacts;
pub mod audit;
pub mod bridge;
pub mod catalogue;
pub mod cluster;
pub mod config;
pub mod costs;
pub mod db;
pub mod definitions;
pub mod demo;
pub mod eval;
pub mod explain;
pub mod healthcheck;
pub mod inputs;
pub mod keys;
pub mod mcp;
pub mod memory;
mod nats_client;
pub mod output;
pub mod policy;
pub mod progress;
pub mod report;
pub mod run;
pub mod runpod;
pub mod runs;
pub mod session;
pub mod up;
pub mod usage;
pub mod whole_catalogue;

use std::sync::Arc;

use clap::CommandFactory;
use greenroom_protocol::{Cause, ErrorCode};

use self::args::{
    AuditCommand, Cli, Command, ConfigCommand, DbCommand, DefinitionsCommand, GlobalArgs, OutputFormat, PolicyCommand,
    RunpodCommand, VerifyArgs,
};
use self::output::{Output, print_note};
use self::session::Session;
use crate::clock::WallClock;
use crate::config::source::load;
use crate::config::{Flags, LoadedConfig, SettingsHash};
use crate::lifecycle::{ProcessSignal, Signals};
use crate::telemetry;

/// Default log filters: of a command, and of `up`.
const COMMAND_LOG: &str = "error";
const UP_LOG: &str = "info";

/// Executes a command.
pub async fn main(cli: Cli, mut signals: Signals) -> u8 {
    // The standard output of `mcp` has messages only.
    let format = if matches!(cli.command, Command::Mcp(_)) { OutputFormat::Table } else { cli.common.output };
    let output = Output::new(format, cli.common.quiet);
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "greenroom", &mut script);
        output::print(&String::from_utf8_lossy(&script));
        return exit_code(0);
    }
    if let Command::Explain { code } = cli.command {
        return exit_code(explain::explain(code.as_deref(), output));
    }
    let is_up = cli.command.is_process();
    let outcome = match load(&flags(&cli.common), std::env::vars_os()) {
        Ok(loaded) => Box::pin(execute(loaded, cli.command, output, &mut signals)).await,
        Err(error) => Err(error.into()),
    };
    exit_code(outcome.unwrap_or_else(|cause| {
        if is_up {
            report_up_failure(&cause, output)
        } else {
            output.print_error(&cause)
        }
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

/// Reports why `up` has not started. What it writes to standard error is a log, whose lines are JSON if the
/// format is.
fn report_up_failure(cause: &Cause, output: Output) {
    if output.format() != OutputFormat::Json {
        return output.print_error(cause);
    }
    // It has started already, unless the arguments or the configuration are invalid.
    let _ = telemetry::start(UP_LOG, Arc::new(WallClock));
    tracing::error!(error.code = %cause.code, error.message = cause.message, "greenroom up failed");
    output.document(&serde_json::json!({ "error": cause }), String::new);
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

async fn execute(loaded: LoadedConfig, command: Command, output: Output, signals: &mut Signals) -> Result<u8, Cause> {
    let config = loaded.config.clone();
    start_log(&loaded, &command, output)?;
    match command {
        Command::Up => Box::pin(up::up(config, output, signals)).await,
        Command::Pod => {
            up::require_cluster(&config)?;
            Box::pin(up::up(config, output, signals)).await
        }
        Command::Bridge => bridge::bridge(&config, output, signals).await,
        Command::Config(ConfigCommand::Check) => config::check(&loaded, output),
        Command::Config(ConfigCommand::Mcp { server }) => {
            interruptible(config::servers(&config, server.as_deref(), output), output, signals).await
        }
        Command::Runpod(command) => runpod::runpod(config, command, output, signals).await,
        Command::Healthcheck(arguments) => healthcheck::healthcheck(&config, &arguments, output).await,
        apply @ (Command::Definitions(DefinitionsCommand::Apply { .. })
        | Command::Policy(PolicyCommand::Apply { .. })) => execute_in_session(&loaded, apply, output, signals).await,
        Command::Definitions(DefinitionsCommand::Check { path }) => {
            interruptible(definitions::check(config, path, output), output, signals).await
        }
        Command::Catalogue(command) => {
            let look = Box::pin(whole_catalogue::whole_catalogue(config, command, output));
            interruptible(look, output, signals).await
        }
        Command::Policy(command) => {
            let evaluate = Box::pin(policy::policy(config, command, output));
            interruptible(evaluate, output, signals).await
        }
        Command::Audit(AuditCommand::ExportKey { out }) => audit::public_key::export(&config, out.as_deref(), output),
        Command::Audit(AuditCommand::Export { to }) => {
            interruptible(audit::export::export(&config, &to, output), output, signals).await
        }
        Command::Audit(AuditCommand::Verify(VerifyArgs { public_key: Some(key), export: Some(file), .. })) => {
            audit::export::verify(&key, &file, output)
        }
        Command::Audit(AuditCommand::Verify(VerifyArgs { public_key: Some(key), database, export: None })) => {
            let verify = audit::public_key::verify(&config, &key, database.as_deref(), output);
            interruptible(verify, output, signals).await
        }
        Command::Db(DbCommand::Backup { to }) if config.store.is_server() => {
            Ok(db::server_copy::backup(&config, &to, output))
        }
        Command::Db(DbCommand::Restore { from }) if config.store.is_server() => {
            let restore = Box::pin(db::server_copy::restore(&config, &from, output));
            interruptible(restore, output, signals).await
        }
        Command::Db(DbCommand::Restore { from }) => {
            let restore = Box::pin(db::restore::restore(&config, &from, output));
            interruptible(restore, output, signals).await
        }
        Command::Cluster(command) => interruptible(cluster::cluster(&config, command, output), output, signals).await,
        Command::Db(DbCommand::Migrate) => interruptible(db::migrate(&config, output), output, signals).await,
        other => execute_in_session(&loaded, other, output, signals).await,
    }
}

/// Executes a command in a session, which this function opens.
async fn execute_in_session(
    loaded: &LoadedConfig,
    command: Command,
    output: Output,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    // Nothing that was applied could be replaced, if the pod of the command needed it.
    let is_repair = matches!(command, Command::Definitions(_) | Command::Policy(_));
    let opened = tokio::select! {
        opened = Session::open(loaded.config.clone(), is_repair) => opened,
        signal = signals.next() => return Ok(interrupted(signal, output)),
    };
    match opened {
        Ok(session) => {
            warn_of_overridden_settings(&session, loaded, output);
            execute_with(session, command, output, signals).await
        }
        Err(cause) => db::examine(&loaded.config, &command, output, cause).await,
    }
}

/// Executes a command until a signal arrives, which drops it.
async fn interruptible(
    command: impl Future<Output = Result<u8, Cause>>,
    output: Output,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    tokio::select! {
        outcome = command => outcome,
        signal = signals.next() => Ok(interrupted(signal, output)),
    }
}

fn interrupted(signal: ProcessSignal, output: Output) -> u8 {
    let message = format!("the command was interrupted by {signal}");
    output.print_error(&Cause::new(ErrorCode::Interrupted, message));
    signal.exit_code()
}

/// Executes a command that needs a pod, and closes its session. A second signal ends the process while the
/// session is being closed.
async fn execute_with(session: Session, command: Command, output: Output, signals: &mut Signals) -> Result<u8, Cause> {
    let outcome = tokio::select! {
        outcome = Box::pin(execute_in(&session, command, output)) => outcome,
        signal = signals.next() => {
            output.print_error(&session.interruption(signal).await);
            Ok(signal.exit_code())
        }
    };
    tokio::select! {
        () = session.close() => {}
        _ = signals.next() => {}
    }
    outcome
}

/// Executes a command that needs a pod.
async fn execute_in(session: &Session, command: Command, output: Output) -> Result<u8, Cause> {
    match command {
        Command::Demo(arguments) => demo::demo(session, arguments, output).await,
        Command::Run(command) => run::run(session, command, output).await,
        Command::Mcp(arguments) => mcp::mcp(session, arguments).await,
        Command::Agents(command) => catalogue::agents(session, command, output).await,
        Command::Workflows(command) => catalogue::workflows(session, command, output).await,
        Command::Teams(command) => catalogue::teams(session, command, output).await,
        Command::Eval(arguments) => Box::pin(eval::eval(session, arguments, output)).await,
        Command::Runs(command) => runs::runs(session, command, output).await,
        Command::Artifacts(command) => artifacts::artifacts(session, command, output).await,
        Command::Audit(command) => audit::audit(session, command, output).await,
        Command::Memory(command) => memory::memory(session, command, output).await,
        Command::Keys(command) => keys::keys(session, command, output).await,
        Command::Costs { since } => costs::costs(session, since, output).await,
        Command::Db(command) => db::db(session, command, output).await,
        Command::Definitions(DefinitionsCommand::Apply { source }) => {
            definitions::apply(session, &source, output).await
        }
        Command::Policy(PolicyCommand::Apply { source }) => policy::apply::apply(session, &source, output).await,
        // These need no pod and are executed by the caller.
        Command::Config(_)
        | Command::Catalogue(_)
        | Command::Cluster(_)
        | Command::Definitions(_)
        | Command::Policy(_)
        | Command::Up
        | Command::Pod
        | Command::Bridge
        | Command::Runpod(_)
        | Command::Healthcheck(_)
        | Command::Explain { .. }
        | Command::Completions { .. } => Ok(0),
    }
}

/// Warns of each flag, and of a settings file, that has no effect because the owner of the data directory executes the
/// command with its own configuration. A file that would make no difference needs no warning, so that a user who always
/// passes the same file sees none.
fn warn_of_overridden_settings(session: &Session, loaded: &LoadedConfig, output: Output) {
    if session.is_in_process() {
        return;
    }
    let owner = format!("the pod that owns {}", loaded.config.data_dir.display());
    for flag in loaded.flags_of_the_pod() {
        output.note(&format!("warning: {flag} has no effect: {owner} executes the command with its own configuration"));
    }
    let is_overridden = |settings: &SettingsHash| loaded.config.settings_hash.is_overridden_by(settings);
    if let Some(file) = &loaded.file
        && session.owner_settings().as_ref().is_some_and(is_overridden)
    {
        output.note(&format!(
            "warning: the pod settings in {} have no effect: {owner} executes the command with its own configuration, \
             which is different",
            file.display()
        ));
    }
}

fn start_log(loaded: &LoadedConfig, command: &Command, output: Output) -> Result<(), Cause> {
    let is_up = command.is_process();
    let is_service = is_up || matches!(command, Command::Runpod(RunpodCommand::Worker(_) | RunpodCommand::Scale(_)));
    let filter = match loaded.config.log_filter.as_str() {
        "" if is_service => UP_LOG,
        "" => COMMAND_LOG,
        filter => filter,
    };
    // The console of RunPod reads lines of another form, on standard output.
    let is_on_runpod = matches!(command, Command::Runpod(RunpodCommand::Worker(_)))
        && std::env::var_os(greenroom_runpod::worker::ENDPOINT_ID).is_some();
    let started = if is_on_runpod {
        telemetry::runpod_lines::start(filter)
    } else {
        telemetry::start(filter, Arc::new(WallClock))
    };
    started.map_err(|message| Cause::new(ErrorCode::InvalidConfiguration, message))?;
    for warning in &loaded.warnings {
        // What `up` writes to standard error is a log, whose lines are JSON if the format is.
        if is_up && output.format() == OutputFormat::Json {
            tracing::warn!(setting.problem = warning, "setting is not used");
        } else {
            output.note(&format!("warning: {warning}"));
        }
    }
    Ok(())
}
